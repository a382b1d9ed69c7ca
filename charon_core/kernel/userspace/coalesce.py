"""Joining TCP segments of one flow into super-packets before they are written to the device."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from charon_core.kernel.userspace.checksum import checksum, ones_sum, pseudo_header_sum
from charon_core.kernel.userspace.flow import IPPROTO_TCP, IPV4_HEADER, IPV6_HEADER
from charon_core.kernel.userspace.segment import TCP_CHECKSUM, TCP_FLAGS, TCP_HEADER
from charon_core.kernel.userspace.tun import (
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    VNET_HEADER,
    VNET_NEEDS_CHECKSUM,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.kernel.userspace.types import Buffer

TCP_ACK: Final = 0x10
TCP_PSH: Final = 0x08

PACKET_LIMIT: Final = 0xFFFF
"""Octets of the largest super-packet."""

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_PLAIN: Final = VNET_HEADER.pack(0, GSO_NONE, 0, 0, 0, 0)
"""What the device wants in front of a packet that is complete as it is: zeros."""
_HEADER_LIMIT: Final = 128
_IPV4_FRAGMENT: Final = 0x3FFF  # more fragments, and the offset


def tcp_header_end(packet: Buffer) -> int:
    """Return where the payload of a TCP segment starts, or 0 if it cannot be part of a run.

    Only plain data can: no IP options, extension headers or fragments, and no flags but ACK and
    PSH. The packet must have a valid IP header (see `packet_length`).
    """
    if packet[0] == 0x45:
        if packet[9] != IPPROTO_TCP or _U16.unpack_from(packet, 6)[0] & _IPV4_FRAGMENT:
            return 0
        transport = IPV4_HEADER
    elif packet[0] >> 4 == 6 and packet[6] == IPPROTO_TCP:
        transport = IPV6_HEADER
    else:
        return 0
    size = len(packet)
    if size <= transport + TCP_HEADER or packet[transport + TCP_FLAGS] & ~TCP_PSH != TCP_ACK:
        return 0
    end = transport + (packet[transport + 12] >> 4 << 2)
    return end if transport + TCP_HEADER <= end < size else 0


def same_flow_mask(end: int, version: int) -> bytes:
    """Return a mask of what must be equal in the headers (``end`` octets) of joined segments."""
    mask = bytearray(b"\xff" * end)
    if version == 4:
        transport = IPV4_HEADER
        mask[2:6] = b"\0\0\0\0"  # total length, identification
        mask[10:12] = b"\0\0"  # header checksum
    else:
        transport = IPV6_HEADER
        mask[4:6] = b"\0\0"  # payload length
    mask[transport + 4 : transport + 8] = b"\0\0\0\0"  # sequence number
    mask[transport + TCP_FLAGS] &= ~TCP_PSH
    mask[transport + TCP_CHECKSUM : transport + TCP_CHECKSUM + 2] = b"\0\0"
    return bytes(mask)


_MASKS: Final = {
    version: tuple(
        int.from_bytes(same_flow_mask(end, version), "big") if end >= transport + 20 else 0
        for end in range(_HEADER_LIMIT)
    )
    for version, transport in ((4, IPV4_HEADER), (6, IPV6_HEADER))
}


class Run:
    """Consecutive segments of one flow.

    Attributes:
        header: IP and TCP header of the first one.
        size: Octets of payload of each segment but the last.
        next: The sequence number that goes on.
        octets: Octets of payload so far.
        open: Whether more may follow: not after a short segment or PSH.
        pushed: Whether the last one had PSH.
        checked: Whether the checksums of the first were verified.
    """

    __slots__ = ("_pieces", "checked", "header", "next", "octets", "open", "pushed", "size")

    def __init__(self, header: bytes, size: int, *, pushed: bool, checked: bool) -> None:
        self.header = header
        self.size = size
        self.octets = 0
        transport = IPV4_HEADER if header[0] == 0x45 else IPV6_HEADER
        self.next: int = _U32.unpack_from(header, transport + 4)[0]
        self.pushed = pushed
        self.open = not pushed
        self.checked = checked
        self._pieces: list[Buffer] = []

    def extend(self, pieces: Iterable[Buffer], octets: int) -> None:
        """Append payloads of so many octets in all."""
        self._pieces.extend(pieces)
        self.octets += octets
        self.next = self.next + octets & _SEQUENCE_MASK

    def first_packet(self) -> bytes:
        """Return the first segment."""
        return self.header + self._pieces[0]

    def frame(self) -> list[Buffer]:
        """Return what is written to the device."""
        payload = self.octets
        if payload <= self.size:
            return [_PLAIN, self.header, *self._pieces]
        header = bytearray(self.header)
        end = len(header)
        if header[0] == 0x45:
            transport, kind = IPV4_HEADER, GSO_TCPV4
            _U16.pack_into(header, 2, end + payload)
            header[10:12] = b"\0\0"
            _U16.pack_into(header, 10, checksum(header[:transport]))
            addresses = header[12:20]
        else:
            transport, kind = IPV6_HEADER, GSO_TCPV6
            _U16.pack_into(header, 4, end + payload - transport)
            addresses = header[8:40]
        if self.pushed:
            header[transport + TCP_FLAGS] |= TCP_PSH
        partial = pseudo_header_sum(addresses, IPPROTO_TCP, end - transport + payload)
        _U16.pack_into(header, transport + TCP_CHECKSUM, partial)
        vnet = VNET_HEADER.pack(VNET_NEEDS_CHECKSUM, kind, end, self.size, transport, TCP_CHECKSUM)
        return [vnet + header, *self._pieces]


class Coalescer:
    """Takes the packets of one reception in order, and gives the frames to be written.

    A packet is only joined to others when its own checksums are right: afterwards the kernel makes
    new ones, which must not make a damaged packet a good one.
    """

    __slots__ = ("_frames", "_prefix", "_runs", "enabled")

    def __init__(self, *, enabled: bool, header_length: int = VNET_HEADER.size) -> None:
        """Start empty.

        Args:
            enabled: Join segments, or else pass everything on as it is.
            header_length: Octets that the device wants in front of each packet.
        """
        self.enabled = enabled
        self._prefix = bytes(header_length)
        self._frames: list[Run | bytes] = []
        self._runs: dict[int, Run] = {}

    def add(self, packet: bytes) -> None:
        """Take one packet, exactly as long as its IP header says."""
        end = tcp_header_end(packet) if self.enabled else 0
        if not 0 < end < _HEADER_LIMIT:
            self._frames.append(packet)
            return
        header = packet[:end]
        version = header[0] >> 4
        key = int.from_bytes(header, "big") & _MASKS[version][end]
        run = self._runs.get(key)
        payload = packet[end:]
        transport = IPV4_HEADER if version == 4 else IPV6_HEADER
        pushed = bool(header[transport + TCP_FLAGS] & TCP_PSH)
        if (
            run is not None
            and run.open
            and run.next == _U32.unpack_from(header, transport + 4)[0]
            and len(payload) <= run.size
            and end + run.octets + len(payload) <= PACKET_LIMIT
            and self._verify(run, packet)
        ):
            run.extend((payload,), len(payload))
            run.open = len(payload) == run.size and not pushed
            run.pushed = pushed
            return
        run = Run(header, len(payload), pushed=pushed, checked=False)
        run.extend((payload,), len(payload))
        self._frames.append(run)
        self._runs[key] = run

    def add_run(self, run: Run) -> None:
        """Take segments that were joined before; their checksums were verified."""
        end, version = len(run.header), run.header[0] >> 4
        self._frames.append(run)
        self._runs[int.from_bytes(run.header, "big") & _MASKS[version][end]] = run

    def take(self) -> list[list[Buffer]]:
        """Return the frames of everything taken so far, and start anew."""
        frames: list[list[Buffer]] = []
        for frame in self._frames:
            if isinstance(frame, Run):
                frames.append(frame.frame())
            else:
                frames.append([self._prefix, frame])
        self._frames.clear()
        self._runs.clear()
        return frames

    @staticmethod
    def _verify(run: Run, packet: bytes) -> bool:
        if not run.checked:
            if not checksums_right(run.first_packet()):
                run.open = False
                return False
            run.checked = True
        return checksums_right(packet)


def checksums_right(packet: bytes) -> bool:
    """Tell whether IP and TCP checksum of a TCP segment without IP options are right."""
    if packet[0] == 0x45:
        if ones_sum(packet[:IPV4_HEADER]) != 0xFFFF:
            return False
        transport, addresses = IPV4_HEADER, packet[12:20]
    else:
        transport, addresses = IPV6_HEADER, packet[8:40]
    length = len(packet) - transport
    return ones_sum(packet[transport:], ones_sum(addresses, IPPROTO_TCP + length)) == 0xFFFF
