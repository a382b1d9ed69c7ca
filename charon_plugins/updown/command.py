"""Runs one command, bounded in time and in what it may say."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OUTPUT: Final = 16384
"""Octets of output that are kept for the log."""

_CHUNK: Final = 4096


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        code: Its exit code, negative for a signal; None if it had to be ended.
        output: What it wrote, the beginning of it.
    """

    code: int | None
    output: str


def run(command: str, environment: Mapping[str, str], timeout: float) -> Outcome:
    """Have the shell run a command in a process group of its own, and wait for its end.

    Args:
        command: For ``/bin/sh -c``.
        environment: All of its environment.
        timeout: Seconds after which the whole group is killed.

    Raises:
        OSError: There is no shell, or no process to be had.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + timeout
        try:
            output = _read(process, deadline)
            code: int | None = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as late:
            output = late.args[0] if isinstance(late, TimeoutError) else output
            code = None
        finally:
            _end(process)
    return Outcome(code, output.decode(errors="replace"))


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Read until the command closes its output, or has ended and says nothing more.

    What it leaves running in the background may keep the output open.

    Raises:
        TimeoutError: With what was read.
    """
    if process.stdout is None:
        return b""
    descriptor = process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    output = b""
    while True:
        has_ended = process.poll() is not None
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(output)
        if not poll.poll(0 if has_ended else min(left, 0.2) * 1000):
            if has_ended:
                return output
            continue
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return output
        output += chunk[: MAX_OUTPUT - len(output)]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a command that has not ended by itself."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
