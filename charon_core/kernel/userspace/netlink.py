"""The few rtnetlink requests that a TUN device needs.

pyroute2 does all this and much more, but takes a quarter of a second to load, which the start of
the daemon does not have.
"""

from __future__ import annotations

import os
import socket
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_MESSAGE: Final = Struct("=IHHII")
_ATTRIBUTE: Final = Struct("=HH")
_LINK: Final = Struct("=BxHiII")
_ADDRESS: Final = Struct("=BBBBI")
_ROUTE: Final = Struct("=BBBBBBBBI")
_RULE: Final = _ROUTE
_ERROR: Final = Struct("=i")
_U32: Final = Struct("=I")

_F_REQUEST: Final = 0x001
_F_ACK: Final = 0x004
_F_DUMP: Final = 0x300
_F_REPLACE: Final = 0x100
_F_EXCL: Final = 0x200
_F_CREATE: Final = 0x400

_MESSAGE_ERROR: Final = 2
_MESSAGE_DONE: Final = 3
_NEW_LINK: Final = 16
_NEW_ADDRESS: Final = 20
_GET_ADDRESS: Final = 22
_NEW_ROUTE: Final = 24
_DELETE_ROUTE: Final = 25
_NEW_RULE: Final = 32
_DELETE_RULE: Final = 33

_IFF_UP: Final = 1
_IFLA_MTU: Final = 4
_IFLA_AF_SPEC: Final = 26
_INET6_ADDR_GEN_MODE: Final = 8
_ADDR_GEN_NONE: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_RTA_DESTINATION: Final = 1
_RTA_INTERFACE: Final = 4
_RTA_PREFERRED_SOURCE: Final = 7
_RTA_TABLE: Final = 15
_RTN_UNICAST: Final = 1
_RTN_THROW: Final = 9
_RTPROT_STATIC: Final = 4
_RT_SCOPE_UNIVERSE: Final = 0
_RT_SCOPE_LINK: Final = 253
_FR_ACT_TO_TABLE: Final = 1
_FIB_RULE_INVERT: Final = 2
_FRA_PRIORITY: Final = 6
_FRA_MARK: Final = 10
_FRA_TABLE: Final = 15
_FRA_MARK_MASK: Final = 16

_RECEIVE_SIZE: Final = 1 << 16
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


class Network(NamedTuple):
    """A destination: address family (4 or 6), first address as a number, prefix length."""

    family: int
    address: int
    prefix: int

    def __str__(self) -> str:
        """``10.2.0.0/16``."""
        return f"{address_text(self.family, self.address)}/{self.prefix}"


class LocalAddress(NamedTuple):
    """An address of this host that is good for traffic beyond the link."""

    family: int
    address: int


def address_text(family: int, address: int) -> str:
    """Return the canonical text of an address."""
    return socket.inet_ntop(_FAMILIES[family], _packed(family, address))


class Netlink:
    """A netlink socket; not for several threads at once."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_up(self, index: int, mtu: int) -> None:
        """Bring an interface up, with this MTU and without IPv6 addresses of its own making.

        Raises:
            OSError: With the kernel's errno.
        """
        quiet = _attribute(_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))
        # Where IPv6 is off the kernel knows no such attribute, and there is nothing to silence.
        body = _LINK.pack(0, 0, index, 0, 0)
        try:
            spec = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET6, quiet))
            self._request(_NEW_LINK, 0, body + spec)
        except OSError:
            pass
        body = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP)
        self._request(_NEW_LINK, 0, body + _number(_IFLA_MTU, mtu))

    def local_addresses(self) -> list[LocalAddress]:
        """Return the addresses of this host, without loopback and link-local ones.

        Raises:
            OSError: With the kernel's errno.
        """
        found = []
        for kind, body in self._dump(_GET_ADDRESS, _ADDRESS.pack(0, 0, 0, 0, 0)):
            family, _, _, scope, _ = _ADDRESS.unpack_from(body)
            if kind != _NEW_ADDRESS or scope >= _RT_SCOPE_LINK:
                continue
            attributes = dict(_attributes(body[_ADDRESS.size :]))
            packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if packed and family in _FAMILIES.values():
                version = 4 if family == socket.AF_INET else 6
                found.append(LocalAddress(version, int.from_bytes(packed, "big")))
        return found

    def add_route(
        self, network: Network, table: int, index: int | None, source: int | None = None
    ) -> None:
        """Add or replace a route into an interface; without one, a route that goes on (throw).

        Raises:
            OSError: With the kernel's errno.
        """
        flags = _F_CREATE | _F_REPLACE
        self._request(_NEW_ROUTE, flags, _route(network, table, index, source))

    def remove_route(self, network: Network, table: int, index: int | None) -> None:
        """Remove a route.

        Raises:
            OSError: With the kernel's errno.
        """
        self._request(_DELETE_ROUTE, 0, _route(network, table, index, None))

    def add_rule(self, family: int, table: int, priority: int, excluded_mark: int) -> None:
        """Send all packets without the mark through a table.

        Raises:
            FileExistsError: The rule is there already.
            OSError: With the kernel's errno.
        """
        body = _rule(family, table, priority, excluded_mark)
        self._request(_NEW_RULE, _F_CREATE | _F_EXCL, body)

    def remove_rule(self, family: int, table: int, priority: int, excluded_mark: int) -> None:
        """Remove what `add_rule` added.

        Raises:
            OSError: With the kernel's errno.
        """
        self._request(_DELETE_RULE, 0, _rule(family, table, priority, excluded_mark))

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, _F_REQUEST | _F_ACK | flags, body)
        for _ in self._replies():
            pass

    def _dump(self, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        self._send(kind, _F_REQUEST | _F_DUMP, body)
        return self._replies()

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, self._sequence, 0)
        self._socket.send(header + body)

    def _replies(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(_RECEIVE_SIZE)
            while len(data) >= _MESSAGE.size:
                length, kind, _, sequence, _ = _MESSAGE.unpack_from(data)
                body, data = data[_MESSAGE.size : length], data[_align(length) :]
                if sequence != self._sequence:
                    continue
                if kind == _MESSAGE_ERROR:
                    code = -_ERROR.unpack_from(body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                if kind == _MESSAGE_DONE:
                    return
                yield kind, body


def _align(length: int) -> int:
    return length + 3 & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return (_ATTRIBUTE.pack(length, kind) + value).ljust(_align(length), b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, _U32.pack(value))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_align(length) :]


def _packed(family: int, address: int) -> bytes:
    return address.to_bytes(4 if family == 4 else 16, "big")


def _route(network: Network, table: int, index: int | None, source: int | None) -> bytes:
    kind = _RTN_THROW if index is None else _RTN_UNICAST
    body = _ROUTE.pack(
        _FAMILIES[network.family],
        network.prefix,
        0,
        0,
        0,
        _RTPROT_STATIC,
        _RT_SCOPE_UNIVERSE,
        kind,
        0,
    )
    body += _attribute(_RTA_DESTINATION, _packed(network.family, network.address))
    body += _number(_RTA_TABLE, table)
    if index is not None:
        body += _number(_RTA_INTERFACE, index)
    if source is not None:
        body += _attribute(_RTA_PREFERRED_SOURCE, _packed(network.family, source))
    return body


def _rule(family: int, table: int, priority: int, excluded_mark: int) -> bytes:
    body = _RULE.pack(_FAMILIES[family], 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TABLE, _FIB_RULE_INVERT)
    return (
        body
        + _number(_FRA_PRIORITY, priority)
        + _number(_FRA_MARK, excluded_mark)
        + _number(_FRA_MARK_MASK, 0xFFFFFFFF)
        + _number(_FRA_TABLE, table)
    )
