"""The data path as one thing: device, both directions, and the loop that reads the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from charon_core.kernel.userspace.inbound import FrameSink, Inbound, InboundEvents
from charon_core.kernel.userspace.outbound import (
    FRAMES_PER_DRAIN,
    FrameSource,
    Outbound,
    OutboundEvents,
)
from charon_core.kernel.userspace.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.association import OutboundSa
    from charon_core.kernel.userspace.tables import Tables
    from charon_core.kernel.userspace.transport import EspSender
    from charon_core.kernel.userspace.tun import Offloads
    from charon_core.kernel.userspace.types import Buffer
    from charon_core.network.packet import Endpoint

_CONTROL: Final = 1


class Device(FrameSource, FrameSink, Protocol):
    """A TUN device, or what stands for it in a test."""

    name: str
    fd: int
    header_length: int
    offloads: Offloads

    def close(self) -> None:
        """Remove the device."""


class DataPathEvents(InboundEvents, OutboundEvents, Protocol):
    """What the data path has to tell; called on its threads, must return at once."""


class DataPath:
    """Moves packets between a TUN device and the peers, as its tables say.

    `receive` is called with what comes from the peers; `turn` is one turn of the loop that reads
    the device, and `end_loop` lets it return.

    Attributes:
        tables: The SAs and policies.
        device: The device.
        inbound: From the peers to the device.
        outbound: From the device to the peers.
    """

    def __init__(
        self,
        device: Device,
        tables: Tables,
        events: DataPathEvents,
        select_sender: Callable[[OutboundSa], EspSender | None],
        log: Callable[..., None],
    ) -> None:
        """Take over a device; `close` closes it."""
        self.tables = tables
        self._log = log
        self.device = device
        offloads = device.offloads
        self.inbound = Inbound(tables, device, events, tcp=offloads.tcp, udp=offloads.udp)
        self.outbound = Outbound(tables, device, events, select_sender)
        self._waiter = Waiter([device.fd])
        self.end_loop = self._waiter.end_loop
        self._rows_wanted = offloads.tcp

    def turn(self) -> None:
        """Wait for frames, or for a nudge, and handle those that are there.

        Once the data path is closed, this waits for `end_loop`.

        Raises:
            OSError: The device is gone or down.
        """
        self._waiter.turn(self._handle)

    def _handle(self, ready: set[int], nudged: bool) -> None:
        if self.device.fd in ready:
            drain = self.outbound.drain
            while drain() == FRAMES_PER_DRAIN and not self._waiter.closing:
                pass
        if self._rows_wanted and (nudged or self.outbound.statistics.super_packets):
            self._load_rows()

    def receive(self, data: Buffer, segment_size: int, source: Endpoint | None) -> None:
        """Take ESP packets from a peer; see `Inbound.receive`."""
        if self._waiter.closing:
            return
        if self._rows_wanted and segment_size:
            self._waiter.nudge()
        self.inbound.receive(data, segment_size, source)

    def close(self) -> None:
        """Remove the device."""
        self._waiter.close(self._close_device)

    def _close_device(self) -> None:
        with self.inbound.lock, self.outbound.lock:
            self.device.close()

    def _load_rows(self) -> None:
        """Load the fast way, with the first train or super-packet.

        It takes a tenth of a second and 20 MB, which a gateway without such traffic is spared; and
        it is done on this loop, where only the traffic waits for it.
        """
        self._rows_wanted = False
        try:
            from charon_core.kernel.userspace.rows_in import RowOpener
            from charon_core.kernel.userspace.rows_out import RowSealer
        except ImportError as error:
            self._log(
                _CONTROL,
                "ESP in user space goes on without numpy, at half the speed: %s; "
                "install charon-core[fast]",
                error,
            )
            return
        self.outbound.use_rows(RowSealer)
        self.inbound.row_opener = RowOpener()
