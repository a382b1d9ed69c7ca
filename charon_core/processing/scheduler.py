"""Timers: hands a job to the processor when its time has come, and never runs one itself."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from charon_core.processing.job import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.processing.job import Job
    from charon_core.processing.loop import Loop

LONGEST_SLEEP = 3600.0
"""Seconds that the loop waits at most, whatever the next timer says."""

RETRY_DELAY = 0.05
"""Seconds until a job is offered again that the processor refused since its queue was full."""

TURN = 512
"""Jobs handed over in one turn of the loop: bounds how long the lock is held."""

COMPACT_FROM = 1024
"""Cancelled timers that may stay in the heap, whatever their share of it is."""

_AWAKE = -math.inf
_PRIORITIES = range(len(Priority))


class JobQueue(Protocol):
    """What the scheduler needs of the processor."""

    @property
    def stopping(self) -> bool:
        """Whether jobs are refused because the processor stops."""

    def queue(self, job: Job) -> bool:
        """Take a job, or return False."""

    def run_loop(
        self, name: str, body: Callable[[], None], wake: Callable[[], None] | None = None
    ) -> Loop:
        """Run ``body`` again and again on a thread of its own."""


class Timer:
    """A job that waits for its time; what `Scheduler.schedule` returns."""

    __slots__ = ("_job", "_scheduler")

    def __init__(self, job: Job, scheduler: Scheduler) -> None:
        self._job: Job | None = job
        self._scheduler = scheduler

    @property
    def active(self) -> bool:
        """Whether the job still waits for its time."""
        return self._job is not None

    def cancel(self) -> bool:
        """Forget the job.

        Returns:
            False if it was too late: the job's time had come, or it was cancelled before.
        """
        return self._scheduler._cancel(self)  # noqa: SLF001  the two are one mechanism


class Scheduler:
    """A heap of timers on the monotonic clock; thread-safe.

    A million pending timers are no trouble: scheduling one and taking one out cost O(log n),
    cancelling costs O(1) on average, since cancelled timers stay in the heap until their time
    comes or until they are the larger part of it.

    A job that the processor refuses because its queue is full is not lost: it is parked and
    offered again until it is taken, in order within its priority.
    """

    def __init__(self, processor: JobQueue, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the scheduler; `start` begins the loop.

        Args:
            processor: Who gets the jobs.
            clock: Monotonic seconds.
        """
        self._processor = processor
        self._clock = clock
        # Guards the heap, the jobs of the timers and `_cancelled`.
        self._lock = threading.Lock()
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = itertools.count()
        # How many timers of the heap have lost their job.
        self._cancelled = 0
        # Jobs that the processor refused; touched by the loop only.
        self._parked: tuple[deque[Job], ...] = tuple(deque() for _ in Priority)
        # When the sleeping loop will look at the heap by itself.
        self._sleeps_until = _AWAKE
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

    def start(self) -> Loop:
        """Begin the loop that hands the jobs over.

        Raises:
            RuntimeError: The processor stops.
        """
        return self._processor.run_loop("scheduler", self._turn, self.wake)

    def schedule(self, job: Job, delay: float) -> Timer:
        """Have ``job`` queued after ``delay`` seconds; those of the same time stay in order.

        Args:
            job: What to hand to the processor.
            delay: Seconds from now; a negative one counts as 0.

        Raises:
            ValueError: The delay is not a finite number, or the priority not one of `Priority`.
        """
        if not math.isfinite(delay):
            raise ValueError(f"a delay has to be a finite number of seconds, not {delay}")
        if job.priority not in _PRIORITIES:
            raise ValueError(f"job {job} has priority {job.priority}, expected 0 to 3")
        when = self._clock() + max(0.0, delay)
        timer = Timer(job, self)
        with self._lock:
            heapq.heappush(self._heap, (when, next(self._sequence), timer))
            wake = when < self._sleeps_until
            if wake:
                self._sleeps_until = _AWAKE
        if wake:
            self.wake()
        return timer

    @property
    def pending(self) -> int:
        """How many jobs wait for their time or for a place in the processor's queue."""
        with self._lock:
            return len(self._heap) - self._cancelled + sum(map(len, self._parked))

    def run_due(self) -> float | None:
        """Hand over the jobs whose time has come, as many as one turn allows.

        Returns:
            Seconds until there is something to do again, None if nothing is pending.
        """
        if self._is_littered():
            self._compact()
        self._offer_parked()
        for job in self._take_due():
            parked = self._parked[job.priority]
            if (parked or not self._processor.queue(job)) and not self._processor.stopping:
                parked.append(job)
        with self._lock:
            wait = math.inf
            if self._heap:
                wait = max(0.0, self._heap[0][0] - self._clock())
            if any(self._parked):
                wait = min(wait, RETRY_DELAY)
            self._sleeps_until = self._clock() + wait if wait > 0.0 else _AWAKE
        return None if wait == math.inf else wait

    def wake(self) -> None:
        """Let the loop look at once."""
        # Released already means that the loop is about to look.
        with suppress(RuntimeError):
            self._wakeup.release()

    def _turn(self) -> None:
        wait = self.run_due()
        if wait != 0.0:
            self._wakeup.acquire(
                timeout=LONGEST_SLEEP if wait is None else min(wait, LONGEST_SLEEP)
            )

    def _take_due(self) -> list[Job]:
        due: list[Job] = []
        now = self._clock()
        with self._lock:
            heap = self._heap
            while heap and len(due) < TURN and (heap[0][0] <= now or not heap[0][2].active):
                timer = heapq.heappop(heap)[2]
                job, timer._job = timer._job, None  # noqa: SLF001
                if job is None:
                    self._cancelled -= 1
                else:
                    due.append(job)
        return due

    def _offer_parked(self) -> None:
        for parked in self._parked:
            while parked and self._processor.queue(parked[0]):
                parked.popleft()

    def _cancel(self, timer: Timer) -> bool:
        with self._lock:
            if timer._job is None:  # noqa: SLF001
                return False
            timer._job = None  # noqa: SLF001
            self._cancelled += 1
            wake = self._is_littered() and self._sleeps_until != _AWAKE
            if wake:
                self._sleeps_until = _AWAKE
        if wake:
            self.wake()
        return True

    def _is_littered(self) -> bool:
        return self._cancelled > COMPACT_FROM and 2 * self._cancelled > len(self._heap)

    def _compact(self) -> None:
        """Drop the cancelled timers; the lock is free while the large heap is worked on."""
        with self._lock:
            old, self._heap = self._heap, []
        kept = [entry for entry in old if entry[2].active]
        heapq.heapify(kept)
        with self._lock:
            # What was cancelled after the list was made is still in it, and still counted.
            self._cancelled -= len(old) - len(kept)
            for entry in self._heap:
                heapq.heappush(kept, entry)
            self._heap = kept
