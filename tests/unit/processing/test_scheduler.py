from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.processing import scheduler as scheduler_module
from charon_core.processing.job import CallbackJob, Priority
from charon_core.processing.processor import Processor
from charon_core.processing.scheduler import COMPACT_FROM, RETRY_DELAY, TURN, Scheduler


class FakeQueue:
    """A processor that keeps the jobs, or refuses them."""

    def __init__(self):
        self.jobs = []
        self.room = 1 << 30
        self.stopping = False
        self.loops = []

    def queue(self, job):
        if self.stopping or self.room <= 0:
            return False
        self.room -= 1
        self.jobs.append(job)
        return True

    def run_loop(self, name, body, wake=None):
        self.loops.append((name, body, wake))

    @property
    def names(self):
        return [str(job) for job in self.jobs]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue():
    return FakeQueue()


@pytest.fixture
def scheduler(queue, clock):
    return Scheduler(queue, clock)


def job(name="job", priority=Priority.MEDIUM):
    return CallbackJob(name, lambda: None, priority)


def test_hands_over_when_the_time_has_come_and_not_before(scheduler, queue, clock):
    timer = scheduler.schedule(job(), 4.0)
    assert scheduler.run_due() == pytest.approx(4.0)
    assert queue.jobs == []
    assert timer.active
    clock.now += 4.0
    assert scheduler.run_due() is None
    assert queue.names == ["job"]
    assert not timer.active
    assert scheduler.pending == 0


def test_never_runs_a_job_itself(scheduler, queue):
    scheduler.schedule(CallbackJob("boom", lambda: 1 / 0), 0.0)
    scheduler.run_due()
    assert queue.names == ["boom"]


def test_equal_times_keep_their_order(scheduler, queue, clock):
    for number in range(50):
        scheduler.schedule(job(str(number)), 1.0)
    clock.now += 1.0
    scheduler.run_due()
    assert queue.names == [str(number) for number in range(50)]


@given(st.lists(st.integers(0, 1_000_000), max_size=60), st.data())
def test_every_timer_that_is_not_cancelled_fires_once_in_order(delays, data):
    queue, clock = FakeQueue(), Clock()
    scheduler = Scheduler(queue, clock)
    timers = [scheduler.schedule(job(str(n)), delay) for n, delay in enumerate(delays)]
    cancelled = data.draw(st.sets(st.sampled_from(range(len(delays))))) if delays else set()
    assert all(timers[n].cancel() for n in cancelled)
    assert scheduler.pending == len(delays) - len(cancelled)
    clock.now += 1e7
    while scheduler.run_due() is not None:
        pass
    expected = sorted(
        (n for n in range(len(delays)) if n not in cancelled), key=lambda n: delays[n]
    )
    assert queue.names == [str(n) for n in expected]


def test_cancel_tells_whether_it_was_in_time(scheduler, queue, clock):
    timer, fired = scheduler.schedule(job(), 1.0), scheduler.schedule(job("fired"), 0.0)
    scheduler.run_due()
    assert not fired.cancel()
    assert timer.cancel()
    assert not timer.cancel()
    assert not timer.active
    clock.now += 10
    assert scheduler.run_due() is None
    assert queue.names == ["fired"]
    assert scheduler.pending == 0


def test_a_cancelled_job_is_let_go_at_once(scheduler):
    import weakref

    function = lambda: None  # noqa: E731  a lambda can be referenced weakly
    gone = weakref.ref(function)
    timer = scheduler.schedule(CallbackJob("big", function), 3600)
    del function
    timer.cancel()
    assert gone() is None


def test_cancelled_timers_do_not_pile_up(scheduler, queue, clock):
    keep = scheduler.schedule(job("kept"), 1e6)
    for _ in range(20):
        timers = [scheduler.schedule(job(), 1e5) for _ in range(COMPACT_FROM)]
        for timer in timers:
            timer.cancel()
        scheduler.run_due()
    assert len(scheduler._heap) <= 2 * COMPACT_FROM + 1
    assert scheduler.pending == 1
    assert keep.active
    clock.now += 1e6
    scheduler.run_due()
    assert queue.names == ["kept"]


def test_a_littered_heap_wakes_the_loop(scheduler):
    timers = [scheduler.schedule(job(), 1e5) for _ in range(COMPACT_FROM + 1)]
    scheduler._wakeup.acquire(blocking=False)
    scheduler.run_due()
    for timer in timers:
        timer.cancel()
    assert scheduler._wakeup.acquire(blocking=False)


def test_a_refused_job_is_offered_again_in_order_and_others_pass(scheduler, queue, clock):
    queue.room = 1
    for name in "abc":
        scheduler.schedule(job(name), 0.0)
    assert scheduler.run_due() == pytest.approx(RETRY_DELAY)
    assert queue.names == ["a"]
    assert scheduler.pending == 2
    scheduler.schedule(job("d"), 0.0)
    queue.room = 2
    scheduler.run_due()
    assert queue.names == ["a", "b", "c"]
    queue.room = 5
    assert scheduler.run_due() is None
    assert queue.names == ["a", "b", "c", "d"]
    assert scheduler.pending == 0


def test_a_full_queue_of_one_priority_holds_up_no_other(scheduler, queue, monkeypatch):
    taken = queue.queue
    monkeypatch.setattr(
        queue, "queue", lambda job: job.priority is not Priority.MEDIUM and taken(job)
    )
    scheduler.schedule(job("medium"), 0.0)
    scheduler.schedule(job("high", Priority.HIGH), 0.0)
    scheduler.run_due()
    assert queue.names == ["high"]
    assert scheduler.pending == 1


def test_nothing_is_parked_once_the_processor_stops(scheduler, queue):
    queue.stopping = True
    scheduler.schedule(job(), 0.0)
    assert scheduler.run_due() is None
    assert scheduler.pending == 0


def test_one_turn_is_bounded(scheduler, queue):
    for _ in range(TURN + 5):
        scheduler.schedule(job(), 0.0)
    assert scheduler.run_due() == 0.0
    assert len(queue.jobs) == TURN
    scheduler.run_due()
    assert len(queue.jobs) == TURN + 5


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), float("-inf")])
def test_a_delay_has_to_be_finite(scheduler, delay):
    with pytest.raises(ValueError, match="finite"):
        scheduler.schedule(job(), delay)


@pytest.mark.parametrize("priority", [-1, 4])
def test_a_priority_has_to_exist(scheduler, priority):
    with pytest.raises(ValueError, match="priority"):
        scheduler.schedule(job(priority=priority), 1.0)


def test_a_negative_delay_is_none(scheduler, queue):
    scheduler.schedule(job(), -5.0)
    scheduler.run_due()
    assert queue.names == ["job"]


def test_only_an_earlier_timer_wakes_the_sleeping_loop(scheduler):
    scheduler.schedule(job(), 100.0)
    scheduler.run_due()
    scheduler.schedule(job(), 200.0)
    assert not scheduler._wakeup.acquire(blocking=False)
    scheduler.schedule(job(), 50.0)
    assert scheduler._wakeup.acquire(blocking=False)
    scheduler.schedule(job(), 10.0)
    assert not scheduler._wakeup.acquire(blocking=False), "it is awake and about to look"


def test_start_hands_one_loop_with_its_wake_to_the_processor(scheduler, queue):
    scheduler.start()
    ((name, _, wake),) = queue.loops
    assert name == "scheduler"
    wake()
    wake()


def test_with_a_real_processor_timers_fire_and_the_stop_is_prompt(monkeypatch):
    monkeypatch.setattr(scheduler_module, "LONGEST_SLEEP", 60.0)
    processor = Processor(2, reserved={})
    processor.start()
    scheduler = Scheduler(processor)
    scheduler.start()
    fired = threading.Semaphore(0)
    scheduler.schedule(job(), 50.0)
    for number in range(200):
        scheduler.schedule(CallbackJob("fire", fired.release), (number % 7) / 1000)
    for _ in range(200):
        assert fired.acquire(timeout=10)
    assert scheduler.pending == 1
    assert processor.stop(10.0) == []


def test_threads_schedule_and_cancel_at_once(queue, clock):
    scheduler = Scheduler(queue, clock)
    cancelled = [0] * 4
    stop = threading.Event()

    def compact():
        while not stop.is_set():
            scheduler.run_due()

    def work(which):
        for number in range(2000):
            timer = scheduler.schedule(job(), 5.0 + number)
            if number % 4:
                cancelled[which] += timer.cancel()

    loop = threading.Thread(target=compact)
    loop.start()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    loop.join()
    assert scheduler.pending == 4 * 2000 - sum(cancelled)
    clock.now += 1e6
    while scheduler.run_due() is not None:
        pass
    assert len(queue.jobs) == 4 * 2000 - sum(cancelled)
    assert scheduler.pending == 0
