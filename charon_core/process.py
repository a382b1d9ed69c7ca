"""The daemon as a process: lock, pid file, signals."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_STOP: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_HANDLED: Final = _STOP | {signal.SIGHUP}


class AlreadyRunning(Exception):  # noqa: N818 - it is a state of this host
    """Another daemon has the lock."""


class InstanceLock:
    """A lock on a file, held as long as the daemon runs; the kernel frees it when it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: Another process holds it.
            OSError: The file cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # In a folder that others may write to, the path may be a link to a file of somebody's.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o640)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(fd)
            raise OSError(errno.EEXIST, "expected a plain file without other names")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise AlreadyRunning(
                f"another daemon (process {holder or 'unknown'}) holds {self._path}; stop it, or "
                "give this one other paths with --root DIR"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two daemons hold locks."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PidFile:
    """Tells others our process ID; exists from when the daemon is ready until it stops."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def write(self) -> None:
        """Make the file, complete from its first moment: starter polls for its existence.

        Raises:
            OSError: It cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # Whatever has this name is a rest of a daemon that died, or a trap.
        draft.unlink(missing_ok=True)
        self._fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.write(self._fd, f"{os.getpid()}\n".encode())
        draft.replace(self._path)

    def remove(self) -> None:
        """Remove the file, if we made it.

        Where the daemon has become a user who may not, it is emptied: nobody takes it for ours.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            os.ftruncate(fd, 0)
        os.close(fd)


def take_signals() -> None:
    """Route the signals that we handle to `wait_for_signals`, and let all others through.

    A daemon under starter inherits a mask that blocks most signals. It is replaced, not added
    to; threads that start later inherit what is set here.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, _HANDLED)


def wait_for_signals(reload: Callable[[], None]) -> str:
    """Wait in the main thread until the daemon is to stop.

    Args:
        reload: Called on each SIGHUP.

    Returns:
        The name of the signal that ends the daemon.
    """
    while True:
        number = signal.sigwait(_HANDLED)
        if number in _STOP:
            return signal.Signals(number).name
        reload()


def request_stop() -> None:
    """Have `wait_for_signals` return, as if the operator had asked for it."""
    os.kill(os.getpid(), signal.SIGTERM)
