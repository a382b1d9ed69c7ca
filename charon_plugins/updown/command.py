"""Has the shell run one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.processing.program import Outcome, run_program

if TYPE_CHECKING:
    from collections.abc import Mapping


def run(command: str, environment: Mapping[str, str], timeout: float) -> Outcome:
    """Have ``/bin/sh`` run a command in the root folder, and wait for its end.

    Args:
        command: A line for the shell.
        environment: All of its environment.
        timeout: Seconds after which it is killed, with what it has started.

    Raises:
        OSError: There is no shell, or no process to be had.
    """
    return run_program(("/bin/sh", "-c", f"cd /; unset OLDPWD\n{command}"), environment, timeout)
