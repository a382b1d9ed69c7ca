"""From the TUN device to the peer: policy, segmentation, sealing, sending."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from charon_core.kernel.userspace.flow import flow_key, packet_length
from charon_core.kernel.userspace.held import HeldPackets
from charon_core.kernel.userspace.segment import (
    MalformedFrame,
    SuperPacket,
    complete_checksum,
)
from charon_core.kernel.userspace.statistics import Statistics
from charon_core.kernel.userspace.tables import NO_SA
from charon_core.kernel.userspace.transport import Train
from charon_core.kernel.userspace.tun import (
    FRAME_LIMIT,
    GSO_NONE,
    VNET_HEADER,
    VNET_NEEDS_CHECKSUM,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.association import Association, OutboundSa
    from charon_core.kernel.userspace.rows_out import RowSealer
    from charon_core.kernel.userspace.tables import Tables, Verdict
    from charon_core.kernel.userspace.transport import EspSender
    from charon_core.kernel.userspace.types import Buffer

_SEGMENTS_MINIMUM: Final = 3
"""Below so many segments a super-packet is cut as fast without numpy."""


class FrameSource(Protocol):
    """What frames are read from: a `Tun`, or a test."""

    header_length: int

    def read_into(self, buffer: bytearray, /) -> int:
        """Read one frame; 0 when there is none."""


class OutboundEvents(Protocol):
    """What the outbound side has to tell."""

    def acquire(self, reqid: int, packet: bytes) -> None:
        """A packet needs an SA that does not exist."""

    def limit(self, sa: Association) -> None:
        """An SA has reached a limit of octets or packets."""

    def exhausted(self, sa: OutboundSa) -> None:
        """An SA has no sequence number left."""


class Outbound:
    """Sends what the device gives.

    Attributes:
        statistics: Its counters.
    """

    def __init__(
        self,
        tables: Tables,
        source: FrameSource,
        events: OutboundEvents,
        select_sender: Callable[[OutboundSa], EspSender | None],
        clock: Callable[[], float] = time.monotonic,
        *,
        send_plain: Callable[[Buffer], None] | None = None,
    ) -> None:
        """Read from ``source``, send by what ``select_sender`` gives for an SA.

        Args:
            tables: The SAs and policies.
            source: The device.
            events: Told of what cannot be sent.
            select_sender: The socket of an SA.
            clock: Monotonic seconds.
            send_plain: Sends a packet past the device; None if nothing can.
        """
        self._tables = tables
        self._source = source
        self._events = events
        self._select_sender = select_sender
        self._clock = clock
        self.statistics = Statistics()
        self._row_sealer: RowSealer | None = None
        self._buffer = bytearray(VNET_HEADER.size + FRAME_LIMIT)
        self._view = memoryview(self._buffer)
        self._train = Train(self._send)
        self._send_plain = send_plain
        self._held = HeldPackets()
        # Guards the buffers: one thread at a time drains.
        self.lock = threading.Lock()

    def drain(self, limit: int, octets: int = sys.maxsize) -> int:
        """Handle the frames that are there, and return how many there were.

        Args:
            limit: Frames after which no more are read.
            octets: The same for their octets.

        Raises:
            OSError: The device is gone or down.
        """
        read, buffer = self._source.read_into, self._buffer
        with self.lock:
            frames = 0
            try:
                while frames < limit and octets > 0:
                    length = read(buffer)
                    if not length:
                        break
                    frames += 1
                    octets -= length
                    self._frame(length)
            finally:
                self._train.flush()
                if self._row_sealer is not None:
                    self._row_sealer.flush()
            return frames

    def use_rows(self, sealer: type[RowSealer]) -> None:
        """Go the fast way for super-packets from now on; it is loaded late, hence the class."""
        self._row_sealer = sealer(self._send)

    def _frame(self, length: int) -> None:
        kind, flags, size, start, offset = GSO_NONE, 0, 0, 0, 0
        header = self._source.header_length
        if header:
            if length < header:
                self.statistics.drop_malformed += 1
                return
            flags, kind, _, size, start, offset = VNET_HEADER.unpack_from(self._buffer)
        packet = self._view[header:length]
        if packet_length(packet) == 0:
            self.statistics.drop_malformed += 1
            return
        key = flow_key(packet)
        verdict = self._tables.flows.get(key) or self._tables.verdict(key, packet)
        sa = verdict.sa
        if verdict.policy is not None:
            verdict.policy.last_use = self._clock()
        is_super = kind != GSO_NONE
        try:
            if is_super:
                whole = SuperPacket(packet, kind, size, start)
                if sa is not None:
                    self._super_packet(sa, whole)
                    return
            elif flags & VNET_NEEDS_CHECKSUM:
                complete_checksum(packet, start, offset)
        except MalformedFrame:
            self.statistics.drop_malformed += 1
            return
        if sa is not None:
            self._packet(sa, packet)
            return
        for each in whole if is_super else (packet,):
            self._without_sa(verdict, each)

    def release(self) -> None:
        """Send what was held and has an SA by now; called when SAs or policies have come."""
        if not self._held:
            return
        with self.lock:
            try:
                for reqid, since, packet in self._held.take(self._clock()):
                    verdict = self._tables.verdict(b"", packet)
                    if verdict.sa is not None:
                        self._packet(verdict.sa, packet)
                    elif verdict.reason == NO_SA and verdict.policy is not None:
                        self._held.put_back(reqid, since, packet)
                    else:
                        self._without_sa(verdict, packet)
            finally:
                self._train.flush()

    def _without_sa(self, verdict: Verdict, packet: Buffer) -> None:
        """Let a packet pass, hold it until there is an SA, or drop it."""
        statistics = self.statistics
        if verdict.passes and self._send_plain is not None:
            try:
                self._send_plain(packet)
            except OSError:
                statistics.drop_send += 1
            else:
                statistics.bypassed += 1
            return
        if verdict.reason == NO_SA and verdict.policy is not None:
            reqid, kept = verdict.policy.reqid, bytes(packet)
            self._events.acquire(reqid, kept)
            if self._held.hold(reqid, kept, self._clock()):
                statistics.held += 1
                return
        setattr(statistics, verdict.reason, getattr(statistics, verdict.reason) + 1)

    def _packet(self, sa: OutboundSa, packet: Buffer) -> None:
        sequence = sa.take(1)
        if not sequence:
            self._exhausted(sa, 1)
            return
        if self._row_sealer is not None:
            self._row_sealer.flush()
        self._train.add(sa, sa.seal(sequence, packet))
        self._account(sa, 1, len(packet))

    def _super_packet(self, sa: OutboundSa, packet: SuperPacket) -> None:
        count = packet.count
        first = sa.take(count)
        if not first:
            self._exhausted(sa, count)
            return
        sealer = self._row_sealer
        if sealer is not None and count >= _SEGMENTS_MINIMUM and sa.padded_to == 0:
            self._train.flush()
            sealer.add(sa, packet, first)
        else:
            if sealer is not None:
                sealer.flush()
            for sequence, segment in enumerate(packet, first):
                self._train.add(sa, sa.seal(sequence, segment))
        self.statistics.super_packets += 1
        self._account(sa, count, count * len(packet.header) + len(packet.payload))

    def _account(self, sa: OutboundSa, packets: int, octets: int) -> None:
        self.statistics.packets += packets
        self.statistics.octets += octets
        if sa.account(packets, octets, self._clock()):
            self._events.limit(sa)

    def _exhausted(self, sa: OutboundSa, packets: int) -> None:
        self.statistics.drop_exhausted += packets
        if not sa.exhausted_reported:
            sa.exhausted_reported = True
            self._events.exhausted(sa)

    def _send(self, sa: OutboundSa, buffer: Buffer, size: int, packets: int) -> None:
        sender = self._select_sender(sa)
        try:
            if sender is None:
                raise OSError
            sender.send_esp(buffer, size if packets > 1 else 0, sa.source, sa.destination)
        except OSError:
            # Loss stays loss: what the kernel does not take now is not kept.
            self.statistics.drop_send += packets
