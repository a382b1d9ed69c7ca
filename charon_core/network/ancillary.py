"""Control messages of UDP sockets: local addresses, DSCP, segment sizes, ICMP errors."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

# From linux/in.h, linux/in6.h, linux/udp.h and linux/socket.h; the socket module of Python 3.11
# lacks them.
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_PMTUDISC_DONT: Final = 0
IPV6_RECVERR: Final = 25
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_RCVBUFFORCE: Final = 33
MSG_ERRQUEUE: Final = 0x2000

Control: TypeAlias = tuple[int, int, bytes]
"""Level, type and data of one control message."""

_INT: Final = Struct("=i")
_U16: Final = Struct("=H")
_PKTINFO4: Final = Struct("=i4s4s")
_PKTINFO6: Final = Struct("=16si")
_ERROR: Final = Struct("=IBBBBII")
"""``sock_extended_err``: errno, origin, type, code, padding, info, data; then the offender."""

RECEIVE_SPACE: Final = socket.CMSG_SPACE(_PKTINFO6.size) + socket.CMSG_SPACE(_INT.size)
"""Room for the control messages of one received datagram: addresses and segment size."""

ERROR_SPACE: Final = RECEIVE_SPACE + socket.CMSG_SPACE(_ERROR.size + 28)
"""Room for those of one ICMP error: the above, and the error with the offender's address."""

_ORIGINS: Final = {1: "local", 2: "ICMP", 3: "ICMPv6"}


class SocketError(NamedTuple):
    """What the kernel tells about a datagram that was sent before.

    Attributes:
        number: Its error number.
        origin: ``local``, ``ICMP`` or ``ICMPv6``.
        offender: The address of the router or host that reported it, "" if not known.
    """

    number: int
    origin: str
    offender: str


def local_control4(address: bytes, interface: int = 0) -> Control:
    """Return what makes an IPv4 packet leave with this source address."""
    return (socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO4.pack(interface, address, bytes(4)))


def local_control6(address: bytes, interface: int = 0) -> Control:
    """Return what makes an IPv6 packet leave with this source address."""
    return (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(address, interface))


def dscp_control(family: int, dscp: int) -> Control:
    """Return what gives a packet its DSCP: the upper six bits of the octet (RFC 2474)."""
    if family == socket.AF_INET:
        return (socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(dscp << 2))
    return (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(dscp << 2))


def segment_control(size: int) -> Control:
    """Return what makes the kernel cut a buffer into datagrams of ``size`` octets."""
    return (socket.IPPROTO_UDP, UDP_SEGMENT, _U16.pack(size))


def segment_size(data: bytes) -> int:
    """Return the size that a UDP_GRO message tells."""
    return int(_INT.unpack_from(data)[0]) if len(data) >= _INT.size else 0


def local_host4(data: bytes) -> str:
    """Return the local address that an IP_PKTINFO message tells."""
    return socket.inet_ntop(socket.AF_INET, _PKTINFO4.unpack_from(data)[1])


def local_host6(data: bytes) -> str:
    """Return the local address that an IPV6_PKTINFO message tells, with its zone if it has one."""
    address, interface = _PKTINFO6.unpack_from(data)
    host = socket.inet_ntop(socket.AF_INET6, address)
    return with_zone(host, interface if host.startswith("fe80:") else 0)


def packed(family: int, host: str) -> bytes:
    """Return an address, without zone, as octets.

    Raises:
        OSError: It is none of this family. Names are none: looking one up would have to wait.
    """
    try:
        return socket.inet_pton(family, host)
    except (OSError, ValueError):
        version = "IPv6" if family == socket.AF_INET6 else "IPv4"
        raise OSError(errno.EAFNOSUPPORT, f"{host!r} is not an {version} address") from None


def split_zone(host: str) -> tuple[str, int]:
    """Return a link-local address and the number of its interface, 0 if it names none.

    Raises:
        OSError: There is no such interface.
    """
    bare, _, zone = host.partition("%")
    if not zone:
        return bare, 0
    return bare, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)


def address_of(family: int, host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return an address as the socket module wants it.

    Raises:
        OSError: It is none of this family.
    """
    if family != socket.AF_INET6:
        packed(family, host)
        return host, port
    bare, scope = split_zone(host)
    packed(family, bare)
    return bare, port, 0, scope


def with_zone(host: str, scope: int) -> str:
    """Return a link-local address with the name of its interface: ``fe80::1%eth0``."""
    if not scope:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:
        return f"{host}%{scope}"


def socket_error(control: Iterable[Control]) -> SocketError | None:
    """Return the error that is among the control messages of MSG_ERRQUEUE."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR):
            family, position, size = socket.AF_INET, 4, 4
        elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_RECVERR):
            family, position, size = socket.AF_INET6, 8, 16
        else:
            continue
        if len(data) < _ERROR.size:
            continue
        number, origin, *_ = _ERROR.unpack_from(data)
        begin = _ERROR.size + position
        address = data[begin : begin + size]
        offender = ""
        # An unspecified family says that the kernel does not know who it was.
        if len(address) == size and data[_ERROR.size : _ERROR.size + 2] != b"\0\0":
            offender = socket.inet_ntop(family, address)
        return SocketError(number, _ORIGINS.get(origin, f"origin {origin}"), offender)
    return None


def probe(udp: socket.socket, option: int) -> bool:
    """Whether the kernel knows a UDP option."""
    try:
        udp.getsockopt(socket.IPPROTO_UDP, option)
    except OSError:
        return False
    return True


def prepare(udp: socket.socket, *, receive_buffer: int) -> None:
    """Set the options that an IKE socket needs before it is bound.

    Raises:
        OSError: The socket cannot tell local addresses, without which answers would go astray.
    """
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        _try(udp, socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        _try(udp, socket.IPPROTO_IP, IP_RECVERR, 1)
        # Large messages may be fragmented on their way: a lost "fragmentation needed" would
        # otherwise stop an exchange for good.
        _try(udp, socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    if receive_buffer and not _try(udp, socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer):
        # Without CAP_NET_ADMIN the system's limit applies.
        _try(udp, socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)


def _try(udp: socket.socket, level: int, option: int, value: int) -> bool:
    with suppress(OSError):
        udp.setsockopt(level, option, value)
        return True
    return False
