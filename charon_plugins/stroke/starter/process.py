"""The daemon as a child process: started, watched and stopped as native starters do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds between the TERM signals of a stop, and how long they go on before KILL.
TERM_INTERVAL: Final = 0.2
TERM_PATIENCE: Final = 8.0
#: The same for a daemon that never became ready.
ABORT_PATIENCE: Final = 0.4


class DaemonProcess:
    """One run of the daemon.

    It lives in a session of its own, so that a key pressed at a terminal reaches the starter alone,
    which then stops it in order.
    """

    def __init__(self, arguments: Sequence[str], stderr: int | None = None) -> None:
        """Start the program.

        Args:
            arguments: the command line.
            stderr: what becomes its standard error; ours if ``None``.

        Raises:
            OSError: it cannot be executed.
        """
        environment = {**os.environ, "MALLOC_CHECK_": "0"}
        self._child = subprocess.Popen(
            arguments, env=environment, start_new_session=True, stderr=stderr
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def poll(self) -> int | None:
        """Exit code, negative for a signal; ``None`` while it runs."""
        return self._child.poll()

    def stop(self, patience: float = TERM_PATIENCE) -> int:
        """End it: INT, then TERM again and again, then KILL; the exit code."""
        deadline = time.monotonic() + patience
        number = signal.SIGINT
        while self._child.poll() is None:
            if time.monotonic() >= deadline:
                number = signal.SIGKILL
            self._child.send_signal(number)
            try:
                return self._child.wait(min(TERM_INTERVAL, max(patience / 2, 0.01)))
            except subprocess.TimeoutExpired:
                number = signal.SIGTERM
        return self._child.returncode


def find_program(name: str) -> str | None:
    """Full path of the daemon: a path, or a name beside this interpreter or on ``PATH``."""
    if "/" in name:
        return str(Path(name).absolute()) if os.access(name, os.X_OK) else None
    beside = Path(sys.executable).with_name(name)
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


def running_pid(pid_file: Path) -> int | None:
    """Process id that a pid file names, if that process is alive."""
    try:
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, 0)
    except PermissionError:
        return pid
    except (OSError, ValueError, IndexError, OverflowError):
        return None
    return pid if pid > 0 else None


class PidFile:
    """The starter's own pid file, which exists as long as it runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def other(self) -> int | None:
        """Process id of another starter that is alive."""
        pid = running_pid(self._path)
        return None if pid == os.getpid() else pid

    def write(self) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written, or somebody else was faster.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{os.getpid()}\n")

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


def detach() -> bool:
    """Go on in the background, in a child without terminal; False in the process that called."""
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return False
    os.setsid()
    # No longer the leader of its session, the second child can never get a terminal again.
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)
    return True
