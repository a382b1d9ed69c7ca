"""Fixtures of the interop tests, and the logs of both sides in the report of a failure."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.filters import Lossy
from tests.interop.lab import Lab
from tests.interop.network import remove_leftovers
from tests.interop.strongswan import NEEDED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.interop.process import Log

#: Logs that belong to the tests that run now.
_LOGS = pytest.StashKey[list["Log"]]()


def _missing() -> str:
    """Tell why these tests cannot run here, empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces and strongSwan need root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no TUN device (/dev/net/tun)"
    absent = [str(path) for path in NEEDED if not path.exists()]
    if absent:
        return f"Debian's strongSwan is not complete: no {', '.join(absent)}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = _missing()
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.interop)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for log in item.config.stash.get(_LOGS, []):
            report.sections.append((log.title, log.text()))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    for log in item.config.stash.get(_LOGS, []):
        log.mark()


@pytest.fixture(scope="session")
def _clean_machine() -> None:
    remove_leftovers()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name: sockets are in it, whose paths have at most 107 octets."""
    with tempfile.TemporaryDirectory(prefix="chi-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def lab(_clean_machine: None) -> Iterator[Lab]:
    """The hosts and cables."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def reported(request: pytest.FixtureRequest) -> list[Log]:
    """The logs that a failure report shows: put those of the module's daemons into it."""
    # The stash keeps them until the next module begins: what is torn down may fail, too.
    logs: list[Log] = []
    request.config.stash[_LOGS] = logs
    return logs


@pytest.fixture
def lossy(lab: Lab) -> Iterator[Lossy]:
    """Filters at both ends, which let everything pass as yet."""
    made = Lossy(lab.hosts)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave nothing of a failed test to the next one."""
    yield
    pair = request.node.funcargs.get("pair")
    if pair is not None:
        pair.reset()
