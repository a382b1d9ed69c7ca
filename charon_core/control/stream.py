"""Log lines of one operation, for the caller who waits for it."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.bus.listener import Group, Level, LogRecord
    from charon_core.control.jobs import Operation

_MAX_LINES: Final = 4096
"""Lines that may wait for a slow reader; further ones are lost."""


class LogStream:
    """A logger that takes what concerns one operation: the lines of its IKE_SA or of its job."""

    name = "operation"

    def __init__(self, level: Level, operation: Operation) -> None:
        self._level = level
        self._operation = operation
        self._records: queue.Queue[LogRecord | None] = queue.Queue(_MAX_LINES)
        operation.on_end = self._wake

    def level(self, group: Group) -> Level:  # noqa: ARG002 - all groups alike
        """Return the level that the caller asked for."""
        return self._level

    def log(self, record: LogRecord) -> None:
        """Keep a line that concerns the operation."""
        if self._operation.concerns(record.sa):
            try:
                self._records.put_nowait(record)
            except queue.Full:
                return

    def get(self, timeout: float) -> LogRecord | None:
        """Return the next line; None means only that the operation may have ended.

        Raises:
            queue.Empty: No line came in time.
        """
        if timeout <= 0:
            return self._records.get_nowait()
        return self._records.get(timeout=timeout)

    def _wake(self) -> None:
        try:
            self._records.put_nowait(None)
        except queue.Full:
            return
