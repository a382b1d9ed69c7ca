"""Shows the logs of daemons in the report of a failed test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interop.process import Log

_LOGS = pytest.StashKey[list["Log"]]()


@pytest.fixture(scope="module")
def reported(request: pytest.FixtureRequest) -> list[Log]:
    """The logs that a failure shows: put those of the module's daemons into it."""
    return request.node.stash.setdefault(_LOGS, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    module = item.getparent(pytest.Module)
    if report.failed and module is not None:
        report.sections += [(log.title, log.text()) for log in module.stash.get(_LOGS, [])]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    module = item.getparent(pytest.Module)
    if module is not None:
        for log in module.stash.get(_LOGS, []):
            log.mark()
