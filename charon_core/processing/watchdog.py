"""Names the jobs that are busy for too long, each once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.processing.metrics import BusyJob
    from charon_core.processing.processor import Processor
    from charon_core.processing.scheduler import Scheduler, Timer

DEFAULT_LIMIT = 10.0
"""Seconds after which a job is reported: longer than any time-out that a job should have."""


class Watchdog:
    """Looks at the workers from time to time and reports who holds one for too long."""

    def __init__(
        self,
        processor: Processor,
        report: Callable[[BusyJob, str], None],
        limit: float = DEFAULT_LIMIT,
    ) -> None:
        """Prepare the watchdog.

        Args:
            processor: Whose workers to watch.
            report: Told once of each job: the job, and where in the code it is at that moment.
            limit: Seconds that a job may take.
        """
        self._processor = processor
        self._report = report
        self._limit = limit
        self._reported: frozenset[int] = frozenset()
        self._timer: Timer | None = None
        self._job: CallbackJob | None = None

    def start(self, scheduler: Scheduler, interval: float = DEFAULT_LIMIT / 2) -> None:
        """Have `check` called every ``interval`` seconds, on a worker reserved for CRITICAL."""

        def turn() -> None:
            try:
                self.check()
            finally:
                if self._job is job:
                    self._timer = scheduler.schedule(job, interval)

        job = self._job = CallbackJob("watchdog", turn, Priority.CRITICAL)
        self._timer = scheduler.schedule(job, interval)

    def stop(self) -> None:
        """Stop checking."""
        self._job = None
        if self._timer is not None:
            self._timer.cancel()

    def check(self) -> None:
        """Report the jobs that are over the limit and were not reported yet."""
        overdue = self._processor.overdue(self._limit)
        fresh = [job for job in overdue if job.serial not in self._reported]
        self._reported = frozenset(job.serial for job in overdue)
        for job in fresh:
            self._report(job, _place(job.thread))


def _place(thread: int) -> str:
    """Return where a thread is: ``function (file:line)``, or "" if it is gone."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  the documented way to see a thread
    if frame is None:
        return ""
    code = frame.f_code
    return f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
