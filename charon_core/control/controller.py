"""The door through which plugins command the daemon: initiate, terminate, route, list."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Level
from charon_core.control.following import Follower, Following
from charon_core.control.jobs import Initiation, Rekeying, Termination
from charon_core.control.result import Result
from charon_core.control.stream import LogStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.bus import Bus
    from charon_core.bus.listener import LogRecord
    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.control.jobs import Operation
    from charon_core.control.paths import PathFinder
    from charon_core.control.routing import Routing, Unrouted
    from charon_core.processing.job import Job
    from charon_core.processing.scheduler import Timer
    from charon_core.sa.manager import IkeSaManager
    from charon_core.sa.shunts import Shunt
    from charon_core.sa.snapshot import IkeSaSnapshot
    from charon_core.sa.traps import Trap

_POLL: Final = 0.25
"""Seconds between two looks at whether the caller has waited for long enough."""


class Controller:
    """Commands to the daemon.

    A command runs as a job. With `on_log` the caller waits for its end, and is handed every log
    line of the IKE_SA in question up to `level` meanwhile; returning False from `on_log` ends
    the waiting (TIMEOUT), not the command. Without `on_log` the call returns at once (SUCCESS).

    Who has many to wait for gives `on_result`, too: then the call returns at once, SUCCESS if the
    command has begun (else `on_result` is never called), and no thread waits. Both are called on
    threads of the daemon, and must not block.
    """

    def __init__(
        self,
        manager: IkeSaManager,
        bus: Bus,
        paths: PathFinder,
        submit: Callable[[Job], bool],
        schedule: Callable[[Job, float], Timer],
        *,
        routing: Routing | None = None,
    ) -> None:
        """Connect to the IKE_SAs.

        Args:
            manager: Owns the IKE_SAs.
            bus: Where log lines come from.
            paths: Finds the addresses between which a connection is to be initiated.
            submit: Queues a job; False if the daemon stops or its queue is full.
            schedule: Has a job run after so many seconds.
            routing: Installs shunts and traps; None where there are none.
        """
        self._manager = manager
        self._bus = bus
        self._paths = paths
        self._submit = submit
        self._schedule = schedule
        self._routing = routing

    def initiate(
        self,
        peer: PeerConfig,
        child: ChildConfig | None = None,
        *,
        timeout: float | None = None,
        on_log: Callable[[LogRecord], bool] | None = None,
        on_result: Callable[[Result], None] | None = None,
        level: Level = Level.CONTROL,
    ) -> Result:
        """Bring a CHILD_SA up, and its IKE_SA if there is none yet.

        A connection without CHILD_SAs is brought up alone, if its peer takes that (RFC 6023).

        Args:
            peer: The connection.
            child: Which of its CHILD_SAs; None for the first.
            timeout: Seconds to wait at the most; None for as long as it takes.
            on_log: Takes log lines while the caller waits; None not to wait.
            on_result: Takes the result, so that nobody has to wait; only with `on_log`.
            level: The highest level of these lines.
        """
        chosen = child or next(iter(peer.children), None)
        job = Initiation(self._manager, self._paths, peer, chosen)
        return self._run(job, timeout, on_log, on_result, level)

    def terminate_ike(
        self,
        unique_id: int,
        *,
        timeout: float | None = None,
        on_log: Callable[[LogRecord], bool] | None = None,
        on_result: Callable[[Result], None] | None = None,
        level: Level = Level.CONTROL,
    ) -> Result:
        """Delete an IKE_SA with its CHILD_SAs; arguments as of `initiate`."""
        return self._run(
            Termination(self._manager, ike=unique_id), timeout, on_log, on_result, level
        )

    def terminate_child(
        self,
        unique_id: int,
        *,
        timeout: float | None = None,
        on_log: Callable[[LogRecord], bool] | None = None,
        on_result: Callable[[Result], None] | None = None,
        level: Level = Level.CONTROL,
    ) -> Result:
        """Delete a CHILD_SA; arguments as of `initiate`."""
        return self._run(
            Termination(self._manager, child=unique_id), timeout, on_log, on_result, level
        )

    def rekey_ike(
        self,
        unique_id: int,
        *,
        timeout: float | None = None,
        on_log: Callable[[LogRecord], bool] | None = None,
        on_result: Callable[[Result], None] | None = None,
        level: Level = Level.CONTROL,
    ) -> Result:
        """Replace an IKE_SA by a new one; arguments as of `initiate`."""
        return self._run(Rekeying(self._manager, ike=unique_id), timeout, on_log, on_result, level)

    def rekey_child(
        self,
        unique_id: int,
        *,
        timeout: float | None = None,
        on_log: Callable[[LogRecord], bool] | None = None,
        on_result: Callable[[Result], None] | None = None,
        level: Level = Level.CONTROL,
    ) -> Result:
        """Replace a CHILD_SA by a new one; arguments as of `initiate`."""
        return self._run(
            Rekeying(self._manager, child=unique_id), timeout, on_log, on_result, level
        )

    def route(self, peer: PeerConfig, child: ChildConfig) -> Result:
        """Install the trap of a CHILD_SA, or a shunt; on this thread, which may take a while."""
        routing = self._routing
        worked = routing is not None and routing.route(peer, child)
        return Result.SUCCESS if worked else Result.FAILED

    def unroute(self, name: str) -> Unrouted | None:
        """Remove the shunt or the trap of that name, and tell which; None if there is none.

        What is established stays up.
        """
        return None if self._routing is None else self._routing.unroute(name)

    def list_shunts(self) -> list[Shunt]:
        """Return the shunts that are installed."""
        return [] if self._routing is None else self._routing.shunts.all()

    def list_traps(self) -> list[Trap]:
        """Return the traps that are installed."""
        return [] if self._routing is None else self._routing.traps.all()

    def list_ike_sas(self, *, wait: bool = True) -> list[IkeSaSnapshot]:
        """Return all IKE_SAs, newest first; without `wait` those at work are left out."""
        return list(self._manager.snapshots(wait=wait))

    def _run(
        self,
        operation: Operation,
        timeout: float | None,
        on_log: Callable[[LogRecord], bool] | None,
        on_result: Callable[[Result], None] | None,
        level: Level,
    ) -> Result:
        if on_log is None:
            return Result.SUCCESS if self._submit(operation) else Result.FAILED
        if on_result is not None:
            following = Following(
                self._bus, operation, Follower(on_log, on_result, level), self._submit
            )
            if not following.begin():
                return Result.FAILED
            if timeout is not None:
                following.limit(self._schedule, timeout)
            return Result.SUCCESS
        stream = LogStream(level, operation)
        self._bus.add_logger(stream)
        try:
            if not self._submit(operation):
                return Result.FAILED
            return self._wait(operation, stream, timeout, on_log)
        finally:
            self._bus.remove_logger(stream)

    def _wait(
        self,
        operation: Operation,
        stream: LogStream,
        timeout: float | None,
        on_log: Callable[[LogRecord], bool],
    ) -> Result:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            ended = operation.ended.is_set()
            left = _POLL if deadline is None else min(_POLL, deadline - time.monotonic())
            try:
                record = stream.get(0.0 if ended else max(0.0, left))
            except queue.Empty:
                if ended:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    return Result.TIMEOUT
                continue
            if record is not None and not on_log(record):
                return Result.TIMEOUT
        return Result.of(operation)
