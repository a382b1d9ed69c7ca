"""The switch that makes a skipped test a failed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="no namespaces here")
def test_marked():
    pass

def test_inside():
    pytest.skip("no strongSwan here")

@pytest.mark.xfail(reason="known")
def test_expected():
    assert False

def test_good():
    pass
"""


def run_pytest(tmp_path: Path, text: str, require_all: str) -> str:
    """Run pytest on a file of tests, with the hooks of the project."""
    file = tmp_path / "test_sample.py"
    file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "tests.conftest"]
    done = subprocess.run(
        [
            *command,
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            str(tmp_path),
            str(file),
        ],
        env={**os.environ, "CHARON_REQUIRE_ALL": require_all, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_skips_are_skips_without_the_switch(tmp_path: Path) -> None:
    assert "1 passed, 2 skipped, 1 xfailed" in run_pytest(tmp_path, TESTS, "")


def test_skips_are_failures_with_their_reason_with_the_switch(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, TESTS, "1")
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in output
    assert "test_marked was skipped (no namespaces here), and CHARON_REQUIRE_ALL is set" in output
    assert "test_inside was skipped (no strongSwan here), and CHARON_REQUIRE_ALL is set" in output


@pytest.mark.parametrize("require_all", ["", "1"])
def test_a_module_that_is_skipped_as_a_whole_counts_too(tmp_path: Path, require_all: str) -> None:
    text = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
    output = run_pytest(tmp_path, text, require_all)
    assert ("1 error" in output and "was skipped (not here)" in output) == bool(require_all)
    assert ("1 skipped" in output) != bool(require_all)
