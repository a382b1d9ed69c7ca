"""Hands complete requests to worker threads: so many at once, the others in turn."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from charon_core.processing.job import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.server.errand import Errand
    from charon_plugins.stroke.wire.message import Message

#: Requests that wait for their turn; further clients are turned away.
MAX_WAITING: Final = 256
#: Clients that wait for peers; further ones are turned away.
MAX_ERRANDS: Final = 256


class Handler(Protocol):
    """What executes requests."""

    def waits(self, message: Message) -> bool:
        """True if the request may keep its worker waiting for a person."""

    def handle(self, message: Message, channel: Channel) -> Errand | None:
        """Execute a request and write the reply; returns what of it waits for peers."""


class _RequestJob(Job):
    """One request on its way through the worker threads."""

    __slots__ = ("_done", "_handler", "channel", "is_waiting_kind", "message", "priority")

    def __init__(
        self,
        message: Message,
        channel: Channel,
        handler: Handler,
        done: Callable[[_RequestJob, Errand | None], None],
    ) -> None:
        self.message = message
        self.channel = channel
        self.is_waiting_kind = handler.waits(message)
        # What waits for a person may not occupy the workers that answer 'status'.
        self.priority = Priority.MEDIUM if self.is_waiting_kind else Priority.HIGH
        self._handler = handler
        self._done = done

    def execute(self) -> None:
        """Execute the request; unless it waits for peers, the client is let go in any case."""
        errand = None
        try:
            errand = self._handler.handle(self.message, self.channel)
        except Exception:
            if self.wants_reply:
                self.channel.write_line("failed by a fault of the daemon's own: see its log")
            raise
        finally:
            if errand is None:
                self.channel.close()
            self._done(self, errand)

    @property
    def wants_reply(self) -> bool:
        """False for what is done even if its client does not wait, like 'up-nb'."""
        return self.message.wants_output

    def __str__(self) -> str:
        return f"stroke {self.message.label}"


class Dispatcher:
    """Runs at most so many requests at once.

    Of these, one place is kept for requests that wait for nobody, so that people who are asked for
    a passphrase cannot lock out the others. Clients that wait for peers have no place at all.
    """

    def __init__(
        self,
        handler: Handler,
        queue: Callable[[Job], bool],
        report: Callable[[str], None],
        max_concurrent: int,
    ) -> None:
        """Prepare.

        Args:
            handler: executes requests, on worker threads.
            queue: hands a job to the workers; False if they do not take it.
            report: takes a line about a client that was turned away.
            max_concurrent: requests at once.
        """
        self._handler = handler
        self._queue = queue
        self._report = report
        self._max_concurrent = max_concurrent
        # Guards what follows.
        self._lock = Lock()
        self._running: set[_RequestJob] = set()
        self._waiting: deque[_RequestJob] = deque()
        self._errands: set[Errand] = set()
        self._is_closed = False

    def submit(self, message: Message, channel: Channel) -> None:
        """Execute a request as soon as there is a place for it."""
        job = _RequestJob(message, channel, self._handler, self._done)
        with self._lock:
            gone = self._take_gone() if len(self._waiting) >= MAX_WAITING else []
            is_full = len(self._waiting) >= MAX_WAITING
            is_taken = not (is_full or self._is_closed)
            if is_taken:
                self._waiting.append(job)
        for left in gone:
            left.channel.close()
        if is_taken:
            self._start_waiting()
        else:
            self._turn_away(job, "too many requests wait already" if is_full else "we stop")

    def set_max_concurrent(self, number: int) -> None:
        """Change how many requests are executed at once."""
        self._max_concurrent = number
        self._start_waiting()

    def close(self) -> None:
        """Turn away who waits, and let those who are served know that it is over."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, deque()
            served = [job.channel for job in self._running]
            served += [errand.channel for errand in self._errands]
        for job in waiting:
            job.channel.close()
        for channel in served:
            channel.hang_up()

    def _done(self, job: _RequestJob, errand: Errand | None) -> None:
        is_taken = False
        with self._lock:
            self._running.discard(job)
            if errand is not None and not self._is_closed:
                is_taken = len(self._errands) < MAX_ERRANDS
                if is_taken:
                    self._errands.add(errand)
        if errand is not None and is_taken:
            errand.begin(lambda: self._end(errand))
        elif errand is not None:
            self._turn_away(job, "too many clients wait for peers already")
        self._start_waiting()

    def _end(self, errand: Errand) -> None:
        with self._lock:
            self._errands.discard(errand)
        errand.channel.close()

    def _take_gone(self) -> list[_RequestJob]:
        """Take out the requests whose clients wait no longer (lock held)."""
        gone = [job for job in self._waiting if job.wants_reply and job.channel.is_lost]
        for job in gone:
            self._waiting.remove(job)
        return gone

    def _start_waiting(self) -> None:
        while (job := self._next()) is not None:
            if job.wants_reply and job.channel.is_lost:
                with self._lock:
                    self._running.discard(job)
                self._report(f"{job} dropped: its client waits no longer")
                job.channel.close()
            elif not self._queue(job):
                with self._lock:
                    self._running.discard(job)
                self._turn_away(job, "the workers take no more jobs")

    def _next(self) -> _RequestJob | None:
        """Take the first request that has a place now."""
        with self._lock:
            if len(self._running) >= self._max_concurrent:
                return None
            waiting_kinds = sum(job.is_waiting_kind for job in self._running)
            may_wait = waiting_kinds < max(1, self._max_concurrent - 1)
            for job in self._waiting:
                if may_wait or not job.is_waiting_kind:
                    self._waiting.remove(job)
                    self._running.add(job)
                    return job
            return None

    def _turn_away(self, job: _RequestJob, reason: str) -> None:
        self._report(f"{job} refused: {reason}")
        if job.wants_reply:
            job.channel.write_line(f"refused: {reason}")
        job.channel.close()
