"""Sends packets without ever blocking: at once, or from a bounded backlog."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from charon_core.bus import Group, Level
from charon_core.network.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus import Bus
    from charon_core.network.packet import Endpoint, Packet

DEFAULT_BACKLOG: Final = 1024
"""Packets that are kept while the kernel takes no more."""


class PacketSocket(Protocol):
    """What the sender needs of the sockets (`IkeSockets` fits)."""

    on_writable: Callable[[], None] | None

    def send(self, packet: Packet) -> None:
        """Send, or raise BlockingIOError or another OSError."""

    def send_keepalive(self, source: Endpoint, destination: Endpoint) -> None:
        """Send a NAT keepalive, raising as `send` does."""

    def watch_writable(self, *, wanted: bool) -> None:
        """Have `on_writable` called while datagrams are taken, or not."""


@dataclass(slots=True)
class SenderCounters:
    """What became of the packets; threads that race may lose one in the count of `sent`.

    Attributes:
        sent: Packets that the kernel took.
        keepalives: NAT keepalives that it took.
        deferred: Packets that had to wait in the backlog.
        dropped: Packets lost because the backlog was full.
        failed: Packets and keepalives that could not be sent: no route, too large, forbidden.
    """

    sent: int = 0
    keepalives: int = 0
    deferred: int = 0
    dropped: int = 0
    failed: int = 0


class Sender:
    """Sends IKE messages; thread-safe, and `send` never waits.

    While the kernel has no room, packets wait in a backlog, which the receiving thread empties as
    soon as there is room again. A lost packet is no harm: IKE retransmits requests, and repeats
    responses when asked again.
    """

    def __init__(self, sockets: PacketSocket, bus: Bus, backlog: int = DEFAULT_BACKLOG) -> None:
        """Connect to the sockets.

        Args:
            sockets: Where packets go.
            bus: For the lines about them.
            backlog: How many packets may wait.
        """
        self._sockets = sockets
        self._bus = bus
        self._limit = backlog
        # Guards the backlog and the counts but `sent`.
        self._lock = threading.Lock()
        self._backlog: deque[Packet] = deque()
        self._failure_lines = RateLimit(rate=1.0, burst=10)
        self.counters = SenderCounters()
        sockets.on_writable = self.flush

    @property
    def backlog(self) -> int:
        """How many packets wait."""
        return len(self._backlog)

    def send(self, packet: Packet, *, quiet: bool = False) -> bool:
        """Send a packet, now or soon.

        Args:
            packet: What to send.
            quiet: Whether to do without the log line, for answers that a flood provokes.

        Returns:
            False if it is lost: it cannot be sent, or too many wait already.
        """
        if not quiet and self._bus.wants(Group.NET, Level.CONTROL):
            self._bus.log(
                Group.NET,
                Level.CONTROL,
                "sending packet: from %s to %s (%d bytes)",
                packet.source,
                packet.destination,
                len(packet.data),
            )
        # Whoever waits goes first.
        if self._backlog:
            return self._defer(packet)
        try:
            self._sockets.send(packet)
        except BlockingIOError:
            return self._defer(packet)
        except (OSError, OverflowError) as error:
            self._failed(packet.source, packet.destination, error)
            return False
        self.counters.sent += 1
        return True

    def send_keepalive(self, source: Endpoint, destination: Endpoint) -> bool:
        """Send a NAT keepalive (RFC 3948 section 4); it never waits in the backlog.

        Returns:
            Whether it went out.
        """
        try:
            self._sockets.send_keepalive(source, destination)
        except BlockingIOError:
            return False
        except (OSError, OverflowError) as error:
            self._failed(source, destination, error)
            return False
        self.counters.keepalives += 1
        return True

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        with self._lock:
            while self._backlog:
                packet = self._backlog[0]
                try:
                    self._sockets.send(packet)
                except BlockingIOError:
                    return
                except (OSError, OverflowError):
                    self.counters.failed += 1
                else:
                    self.counters.sent += 1
                self._backlog.popleft()
            self._sockets.watch_writable(wanted=False)

    def _defer(self, packet: Packet) -> bool:
        with self._lock:
            if len(self._backlog) >= self._limit:
                self.counters.dropped += 1
                return False
            self._backlog.append(packet)
            self.counters.deferred += 1
            if len(self._backlog) == 1:
                self._sockets.watch_writable(wanted=True)
            return True

    def _failed(self, source: Endpoint, destination: Endpoint, error: Exception) -> None:
        with self._lock:
            self.counters.failed += 1
            if not self._failure_lines.allow():
                return
            suppressed = self._failure_lines.take_suppressed()
        self._bus.log(
            Group.NET,
            Level.CONTROL,
            "cannot send from %s to %s: %s%s",
            source,
            destination,
            error,
            suppressed,
        )
