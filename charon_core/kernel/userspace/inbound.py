"""From the peer to the TUN device: SA, replay, opening, selectors, coalescing, writing."""

from __future__ import annotations

import threading
import time
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from charon_core.kernel.userspace.coalesce import Coalescer
from charon_core.kernel.userspace.flow import (
    IPPROTO_IPV4,
    IPPROTO_IPV6,
    IPPROTO_NONE,
    flow_key,
    packet_length,
    parse_flow,
)
from charon_core.kernel.userspace.statistics import Statistics
from charon_core.kernel.userspace.transforms import ESP_HEADER, InvalidIcv
from charon_core.kernel.userspace.transport import MAX_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from charon_core.kernel.userspace.association import Association, InboundSa
    from charon_core.kernel.userspace.rows_in import RowOpener
    from charon_core.kernel.userspace.tables import Tables
    from charon_core.kernel.userspace.types import Buffer
    from charon_core.network.packet import Endpoint

_HEADER: Final = Struct(">II")
_PADDING: Final = bytes(range(1, 256))
_ROWS_MINIMUM: Final = 4
"""Below so many packets a train is opened as fast without numpy."""
_VERSIONS: Final = {IPPROTO_IPV4: 4, IPPROTO_IPV6: 6}


class FrameSink(Protocol):
    """What frames are written to: a `Tun`, or a test."""

    header_length: int

    def write(self, pieces: Sequence[Buffer], /) -> bool:
        """Write one frame; False if it was not taken."""


class InboundEvents(Protocol):
    """What the inbound side has to tell."""

    def mapping(self, sa: InboundSa, new: Endpoint) -> None:
        """Authentic packets of an SA come from another endpoint than before."""

    def limit(self, sa: Association) -> None:
        """An SA has reached a limit of octets or packets."""


class Inbound:
    """Takes ESP packets and writes what is in them to the device.

    Attributes:
        statistics: Its counters.
        row_opener: The fast way for trains, once it is loaded.
    """

    def __init__(
        self,
        tables: Tables,
        sink: FrameSink,
        events: InboundEvents,
        *,
        tcp: bool,
        udp: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to ``sink``, joined as far as the device takes super-packets of TCP and UDP."""
        self._tables = tables
        self._sink = sink
        self._events = events
        self._clock = clock
        self.statistics = Statistics()
        self.row_opener: RowOpener | None = None
        self._coalescer = Coalescer(tcp=tcp, udp=udp, header_length=sink.header_length)
        # Guards the buffers, the windows and the device: packets may come from several threads.
        self.lock = threading.Lock()

    def receive(self, data: Buffer, segment_size: int, source: Endpoint | None) -> None:
        """Take a train of ESP packets.

        Never raises on account of what is in it.

        Args:
            data: The packets, one after the other; only used during the call.
            segment_size: Octets of each but the last; 0 for a single packet.
            source: Where they came from in UDP; None for plain ESP.
        """
        size = len(data)
        stride = segment_size if 0 < segment_size < size else size
        view = data if isinstance(data, memoryview) else memoryview(data)
        with self.lock:
            start = 0
            opener = self.row_opener
            if opener is not None and stride and size // stride >= _ROWS_MINIMUM:
                start = self._train(opener, view, stride, source)
            while start < size:
                self._packet(view[start : start + stride], source)
                start += stride
            self._write()

    def _train(
        self, opener: RowOpener, data: memoryview, stride: int, source: Endpoint | None
    ) -> int:
        """Take the packets of full size in one go; return the octets that were dealt with."""
        rows = min(len(data) // stride, MAX_SEGMENTS)
        if stride < ESP_HEADER:
            return 0
        sa = self._tables.inbound.get(_HEADER.unpack_from(data)[0])
        if sa is None:
            return 0
        opened = opener.open(sa, data, stride, rows)
        if opened is None:
            return 0
        numbers = opened.numbers
        if isinstance(numbers, range):
            sa.window.accept_run(numbers.start, rows)
        else:
            for number in numbers:
                sa.window.accept(number)
        self._authentic(sa, source)
        runs = opener.runs(opened, udp=self._coalescer.udp) if self._coalescer.tcp else None
        if runs is None:
            for plaintext in opened.plaintexts():
                self._content(sa, plaintext)
            return rows * stride
        octets = packets = 0
        for run in runs:
            count = run.octets // run.size
            if self._within(sa, run.first_packet()):
                self._coalescer.add_run(run)
                packets += count
                octets += run.octets + count * len(run.header)
                self.statistics.super_packets += 1
            else:
                self.statistics.drop_selectors += count
        self._account(sa, packets, octets)
        return rows * stride

    def _packet(self, packet: memoryview, source: Endpoint | None) -> None:
        """Take one ESP packet (RFC 4303 section 3.4)."""
        statistics = self.statistics
        if len(packet) < ESP_HEADER:
            statistics.drop_malformed += 1
            return
        spi, low = _HEADER.unpack_from(packet)
        sa = self._tables.inbound.get(spi)
        if sa is None:
            statistics.drop_no_sa += 1
            return
        window = sa.window
        number = window.infer(low)
        if not window.is_fresh(number):
            statistics.drop_replayed += 1
            return
        try:
            plaintext = sa.transform.open(packet, number)
        except InvalidIcv:
            statistics.drop_not_authentic += 1
            return
        window.accept(number)
        self._authentic(sa, source)
        self._content(sa, plaintext)

    def _authentic(self, sa: InboundSa, source: Endpoint | None) -> None:
        """Notice a peer behind a NAT that has moved (RFC 3948, RFC 7296 section 2.23)."""
        if source is not None and source != sa.source and sa.encapsulated:
            if source != sa.reported:
                sa.reported = source
                self._events.mapping(sa, source)
        elif sa.reported is not None:
            sa.reported = None

    def _content(self, sa: InboundSa, plaintext: bytes) -> None:
        """Take what was in an authentic packet: trailer, inner packet, selectors."""
        statistics = self.statistics
        end = len(plaintext) - 2
        padding = plaintext[end] if end >= 0 else 0
        end -= padding
        if end < 0 or plaintext[end:-2] != _PADDING[:padding]:
            statistics.drop_malformed += 1
            return
        protocol = plaintext[-1]
        if protocol == IPPROTO_NONE:
            statistics.dummies += 1
            sa.last_use = self._clock()
            return
        length = packet_length(plaintext)
        if not 0 < length <= end or plaintext[0] >> 4 != _VERSIONS.get(protocol):
            statistics.drop_malformed += 1
            return
        # What lies between the packet and the padding is there to hide its length.
        packet = plaintext[:length]
        if not self._within(sa, packet):
            statistics.drop_selectors += 1
            return
        self._coalescer.add(packet)
        self._account(sa, 1, length)

    @staticmethod
    def _within(sa: InboundSa, packet: bytes) -> bool:
        """Tell whether a packet is within the selectors."""
        key = flow_key(packet)
        return key in sa.accepted or sa.admits(key, parse_flow(packet))

    def _account(self, sa: InboundSa, packets: int, octets: int) -> None:
        self.statistics.packets += packets
        self.statistics.octets += octets
        if sa.account(packets, octets, self._clock()):
            self._events.limit(sa)

    def _write(self) -> None:
        write = self._sink.write
        for frame in self._coalescer.take():
            if not write(frame):
                self.statistics.drop_device += 1
