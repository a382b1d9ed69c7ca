"""What all tests share: with CHARON_REQUIRE_ALL a test that is skipped counts as failed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

REQUIRE_ALL = "CHARON_REQUIRE_ALL"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure with the same reason."""
    report = yield
    # An expected failure is reported as skipped, too, but it ran.
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(REQUIRE_ALL):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped ({_reason(report)}), and {REQUIRE_ALL} is set"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a module that is skipped as a whole."""
    report = yield
    if report.skipped and os.environ.get(REQUIRE_ALL):
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} was skipped ({_reason(report)}), and {REQUIRE_ALL} is set"
        )
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


# A busy machine is no fault of the code: how long an example takes decides nothing.
hypothesis.settings.register_profile("charon", deadline=None)
hypothesis.settings.load_profile("charon")
