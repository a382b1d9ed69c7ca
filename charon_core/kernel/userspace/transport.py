"""Sending ESP packets to peers in trains: as few system calls as the kernel allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.association import OutboundSa
    from charon_core.kernel.userspace.types import Buffer
    from charon_core.network.packet import Endpoint

MAX_SEGMENTS: Final = 64
"""Datagrams of one train (UDP_MAX_SEGMENTS of every kernel)."""

MAX_PAYLOAD: Final = 65507
"""Octets of one train: what fits into one IPv4 packet behind its UDP header."""


class EspSender(Protocol):
    """Sends trains of ESP packets: the IKE socket, or a raw one."""

    def send_esp(
        self, buffer: Buffer, segment_size: int, source: Endpoint, destination: Endpoint
    ) -> None:
        """Send one buffer as packets of ``segment_size`` octets, the last may be shorter.

        Raises:
            OSError: Nothing, or not everything, was sent.
        """


class Train:
    """Collects ESP packets of one SA and one size, and sends them in one go."""

    __slots__ = ("_octets", "_open", "_packets", "_sa", "_send", "_size", "limit")

    def __init__(
        self, send: Callable[[OutboundSa, Buffer, int, int], None], limit: int = MAX_SEGMENTS
    ) -> None:
        """Start empty.

        Args:
            send: Called with the SA, the train, the size of a packet and the number of packets.
            limit: Packets of one train; 1 sends each at once.
        """
        self.limit = limit
        self._send = send
        self._packets: list[bytes] = []
        self._sa: OutboundSa | None = None
        self._size = 0
        self._octets = 0
        self._open = False

    def add(self, sa: OutboundSa, packet: bytes) -> None:
        """Append a packet; what does not go together with it is sent first."""
        size = len(packet)
        if self._packets and (
            sa is not self._sa
            or size > self._size
            or not self._open
            or self._octets + size > MAX_PAYLOAD
        ):
            self.flush()
        if not self._packets:
            self._sa, self._size, self._open = sa, size, True
        elif size < self._size:
            # Only the last packet of a train may be shorter.
            self._open = False
        self._packets.append(packet)
        self._octets += size
        if len(self._packets) >= self.limit:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        if self._packets and self._sa is not None:
            packets, self._packets, self._octets = self._packets, [], 0
            buffer = packets[0] if len(packets) == 1 else b"".join(packets)
            self._send(self._sa, buffer, self._size, len(packets))
