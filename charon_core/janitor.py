"""Removes files at the stop that the daemon, as the user it has become, may not remove."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SHELL: Final = "/bin/sh"
_SCRIPT: Final = 'read -r order && exec rm -f -- "$@"'


PATIENCE: Final = 5.0
"""Seconds that the removal of the files is waited for."""


class Janitor:
    """A shell that keeps root's rights, and waits for one order: to remove these files.

    The pid file and the control sockets lie in /run, which belongs to root. The order is given
    while the daemon still has its lock, so what is removed is its own. When the daemon dies
    without giving it, nothing is removed, and the next start deals with what is left.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = [str(path) for path in paths]
        self._pid = 0
        self._order = -1

    def engage(self) -> None:
        """Start it, with the rights that the process has now.

        Raises:
            OSError: There is no shell, or no process can be made.
        """
        reader, self._order = os.pipe2(os.O_CLOEXEC)
        try:
            # In a session of its own: a Ctrl-C at the terminal is meant for the daemon.
            self._pid = os.posix_spawn(
                _SHELL,
                [_SHELL, "-c", _SCRIPT, "charon-janitor", *self._paths],
                {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reader, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        except OSError:
            os.close(self._order)
            self._order = -1
            raise
        finally:
            os.close(reader)

    def clean(self) -> None:
        """Have the files removed; returns when it is done, or after `PATIENCE`."""
        if self._order < 0:
            return
        order, self._order = self._order, -1
        try:
            os.write(order, b"\n")
        except BrokenPipeError:
            pass  # Somebody ended it.
        finally:
            os.close(order)
        deadline = time.monotonic() + PATIENCE
        try:
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.005)
        except ChildProcessError:
            return
