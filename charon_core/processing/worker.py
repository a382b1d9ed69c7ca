"""A worker thread of the processor, and how workers are reserved for priorities."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from charon_core.processing.job import Priority

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Mapping

    from charon_core.processing.job import Job


class Worker:
    """One thread of the pool and what it is doing."""

    __slots__ = (
        "executed", "idle", "job", "priority", "queues", "serial", "since", "thread", "wakeup",
    )  # fmt: skip

    def __init__(self, queues: tuple[deque[Job], ...], idle: list[Worker]) -> None:
        """Create a worker that takes jobs from ``queues`` and waits in ``idle``."""
        self.queues = queues
        self.idle = idle
        # A bare lock as a binary semaphore is the cheapest way to make one chosen thread wait:
        # a Condition allocates such a lock for each wait, and notifies under a second one.
        self.wakeup = threading.Lock()
        self.wakeup.acquire()
        self.job: Job | None = None
        self.priority = 0
        self.since = 0.0
        self.serial = 0
        self.executed = 0
        self.thread: threading.Thread | None = None


def default_reserved(threads: int) -> dict[Priority, int]:
    """Return how many of so many workers are kept free for each priority.

    Of 16: one for CRITICAL, one for HIGH and above, four for MEDIUM and above, so that LOW jobs
    can occupy ten workers at most and MEDIUM ones fourteen.
    """
    if threads < 3:
        return {}
    return {Priority.CRITICAL: 1, Priority.HIGH: 1, Priority.MEDIUM: (threads - 2) * 2 // 7}


def lowest_priorities(threads: int, reserved: Mapping[Priority, int]) -> list[Priority]:
    """Return for each of so many workers the lowest priority that it takes."""
    lowest = [p for p in Priority if p is not Priority.LOW for _ in range(reserved.get(p, 0))]
    return lowest + [Priority.LOW] * (threads - len(lowest))
