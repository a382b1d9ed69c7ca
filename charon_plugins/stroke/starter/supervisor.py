"""Keeps the daemon running and supplied with what ipsec.conf says."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from charon_plugins.stroke.client.connection import StrokeError
from charon_plugins.stroke.starter.check import complaints
from charon_plugins.stroke.starter.place import ConfError
from charon_plugins.stroke.starter.plan import keep_skipped, reload_plan, start_plan, update_plan
from charon_plugins.stroke.starter.process import ABORT_PATIENCE
from charon_plugins.stroke.wire.message import EncodeError
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_plugins.stroke.starter.convert import Configuration
    from charon_plugins.stroke.starter.plan import Request

#: Exit codes after which starting the daemon again is of no use: failed integrity checks of
#: library and daemon, failed initialisation.
FATAL_EXITS: Final = (64, 65, 66)
#: Seconds until a daemon that ended is started again.
RESTART_DELAY: Final = 5.0
#: How often, and for how long, a started daemon is looked at for being ready, in seconds.
READY_INTERVAL: Final = 0.02
READY_PATIENCE: Final = 10.0


class Process(Protocol):
    """What the supervisor needs of a running daemon."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Exit code, or ``None`` while it runs."""

    def stop(self, patience: float = ...) -> int:
        """End it."""


class Environment(Protocol):
    """What the supervisor needs of the world."""

    def load(self) -> Configuration:
        """Read the configuration; raises `ConfError` or `OSError`."""

    def spawn(self, configuration: Configuration) -> Process:
        """Start the daemon; raises `OSError`."""

    def collect(self) -> None:
        """Log what the daemon has written to its standard error."""

    def is_ready(self) -> bool:
        """True once the started daemon takes requests."""

    def send(self, request: Request) -> None:
        """Send a request and log the reply; raises `StrokeError` or `EncodeError`."""

    def wait(self, seconds: float | None) -> Iterable[int]:
        """Wait for signals, which are returned, or for the time to pass."""

    def log(self, text: str) -> None:
        """Tell the administrator."""


class State(Enum):
    """Where the daemon is in its life."""

    ENDED = auto()
    STARTING = auto()
    READY = auto()


class Supervisor:
    """The starter's main loop: signals in, daemon and messages out.

    TERM and INT stop, HUP reads the file and sends what changed, USR1 sends everything anew.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        clock: Callable[[], float] = time.monotonic,
        update_interval: float | None = None,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; `run` runs.

        Args:
            environment: the world.
            clock: monotonic seconds.
            update_interval: seconds between updates that nobody asks for.
            on_started: called once, when the daemon is ready for the first time and has been sent
                everything. With it somebody waits for the start: one that fails is the end.
        """
        self._environment = environment
        self._clock = clock
        self._update_interval = update_interval
        self._on_started = on_started
        self._process: Process | None = None
        self._state = State.ENDED
        self._due = 0.0
        self._is_stopping = False
        self._exit_code = 0
        self._wanted: Configuration | None = None
        self._loaded: Configuration | None = None

    def run(self, configuration: Configuration) -> int:
        """Start the daemon and look after it until told to stop; the exit code."""
        self._wanted = configuration
        self._report(configuration)
        self._tick()
        while not self._is_stopping:
            signals = set(self._environment.wait(self._patience()))
            if not signals - {signal.SIGCHLD} and self._is_update_due():
                signals.add(signal.SIGHUP)
            self._on_signals(signals)
            self._tick()
        if self._process is not None:
            self._environment.log("stopping the daemon")
            self._process.stop()
        return self._exit_code

    def _patience(self) -> float | None:
        if self._state is State.STARTING:
            return READY_INTERVAL
        if self._state is State.ENDED:
            return max(0.0, self._due - self._clock())
        return self._update_interval

    def _is_update_due(self) -> bool:
        return self._state is State.READY and self._update_interval is not None

    def _on_signals(self, signals: set[int]) -> None:
        if signals & {signal.SIGTERM, signal.SIGINT}:
            self._is_stopping = True
        elif signals & {signal.SIGHUP, signal.SIGUSR1}:
            self._update(is_reload=signal.SIGUSR1 in signals)

    def _tick(self) -> None:
        if self._is_stopping:
            return
        if self._process is not None and (code := self._process.poll()) is not None:
            self._on_exit(code)
        elif self._state is State.ENDED and self._clock() >= self._due:
            self._start()
        elif self._state is State.STARTING:
            self._check_ready()

    def _start(self) -> None:
        if self._wanted is None:
            return
        try:
            self._process = self._environment.spawn(self._wanted)
        except OSError as error:
            self._environment.log(f"the daemon cannot be started: {error}")
            self._is_stopping = True
            self._exit_code = 1
            return
        self._environment.log(f"daemon started as process {self._process.pid}")
        self._state = State.STARTING
        self._due = self._clock() + READY_PATIENCE

    def _check_ready(self) -> None:
        if self._wanted is None or self._process is None:
            return
        if self._environment.is_ready():
            self._state = State.READY
            self._loaded = replace(self._wanted, connections={}, authorities={})
            self._apply(start_plan(self._wanted), self._wanted)
            if self._on_started is not None:
                self._on_started()
                self._on_started = None
        elif self._clock() >= self._due:
            self._environment.log(f"the daemon is not ready after {READY_PATIENCE:g} s, ending it")
            self._process.stop(ABORT_PATIENCE)
            self._environment.collect()
            self._on_end()

    def _on_exit(self, code: int) -> None:
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        self._environment.collect()
        if code in FATAL_EXITS:
            self._environment.log(f"the daemon ended with {how}: starting it again will not help")
            self._give_up()
            return
        self._environment.log(f"the daemon ended with {how}")
        self._on_end()

    def _give_up(self) -> None:
        self._process = None
        self._is_stopping = True
        self._exit_code = 1

    def _on_end(self) -> None:
        if self._on_started is not None:
            self._give_up()
            return
        self._environment.log(f"the daemon is started again in {RESTART_DELAY:g} s")
        self._process = None
        self._loaded = None
        self._state = State.ENDED
        self._due = self._clock() + RESTART_DELAY

    def _update(self, *, is_reload: bool) -> None:
        log = self._environment.log
        try:
            new = self._environment.load()
        except ConfError as error:
            for problem in error.problems:
                log(str(problem))
            log("the file has errors, what was loaded before is kept")
            return
        except OSError as error:
            log(f"the configuration cannot be read, what was loaded before is kept: {error}")
            return
        if self._wanted is not None:
            new = keep_skipped(self._wanted, new)
        self._report(new)
        self._wanted = new
        if self._state is State.READY and self._loaded is not None:
            plan = reload_plan if is_reload else update_plan
            requests = plan(self._loaded, new)
            log(f"{'reload' if is_reload else 'update'}: {len(requests)} changes to send")
            self._apply(requests, new)

    def _report(self, configuration: Configuration) -> None:
        for line in complaints(configuration):
            self._environment.log(line)

    def _apply(self, requests: Iterable[Request], new: Configuration) -> None:
        """Send requests in order, and note what the daemon then has."""
        if self._loaded is None:
            return
        connections, authorities = dict(self._loaded.connections), dict(self._loaded.authorities)
        unsent: set[str] = set()
        for request in requests:
            if request.name in unsent:
                continue
            try:
                self._environment.send(request)
            except EncodeError as error:
                self._environment.log(f"{request} is not sent: {error}")
                unsent.add(request.name)
                continue
            except StrokeError as error:
                # The rest stays due: the next update, or a restarted daemon, gets it.
                self._environment.log(f"{request} failed, the following is not sent: {error}")
                break
            name, kind = request.name, request.message.type
            if kind is MessageType.ADD_CONN:
                connections[name] = new.connections[name]
            elif kind is MessageType.DEL_CONN:
                connections.pop(name, None)
            elif kind is MessageType.ADD_CA:
                authorities[name] = new.authorities[name]
            elif kind is MessageType.DEL_CA:
                authorities.pop(name, None)
        self._loaded = replace(new, connections=connections, authorities=authorities)
