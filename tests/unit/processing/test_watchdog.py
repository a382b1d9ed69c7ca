from __future__ import annotations

import threading

import pytest

from charon_core.processing.job import CallbackJob, Priority
from charon_core.processing.processor import Processor
from charon_core.processing.scheduler import Scheduler
from charon_core.processing.watchdog import Watchdog


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def processor(now):
    processor = Processor(3, reserved={}, clock=lambda: now[0])
    processor.start()
    yield processor
    processor.stop(10)


@pytest.fixture
def stuck(processor):
    release = threading.Event()

    def stick(name):
        begun = threading.Event()

        def wait_for_the_end():
            begun.set()
            release.wait(10)

        processor.queue(CallbackJob(name, wait_for_the_end))
        assert begun.wait(10)

    yield stick
    release.set()


def test_reports_a_job_over_the_limit_once_with_its_place(processor, now, stuck):
    reports = []
    watchdog = Watchdog(processor, lambda job, place: reports.append((job, place)), limit=10)
    stuck("CRL fetch")
    now[0] = 9.9
    watchdog.check()
    assert reports == []
    now[0] = 10.0
    watchdog.check()
    now[0] = 20.0
    watchdog.check()
    ((job, place),) = reports
    assert (job.name, job.seconds) == ("CRL fetch", 10.0)
    assert "threading" in place


def test_reports_each_further_job(processor, now, stuck):
    names = []
    watchdog = Watchdog(processor, lambda job, place: names.append(job.name), limit=10)
    stuck("one")
    now[0] = 15.0
    watchdog.check()
    stuck("two")
    now[0] = 30.0
    watchdog.check()
    assert names == ["one", "two"]


class RecordingQueue:
    stopping = False

    def __init__(self):
        self.jobs = []

    def queue(self, job):
        self.jobs.append(job)
        return True


def test_checks_again_and_again_until_stopped(processor, now):
    queue = RecordingQueue()
    scheduler = Scheduler(queue, clock=lambda: now[0])
    watchdog = Watchdog(processor, lambda job, place: None)
    watchdog.start(scheduler, interval=5.0)
    for turn in range(1, 4):
        now[0] += 5.0
        scheduler.run_due()
        assert len(queue.jobs) == turn
        queue.jobs[-1].execute()
    assert {job.priority for job in queue.jobs} == {Priority.CRITICAL}
    watchdog.stop()
    assert scheduler.pending == 0


def test_goes_on_after_a_failing_report(processor, now, stuck):
    queue = RecordingQueue()
    scheduler = Scheduler(queue, clock=lambda: now[0])
    watchdog = Watchdog(processor, lambda job, place: 1 / 0, limit=1.0)
    watchdog.start(scheduler, interval=5.0)
    stuck("slow")
    now[0] = 5.0
    scheduler.run_due()
    with pytest.raises(ZeroDivisionError):
        queue.jobs[0].execute()
    assert scheduler.pending == 1
