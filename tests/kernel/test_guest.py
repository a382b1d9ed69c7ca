"""Boots a Debian kernel and runs the tests of ``guest`` on it, one boot for each file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.kernel.qemu import GuestTimeoutError, GuestUnavailableError, run_in_guest, skip_reason

GUEST_TESTS = sorted((Path(__file__).parent / "guest").glob("test_*.py"))

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(450)]


def needs_guest() -> None:
    reason = skip_reason()
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("path", GUEST_TESTS, ids=lambda path: path.stem.removeprefix("test_"))
def test_in_guest(path: Path) -> None:
    needs_guest()
    # Nothing that a test in the guest does not need: emulated processors are slow.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    try:
        result = run_in_guest(command, timeout=300)
    except GuestUnavailableError as error:
        pytest.skip(str(error))
    print(f"booted in {result.boot_seconds:.1f} s, all in {result.seconds:.1f} s")
    print(result.check().stdout)
    skipped = [line for line in result.stdout.splitlines() if line.startswith("SKIPPED")]
    if skipped:
        pytest.skip("; ".join(skipped))


def test_exit_status_and_output_come_back() -> None:
    needs_guest()
    try:
        result = run_in_guest(
            ["sh", "-c", "echo out; echo err >&2; echo $WORD; touch /etc/x /run/x; exit 7"],
            env={"WORD": "two words"},
        )
    except GuestUnavailableError as error:
        pytest.skip(str(error))
    assert result.returncode == 7
    assert result.stdout == "out\ntwo words\n"
    assert result.stderr == "err\n"
    assert not Path("/etc/x").exists()


def test_command_that_never_ends_is_stopped() -> None:
    needs_guest()
    try:
        with pytest.raises(GuestTimeoutError, match="before the end"):
            run_in_guest(["sh", "-c", "echo before the end; sleep 1000"], timeout=5)
    except GuestUnavailableError as error:
        pytest.skip(str(error))
