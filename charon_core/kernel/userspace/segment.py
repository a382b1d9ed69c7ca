"""Cutting the super-packets of a TUN device into packets of the MTU, with all their checksums.

The peer may be any IPsec implementation, so each segment is a complete packet: lengths, IP
identification, TCP sequence number and flags, both checksums.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from charon_core.kernel.userspace.checksum import checksum, ones_sum
from charon_core.kernel.userspace.flow import (
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPV6_HEADER,
)
from charon_core.kernel.userspace.tun import GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP

if TYPE_CHECKING:
    from collections.abc import Iterator

TCP_HEADER: Final = 20
UDP_HEADER: Final = 8
TCP_FLAGS: Final = 13
TCP_CHECKSUM: Final = 16
UDP_CHECKSUM: Final = 6

TCP_LAST_FLAGS: Final = 0x09
"""FIN and PSH: only the last segment has them."""
TCP_FIRST_FLAGS: Final = 0x80
"""CWR: only the first segment has it (RFC 3168 section 6.1.2)."""

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_KINDS: Final = {
    GSO_TCPV4: (4, IPPROTO_TCP),
    GSO_TCPV6: (6, IPPROTO_TCP),
}
_SEQUENCE_MASK: Final = 0xFFFFFFFF


class MalformedFrame(Exception):  # noqa: N818 - says what is the case
    """A frame of the device does not hold what its header says."""


class SuperPacket:
    """One TCP or UDP packet of several segments.

    Attributes:
        header: IP and transport header, as far as the payload.
        payload: What is to be spread over the segments; belongs to the read buffer.
        size: Octets of payload of each segment but the last.
        count: Number of segments.
        version: 4 or 6.
        transport: Where the transport header starts.
        protocol: TCP or UDP.
        pseudo_sum: Sum of the pseudo-header without the length.
    """

    __slots__ = (
        "count",
        "header",
        "payload",
        "protocol",
        "pseudo_sum",
        "size",
        "transport",
        "version",
    )

    def __init__(self, packet: memoryview, kind: int, size: int, transport: int) -> None:
        """Look at a packet.

        Args:
            packet: All of it, without the header of the device.
            kind: GSO type.
            size: Octets of payload of a segment.
            transport: Where the transport header starts (checksum start).

        Raises:
            MalformedFrame: The packet does not fit these values.
        """
        length = len(packet)
        version = packet[0] >> 4 if length else 0
        kind &= ~GSO_ECN
        expected, self.protocol = _KINDS.get(kind, (version, IPPROTO_UDP))
        if (
            kind not in (GSO_TCPV4, GSO_TCPV6, GSO_UDP)
            or version not in (4, 6)
            or version != expected
            or (transport < IPV6_HEADER if version == 6 else transport != (packet[0] & 15) * 4)
            or size <= 0
        ):
            raise MalformedFrame
        if self.protocol == IPPROTO_UDP:
            end = transport + UDP_HEADER
        else:
            if length < transport + TCP_HEADER:
                raise MalformedFrame
            end = transport + max(packet[transport + 12] >> 4 << 2, TCP_HEADER)
        if end >= length:
            raise MalformedFrame
        self.header = bytes(packet[:end])
        self.payload = packet[end:]
        self.size = size
        self.count = -(-(length - end) // size)
        self.version = version
        self.transport = transport
        addresses = packet[12:20] if version == 4 else packet[8:40]
        self.pseudo_sum = ones_sum(addresses, self.protocol)

    def segment(self, index: int) -> bytes:
        """Return one segment, from 0."""
        piece = self.payload[index * self.size : (index + 1) * self.size]
        header = bytearray(self.header)
        transport = self.transport
        length = len(header) - transport + len(piece)
        if self.version == 4:
            _U16.pack_into(header, 2, transport + length)
            identification = _U16.unpack_from(header, 4)[0] + index & 0xFFFF
            _U16.pack_into(header, 4, identification)
            header[10:12] = b"\0\0"
            _U16.pack_into(header, 10, checksum(header[:transport]))
        else:
            _U16.pack_into(header, 4, transport + length - IPV6_HEADER)
        if self.protocol == IPPROTO_TCP:
            self._set_tcp(header, index)
            place = transport + TCP_CHECKSUM
        else:
            _U16.pack_into(header, transport + 4, length)
            place = transport + UDP_CHECKSUM
        header[place : place + 2] = b"\0\0"
        packet = bytearray().join((header, piece))
        value = checksum(memoryview(packet)[transport:], self.pseudo_sum + length)
        # A UDP checksum of 0 would mean that there is none (RFC 768); for TCP both are the same.
        _U16.pack_into(packet, place, value or 0xFFFF)
        return bytes(packet)

    def _set_tcp(self, header: bytearray, index: int) -> None:
        place = self.transport + 4
        sequence = _U32.unpack_from(header, place)[0] + index * self.size
        _U32.pack_into(header, place, sequence & _SEQUENCE_MASK)
        if index:
            header[self.transport + TCP_FLAGS] &= ~TCP_FIRST_FLAGS
        if index < self.count - 1:
            header[self.transport + TCP_FLAGS] &= ~TCP_LAST_FLAGS

    def __iter__(self) -> Iterator[bytes]:
        """Yield all segments."""
        return map(self.segment, range(self.count))


def complete_checksum(packet: bytearray | memoryview, start: int, offset: int) -> None:
    """Finish the checksum of a packet that the device gave with the pseudo-header's sum alone.

    Args:
        packet: The packet, changed in place.
        start: Where the part that is covered starts.
        offset: Where in that part the checksum is.

    Raises:
        MalformedFrame: The checksum would be outside the packet.
    """
    place = start + offset
    if place + 2 > len(packet):
        raise MalformedFrame
    # The field holds the sum of the pseudo-header already, so it is summed up like the rest.
    value = checksum(packet[start:])
    _U16.pack_into(packet, place, value or 0xFFFF)
