"""Tells somebody how an operation goes and how it ended, without a thread that waits for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from charon_core.control.result import Result
from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.bus import Bus
    from charon_core.bus.listener import Group, Level, LogRecord
    from charon_core.control.jobs import Operation
    from charon_core.processing.job import Job
    from charon_core.processing.scheduler import Timer


class Follower(NamedTuple):
    """Who is told of an operation.

    Attributes:
        on_log: takes a line; False if it wants no more, which ends the following (TIMEOUT).
        on_result: takes the result.
        level: the highest level of the lines.
    """

    on_log: Callable[[LogRecord], bool]
    on_result: Callable[[Result], None]
    level: Level


class Following:
    """A logger that hands on what concerns one operation, until that ends or nobody listens.

    `on_log` is called by the thread that speaks, and `on_result`, once, by a job of its own (or
    by the thread that ends the operation, where no more jobs are taken): neither may block.
    """

    name = "operation"

    def __init__(
        self,
        bus: Bus,
        operation: Operation,
        follower: Follower,
        submit: Callable[[Job], bool],
    ) -> None:
        self._bus = bus
        self._operation = operation
        self._follower = follower
        self._submit = submit
        # Guards the two below.
        self._lock = threading.Lock()
        self._is_over = False
        self._timer: Timer | None = None

    def begin(self) -> bool:
        """Start the operation; False if the daemon takes no more jobs."""
        self._operation.on_end = self._ended
        self._bus.add_logger(self)
        if self._submit(self._operation):
            return True
        with self._lock:
            self._is_over = True
        self._bus.remove_logger(self)
        return False

    def limit(self, schedule: Callable[[Job, float], Timer], seconds: float) -> None:
        """End the waiting after so many seconds; the operation goes on."""
        job = CallbackJob("end a wait", lambda: self._finish(Result.TIMEOUT), Priority.HIGH)
        timer = schedule(job, seconds)
        with self._lock:
            self._timer = timer
            is_over = self._is_over
        if is_over:
            timer.cancel()

    def level(self, group: Group) -> Level:  # noqa: ARG002 - all groups alike
        """Return the level that the caller asked for."""
        return self._follower.level

    def log(self, record: LogRecord) -> None:
        """Hand on a line that concerns the operation."""
        if self._is_over or not self._operation.concerns(record.sa):
            return
        if not self._follower.on_log(record):
            self._finish_soon(Result.TIMEOUT)

    def _ended(self) -> None:
        self._finish_soon(Result.of(self._operation))

    def _finish_soon(self, result: Result) -> None:
        # The thread that comes here works at an IKE_SA, and what it says now still belongs here.
        job = CallbackJob("tell a result", lambda: self._finish(result), Priority.HIGH)
        if not self._submit(job):
            self._finish(result)

    def _finish(self, result: Result) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            timer = self._timer
        if timer is not None:
            timer.cancel()
        self._bus.remove_logger(self)
        self._follower.on_result(result)
