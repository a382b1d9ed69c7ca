"""The bus: log lines by group and level to loggers, typed events to listeners."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

from charon_core.bus.alert import Alert, AlertKind
from charon_core.bus.events import AlertRaised, Event
from charon_core.bus.listener import Group, Level, LogRecord
from charon_core.bus.text import format_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.listener import Listener, Logger
    from charon_core.bus.refs import SaRef

MAX_FAILURES = 10
"""Failures in a row after which a listener or logger is removed."""

SLOW_SECONDS = 0.1
"""A call of a listener or logger that takes longer is reported."""

REPORT_INTERVAL = 60.0
"""Seconds in which the failures or the slowness of one receiver are reported once."""

MAX_DEPTH = 8
"""How deep events may be published by listeners of events."""

_SILENT = int(Level.SILENT)
_LEVELS = tuple(Level(number) for number in range(Level.PRIVATE + 1))
_AUDIT = Level.AUDIT


class _Receiver:
    """A logger or listener with what is known about it; its counts need not be exact."""

    __slots__ = ("failures", "kind", "levels", "name", "next_report", "target", "wanted")

    def __init__(self, target: Any, kind: str, levels: tuple[int, ...] = ()) -> None:
        self.target = target
        self.kind = kind
        self.name = _name_of(target)
        self.levels = levels
        self.wanted: tuple[type[Event], ...] = ()
        self.failures = 0
        self.next_report = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class _ThreadState:
    """What the bus knows of a thread."""

    __slots__ = ("active", "depth", "number", "sa")

    def __init__(self) -> None:
        self.sa: SaRef | None = None
        self.number = 0
        self.depth = 0
        self.active: tuple[_Receiver, ...] = ()


class _Threads(threading.local):
    """Holds the state of each thread, which is looked up once for a line, not for each field."""

    def __init__(self) -> None:
        self.state = _ThreadState()


class Bus:
    """Distributes log lines and events; thread-safe.

    Receivers are called in the thread that speaks, and no lock is held meanwhile: the lists are
    copied on each change and read without. A receiver that was removed may still be in a call.

    A receiver may use the bus from within: what a logger logs is not handed to itself again, and
    events published by listeners go `MAX_DEPTH` deep at most. One that raises is reported with its
    name and removed after `MAX_FAILURES` failures in a row; one that is slow is reported.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Create a bus without receivers.

        Args:
            clock: Seconds since the epoch, for the records.
            stopwatch: Monotonic seconds, for how long receivers take.
        """
        self._clock = clock
        self._stopwatch = stopwatch
        # Guards the changes of the lists; reading them needs no lock.
        self._lock = threading.Lock()
        self._loggers: tuple[_Receiver, ...] = ()
        self._listeners: tuple[_Receiver, ...] = ()
        # The highest level that any logger wants, by group: what `wants` looks at.
        self._max_levels = [_SILENT] * len(Group)
        # Who gets the events of a class, found out at its first event.
        self._routes: dict[type[Event], tuple[_Receiver, ...]] = {}
        self._threads = _Threads()
        self._numbers = itertools.count(1)

    # -- log lines --

    def wants(self, group: Group, level: int) -> bool:
        """Whether any logger takes a line of this group and level."""
        return level <= self._max_levels[group]

    def log(self, group: Group, level: int, message: str, *args: object) -> None:
        """Hand a line to the loggers that want it.

        Args:
            group: The subsystem that speaks.
            level: How much in detail the line is, 0..4.
            message: The text, with ``%`` placeholders if there are arguments.
            args: What fills them. It is shown with control characters and line breaks escaped,
                so text that comes from a peer belongs here and not into the message.
        """
        if level > self._max_levels[group]:
            return
        thread = self._threads.state
        if not thread.number:
            thread.number = next(self._numbers)
        record = LogRecord(
            group,
            _LEVELS[level] if level > 0 else _AUDIT,
            format_message(message, args),
            self._clock(),
            thread.number,
            thread.sa,
        )
        for receiver in self._loggers:
            if receiver.levels[group] >= level and receiver not in thread.active:
                self._call(thread, receiver, receiver.target.log, record)

    def add_logger(self, logger: Logger) -> None:
        """Begin to hand lines to ``logger``; one that is here already has its levels asked anew."""
        receiver = _Receiver(logger, "logger", self._levels_of(logger))
        with self._lock:
            self._loggers = (*_without(self._loggers, logger), receiver)
            self._refresh_levels()
        self._warn_of_private(receiver)

    def remove_logger(self, logger: Logger) -> bool:
        """Hand no more lines to ``logger``; return whether it was here."""
        with self._lock:
            before = self._loggers
            self._loggers = _without(before, logger)
            self._refresh_levels()
            return len(self._loggers) < len(before)

    def reconfigure(self) -> None:
        """Ask all loggers for their levels again, after one of them changed its own."""
        for receiver in self._loggers:
            before = receiver.levels
            receiver.levels = self._levels_of(receiver.target)
            if receiver.levels != before:
                self._warn_of_private(receiver)
        with self._lock:
            self._refresh_levels()

    # -- the thread's IKE_SA --

    def set_sa(self, sa: SaRef | None) -> None:
        """Say which IKE_SA the calling thread holds from now on; its lines carry the name."""
        self._threads.state.sa = sa

    @property
    def current_sa(self) -> SaRef | None:
        """The IKE_SA that the calling thread holds."""
        return self._threads.state.sa

    # -- events --

    def listening(self, kind: type[Event]) -> bool:
        """Whether anybody gets the events of a class: whoever has costly ones asks first."""
        routes = self._routes.get(kind)
        return bool(self._route(kind) if routes is None else routes)

    def publish(self, event: Event) -> None:
        """Hand an event to its listeners, one after the other, in the calling thread."""
        kind = type(event)
        receivers = self._routes.get(kind)
        if receivers is None:
            receivers = self._route(kind)
        if not receivers:
            return
        thread = self._threads.state
        if thread.depth >= MAX_DEPTH:
            self.log(
                Group.DMN,
                Level.CONTROL,
                "%s is not published: listeners publish events %s deep",
                kind.__name__,
                MAX_DEPTH,
            )
            return
        thread.depth += 1
        try:
            for receiver in receivers:
                self._call(thread, receiver, receiver.target.on_event, event)
        finally:
            thread.depth -= 1

    def alert(self, kind: AlertKind, text: str, *, sa: SaRef | None = None, **details: str) -> None:
        """Publish an alert; its IKE_SA is the thread's unless one is given."""
        self.publish(AlertRaised(Alert(kind, sa or self._threads.state.sa, text, details)))

    def add_listener(self, listener: Listener) -> None:
        """Begin to hand events to ``listener``; one that is here already is asked anew for which.

        Raises:
            TypeError: Its `events` is not a tuple of event classes.
        """
        wanted = listener.events
        if not isinstance(wanted, tuple) or not all(
            isinstance(kind, type) and issubclass(kind, Event) for kind in wanted
        ):
            raise TypeError(
                f"listener {_name_of(listener)}: events has to be a tuple of event classes, "
                f"not {wanted!r}"
            )
        receiver = _Receiver(listener, "listener")
        receiver.wanted = wanted
        with self._lock:
            self._listeners = (*_without(self._listeners, listener), receiver)
            self._routes = {}

    def remove_listener(self, listener: Listener) -> bool:
        """Hand no more events to ``listener``; return whether it was here."""
        with self._lock:
            before = self._listeners
            self._listeners = _without(before, listener)
            self._routes = {}
            return len(self._listeners) < len(before)

    # -- inside --

    def _route(self, kind: type[Event]) -> tuple[_Receiver, ...]:
        # A change that comes in between replaces the dict, so that this answer dies with the old.
        routes = self._routes
        route = tuple(
            receiver
            for receiver in self._listeners
            if issubclass(kind, receiver.wanted)
            and (not kind.private or getattr(receiver.target, "private", False) is True)
        )
        routes[kind] = route
        return route

    def _levels_of(self, logger: Logger) -> tuple[int, ...]:
        try:
            return tuple(min(int(logger.level(group)), Level.PRIVATE) for group in Group)
        except Exception as error:  # noqa: BLE001  foreign code
            self.log(
                Group.DMN,
                Level.CONTROL,
                "logger %s stays silent, its levels cannot be had: %s",
                _name_of(logger),
                error,
            )
            return (_SILENT,) * len(Group)

    def _refresh_levels(self) -> None:
        """Work out what `wants` looks at (lock held)."""
        levels = [receiver.levels for receiver in self._loggers]
        self._max_levels = [max((own[group] for own in levels), default=-1) for group in Group]

    def _warn_of_private(self, receiver: _Receiver) -> None:
        groups = [group.name for group in Group if receiver.levels[group] >= Level.PRIVATE]
        if groups:
            self.log(
                Group.DMN,
                Level.CONTROL,
                "logger %s takes level 4 of %s: keys and passwords will be in its log",
                receiver.name,
                "all groups" if len(groups) == len(Group) else ", ".join(groups),
            )

    def _call(
        self,
        thread: _ThreadState,
        receiver: _Receiver,
        function: Callable[[Any], None],
        value: object,
    ) -> None:
        """Call a receiver; whatever it does, the caller goes on."""
        outer = thread.active
        thread.active = (*outer, receiver)
        begin = self._stopwatch()
        try:
            function(value)
            if receiver.failures:
                receiver.failures = 0
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  what a receiver raises stays with it
            self._failed(receiver, error)
        finally:
            seconds = self._stopwatch() - begin
            if seconds > SLOW_SECONDS:
                self._slow(receiver, seconds)
            thread.active = outer

    def _failed(self, receiver: _Receiver, error: BaseException) -> None:
        receiver.failures += 1
        text = f"{receiver} raised {type(error).__name__}{_place_of(error)}"
        if receiver.failures >= MAX_FAILURES:
            with self._lock:
                self._loggers = _without(self._loggers, receiver.target)
                self._listeners = _without(self._listeners, receiver.target)
                self._routes = {}
                self._refresh_levels()
            text = f"{receiver} is removed after {receiver.failures} failures in a row"
            self.alert(AlertKind.LISTENER_FAILURE, text, receiver=receiver.name)
        elif not self._is_due(receiver):
            return
        self.log(Group.DMN, Level.CONTROL, "%s: %s", text, error)

    def _slow(self, receiver: _Receiver, seconds: float) -> None:
        if self._is_due(receiver):
            self.log(
                Group.DMN,
                Level.CONTROL,
                "%s took %.3f s, and whoever speaks waits for it",
                receiver,
                seconds,
            )

    def _is_due(self, receiver: _Receiver) -> bool:
        now = self._stopwatch()
        if now < receiver.next_report:
            return False
        receiver.next_report = now + REPORT_INTERVAL
        return True


def _without(receivers: tuple[_Receiver, ...], target: object) -> tuple[_Receiver, ...]:
    return tuple(receiver for receiver in receivers if receiver.target is not target)


def _name_of(target: object) -> str:
    try:
        return str(getattr(target, "name", "")) or type(target).__name__
    except Exception:  # noqa: BLE001  foreign code
        return type(target).__name__


def _place_of(error: BaseException) -> str:
    """Return where an exception was raised, as `` at file:line``."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
