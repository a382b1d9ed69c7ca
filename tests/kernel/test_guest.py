"""Boots a Debian kernel and runs the tests of ``guest`` on it, one boot for related files."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

import pytest

from tests.kernel.qemu import GuestTimeoutError, GuestUnavailableError, run_in_guest, skip_reason

FOLDER = Path(__file__).parent / "guest"


def subject(path: Path) -> str:
    """What a file is about: the first word of its name. Such files share a guest."""
    return path.stem.removeprefix("test_").partition("_")[0]


GUEST_TESTS = [
    pytest.param(list(paths), id=name)
    for name, paths in groupby(sorted(FOLDER.glob("test_*.py")), subject)
]

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(450)]


def needs_guest() -> None:
    reason = skip_reason()
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("paths", GUEST_TESTS)
def test_in_guest(paths: list[Path]) -> None:
    needs_guest()
    # Nothing that a test in the guest does not need: emulated processors are slow, and loading
    # Hypothesis, as all other tests do, takes as long as booting.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_timeout", "--confcutdir", str(FOLDER), *map(str, paths)]
    try:
        result = run_in_guest(command, timeout=300, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
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
