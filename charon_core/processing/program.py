"""Programs of others: one is run on a worker, bounded in time and in what it may say."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_OUTPUT: Final = 16384
"""Octets of output that are kept."""

_CHUNK: Final = 4096


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        code: Its exit code, negative for a signal; None if it had to be ended.
        output: What it wrote to standard output and error, the beginning of it.
    """

    code: int | None
    output: str


def run_program(
    arguments: Sequence[str], environment: Mapping[str, str], timeout: float, text: str = ""
) -> Outcome:
    """Run a program in a session of its own, and wait for its end.

    The daemon's threads block the signals that end it. A program that inherited this could not be
    ended by them either, nor could any service that it restarts; so it starts with none blocked.

    Args:
        arguments: The command line, the program by its path.
        environment: All of its environment.
        timeout: Seconds after which it is killed, with what it has started.
        text: Its standard input.

    Raises:
        OSError: There is no such program, or no process to be had.
    """
    given = os.memfd_create("input")
    said, writer = os.pipe()
    try:
        os.write(given, text.encode(errors="surrogateescape"))
        os.lseek(given, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            arguments[0],
            tuple(arguments),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_DUP2, writer, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE,),
        )
    except BaseException:
        os.close(said)
        raise
    finally:
        os.close(given)
        os.close(writer)
    in_time, output = False, b""
    try:
        in_time, output = _read(pid, said, time.monotonic() + timeout)
    finally:
        os.close(said)
        if not in_time:
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status) if in_time else None
    return Outcome(code, output.decode(errors="replace"))


def _read(pid: int, said: int, deadline: float) -> tuple[bool, bytes]:
    """Read until a program has ended; return whether it has in time, and what it said.

    What it leaves running in the background may keep the output open.
    """
    output = b""
    end = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(said, select.POLLIN)
        poll.register(end, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
            if said in ready:
                if chunk := os.read(said, _CHUNK):
                    output += chunk[: MAX_OUTPUT - len(output)]
                else:
                    poll.unregister(said)
            elif end in ready:
                return True, output
        return False, output
    finally:
        os.close(end)
