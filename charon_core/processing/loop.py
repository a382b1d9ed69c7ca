"""A long-lived worker: one body, repeated on a thread of its own until it is told to end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from charon_core.processing.job import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_PAUSE = 0.05
"""Seconds until a body that raised is run again; doubled while it goes on raising."""

LONGEST_PAUSE = 5.0
"""Seconds that the pause does not exceed."""


class Loop(Job):
    """What `Processor.run_loop` began: receiver, scheduler, a control socket."""

    __slots__ = ("_body", "_ended", "_failed", "_notice", "_stop", "_thread", "_wake", "name")

    priority = Priority.CRITICAL

    def __init__(
        self,
        name: str,
        body: Callable[[], None],
        wake: Callable[[], None] | None,
        *,
        on_failure: Callable[[Job, BaseException], None],
        on_notice: Callable[[str], None],
        on_end: Callable[[Loop], None],
    ) -> None:
        """Prepare the loop; the processor calls `start`."""
        self.name = name
        self._body = body
        self._wake = wake
        self._failed = on_failure
        self._notice = on_notice
        self._ended = on_end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __str__(self) -> str:
        return self.name

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def execute(self) -> None:
        """Run the body once."""
        self._body()

    def start(self) -> None:
        """Create the thread."""
        self._thread.start()

    def request_stop(self) -> None:
        """Let the loop end after the current turn of its body, and wake the body; never waits."""
        self._stop.set()
        if self._wake is not None:
            try:
                self._wake()
            except Exception as error:  # noqa: BLE001  foreign code; the stop has to go on
                self._failed(self, error)

    def join(self, timeout: float) -> bool:
        """Wait for the end.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether the loop has ended, or never began; True at once on the loop's own thread.
        """
        if self._thread.ident is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self, timeout: float) -> bool:
        """End the loop: `request_stop`, then `join`."""
        self.request_stop()
        return self.join(timeout)

    def _run(self) -> None:
        self._notice(f"{self.name} loop begins")
        stopping = self._stop.is_set
        body = self._body
        pause = FIRST_PAUSE
        while not stopping():
            try:
                body()
                pause = FIRST_PAUSE
            except BaseException as error:  # noqa: BLE001  a body may not end its loop by raising
                self._failed(self, error)
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        self._ended(self)
        self._notice(f"{self.name} loop ends")
