"""Programs of others: what they are given, how they end, and what of ours they do not inherit."""

from __future__ import annotations

import os
import signal

import pytest

from charon_core.processing.program import MAX_OUTPUT, Outcome, run_program

PATH = {"PATH": "/usr/bin:/bin"}


def shell(command: str, timeout: float = 10, text: str = "") -> Outcome:
    return run_program(("/bin/sh", "-c", command), PATH, timeout, text)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_it_reads_what_it_is_given() -> None:
    text = "nameserver 192.0.2.1\n" * 500
    assert shell("cat; exit 3", text=text) == Outcome(3, text)
    assert shell("cat") == Outcome(0, "")
    assert shell("true", text=text) == Outcome(0, "")


def test_it_starts_with_no_signal_blocked_or_ignored() -> None:
    """The daemon's threads block them; a service restarted by a script must be free of that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        ended = shell("kill -TERM $$; echo it lives")
        mask = shell("grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert ended == Outcome(-signal.SIGTERM, "")
    blocked, ignored = (int(line.split()[1], 16) for line in mask.output.splitlines())
    assert not blocked
    assert not ignored & 1 << (signal.SIGPIPE - 1)


def test_it_has_closed_its_output_and_goes_on() -> None:
    assert shell("echo said; exec >&- 2>&-; sleep 0.2; exit 4") == Outcome(4, "said\n")
    assert shell("exec >&- 2>&-; exec sleep 60", timeout=0.3) == Outcome(None, "")


def test_nothing_stays_open() -> None:
    shell("true")
    before = open_descriptors()
    for timeout in (10, 10, 0.05):
        shell("sleep 0.2", timeout=timeout)
    with pytest.raises(FileNotFoundError):
        run_program(("/nonexistent",), PATH, 1)
    assert open_descriptors() == before


def test_only_the_beginning_is_kept() -> None:
    assert len(shell("yes | head -c 1000000").output) == MAX_OUTPUT
