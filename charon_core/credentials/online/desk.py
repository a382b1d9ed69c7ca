"""Takes errands that ask servers: so many at once, each once, on workers that hold nothing."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from charon_core.processing.job import Job

MAX_WAITING: Final = 4096
"""Errands that wait for their turn; further ones are turned away."""

MAX_WAITERS: Final = 1024
"""Who is told of the end of one errand; further ones look again when their time is over."""


class _Case:
    """One errand and all who wait for its end."""

    __slots__ = ("key", "name", "waiters", "work")

    def __init__(self, key: Hashable, name: str, work: Callable[[], None]) -> None:
        self.key = key
        self.name = name
        self.work = work
        self.waiters: list[Callable[[], object]] = []


class Desk:
    """Runs blocking work on a few workers at the most; thread-safe.

    Each errand is a job of class LOW of its own, so that others of that class get their turn, and
    that the watchdog sees how long each takes.
    """

    def __init__(
        self,
        submit: Callable[[Job], bool],
        at_once: int,
        report: Callable[[str], object] = lambda _text: None,
        *,
        waiting: int = MAX_WAITING,
    ) -> None:
        """Open.

        Args:
            submit: Queues a job.
            at_once: Workers that may be occupied at the same time.
            report: Takes a line about work that raised.
            waiting: Errands that may wait for their turn.
        """
        self._submit = submit
        self._at_once = at_once
        self._report = report
        self._limit = waiting
        # Guards everything below.
        self._lock = threading.Lock()
        self._cases: dict[Hashable, _Case] = {}
        self._waiting: deque[_Case] = deque()
        self._workers = 0

    def ask(
        self, key: Hashable, name: str, work: Callable[[], None], on_done: Callable[[], object]
    ) -> bool:
        """Have work done, unless the same is waiting or under way already; never waits.

        Args:
            key: Work of the same key is the same.
            name: How the log calls it.
            work: Blocks as long as it likes to; its result goes wherever it puts it.
            on_done: Called when it has ended, however that is; not if too many wait for it.

        Returns:
            False if it is turned away: nothing is done, and nobody is called.
        """
        with self._lock:
            case = self._cases.get(key)
            if case is not None:
                # Not turned away: that would count as not to be had, and a peer whose revocation is
                # about to be told could bring it about by many tries at once.
                if len(case.waiters) < MAX_WAITERS:
                    case.waiters.append(on_done)
                return True
            if len(self._waiting) >= self._limit:
                return False
            case = self._cases[key] = _Case(key, name, work)
            case.waiters.append(on_done)
            self._waiting.append(case)
            if self._workers >= self._at_once:
                return True
            self._workers += 1
        if self._submit(self._job(case)):
            return True
        with self._lock:
            self._workers -= 1
            if self._workers or case not in self._waiting:
                # Somebody else gets to it, or has.
                return True
            self._waiting.remove(case)
            del self._cases[key]
            others = [waiter for waiter in case.waiters if waiter is not on_done]
        for waiter in others:
            waiter()
        return False

    def _job(self, case: _Case) -> Job:
        return CallbackJob(f"ask servers: {case.name}", self._serve, Priority.LOW)

    def _serve(self) -> None:
        """Do what waits longest, and have a job for the next."""
        with self._lock:
            case = self._waiting.popleft() if self._waiting else None
        if case is not None:
            self._run(case)
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            if following is None:
                self._workers -= 1
                return
        if not self._submit(self._job(following)):
            # The daemon stops, or is overloaded: the next who asks has the rest served, too.
            with self._lock:
                self._workers -= 1

    def _run(self, case: _Case) -> None:
        try:
            case.work()
        except Exception as error:  # noqa: BLE001 - who waits must be told all the same
            self._report(f"asking servers about {case.name} failed: {type(error).__name__}")
        finally:
            with self._lock:
                self._cases.pop(case.key, None)
            for on_done in case.waiters:
                on_done()
