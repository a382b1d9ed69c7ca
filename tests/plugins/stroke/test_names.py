"""Host names of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charon_plugins.stroke.names import REFRESH_INTERVAL, NameKeeper

if TYPE_CHECKING:
    from charon_core.processing.job import Job


class FakeTimer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeScheduler:
    def __init__(self) -> None:
        self.jobs: list[tuple[Job, float]] = []
        self.timer = FakeTimer()

    def schedule(self, job: Job, delay: float) -> Any:
        self.jobs.append((job, delay))
        return self.timer


def test_names_are_looked_up_again_from_time_to_time() -> None:
    scheduler = FakeScheduler()
    answers = {"gw.example": ["192.0.2.1"]}
    names = NameKeeper(scheduler.schedule, lambda name: answers[name])
    assert scheduler.jobs == []
    assert names.look_up("GW.example") == ("192.0.2.1",)
    assert names.look_up("gw.example") == ("192.0.2.1",)
    ((job, delay),) = scheduler.jobs
    assert delay == REFRESH_INTERVAL
    answers["gw.example"] = ["192.0.2.7"]
    assert list(names.names_of("192.0.2.1")) == ["gw.example"]
    job.execute()
    assert list(names.names_of("192.0.2.1")) == []
    assert list(names.names_of("192.0.2.7")) == ["gw.example"]
    assert len(scheduler.jobs) == 2


def test_name_that_cannot_be_looked_up_keeps_its_addresses() -> None:
    answers = [["192.0.2.1"]]

    def resolve(_: str) -> list[str]:
        if not answers:
            raise OSError("no such name")
        return answers.pop()

    names = NameKeeper(FakeScheduler().schedule, resolve)
    assert names.look_up("gw.example") == ("192.0.2.1",)
    assert names.look_up("gw.example") == ("192.0.2.1",)
    assert names.look_up("other.example") == ()


def test_nothing_is_looked_up_after_the_end() -> None:
    scheduler = FakeScheduler()
    names = NameKeeper(scheduler.schedule, lambda _: ["192.0.2.1"])
    names.look_up("gw.example")
    names.close()
    assert scheduler.timer.cancelled
    scheduler.jobs[0][0].execute()
    assert len(scheduler.jobs) == 1
