"""One loop of the Processor for all descriptors of the data path."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader: TypeAlias = tuple[int, Callable[[int], None]]
    """A descriptor, and what is called with epoll's events when it can be read or has an error."""

FIRST_REST: Final = 0.5
"""Seconds for which a descriptor is left alone after its handler has raised; then twice as long.

More than the pause of the Processor's loop after each failure: the others are read in between.
"""

LONGEST_REST: Final = 5.0
"""Seconds that the rest does not exceed."""


class Waiter:
    """The turns of a loop that reads some descriptors.

    A turn holds a lock, so that nothing is closed under it. After `close` a turn waits until
    `end_loop` is called: the loop belongs to the Processor, which ends it in its own time.

    A descriptor whose handler raises is left alone for a while, so that the others are read even if
    one of them, such as a device that was removed, would raise for ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait for nothing yet; ``clock`` gives monotonic seconds."""
        self._clock = clock
        # Guards the descriptors against being closed while they are in use, and what is below.
        self._lock = threading.Lock()
        self._rests: dict[int, float] = {}
        self._resting: dict[int, float] = {}
        # Guards _nudge against being closed while it is written.
        self._nudge_lock = threading.Lock()
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._loop_ends = threading.Event()
        self._closing = False
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self.add(self._nudge, self._forget_nudge)

    @property
    def is_closing(self) -> bool:
        """Whether the descriptors are closed, or about to be."""
        return self._closing

    def add(self, descriptor: int, handler: Callable[[int], None]) -> None:
        """Call ``handler`` on the loop whenever a descriptor can be read or has an error.

        It should not read for long at a time: the others wait for it. Any thread may call this,
        but not after `close`.
        """
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def turn(self) -> None:
        """Wait until something can be read, and call its handlers.

        Raises:
            Exception: What a handler raised, once all of them have been called.
        """
        with self._lock:
            if not self._closing:
                self._handle(self._epoll.poll(self._end_rests()))
                return
        self._loop_ends.wait()

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        failure: Exception | None = None
        for descriptor, events in ready:
            try:
                self._handlers[descriptor](events)
            except Exception as error:  # noqa: BLE001  the other handlers have their turn first
                failure = error
                self._rest(descriptor)
            else:
                if self._rests:
                    self._rests.pop(descriptor, None)
        if failure is not None:
            raise failure

    def _rest(self, descriptor: int) -> None:
        """Leave a descriptor alone for a while."""
        rest = min(2 * self._rests.get(descriptor, FIRST_REST / 2), LONGEST_REST)
        self._rests[descriptor] = rest
        self._resting[descriptor] = self._clock() + rest
        # Not merely no interest in it: epoll tells of errors in any case.
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)

    def _end_rests(self) -> float | None:
        """Wait for those again that have rested; return seconds until the next, None without."""
        if not self._resting:
            return None
        now = self._clock()
        for descriptor in [each for each, end in self._resting.items() if end <= now]:
            del self._resting[descriptor]
            # Somebody may have closed it for good.
            with contextlib.suppress(OSError):
                self._epoll.register(descriptor, select.EPOLLIN)
        return min((end - now for end in self._resting.values()), default=None)

    def nudge(self) -> None:
        """Let a turn that waits return."""
        with self._nudge_lock:
            if self._nudge >= 0:
                os.eventfd_write(self._nudge, 1)

    def _forget_nudge(self, _events: int) -> None:
        os.eventfd_read(self._nudge)

    def end_loop(self) -> None:
        """Let turns return at once after `close`, and the one that waits now."""
        self._loop_ends.set()
        self.nudge()

    def close(self, release: Callable[[], None]) -> None:
        """Wait for the end of the turn, and call ``release``, which closes the descriptors."""
        self._closing = True
        self.nudge()
        with self._lock:
            release()
            self._epoll.close()
        with self._nudge_lock:
            if self._nudge >= 0:
                os.close(self._nudge)
                self._nudge = -1
