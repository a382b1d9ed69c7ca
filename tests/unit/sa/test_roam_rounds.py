"""Rounds through all IKE_SAs after a change of addresses: bounded, each once, none forgotten."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from charon_core.sa import roam_rounds
from charon_core.sa.roam_rounds import AT_ONCE, RoamRounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.processing.job import Job


class Table:
    """As many IKE_SAs as are wanted; those in `broken` fail."""

    def __init__(self, size: int) -> None:
        self.size = size

    def numbers(self) -> list[int]:
        return list(range(1, self.size + 1))

    def checkout_by_number(self, number: int, _patience: float) -> int:
        return number

    @contextmanager
    def working_on(self, ike: int) -> Iterator[int]:
        yield ike


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    found: list[tuple[int, bool]] = []

    def on_roam(ike: int, *, address_change: bool) -> None:
        found.append((ike, address_change))
        if ike == 7:
            raise RuntimeError("a fault of one")

    monkeypatch.setattr(roam_rounds, "on_roam", on_roam)
    return found


class Queue:
    """Keeps jobs; full if `accepts` is false."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.jobs: list[Job] = []
        self.accepts = accepts

    def __call__(self, job: Job) -> bool:
        if self.accepts:
            self.jobs.append(job)
        return self.accepts

    def work_off(self) -> int:
        done = 0
        while self.jobs:
            assert len(self.jobs) == 1, "one job at a time"
            done += 1
            try:
                self.jobs.pop().execute()
            except RuntimeError:
                continue
        return done


def test_a_few_at_a_time_and_each_once(seen: list[tuple[int, bool]]) -> None:
    queue = Queue()
    RoamRounds(Table(10 * AT_ONCE), queue).begin(address_change=True)  # type: ignore[arg-type]
    assert len(queue.jobs) == 1
    assert queue.work_off() >= 10
    assert seen == [(number, True) for number in range(1, 10 * AT_ONCE + 1)]


def test_changes_while_a_round_is_under_way_make_one_more(seen: list[tuple[int, bool]]) -> None:
    queue = Queue()
    rounds = RoamRounds(Table(5), queue)  # type: ignore[arg-type]
    rounds.begin(address_change=False)
    for address_change in (False, True, False):
        rounds.begin(address_change=address_change)
    queue.work_off()
    assert [change for _, change in seen] == [False] * 5 + [True] * 5
    rounds.begin(address_change=False)
    queue.work_off()
    assert len(seen) == 15


def test_a_full_queue_is_done_without(seen: list[tuple[int, bool]]) -> None:
    RoamRounds(Table(6), Queue(accepts=False)).begin(address_change=True)  # type: ignore[arg-type]
    assert len(seen) == 6


def test_nothing_to_look_at(seen: list[tuple[int, bool]]) -> None:
    queue = Queue()
    rounds = RoamRounds(Table(0), queue)  # type: ignore[arg-type]
    rounds.begin(address_change=True)
    assert queue.jobs == seen == []
