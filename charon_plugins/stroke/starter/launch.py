"""The start in the background, as whoever started it sees it: what is said, and how it ended."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that the start is waited for: the daemon has 10 to get ready, the rest is for sending.
START_PATIENCE: Final = 30.0
#: Octets of what is said meanwhile; the rest is in the log.
MAX_TEXT: Final = 65536
LOG_SERVICES: Final = ("/dev/log", "/run/systemd/journal/socket")

_END: Final = b"\0"


class Outcome(NamedTuple):
    """How a start ended.

    Attributes:
        code: the exit code; ``None`` if it has not ended in time.
        text: what was said meanwhile, by starter and daemon.
    """

    code: int | None
    text: str


class Launch:
    """A pipe from the process in the background to the one that somebody waits for."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    # -- in the background

    def tell(self, text: str) -> None:
        """Say something that is shown if the start fails."""
        self._write(text.encode("utf-8", "backslashreplace").replace(_END, b"") + b"\n")

    def end(self, code: int) -> None:
        """Let the caller go, with this exit code; what is said later is for the log alone."""
        self._write(_END + str(code).encode())
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def leave_reading(self) -> None:
        """Keep only the end that the background needs."""
        os.close(self._reader)
        # A caller who was stopped at the terminal must not stop us.
        os.set_blocking(self._writer, False)

    def _write(self, data: bytes) -> None:
        if self._writer < 0:
            return
        try:
            os.write(self._writer, data)
        except OSError:
            return

    # -- in the foreground

    def outcome(
        self, patience: float = START_PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> Outcome:
        """Wait for the end of the start."""
        os.close(self._writer)
        deadline = clock() + patience
        said = b""
        while (left := deadline - clock()) > 0:
            if not select.select([self._reader], [], [], left)[0]:
                break
            chunk = os.read(self._reader, 4096)
            said = (said + chunk)[: MAX_TEXT + 4]
            text, end, code = said.partition(_END)
            if not chunk or end:
                os.close(self._reader)
                return Outcome(int(code or b"1"), text.decode())
        os.close(self._reader)
        return Outcome(None, said.decode())


def has_log_service() -> bool:
    """Whether somebody takes log lines on this host."""
    for path in LOG_SERVICES:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(path)
            except OSError:
                continue
            return True
    return False
