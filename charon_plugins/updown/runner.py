"""Runs commands on worker threads: those of one CHILD_SA in order, few at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.bus.listener import Group, Level
from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.bus.bus import Bus
    from charon_core.processing.job import Job
    from charon_core.processing.program import Outcome

MAX_WAITING: Final = 4096
"""Commands that may wait; a further one is not run, which is told."""


class Task(NamedTuple):
    """A command to run.

    Attributes:
        key: Those with the same one run one after the other.
        command: For the shell.
        environment: All of it.
    """

    key: str
    command: str
    environment: Mapping[str, str]


class Runner:
    """A queue for each key, and a bounded number of jobs that serve them."""

    def __init__(
        self,
        submit: Callable[[Job], bool],
        bus: Bus,
        execute: Callable[[str, Mapping[str, str], float], Outcome],
        *,
        at_once: int,
        timeout: float,
    ) -> None:
        """Connect.

        Args:
            submit: Queues a job; False if it is not taken.
            bus: Takes log lines.
            execute: Runs a command; see `command.run`.
            at_once: Commands that may run at once.
            timeout: Seconds that one may take.
        """
        self._submit = submit
        self._bus = bus
        self._execute = execute
        self._at_once = at_once
        self._timeout = timeout
        # Guards the following.
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Task]] = {}
        self._ready: deque[str] = deque()
        self._waiting = 0
        self._running = 0

    def add(self, task: Task) -> None:
        """Have a command run after those that were added before with its key."""
        with self._lock:
            is_full = self._waiting >= MAX_WAITING
            if not is_full:
                self._waiting += 1
                queue = self._queues.get(task.key)
                if queue is None:
                    self._queues[task.key] = deque([task])
                    self._ready.append(task.key)
                else:
                    queue.append(task)
        if is_full:
            self._say(
                Level.AUDIT, "updown: %d commands wait already, '%s' (%s) is not run",
                MAX_WAITING, task.command, task.key,
            )  # fmt: skip
        self._start()

    def finish(self, patience: float) -> None:
        """Run what still waits, on this thread, for so many seconds at most."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            task = self._next()
            if task is None:
                break
            self._run(task, min(left, self._timeout))
            self._release(task)
        if self._waiting:
            self._say(Level.AUDIT, "updown: %d commands are not run any more", self._waiting)

    def _start(self) -> None:
        with self._lock:
            if not self._ready or self._running >= self._at_once:
                return
            self._running += 1
        if not self._submit(CallbackJob("updown", self._work, Priority.LOW)):
            # The daemon stops, or is overloaded: the next command, or `finish`, finds it here.
            with self._lock:
                self._running -= 1

    def _work(self) -> None:
        try:
            task = self._next()
            if task is not None:
                try:
                    self._run(task, self._timeout)
                finally:
                    self._release(task)
        finally:
            with self._lock:
                self._running -= 1
            self._start()

    def _next(self) -> Task | None:
        with self._lock:
            if not self._ready:
                return None
            self._waiting -= 1
            return self._queues[self._ready.popleft()].popleft()

    def _release(self, task: Task) -> None:
        with self._lock:
            if self._queues[task.key]:
                self._ready.append(task.key)
            else:
                del self._queues[task.key]

    def _run(self, task: Task, timeout: float) -> None:
        what = f"updown: {task.environment.get('PLUTO_VERB', '')} of {task.key}"
        try:
            outcome = self._execute(task.command, task.environment, timeout)
        except OSError as error:
            self._say(Level.AUDIT, "%s: cannot run '%s': %s", what, task.command, error)
            return
        for line in outcome.output.splitlines():
            self._say(Level.CONTROL, "%s: %s", what, line)
        if outcome.code is None:
            self._say(Level.AUDIT, "%s: '%s' was ended after %g s", what, task.command, timeout)
        elif outcome.code:
            self._say(Level.AUDIT, "%s: '%s' ended with %d", what, task.command, outcome.code)

    def _say(self, level: Level, message: str, *args: object) -> None:
        self._bus.log(Group.CHD, level, message, *args)
