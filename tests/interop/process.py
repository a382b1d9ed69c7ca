"""Programs that run for the length of a test module, with their logs; all end by their pid."""

from __future__ import annotations

import ctypes
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_the_tests() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Program:
    """A running program whose output goes to a file."""

    def __init__(
        self, command: Sequence[str], output: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - it only makes a system call
            )

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float = 15) -> int | None:
        """End it in order; returns its exit code, or None if it had to be killed."""
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Log:
    """What a program writes into a file, and what of it is new since a mark."""

    def __init__(self, title: str, path: Path) -> None:
        self.title = title
        self._path = path
        self._mark = 0

    def mark(self) -> None:
        """Forget all that has been written up to now."""
        self._mark = self._path.stat().st_size if self._path.exists() else 0

    def text(self, limit: int = 60_000) -> str:
        """Return what was written since the mark, at most the last `limit` octets."""
        if not self._path.exists():
            return ""
        with self._path.open("rb") as file:
            file.seek(self._mark)
            return file.read()[-limit:].decode("utf-8", "replace")
