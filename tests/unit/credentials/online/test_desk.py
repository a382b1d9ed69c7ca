"""Errands: so many at once, each once, and everybody is told."""

from __future__ import annotations

from charon_core.credentials.online.desk import MAX_WAITERS, MAX_WAITING, Desk
from charon_core.processing.job import Job, Priority


class Workers:
    """Queued jobs, which the test runs by hand."""

    def __init__(self, at_once: int = 2) -> None:
        self.jobs: list[Job] = []
        self.accepts = True
        self.lines: list[str] = []
        self.desk = Desk(self.queue, at_once, self.lines.append)
        self.done: list[str] = []
        self.told: list[str] = []

    def queue(self, job: Job) -> bool:
        if self.accepts:
            self.jobs.append(job)
        return self.accepts

    def ask(self, name: str) -> bool:
        return self.desk.ask(
            name, name, lambda: self.done.append(name), lambda: self.told.append(name)
        )

    def run(self) -> None:
        self.jobs.pop(0).execute()


def test_work_is_done_and_told() -> None:
    workers = Workers()
    assert workers.ask("a")
    assert workers.jobs[0].priority is Priority.LOW
    assert str(workers.jobs[0]) == "ask servers: a"
    assert workers.done == workers.told == []
    workers.run()
    assert workers.done == workers.told == ["a"]


def test_the_same_is_done_once_for_all() -> None:
    workers = Workers()
    for _ in range(3):
        assert workers.ask("a")
    workers.run()
    assert workers.done == ["a"]
    assert workers.told == ["a"] * 3
    assert workers.ask("a")
    workers.run()
    assert workers.done == ["a", "a"]


def test_workers_are_bounded() -> None:
    workers = Workers(at_once=2)
    for name in "abcde":
        assert workers.ask(name)
    for done in ("a", "ab", "abc", "abcd", "abcde"):
        assert len(workers.jobs) == 2
        workers.run()
        assert workers.done == list(done)
    while workers.jobs:
        workers.run()
    assert workers.ask("f")
    assert len(workers.jobs) == 1


def test_without_a_job_for_the_next_one_it_waits_for_the_next_who_asks() -> None:
    workers = Workers(at_once=1)
    for name in "abc":
        assert workers.ask(name)
    workers.accepts = False
    workers.run()
    assert workers.told == ["a"]
    workers.accepts = True
    assert workers.ask("d")
    while workers.jobs:
        workers.run()
    assert workers.told == list("abcd")


def test_too_many_are_turned_away() -> None:
    workers = Workers()
    assert all(workers.ask(str(number)) for number in range(MAX_WAITING))
    assert not workers.ask("one more")
    assert workers.ask("7"), "what waits already may have further waiters"
    while workers.jobs:
        workers.run()
    assert len(workers.done) == MAX_WAITING
    assert workers.ask("one more")


def test_waiters_of_one_errand_are_bounded() -> None:
    workers = Workers()
    assert all(workers.ask("a") for _ in range(MAX_WAITERS + 5))
    workers.run()
    assert workers.done == ["a"]
    assert len(workers.told) == MAX_WAITERS


def test_no_worker_to_be_had() -> None:
    workers = Workers()
    workers.accepts = False
    assert not workers.ask("a")
    assert workers.told == []
    workers.accepts = True
    assert workers.ask("a")
    workers.run()
    assert workers.done == ["a"]


def test_work_that_raises_is_told_all_the_same() -> None:
    workers = Workers()

    def fail() -> None:
        raise KeyError("secret")

    workers.desk.ask("x", "x", fail, lambda: workers.told.append("x"))
    workers.ask("a")
    workers.run()
    workers.run()
    assert workers.told == ["x", "a"]
    assert workers.lines == ["asking servers about x failed: KeyError"]
