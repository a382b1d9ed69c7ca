"""The data path as one thing: device, both directions, and the loop that reads the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from charon_core.kernel.userspace.inbound import FrameSink, Inbound, InboundEvents
from charon_core.kernel.userspace.outbound import FrameSource, Outbound, OutboundEvents
from charon_core.kernel.userspace.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.kernel.userspace.association import OutboundSa
    from charon_core.kernel.userspace.tables import Tables
    from charon_core.kernel.userspace.transport import EspSender
    from charon_core.kernel.userspace.tun import Offloads
    from charon_core.kernel.userspace.types import Buffer
    from charon_core.kernel.userspace.waiter import Reader
    from charon_core.network.packet import Endpoint

FRAMES_PER_TURN: Final = 64
"""Frames that are read from the device before the sockets have their turn: a train of them."""

OCTETS_PER_TURN: Final = 1 << 20
"""As many octets end the turn of the device as well: of super-packets, fewer are read."""

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

    `turn` is one turn of the loop that reads the device and what is given to `watch`; `end_loop`
    lets it return. `receive` is called with what comes from the peers.

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
        *,
        send_plain: Callable[[Buffer], None] | None = None,
    ) -> None:
        """Take over a device; `close` closes it."""
        self.tables = tables
        self._log = log
        self.device = device
        offloads = device.offloads
        self.inbound = Inbound(tables, device, events, tcp=offloads.tcp, udp=offloads.udp)
        self.outbound = Outbound(tables, device, events, select_sender, send_plain=send_plain)
        self._waiter = Waiter()
        self._waiter.add(device.fd, self._read_device)
        self.turn = self._waiter.turn
        self.end_loop = self._waiter.end_loop
        self._rows_wanted = offloads.tcp

    def watch(self, readers: Iterable[Reader]) -> None:
        """Let the loop read further descriptors, whose packets are given to `receive`.

        `close` does not close them, but they are not touched any more after it.
        """
        for descriptor, handler in readers:
            self._waiter.add(descriptor, handler)

    def _read_device(self, _events: int) -> None:
        self.outbound.drain(FRAMES_PER_TURN, OCTETS_PER_TURN)
        if self._rows_wanted and self.outbound.statistics.super_packets:
            self.load_rows()

    def receive(self, data: Buffer, segment_size: int, source: Endpoint | None) -> None:
        """Take ESP packets from a peer; see `Inbound.receive`."""
        if self._waiter.is_closing:
            return
        if self._rows_wanted and segment_size:
            self.load_rows()
        self.inbound.receive(data, segment_size, source)

    def close(self) -> None:
        """Wait for the end of the turn, and remove the device."""
        self._waiter.close(self._close_device)

    def _close_device(self) -> None:
        with self.inbound.lock, self.outbound.lock:
            self.device.close()

    def load_rows(self) -> None:
        """Load the fast way, if the device can use it and it is not there yet.

        It takes a tenth of a second, in which little else goes on in this process, and 17 MB. So
        it is done when the daemon has become ready; where nobody does it, with the first train or
        super-packet.
        """
        if not self._rows_wanted:
            return
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
        with self.outbound.lock:
            self.outbound.use_rows(RowSealer)
        with self.inbound.lock:
            self.inbound.row_opener = RowOpener()
