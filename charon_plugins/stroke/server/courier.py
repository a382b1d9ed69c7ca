"""Delivers the rest of long replies to clients that read slowly, and keeps no worker for it."""

from __future__ import annotations

import selectors
import time
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

#: Seconds that a client may stop reading; people read long outputs page by page.
PATIENCE: Final = 600.0
#: Clients that are delivered to; when there are more, the oldest is dropped.
MAX_DELIVERIES: Final = 64
#: Octets that wait for all clients together; the oldest client is dropped when there are more.
MAX_OCTETS: Final = 32 << 20


@dataclass(slots=True, eq=False)
class _Delivery:
    connection: socket.socket
    rest: memoryview
    deadline: float


class Courier:
    """Sends replies that are finished, on the thread that owns the selector.

    `take` is for all threads, everything else for that one.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        wake: Callable[[], None],
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            selector: tells which clients take more.
            wake: lets the owner of the selector call `collect` soon.
            report: takes a line about a client that was dropped.
            clock: monotonic seconds.
        """
        self._selector = selector
        self._wake = wake
        self._report = report
        self._clock = clock
        self._deliveries: dict[int, _Delivery] = {}
        # Guards what follows.
        self._lock = Lock()
        self._new: deque[tuple[socket.socket, bytes]] = deque()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._deliveries)

    def take(self, connection: socket.socket, data: bytes) -> None:
        """Send the rest of a reply, and close the connection then."""
        with self._lock:
            is_taken = not self._is_closed
            if is_taken:
                self._new.append((connection, data))
        if is_taken:
            self._wake()
        else:
            connection.close()

    def collect(self) -> None:
        """Begin with what came in, and give up who has stopped reading."""
        while True:
            with self._lock:
                if not self._new:
                    break
                connection, data = self._new.popleft()
            delivery = _Delivery(connection, memoryview(data), self._clock() + PATIENCE)
            self._deliveries[connection.fileno()] = delivery
            self._selector.register(connection, selectors.EVENT_WRITE)
        while len(self._deliveries) > MAX_DELIVERIES or self._octets() > MAX_OCTETS:
            self._give_up(next(iter(self._deliveries.values())), "too many clients do not read")
        now = self._clock()
        for delivery in [d for d in self._deliveries.values() if d.deadline <= now]:
            self._give_up(delivery, f"it has read nothing for {PATIENCE:g} s")

    def serve(self, descriptor: int) -> bool:
        """Send more to a client that takes it; False if the descriptor is none of ours."""
        delivery = self._deliveries.get(descriptor)
        if delivery is None:
            return False
        try:
            sent = delivery.connection.send(delivery.rest)
        except BlockingIOError:
            return True
        except OSError:
            self._end(delivery)
            return True
        delivery.rest = delivery.rest[sent:]
        delivery.deadline = self._clock() + PATIENCE
        if not delivery.rest:
            self._end(delivery)
        return True

    def next_deadline(self) -> float | None:
        """Return when `collect` has to be called at the latest; ``None`` for no matter when."""
        return min((delivery.deadline for delivery in self._deliveries.values()), default=None)

    def close(self) -> None:
        """Let all clients go, and take no more."""
        with self._lock:
            self._is_closed = True
            new, self._new = self._new, deque()
        for connection, _ in new:
            connection.close()
        for delivery in list(self._deliveries.values()):
            self._end(delivery)

    def _octets(self) -> int:
        return sum(len(delivery.rest) for delivery in self._deliveries.values())

    def _give_up(self, delivery: _Delivery, reason: str) -> None:
        self._report(f"client dropped with {len(delivery.rest)} octets unread: {reason}")
        self._end(delivery)

    def _end(self, delivery: _Delivery) -> None:
        del self._deliveries[delivery.connection.fileno()]
        self._selector.unregister(delivery.connection)
        delivery.connection.close()
