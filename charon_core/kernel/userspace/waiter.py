"""Waiting for descriptors on a loop of the Processor, and leaving off when they are closed."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Waiter:
    """The turns of a loop that reads some descriptors.

    A turn holds a lock, so that nothing is closed under it. After `close` a turn waits until
    `end_loop` is called: the loop belongs to the Processor, which ends it in its own time.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        # Guards the descriptors against being closed while they are in use.
        self._lock = threading.Lock()
        # Guards _nudge against being closed while it is written.
        self._nudge_lock = threading.Lock()
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._loop_ends = threading.Event()
        self._poll = select.poll()
        for descriptor in (*descriptors, self._nudge):
            self._poll.register(descriptor, select.POLLIN)
        self.closing = False
        """Set once the descriptors are to be closed; a long turn should look at it."""

    def turn(self, handle: Callable[[set[int], bool], None]) -> None:
        """Wait until there is something, and call ``handle`` with it.

        Args:
            handle: Called with the descriptors that can be read, and whether `nudge` was called.
        """
        with self._lock:
            if not self.closing:
                ready = {descriptor for descriptor, _ in self._poll.poll()}
                nudged = self._nudge in ready
                if nudged:
                    os.eventfd_read(self._nudge)
                if not self.closing:
                    handle(ready, nudged)
                return
        self._loop_ends.wait()

    def nudge(self) -> None:
        """Let a turn that waits handle what there is."""
        with self._nudge_lock:
            if self._nudge >= 0:
                os.eventfd_write(self._nudge, 1)

    def end_loop(self) -> None:
        """Let turns return at once, now and after `close`."""
        self._loop_ends.set()
        self.nudge()

    def close(self, release: Callable[[], None]) -> None:
        """Wait for the end of the turn, and call ``release``, which closes the descriptors."""
        self.closing = True
        self.nudge()
        with self._lock:
            release()
        with self._nudge_lock:
            if self._nudge >= 0:
                os.close(self._nudge)
                self._nudge = -1
