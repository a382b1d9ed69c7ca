"""The pool of worker threads: runs jobs by priority and keeps some workers for the urgent ones."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from charon_core.processing.job import Priority
from charon_core.processing.loop import Loop
from charon_core.processing.metrics import BusyJob, ProcessorMetrics
from charon_core.processing.worker import Worker, default_reserved, lowest_priorities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.processing.job import Job

DEFAULT_THREADS = 16
"""Workers for jobs; loops have threads of their own."""

DEFAULT_LIMITS: Mapping[Priority, int] = {
    Priority.CRITICAL: 4096,
    Priority.HIGH: 16384,
    Priority.MEDIUM: 16384,
    Priority.LOW: 65536,
}
"""How many jobs of a priority may wait before further ones are refused."""

PATIENCE = 0.002
"""Seconds without a job begun after which a waiting one is given to a further worker."""


REFUSAL_INTERVAL = 10.0
"""Seconds in which a refused job is told once."""


class Processor:
    """Worker threads with one bounded queue a priority.

    A reserved worker takes jobs of its priority and those above only, so that it is never occupied
    by others; the rest take everything, the most urgent first.

    Two threads that want the interpreter at once cost more than most jobs do. So a burst of jobs
    is left to the workers that are running, and one idle worker is made the *lookout*: it looks
    every `PATIENCE` seconds whether jobs are still being begun, and joins in when they are not,
    because the jobs in execution block or take long. CRITICAL and HIGH jobs wake a worker at once.

    There is no lock where jobs are queued and taken: a thread that loses the interpreter while it
    holds one makes all others line up behind it, job after job. Instead each side first makes its
    move (a job into a queue, a worker into the idle list), by one atomic operation on a deque or
    list, and looks at the other's afterwards, so that one of the two sees the other.

    Thread-safe. Callbacks are called on the thread on which the thing happened, with no lock held.
    """

    def __init__(
        self,
        threads: int = DEFAULT_THREADS,
        *,
        reserved: Mapping[Priority, int] | None = None,
        limits: Mapping[Priority, int] | None = None,
        on_failure: Callable[[Job, BaseException], None] | None = None,
        on_refusal: Callable[[Job, int], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the pool; `start` creates the threads.

        Args:
            threads: Number of workers for jobs, at least 1.
            reserved: Workers kept free for each priority; `default_reserved` if None.
            limits: Largest number of waiting jobs a priority; `DEFAULT_LIMITS` where absent.
            on_failure: Told of each job that raised, and with what.
            on_refusal: Told of a job that was refused since its queue is full, and how many of its
                priority were so far; every `REFUSAL_INTERVAL` seconds at most.
            on_notice: Told in a line of text when a loop begins or ends, or jobs are discarded.
            clock: Monotonic seconds.

        Raises:
            ValueError: The numbers leave no worker for jobs of priority LOW, or are negative.
        """
        reserve = default_reserved(threads) if reserved is None else reserved
        kept = sum(reserve.get(priority, 0) for priority in Priority if priority < Priority.LOW)
        if threads < 1 or kept >= threads or any(number < 0 for number in reserve.values()):
            raise ValueError(
                f"{threads} worker threads with {kept} reserved for jobs above priority low: "
                "at least one has to be left; raise the number of threads or reserve fewer"
            )
        self._limits = tuple(
            (limits or {}).get(priority, DEFAULT_LIMITS[priority]) for priority in Priority
        )
        self._on_failure = on_failure
        self._on_refusal = on_refusal
        self._on_notice = on_notice
        self._clock = clock
        self._queues: tuple[deque[Job], ...] = tuple(deque() for _ in Priority)
        # Idle workers by the lowest priority that they take.
        self._idle: tuple[list[Worker], ...] = tuple([] for _ in Priority)
        self._workers = [
            Worker(self._queues[: lowest + 1], self._idle[lowest])
            for lowest in lowest_priorities(threads, reserve)
        ]
        # Where to look for a worker for a job of a priority, the least reserved ones first.
        self._takers = tuple(
            self._idle[: priority - 1 if priority else None : -1] for priority in Priority
        )
        self._waking: Worker | None = None
        self._lookout: Worker | None = None
        self._last_begin = 0.0
        self._serials = itertools.count(1)
        self._stopping = False
        # Guards the five below.
        self._lock = threading.Lock()
        self._dropped = [0] * len(Priority)
        self._next_refusal = -math.inf
        self._failed = 0
        self._loops: list[Loop] = []
        self._started = False

    def start(self) -> None:
        """Create the workers and begin the loops. Both wait for this, whenever they came.

        A daemon drops privileges before: these belong to a thread, and threads inherit them.

        Raises:
            RuntimeError: The processor was started or stopped before.
        """
        if self._stopping or self._workers[0].thread is not None:
            raise RuntimeError("a processor starts only once")
        for number, worker in enumerate(self._workers, 1):
            worker.thread = threading.Thread(
                target=self._work, args=(worker,), name=f"worker-{number:02d}", daemon=True
            )
            worker.thread.start()
        with self._lock:
            self._started = True
            loops = list(self._loops)
        for loop in loops:
            loop.start()

    def queue(self, job: Job) -> bool:
        """Hand a job over; never waits.

        Returns:
            False if the job was refused, since its queue is full or the processor stops. It is
            counted as dropped then, and the caller decides what this means.
        """
        priority = job.priority
        queue = self._queues[priority]
        if self._stopping or len(queue) >= self._limits[priority]:
            self._refuse(job, priority)
            return False
        queue.append(job)
        if priority <= Priority.HIGH:
            self._wake_one(priority)
        elif self._waking is None and self._lookout is None:
            self._wake_if_needed(priority)
        return True

    def run_loop(
        self, name: str, body: Callable[[], None], wake: Callable[[], None] | None = None
    ) -> Loop:
        """Run ``body`` again and again on a thread of its own until the processor stops.

        It begins when the processor is started, or at once if that was before. The body waits for
        something, handles it and returns. It is a CRITICAL worker, in addition to those for jobs,
        so that a loop never takes a worker from them. A body that raises is reported and run
        again, after a pause that grows while it goes on raising.

        Args:
            name: How logs call the loop.
            body: What is repeated.
            wake: Makes a waiting body return soon; called once the loop is to end.

        Returns:
            The loop, which its owner may end before the processor stops.

        Raises:
            RuntimeError: The processor stops.
        """
        loop = Loop(
            name,
            body,
            wake,
            on_failure=self._report_failure,
            on_notice=self._notice,
            on_end=self._forget,
        )
        with self._lock:
            if self._stopping:
                raise RuntimeError(f"the processor stops, loop {name!r} is not begun")
            self._loops.append(loop)
            started = self._started
        if started:
            loop.start()
        return loop

    @property
    def load(self) -> int:
        """How many jobs wait for a worker."""
        return sum(map(len, self._queues))

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: what is queued now is refused."""
        return self._stopping

    def metrics(self) -> ProcessorMetrics:
        """Return a snapshot of the pool."""
        busy = self._busy()
        working = [0] * len(Priority)
        for worker in self._workers:
            if worker.job is not None:
                working[worker.priority] += 1
        with self._lock:
            loops = len(self._loops)
            started = sum(worker.thread is not None for worker in self._workers)
            idle = max(0, started - sum(working))
            working[Priority.CRITICAL] += loops
            return ProcessorMetrics(
                total=started + loops,
                idle=idle,
                working=tuple(working),
                queued=tuple(map(len, self._queues)),
                dropped=tuple(self._dropped),
                executed=sum(worker.executed for worker in self._workers),
                failed=self._failed,
                busy=tuple((job.name, job.seconds) for job in busy),
            )

    def overdue(self, seconds: float) -> list[BusyJob]:
        """Return the jobs that have been running for at least so long."""
        return [job for job in self._busy() if job.seconds >= seconds]

    def stop(self, timeout: float) -> list[str]:
        """Refuse new jobs, discard the waiting ones, end the loops, wait for the running ones.

        Args:
            timeout: Seconds to wait for all threads together.

        Returns:
            The names of the jobs and loops that still run; their threads end with the process.
        """
        deadline = time.monotonic() + timeout
        self._stopping = True
        while self._wake_one(Priority.CRITICAL):
            pass
        with self._lock:
            loops = list(self._loops)
        for loop in loops:
            loop.request_stop()
        self._discard_waiting()
        still = [loop.name for loop in loops if not loop.join(_left(deadline))]
        current = threading.current_thread()
        for worker in self._workers:
            thread = worker.thread
            if thread is None or thread is current:
                continue
            thread.join(_left(deadline))
            if thread.is_alive():
                job = worker.job
                still.append(thread.name if job is None else _name_of(job))
        # Those that came in between the first look at the flag and the first sweep.
        self._discard_waiting()
        return still

    def _discard_waiting(self) -> None:
        discarded = 0
        with self._lock:
            for priority, queue in enumerate(self._queues):
                while queue:
                    queue.popleft()
                    self._dropped[priority] += 1
                    discarded += 1
        if discarded:
            self._notice(f"{discarded} waiting jobs discarded by the stop")

    def _pop_idle(self, priority: int) -> Worker | None:
        """Take a worker for a job of ``priority`` out of the idle lists."""
        for idle in self._takers[priority]:
            try:
                return idle.pop()
            except IndexError:
                continue
        return None

    def _wake_one(self, priority: int) -> bool:
        """Wake an idle worker that takes jobs of ``priority``, if there is one."""
        worker = self._pop_idle(priority)
        if worker is not None:
            worker.wakeup.release()
        return worker is not None

    def _wake_if_needed(self, priority: int) -> None:
        """Wake a worker if none is at work or none gets on; else have one look out."""
        worker = self._pop_idle(priority)
        if worker is None:
            return
        at_work = sum(map(len, self._idle)) + 1 < len(self._workers)
        if at_work and self._clock() - self._last_begin < PATIENCE:
            self._lookout = worker
        else:
            self._waking = worker
        worker.wakeup.release()

    def _wake_for_waiting(self, first: int) -> None:
        """Have workers for the waiting jobs from priority ``first`` on, if need be."""
        for priority in range(first, len(Priority)):
            if self._queues[priority] and self._waking is None and self._lookout is None:
                self._wake_if_needed(priority)

    def _work(self, worker: Worker) -> None:
        """Take and run jobs until the processor stops: the life of a worker thread."""
        queues, idle, wait = worker.queues, worker.idle, worker.wakeup.acquire
        while not self._stopping:
            for priority, queue in enumerate(queues):
                if queue:
                    try:
                        job = queue.popleft()
                    except IndexError:
                        continue
                    self._run(worker, job, priority)
                    del job
                    break
            else:
                idle.append(worker)
                if self._stopping or any(queues):
                    try:
                        idle.remove(worker)
                    except ValueError:
                        # Somebody took us out meanwhile and is about to release the lock.
                        wait()
                else:
                    wait()
                if self._waking is worker:
                    self._waking = None
                elif self._lookout is worker:
                    self._look_out(worker)
                # While we were waking or looking out nobody was woken for jobs beyond our reach.
                self._wake_for_waiting(len(queues))

    def _run(self, worker: Worker, job: Job, priority: int) -> None:
        self._wake_for_waiting(Priority.MEDIUM)
        self._last_begin = worker.since = self._clock()
        worker.serial = next(self._serials)
        worker.priority = priority
        worker.job = job
        try:
            job.execute()
        except BaseException as error:  # noqa: BLE001  no job may end its worker
            self._report_failure(job, error)
        worker.job = None
        worker.executed += 1

    def _look_out(self, worker: Worker) -> None:
        """Wait until jobs wait that nobody begins, or until none wait any more."""
        seen = 0.0
        while not self._stopping and any(worker.queues) and seen != self._last_begin:
            seen = self._last_begin
            worker.wakeup.acquire(timeout=PATIENCE)
        self._lookout = None

    def _refuse(self, job: Job, priority: int) -> None:
        now = self._clock()
        with self._lock:
            self._dropped[priority] += 1
            number = self._dropped[priority]
            tell = not self._stopping and now >= self._next_refusal
            if tell:
                self._next_refusal = now + REFUSAL_INTERVAL
        if tell and self._on_refusal is not None:
            with contextlib.suppress(Exception):
                self._on_refusal(job, number)

    def _report_failure(self, job: Job, error: BaseException) -> None:
        with self._lock:
            self._failed += 1
        if self._on_failure is not None:
            # Nobody is left to be told if the report fails too.
            with contextlib.suppress(BaseException):
                self._on_failure(job, error)

    def _forget(self, loop: Loop) -> None:
        with self._lock:
            if loop in self._loops:
                self._loops.remove(loop)

    def _notice(self, text: str) -> None:
        if self._on_notice is not None:
            with contextlib.suppress(BaseException):
                self._on_notice(text)

    def _busy(self) -> list[BusyJob]:
        now = self._clock()
        jobs = []
        for worker in self._workers:
            job, since, serial, thread = worker.job, worker.since, worker.serial, worker.thread
            if job is not None and thread is not None and thread.ident is not None:
                jobs.append(BusyJob(_name_of(job), max(0.0, now - since), thread.ident, serial))
        return jobs


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _name_of(job: Job) -> str:
    try:
        return str(job)
    except Exception:  # noqa: BLE001  a name that cannot be had may not hide the job
        return type(job).__name__
