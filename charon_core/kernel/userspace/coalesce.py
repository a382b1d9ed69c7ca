"""Joining TCP segments and UDP datagrams of one flow before they are written to the device."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from charon_core.kernel.userspace.checksum import checksum, ones_sum, pseudo_header_sum
from charon_core.kernel.userspace.flow import (
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPV4_HEADER,
    IPV6_HEADER,
)
from charon_core.kernel.userspace.segment import (
    TCP_CHECKSUM,
    TCP_FLAGS,
    TCP_HEADER,
    UDP_CHECKSUM,
    UDP_HEADER,
)
from charon_core.kernel.userspace.tun import (
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
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

DATAGRAMS_LIMIT: Final = 64
"""Datagrams that the kernel takes in one frame (UDP_MAX_SEGMENTS)."""

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_PLAIN: Final = VNET_HEADER.pack(0, GSO_NONE, 0, 0, 0, 0)
"""What the device wants in front of a packet that is complete as it is: zeros."""
_HEADER_LIMIT: Final = 128
_IPV4_FRAGMENT: Final = 0x3FFF  # more fragments, and the offset


def header_end(packet: Buffer, *, udp: bool = True) -> int:
    """Return where the payload starts of a packet that can be part of a run, or 0 of another one.

    Only plain data can: no IP options, extension headers or fragments, no empty packets, and no
    flags of TCP but ACK and PSH. The packet must have a valid IP header (see `packet_length`).
    """
    if packet[0] == 0x45:
        protocol, transport = packet[9], IPV4_HEADER
        if _U16.unpack_from(packet, 6)[0] & _IPV4_FRAGMENT:
            return 0
    elif packet[0] >> 4 == 6:
        protocol, transport = packet[6], IPV6_HEADER
    else:
        return 0
    size = len(packet)
    if protocol == IPPROTO_TCP:
        if size <= transport + TCP_HEADER or packet[transport + TCP_FLAGS] & ~TCP_PSH != TCP_ACK:
            return 0
        end = transport + (packet[transport + 12] >> 4 << 2)
        return end if transport + TCP_HEADER <= end < size else 0
    if protocol == IPPROTO_UDP and udp:
        end = transport + UDP_HEADER
        if end < size and _U16.unpack_from(packet, transport + 4)[0] == size - transport:
            return end
    return 0


def same_flow_mask(end: int, version: int, protocol: int) -> bytes:
    """Return a mask of what must be equal in the headers (``end`` octets) of joined packets."""
    mask = bytearray(b"\xff" * end)
    if version == 4:
        transport = IPV4_HEADER
        mask[2:6] = b"\0\0\0\0"  # total length, identification
        mask[10:12] = b"\0\0"  # header checksum
    else:
        transport = IPV6_HEADER
        mask[4:6] = b"\0\0"  # payload length
    if protocol == IPPROTO_TCP:
        mask[transport + 4 : transport + 8] = b"\0\0\0\0"  # sequence number
        mask[transport + TCP_FLAGS] &= ~TCP_PSH
        place = transport + TCP_CHECKSUM
        mask[place : place + 2] = b"\0\0"
    else:
        mask[transport + 4 : end] = b"\0\0\0\0"  # length, checksum
    return bytes(mask)


def _masks(version: int, protocol: int) -> tuple[int, ...]:
    """Return the masks as numbers, by where the payload starts; 0 where it cannot."""
    transport = IPV4_HEADER if version == 4 else IPV6_HEADER
    first = transport + (TCP_HEADER if protocol == IPPROTO_TCP else UDP_HEADER)
    return tuple(
        int.from_bytes(same_flow_mask(end, version, protocol), "big") if end >= first else 0
        for end in range(_HEADER_LIMIT)
    )


_TCP_MASKS: Final = {version: _masks(version, IPPROTO_TCP) for version in (4, 6)}
_UDP_MASKS: Final = {version: _masks(version, IPPROTO_UDP) for version in (4, 6)}


def _flow_number(header: bytes) -> int:
    """Return a number that packets have in common which may be joined in sequence."""
    version = header[0] >> 4
    protocol = header[9] if version == 4 else header[6]
    masks = _TCP_MASKS if protocol == IPPROTO_TCP else _UDP_MASKS
    return int.from_bytes(header, "big") & masks[version][len(header)]


class Run:
    """Consecutive packets of one flow: TCP segments, or UDP datagrams.

    Attributes:
        header: IP and transport header of the first one.
        size: Octets of payload of each but the last.
        transport: Where the transport header starts.
        is_tcp: TCP or UDP.
        next: The TCP sequence number that goes on.
        octets: Octets of payload so far.
        open: Whether more may follow: not after a short packet or PSH.
        pushed: Whether the last one had PSH.
        checked: Whether the checksums of the first were verified.
    """

    __slots__ = (
        "_pieces",
        "checked",
        "header",
        "is_tcp",
        "next",
        "octets",
        "open",
        "pushed",
        "size",
        "transport",
    )

    def __init__(self, header: bytes, size: int, *, pushed: bool, checked: bool) -> None:
        self.header = header
        self.size = size
        self.octets = 0
        if header[0] == 0x45:
            self.transport, self.is_tcp = IPV4_HEADER, header[9] == IPPROTO_TCP
        else:
            self.transport, self.is_tcp = IPV6_HEADER, header[6] == IPPROTO_TCP
        self.next: int = _U32.unpack_from(header, self.transport + 4)[0]
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
        header, transport = bytearray(self.header), self.transport
        end = len(header)
        length = end - transport + payload
        if header[0] == 0x45:
            kind = GSO_TCPV4
            _U16.pack_into(header, 2, transport + length)
            header[10:12] = b"\0\0"
            _U16.pack_into(header, 10, checksum(header[:transport]))
            addresses = header[12:20]
        else:
            kind = GSO_TCPV6
            _U16.pack_into(header, 4, length)
            addresses = header[8:40]
        if self.is_tcp:
            protocol, place = IPPROTO_TCP, TCP_CHECKSUM
            if self.pushed:
                header[transport + TCP_FLAGS] |= TCP_PSH
        else:
            kind, protocol, place = GSO_UDP, IPPROTO_UDP, UDP_CHECKSUM
            _U16.pack_into(header, transport + 4, length)
        # The kernel goes on from the sum of the pseudo-header.
        _U16.pack_into(header, transport + place, pseudo_header_sum(addresses, protocol, length))
        vnet = VNET_HEADER.pack(VNET_NEEDS_CHECKSUM, kind, end, self.size, transport, place)
        return [vnet + header, *self._pieces]

    def takes(self, header: bytes, octets: int) -> bool:
        """Tell whether a packet of the same flow with so much payload goes on here."""
        if not self.open or octets > self.size:
            return False
        if len(header) + self.octets + octets > PACKET_LIMIT:
            return False
        if self.is_tcp:
            return bool(self.next == _U32.unpack_from(header, self.transport + 4)[0])
        return self.octets < self.size * (DATAGRAMS_LIMIT - 1) + 1


class Coalescer:
    """Takes the packets of one reception in order, and gives the frames to be written.

    A packet is only joined to others when its own checksums are right: afterwards the kernel makes
    new ones, which must not make a damaged packet a good one.
    """

    __slots__ = ("_frames", "_prefix", "_runs", "tcp", "udp")

    def __init__(
        self, *, tcp: bool, udp: bool = False, header_length: int = VNET_HEADER.size
    ) -> None:
        """Start empty.

        Args:
            tcp: Join TCP segments, or else pass everything on as it is.
            udp: Join UDP datagrams, too.
            header_length: Octets that the device wants in front of each packet.
        """
        self.tcp = tcp
        self.udp = udp
        self._prefix = bytes(header_length)
        self._frames: list[Run | bytes] = []
        self._runs: dict[int, Run] = {}

    def add(self, packet: bytes) -> None:
        """Take one packet, exactly as long as its IP header says."""
        end = header_end(packet, udp=self.udp) if self.tcp else 0
        if not 0 < end < _HEADER_LIMIT:
            self._frames.append(packet)
            return
        header, payload = packet[:end], packet[end:]
        key = _flow_number(header)
        run = self._runs.get(key)
        octets = len(payload)
        if run is not None and run.takes(header, octets) and self._verify(run, packet):
            pushed = run.is_tcp and bool(header[run.transport + TCP_FLAGS] & TCP_PSH)
            run.extend((payload,), octets)
            run.open = octets == run.size and not pushed
            run.pushed = pushed
            return
        run = Run(header, octets, pushed=False, checked=False)
        if run.is_tcp and header[run.transport + TCP_FLAGS] & TCP_PSH:
            run.pushed, run.open = True, False
        run.extend((payload,), octets)
        self._frames.append(run)
        self._runs[key] = run

    def add_run(self, run: Run) -> None:
        """Take packets that were joined before; their checksums were verified."""
        self._frames.append(run)
        self._runs[_flow_number(run.header)] = run

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
    """Tell whether IP and transport checksum of a packet without IP options are right.

    A UDP datagram without checksum is none of these.
    """
    if packet[0] == 0x45:
        if ones_sum(packet[:IPV4_HEADER]) != 0xFFFF:
            return False
        transport, addresses, protocol = IPV4_HEADER, packet[12:20], packet[9]
    else:
        transport, addresses, protocol = IPV6_HEADER, packet[8:40], packet[6]
    length = len(packet) - transport
    return ones_sum(packet[transport:], ones_sum(addresses, protocol + length)) == 0xFFFF
