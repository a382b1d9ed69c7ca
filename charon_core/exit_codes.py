"""Exit codes of the `charon` command, as Debian's starter and service managers read them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How the daemon ended.

    Debian's starter gives up on 64 to 66 and starts the daemon again after 5 s on any other
    code, so the codes for what a restart may cure lie outside of that range.
    """

    OK = 0
    """Stopped in order, by signal or by command."""
    FAILURE = 1
    """A subcommand could not do what it was asked for, or the daemon met a fault of its own."""
    USAGE = 2
    """The command line was not understood."""
    INITIALISATION_FAILED = 66
    """Wrong settings, or a component that could not start: a restart does not help."""
    NO_KERNEL_BACKEND = 67
    """No kernel backend works on this host; the log says why for each."""
    ALREADY_RUNNING = 68
    """Another daemon holds the lock on the same paths."""
    SOCKET_FAILED = 69
    """The IKE ports could not be opened."""
