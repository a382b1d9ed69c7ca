"""What the worker threads do: jobs and their priorities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Priority(IntEnum):
    """The class of a job; the lower the number, the sooner it is run.

    CRITICAL is for the long-lived loops (receiver, scheduler, control sockets), HIGH for work that
    others wait for and that is short, MEDIUM for the processing of messages, LOW for what may
    wait or is slow (fetching revocation lists, databases).
    """

    CRITICAL = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3


class Job(ABC):
    """A piece of work that a worker thread runs once.

    Jobs carry identifiers of IKE_SAs, not the objects, and check when they run whether what they
    are to do is still due. ``str(job)`` is its name in logs and in the watchdog's report.
    """

    __slots__ = ()

    priority: Priority = Priority.MEDIUM

    @abstractmethod
    def execute(self) -> None:
        """Do the work; whatever it raises is reported with the job's name."""

    def __str__(self) -> str:
        return type(self).__name__


class CallbackJob(Job):
    """A job that calls a function without arguments."""

    __slots__ = ("_function", "_name", "priority")

    def __init__(
        self, name: str, function: Callable[[], None], priority: Priority = Priority.MEDIUM
    ) -> None:
        """Remember what to call.

        Args:
            name: How logs and the watchdog call the job.
            function: What is called, once, on a worker thread.
            priority: The class of the job.
        """
        self._name = name
        self._function = function
        self.priority = priority

    def execute(self) -> None:
        """Call the function."""
        self._function()

    def __str__(self) -> str:
        return self._name
