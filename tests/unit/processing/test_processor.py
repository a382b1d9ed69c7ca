from __future__ import annotations

import threading
import time

import pytest

from charon_core.processing.job import CallbackJob, Job, Priority
from charon_core.processing.processor import DEFAULT_LIMITS, REFUSAL_INTERVAL, Processor
from charon_core.processing.worker import default_reserved

SOON = 10.0
"""Seconds after which something that has to happen is given up on."""


@pytest.fixture
def pool():
    made: list[Processor] = []

    def make(threads=4, *, start=True, **options) -> Processor:
        processor = Processor(threads, **options)
        made.append(processor)
        if start:
            processor.start()
        return processor

    yield make
    for processor in made:
        processor.stop(SOON)


class Gate:
    """Jobs that wait until the gate opens, and tell that they began."""

    def __init__(self):
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)
        self.count = 0

    def job(self, priority=Priority.MEDIUM, name="gate"):
        return CallbackJob(name, self._wait, priority)

    def _wait(self):
        self.begun.release()
        assert self.open.wait(SOON)

    def await_begun(self, number):
        for _ in range(number):
            assert self.begun.acquire(timeout=SOON)


def settle(condition) -> bool:
    deadline = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def test_runs_every_job_once(pool):
    processor = pool()
    done: list[int] = []
    for number in range(500):
        assert processor.queue(CallbackJob("append", lambda n=number: done.append(n)))
    assert settle(lambda: len(done) == 500)
    assert sorted(done) == list(range(500))
    assert settle(lambda: processor.metrics().executed == 500)


def test_one_worker_keeps_the_order_of_priorities_and_of_arrival(pool):
    processor = pool(1, start=False, reserved={})
    done: list[str] = []
    for name, priority in [
        ("low", Priority.LOW),
        ("medium 1", Priority.MEDIUM),
        ("high", Priority.HIGH),
        ("medium 2", Priority.MEDIUM),
        ("critical", Priority.CRITICAL),
    ]:
        processor.queue(CallbackJob(name, lambda n=name: done.append(n), priority))
    processor.start()
    assert settle(lambda: len(done) == 5)
    assert done == ["critical", "high", "medium 1", "medium 2", "low"]


@pytest.mark.parametrize("flood", [Priority.MEDIUM, Priority.LOW])
@pytest.mark.parametrize("urgent", [Priority.CRITICAL, Priority.HIGH])
def test_slow_work_never_occupies_the_workers_reserved_for_urgent_work(pool, flood, urgent):
    processor = pool(6, reserved={Priority.CRITICAL: 1, Priority.HIGH: 2})
    gate = Gate()
    for _ in range(50):
        processor.queue(gate.job(flood))
    gate.await_begun(3)
    ran = threading.Event()
    processor.queue(CallbackJob("urgent", ran.set, urgent))
    assert ran.wait(SOON)
    metrics = processor.metrics()
    assert metrics.working[flood] == 3
    assert metrics.queued[flood] == 47
    gate.open.set()


def test_low_work_leaves_workers_to_medium_work(pool):
    processor = pool(4, reserved={Priority.MEDIUM: 1})
    gate = Gate()
    for _ in range(10):
        processor.queue(gate.job(Priority.LOW))
    gate.await_begun(3)
    ran = threading.Event()
    processor.queue(CallbackJob("medium", ran.set))
    assert ran.wait(SOON)
    gate.open.set()


def test_high_work_leaves_a_worker_to_critical_work(pool):
    processor = pool(3, reserved={Priority.CRITICAL: 1})
    gate = Gate()
    for _ in range(10):
        processor.queue(gate.job(Priority.HIGH))
    gate.await_begun(2)
    ran = threading.Event()
    processor.queue(CallbackJob("critical", ran.set, Priority.CRITICAL))
    assert ran.wait(SOON)
    gate.open.set()


def test_jobs_that_block_do_not_hold_up_those_behind_them(pool):
    processor = pool(16)
    gate = Gate()
    for _ in range(14):
        processor.queue(gate.job())
    gate.await_begun(14)
    assert processor.metrics().queued == (0, 0, 0, 0)
    gate.open.set()


def test_a_low_job_is_run_after_a_reserved_worker_has_looked_out_in_vain(pool):
    """Whoever is woken for one priority has to care for what was queued meanwhile in another."""
    processor = pool(3, reserved={Priority.MEDIUM: 1})
    for _ in range(300):
        done = threading.Semaphore(0)
        for priority in (Priority.LOW, Priority.MEDIUM, Priority.MEDIUM, Priority.LOW):
            processor.queue(CallbackJob("count", done.release, priority))
        for _ in range(4):
            assert done.acquire(timeout=SOON)


def test_a_full_queue_refuses_and_counts(pool):
    processor = pool(start=False, limits={Priority.MEDIUM: 3})
    job = CallbackJob("nothing", lambda: None)
    assert [processor.queue(job) for _ in range(5)] == [True, True, True, False, False]
    assert processor.queue(CallbackJob("other queue", lambda: None, Priority.HIGH))
    metrics = processor.metrics()
    assert metrics.queued == (0, 1, 3, 0)
    assert metrics.dropped == (0, 0, 2, 0)
    assert processor.load == 4


def test_refused_jobs_are_told_once_in_a_while(pool):
    now, told = [0.0], []
    processor = pool(
        start=False,
        limits={Priority.MEDIUM: 1},
        on_refusal=lambda job, number: told.append((str(job), number)),
        clock=lambda: now[0],
    )
    for _ in range(6):
        processor.queue(CallbackJob("message", lambda: None))
    assert told == [("message", 1)]
    now[0] += REFUSAL_INTERVAL
    processor.queue(CallbackJob("later", lambda: None))
    assert told == [("message", 1), ("later", 6)]
    processor.stop(SOON)
    now[0] += REFUSAL_INTERVAL
    processor.queue(CallbackJob("after the stop", lambda: None))
    assert len(told) == 2


def test_every_priority_is_bounded_by_default():
    assert set(DEFAULT_LIMITS) == set(Priority)
    processor = Processor(1, reserved={})
    for priority in Priority:
        job = CallbackJob("nothing", lambda: None, priority)
        taken = sum(processor.queue(job) for _ in range(DEFAULT_LIMITS[priority] + 10))
        assert taken == DEFAULT_LIMITS[priority]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError()],
)
def test_what_a_job_raises_is_reported_and_never_ends_its_worker(pool, error):
    reports: list[tuple[str, BaseException]] = []
    processor = pool(
        1, reserved={}, on_failure=lambda job, raised: reports.append((str(job), raised))
    )

    def fail():
        raise error

    processor.queue(CallbackJob("the culprit", fail))
    ran = threading.Event()
    processor.queue(CallbackJob("after", ran.set))
    assert ran.wait(SOON)
    assert reports == [("the culprit", error)]
    assert processor.metrics().failed == 1


def test_a_failing_report_does_not_end_the_worker(pool):
    def report(job, error):
        raise SystemExit

    processor = pool(1, reserved={}, on_failure=report)
    processor.queue(CallbackJob("fails", lambda: 1 / 0))
    ran = threading.Event()
    processor.queue(CallbackJob("after", ran.set))
    assert ran.wait(SOON)


def test_names_jobs_in_execution(pool):
    now = [100.0]
    processor = pool(clock=lambda: now[0])
    gate = Gate()
    processor.queue(gate.job(name="slow database query"))
    gate.await_begun(1)
    now[0] = 112.5
    assert processor.metrics().busy == (("slow database query", 12.5),)
    (overdue,) = processor.overdue(12.5)
    assert (overdue.name, overdue.seconds) == ("slow database query", 12.5)
    assert processor.overdue(12.6) == []
    gate.open.set()
    assert settle(lambda: processor.metrics().busy == ())


def test_a_job_whose_name_fails_is_named_by_its_class(pool):
    gate = Gate()

    class Nameless(Job):
        def execute(self):
            gate.job().execute()

        def __str__(self):
            raise RuntimeError("no name")

    processor = pool()
    processor.queue(Nameless())
    gate.await_begun(1)
    assert processor.overdue(0.0)[0].name == "Nameless"
    gate.open.set()


def test_a_finished_job_is_not_kept_alive(pool):
    import weakref

    class Tracked(Job):
        def execute(self):
            pass

    processor = pool(1, reserved={})
    job = Tracked()
    gone = weakref.ref(job)
    processor.queue(job)
    del job
    assert settle(lambda: gone() is None)


def test_metrics_count_threads(pool):
    processor = pool(5, reserved={})
    gate = Gate()
    processor.queue(gate.job(Priority.LOW))
    wakeup = threading.Event()
    processor.run_loop("loop", lambda: (wakeup.wait(SOON), None)[1], wakeup.set)
    gate.await_begun(1)
    metrics = processor.metrics()
    assert metrics.total == 6
    assert metrics.working == (1, 0, 0, 1)
    assert metrics.idle == 4
    gate.open.set()


@pytest.mark.parametrize(
    ("threads", "reserved"),
    [(0, {}), (1, {Priority.HIGH: 1}), (3, {Priority.CRITICAL: 2, Priority.MEDIUM: 1})],
)
def test_a_pool_without_a_worker_for_low_jobs_is_refused(threads, reserved):
    with pytest.raises(ValueError, match="worker threads"):
        Processor(threads, reserved=reserved)
    with pytest.raises(ValueError, match="worker threads"):
        Processor(4, reserved={Priority.HIGH: -1})


@pytest.mark.parametrize("threads", range(1, 40))
def test_the_default_reservation_fits_every_number_of_threads(threads):
    reserved = default_reserved(threads)
    assert sum(reserved.values()) < threads
    Processor(threads)


def test_starts_only_once(pool):
    processor = pool()
    with pytest.raises(RuntimeError, match="once"):
        processor.start()


def test_stop_discards_what_waits_and_waits_for_what_runs(pool):
    notices: list[str] = []
    processor = pool(1, reserved={}, on_notice=notices.append)
    gate = Gate()
    ran: list[str] = []
    processor.queue(gate.job())
    gate.await_begun(1)
    for _ in range(3):
        processor.queue(CallbackJob("waits", lambda: ran.append("x")))
    opener = threading.Timer(0.05, gate.open.set)
    opener.start()
    assert processor.stop(SOON) == []
    opener.join()
    assert ran == []
    assert notices == ["3 waiting jobs discarded by the stop"]
    assert processor.metrics().dropped[Priority.MEDIUM] == 3
    assert not processor.queue(CallbackJob("late", lambda: None))
    assert processor.stopping


def test_stop_names_what_does_not_end(pool):
    processor = pool(2, reserved={})
    gate = Gate()
    processor.queue(gate.job(name="stuck job"))
    gate.await_begun(1)
    processor.run_loop("stuck loop", gate.job().execute)
    gate.await_begun(1)
    assert sorted(processor.stop(0.05)) == ["stuck job", "stuck loop"]
    gate.open.set()


def test_stop_from_a_job_does_not_wait_for_itself(pool):
    processor = pool(2, reserved={})
    result: list[list[str]] = []
    processor.queue(CallbackJob("stop", lambda: result.append(processor.stop(SOON))))
    assert settle(lambda: result == [[]])


def test_stop_ends_all_threads(pool):
    before = threading.active_count()
    processor = pool(8)
    wakeup = threading.Event()
    processor.run_loop("loop", lambda: (wakeup.wait(SOON), None)[1], wakeup.set)
    for _ in range(100):
        processor.queue(CallbackJob("nothing", lambda: None))
    assert processor.stop(SOON) == []
    assert threading.active_count() == before


def test_loop_repeats_its_body_and_tells_of_start_and_end(pool):
    notices: list[str] = []
    processor = pool(1, reserved={}, on_notice=notices.append)
    turns = threading.Semaphore(0)
    loop = processor.run_loop("ticker", turns.release)
    for _ in range(10):
        assert turns.acquire(timeout=SOON)
    assert loop.running
    assert loop.stop(SOON)
    assert not loop.running
    assert notices == ["ticker loop begins", "ticker loop ends"]
    assert processor.metrics().total == 1


def test_loop_wakes_its_body_to_end_it(pool):
    processor = pool(1, reserved={})
    wakeup = threading.Event()
    entered = threading.Event()

    def body():
        entered.set()
        wakeup.wait(SOON)

    processor.run_loop("sleeper", body, wakeup.set)
    assert entered.wait(SOON)
    assert processor.stop(SOON) == []


def test_loop_survives_a_raising_body(pool):
    reports: list[str] = []
    processor = pool(
        1, reserved={}, on_failure=lambda job, error: reports.append(f"{job}: {error}")
    )
    turns = threading.Semaphore(0)
    failures = iter([ValueError("one"), SystemExit("two")])

    def body():
        for error in failures:
            raise error
        turns.release()

    processor.run_loop("shaky", body)
    assert turns.acquire(timeout=SOON)
    assert reports == ["shaky: one", "shaky: two"]


def test_loop_whose_wake_raises_does_not_stop_the_stop(pool):
    reports: list[str] = []
    processor = pool(1, reserved={}, on_failure=lambda job, error: reports.append(str(job)))
    turns = threading.Semaphore(0)
    processor.run_loop("odd", turns.release, lambda: 1 / 0)
    assert turns.acquire(timeout=SOON)
    assert processor.stop(SOON) == []
    assert reports == ["odd"]


def test_no_loop_begins_after_the_stop(pool):
    processor = pool()
    processor.stop(SOON)
    with pytest.raises(RuntimeError, match="late"):
        processor.run_loop("late", lambda: None)


def test_many_threads_hand_over_many_jobs_and_none_is_lost(pool):
    processor = pool(8, limits=dict.fromkeys(Priority, 1 << 30))
    producers, each = 6, 1500
    done = [0] * producers
    lock = threading.Lock()

    def finish(producer):
        with lock:
            done[producer] += 1

    def produce(producer):
        for number in range(each):
            priority = Priority(number % len(Priority))
            job = CallbackJob("count", lambda: finish(producer), priority)
            assert processor.queue(job)
            if number % 97 == 0:
                time.sleep(0.0002)

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settle(lambda: done == [each] * producers)
    assert settle(lambda: processor.metrics().executed == producers * each)
    assert processor.metrics().queued == (0, 0, 0, 0)


def test_no_hand_over_is_missed_when_workers_fall_asleep_between_jobs(pool):
    """Each job is queued only after the one before it ended: the worker is just going to sleep."""
    processor = pool(3, reserved={Priority.HIGH: 1})
    for number in range(3000):
        done = threading.Lock()
        done.acquire()
        processor.queue(CallbackJob("release", done.release, Priority(number % len(Priority))))
        assert done.acquire(timeout=SOON)


def test_a_loop_begins_with_the_processor_and_not_before() -> None:
    turns = threading.Event()
    processor = Processor(2)
    loop = processor.run_loop("early", lambda: (turns.set(), time.sleep(0.001))[1])
    assert not loop.running
    processor.start()
    assert turns.wait(5)
    assert processor.stop(5) == []


def test_a_loop_that_never_began_does_not_hold_up_the_stop() -> None:
    processor = Processor(2)
    processor.run_loop("never", lambda: None)
    assert processor.stop(1) == []
