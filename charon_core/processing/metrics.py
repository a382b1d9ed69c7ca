"""What the processor tells about itself: a snapshot of its workers and queues."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BusyJob:
    """A job in execution.

    Attributes:
        name: The job's name.
        seconds: For how long it has been running.
        thread: The identifier of its thread, as of `threading.get_ident`.
        serial: A number that no other execution of a job by the processor has.
    """

    name: str
    seconds: float
    thread: int
    serial: int


@dataclass(frozen=True, slots=True)
class ProcessorMetrics:
    """What the processor is doing; the tuples of four are indexed by `Priority`.

    Attributes:
        total: All threads, those of loops included.
        idle: Threads that wait for a job.
        working: Threads at work; loops count as CRITICAL.
        queued: Jobs that wait for a worker.
        dropped: Jobs refused since their queue was full, or discarded by the stop.
        executed: Jobs that were run, those that raised included.
        failed: How often a job or the body of a loop raised.
        busy: The jobs in execution: name and seconds.
    """

    total: int
    idle: int
    working: tuple[int, ...]
    queued: tuple[int, ...]
    dropped: tuple[int, ...]
    executed: int
    failed: int
    busy: tuple[tuple[str, float], ...]
