"""The few rtnetlink messages that charon needs: addresses, links, routes, rules.

Written with ``struct`` rather than with pyroute2, whose import costs 0.2 s and 21 MB in every
daemon, also where XFRM is not in use.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.kernel.netlink import attribute, attributes

if TYPE_CHECKING:
    from charon_core.kernel.interface import Route
    from charon_core.kernel.netlink import Frame

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33

RTNLGRP_LINK: Final = 1
RTNLGRP_IPV4_IFADDR: Final = 5
RTNLGRP_IPV4_ROUTE: Final = 7
RTNLGRP_IPV6_IFADDR: Final = 9
RTNLGRP_IPV6_ROUTE: Final = 11

TABLE_LOCAL: Final = 255

_IFADDR: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_IFINFO: Final = struct.Struct("=BxHiII")
_U32: Final = struct.Struct("=I")
_CACHEINFO: Final = struct.Struct("=IIII")

_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8
_IFA_PROTO: Final = 11
_IFLA_MTU: Final = 4
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_METRICS: Final = 8
_RTA_PREFSRC: Final = 7
_RTA_TABLE: Final = 15
_RTA_MARK: Final = 16
_RTAX_MTU: Final = 2
_FRA_PRIORITY: Final = 6
_FRA_FWMARK: Final = 10
_FRA_TABLE: Final = 15
_FRA_FWMASK: Final = 16

_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFF_RUNNING: Final = 0x40

_IFA_F_NODAD: Final = 0x02
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_DEPRECATED: Final = 0x20
_IFA_F_TENTATIVE: Final = 0x40
_IFA_F_UNUSABLE: Final = _IFA_F_DADFAILED | _IFA_F_DEPRECATED | _IFA_F_TENTATIVE

_SCOPE_UNIVERSE: Final = 0
_SCOPE_LINK: Final = 253
_RTN_UNICAST: Final = 1
_RTPROT_STATIC: Final = 4
_RTM_F_CLONED: Final = 0x200
_FR_ACT_TO_TBL: Final = 1
_FIB_RULE_INVERT: Final = 0x2
_FOREVER: Final = 0xFFFFFFFF
_MAX_SHORT_TABLE: Final = 255


IFAPROT_CHARON: Final = 220
"""Marks the addresses that charon has added; shown by `ip addr` as their protocol (Linux 5.18)."""


class InterfaceAddress(NamedTuple):
    """One address of one interface."""

    host: str
    ifindex: int
    prefix: int
    scope: int
    flags: int
    origin: int = 0
    """Who has added it, IFA_PROTO; 0 where nobody says."""

    @property
    def is_usable(self) -> bool:
        """Whether packets to other hosts may come from it (neither tentative nor deprecated)."""
        return self.scope < _SCOPE_LINK and not self.flags & _IFA_F_UNUSABLE


class Link(NamedTuple):
    """One network interface."""

    ifindex: int
    flags: int
    mtu: int

    @property
    def is_up(self) -> bool:
        """Whether it can carry packets."""
        return self.flags & (_IFF_UP | _IFF_RUNNING) == _IFF_UP | _IFF_RUNNING

    @property
    def is_loopback(self) -> bool:
        """Whether it is the loopback interface."""
        return bool(self.flags & _IFF_LOOPBACK)


class KernelRoute(NamedTuple):
    """A route, of a table or as the answer to a lookup."""

    destination: str
    prefix: int
    table: int
    kind: int
    flags: int
    ifindex: int
    gateway: str
    source: str
    mtu: int
    protocol: int = 0

    @property
    def concerns_peers(self) -> bool:
        """Whether packets to other hosts may take it, and it is no cache entry."""
        return (
            self.kind == _RTN_UNICAST
            and not self.flags & _RTM_F_CLONED
            and not self.destination.startswith("fe80:")
        )


def family_of(host: str) -> int:
    """Return AF_INET6 or AF_INET."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def pack_host(host: str) -> bytes:
    """Return an address in network byte order.

    Raises:
        OSError: it is not an address.
    """
    return socket.inet_pton(family_of(host), host)


def _host(octets: bytes) -> str:
    family = socket.AF_INET6 if len(octets) == 16 else socket.AF_INET
    return socket.inet_ntop(family, octets)


def _u32(octets: bytes) -> int:
    return int(_U32.unpack(octets[:4])[0])


# -- what the kernel says -------------------------------------------------------------------------


def parse_address(frame: Frame) -> InterfaceAddress | None:
    """Read RTM_NEWADDR or RTM_DELADDR; None for a family that is not IP.

    Raises:
        struct.error, ValueError: the message is malformed.
    """
    body = frame.body
    family, prefix, flags, scope, index = _IFADDR.unpack_from(body)
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    found = dict(attributes(body, _IFADDR.size))
    # On a point-to-point interface IFA_ADDRESS is the other end.
    octets = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if octets is None:
        return None
    if _IFA_FLAGS in found:
        flags = _u32(found[_IFA_FLAGS])
    origin = found.get(_IFA_PROTO, b"\0")[0]
    return InterfaceAddress(_host(octets), index, prefix, scope, flags, origin)


def parse_link(frame: Frame) -> Link:
    """Read RTM_NEWLINK or RTM_DELLINK.

    Raises:
        struct.error: the message is malformed.
    """
    body = frame.body
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    mtu = dict(attributes(body, _IFINFO.size)).get(_IFLA_MTU)
    return Link(index, flags, _u32(mtu) if mtu else 0)


def parse_route(frame: Frame) -> KernelRoute | None:
    """Read RTM_NEWROUTE or RTM_DELROUTE; None for a family that is not IP.

    Raises:
        struct.error, ValueError: the message is malformed.
    """
    body = frame.body
    family, prefix, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    found = dict(attributes(body, _RTMSG.size))
    metrics = dict(attributes(found.get(_RTA_METRICS, b"")))
    return KernelRoute(
        destination=_host(found[_RTA_DST]) if _RTA_DST in found else "",
        prefix=prefix,
        table=_u32(found[_RTA_TABLE]) if _RTA_TABLE in found else table,
        kind=kind,
        flags=flags,
        ifindex=_u32(found[_RTA_OIF]) if _RTA_OIF in found else 0,
        gateway=_host(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else "",
        source=_host(found[_RTA_PREFSRC]) if _RTA_PREFSRC in found else "",
        mtu=_u32(metrics[_RTAX_MTU]) if _RTAX_MTU in metrics else 0,
        protocol=protocol,
    )


# -- what we say ----------------------------------------------------------------------------------


def encode_dump(family: int = socket.AF_UNSPEC) -> bytes:
    """Return the body of a dump of addresses or links."""
    return _IFINFO.pack(family, 0, 0, 0, 0)


def encode_lookup(destination: str, mark: int, index: int = 0) -> bytes:
    """Return the body of RTM_GETROUTE: which way do packets with ``mark`` go?"""
    octets = pack_host(destination)
    body = _RTMSG.pack(family_of(destination), 8 * len(octets), 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_DST, octets) + attribute(_RTA_MARK, _U32.pack(mark))
    return body + attribute(_RTA_OIF, _U32.pack(index)) if index else body


def encode_address(host: str, index: int) -> bytes:
    """Return the body of RTM_NEWADDR and RTM_DELADDR for one address without a network.

    An IPv6 address is added as deprecated: only routes that name it as their source use it, not
    every new connection of this host; and without duplicate detection, as nobody else is there.
    """
    octets = pack_host(host)
    is_ipv6 = len(octets) == 16
    body = _IFADDR.pack(
        family_of(host), 8 * len(octets), _IFA_F_NODAD if is_ipv6 else 0, _SCOPE_UNIVERSE, index
    )
    body += attribute(_IFA_LOCAL, octets) + attribute(_IFA_ADDRESS, octets)
    body += attribute(_IFA_PROTO, bytes([IFAPROT_CHARON]))
    if is_ipv6:
        body += attribute(_IFA_CACHEINFO, _CACHEINFO.pack(0, _FOREVER, 0, 0))
    return body


def encode_route(route: Route, table: int, index: int) -> bytes:
    """Return the body of RTM_NEWROUTE and RTM_DELROUTE.

    Raises:
        ValueError: the destination is not a network.
    """
    network = ipaddress.ip_network(route.destination)
    body = _RTMSG.pack(
        socket.AF_INET if network.version == 4 else socket.AF_INET6,
        network.prefixlen,
        0,
        0,
        table if table <= _MAX_SHORT_TABLE else 0,
        _RTPROT_STATIC,
        _SCOPE_UNIVERSE if route.gateway or network.version == 6 else _SCOPE_LINK,
        _RTN_UNICAST,
        0,
    )
    body += attribute(_RTA_DST, network.network_address.packed)
    body += attribute(_RTA_TABLE, _U32.pack(table))
    if index:
        body += attribute(_RTA_OIF, _U32.pack(index))
    if route.gateway:
        body += attribute(_RTA_GATEWAY, pack_host(route.gateway))
    if route.source:
        body += attribute(_RTA_PREFSRC, pack_host(route.source))
    if route.mtu:
        metrics = attribute(_RTAX_MTU, _U32.pack(route.mtu))
        body += attribute(_RTA_METRICS, metrics)
    return body


def encode_rule(family: int, table: int, priority: int, bypass_mark: int) -> bytes:
    """Return the body of RTM_NEWRULE and RTM_DELRULE: all packets without the mark use a table."""
    body = _RTMSG.pack(
        family,
        0,
        0,
        0,
        table if table <= _MAX_SHORT_TABLE else 0,
        0,
        0,
        _FR_ACT_TO_TBL,
        _FIB_RULE_INVERT,
    )
    for kind, number in (
        (_FRA_PRIORITY, priority),
        (_FRA_TABLE, table),
        (_FRA_FWMARK, bypass_mark),
        (_FRA_FWMASK, 0xFFFFFFFF),
    ):
        body += attribute(kind, _U32.pack(number))
    return body
