"""What policies and selectors look at in an inner packet: addresses, protocol, ports."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from charon_core.kernel.userspace.types import Buffer

IPPROTO_ICMP: Final = 1
IPPROTO_IPV4: Final = 4
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_IPV6: Final = 41
IPPROTO_ICMPV6: Final = 58
IPPROTO_NONE: Final = 59

PORT_UNKNOWN: Final = -1
"""The packet does not show its ports: a later fragment, or a protocol without any."""

IPV4_HEADER: Final = 20
IPV6_HEADER: Final = 40

_IPV6_FRAGMENT: Final = 44
_IPV6_OPTIONS: Final = frozenset({0, 43, 60, 135})  # hop-by-hop, routing, destination, mobility
_IPV6_HEADERS_LIMIT: Final = 8
"""Extension headers that are followed before the ports count as unknown."""

PROTOCOLS_WITH_PORTS: Final = frozenset({IPPROTO_TCP, IPPROTO_UDP, 132, 136})
"""TCP, UDP, SCTP, UDP-Lite."""

_WITH_TYPE: Final = frozenset({IPPROTO_ICMP, IPPROTO_ICMPV6})
_IPV4_LATER_FRAGMENT: Final = 0x1FFF
_PORTS: Final = Struct(">HH")
_U16: Final = Struct(">H")


class Flow(NamedTuple):
    """The selector fields of one packet (RFC 4301 section 4.4.1.1); addresses are numbers.

    ICMP has its type and code in both ports, as type * 256 + code (RFC 7296 section 3.13.1).
    """

    family: int
    source: int
    destination: int
    protocol: int
    source_port: int
    destination_port: int


def packet_length(packet: Buffer) -> int:
    """Return the length that the IP header claims, or 0 if there is no valid header.

    The result is never more than ``len(packet)``: a packet that claims more is not valid.
    """
    size = len(packet)
    if size < IPV4_HEADER:
        return 0
    version = packet[0] >> 4
    if version == 4:
        length: int = _U16.unpack_from(packet, 2)[0]
        header = (packet[0] & 15) * 4
        return length if IPV4_HEADER <= header <= length <= size else 0
    if version == 6 and size >= IPV6_HEADER:
        length = IPV6_HEADER + _U16.unpack_from(packet, 4)[0]
        return length if length <= size else 0
    return 0


def flow_key(packet: Buffer) -> bytes:
    """Return octets that are equal for packets of one flow, or b"" if only `parse_flow` can tell.

    ``packet`` must have a valid header (see `packet_length`). Later fragments, IPv4 options and
    IPv6 extension headers give b"". Keys of different families and kinds differ in length.
    """
    first = packet[0]
    if first == 0x45:
        if _U16.unpack_from(packet, 6)[0] & _IPV4_LATER_FRAGMENT:
            return b""
        protocol = packet[9]
        end = 24 if protocol in (IPPROTO_TCP, IPPROTO_UDP) else 22
        if len(packet) < end:
            return b""
        return b"%c%b" % (protocol, bytes(packet[12:end]))
    if first >> 4 == 6:
        protocol = packet[6]
        if protocol in (IPPROTO_TCP, IPPROTO_UDP):
            end = 44
        elif protocol == IPPROTO_ICMPV6:
            end = 42
        else:
            return b""
        if len(packet) < end:
            return b""
        return b"%c%b" % (protocol, bytes(packet[8:end]))
    return b""


def parse_flow(packet: Buffer) -> Flow | None:
    """Return the selector fields of a packet, None if its header is not valid."""
    size = packet_length(packet)
    if not size:
        return None
    if packet[0] >> 4 == 4:
        protocol = packet[9]
        offset = (packet[0] & 15) * 4
        if _U16.unpack_from(packet, 6)[0] & _IPV4_LATER_FRAGMENT:
            offset = size
        addresses, middle, family = packet[12:20], 4, 4
    else:
        protocol, offset = _transport_of_ipv6(packet, size)
        addresses, middle, family = packet[8:40], 16, 6
    source_port, destination_port = _ports(packet, size, protocol, offset)
    return Flow(
        family,
        int.from_bytes(addresses[:middle], "big"),
        int.from_bytes(addresses[middle:], "big"),
        protocol,
        source_port,
        destination_port,
    )


def _transport_of_ipv6(packet: Buffer, size: int) -> tuple[int, int]:
    """Follow the extension headers: the upper protocol and where it starts (``size``: unknown)."""
    protocol, offset = packet[6], IPV6_HEADER
    for _ in range(_IPV6_HEADERS_LIMIT):
        if offset + 8 > size:
            return protocol, size
        if protocol == _IPV6_FRAGMENT:
            if _U16.unpack_from(packet, offset + 2)[0] & 0xFFF8:
                return packet[offset], size
            protocol, offset = packet[offset], offset + 8
        elif protocol in _IPV6_OPTIONS:
            protocol, offset = packet[offset], offset + 8 + packet[offset + 1] * 8
        else:
            break
    return protocol, offset


def _ports(packet: Buffer, size: int, protocol: int, offset: int) -> tuple[int, int]:
    if protocol in PROTOCOLS_WITH_PORTS and offset + 4 <= size:
        source, destination = _PORTS.unpack_from(packet, offset)
        return source, destination
    if protocol in _WITH_TYPE and offset + 2 <= size:
        value = _U16.unpack_from(packet, offset)[0]
        return value, value
    return PORT_UNKNOWN, PORT_UNKNOWN
