"""updown as a plugin: its hooks, and the listener that has commands run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.bus.events import ChildTraffic
from charon_core.plugin import Feature, hookimpl
from charon_core.settings.option import option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.bus.bus import Bus
    from charon_core.bus.events import Event
    from charon_core.plugin.facade import Daemon
    from charon_plugins.updown.runner import Runner

STOP_PATIENCE: Final = 10.0
"""Seconds that commands which still wait may take all together when the daemon stops."""


@dataclass(frozen=True, slots=True)
class UpdownSettings:
    """``[plugins.updown]``."""

    at_once: int = option(
        2, "Commands that run at once; those of one CHILD_SA never do.", minimum=1, maximum=64
    )
    timeout: float = option(
        30.0, "Time that a command has; then it is killed.", unit="s", minimum=1, maximum=3600
    )


class UpdownPlugin:
    """Runs the command of a connection (leftupdown) whenever it comes up or goes down."""

    name = "updown"
    events = (ChildTraffic,)

    def __init__(self) -> None:
        self._daemon: Daemon | None = None
        self._runner: Runner | None = None

    @hookimpl
    def charon_features(self) -> Iterable[Feature]:
        """Tell what updown provides."""
        return [Feature("updown:command")]

    @hookimpl
    def charon_create(self, daemon: Daemon) -> None:
        """Read the settings."""
        from charon_core.settings import parse_table
        from charon_plugins.updown.command import run
        from charon_plugins.updown.runner import Runner

        settings = parse_table(daemon.settings, UpdownSettings)
        self._daemon = daemon
        self._runner = Runner(
            daemon.processor.queue,
            daemon.bus,
            run,
            at_once=settings.at_once,
            timeout=settings.timeout,
        )

    @hookimpl
    def charon_register_listeners(self, bus: Bus) -> None:
        """Listen for CHILD_SAs that begin or cease to carry traffic."""
        bus.add_listener(self)

    @hookimpl
    def charon_destroy(self) -> None:
        """Run what still waits: rules of a firewall must not outlive their tunnel."""
        if self._runner is not None:
            self._runner.finish(STOP_PATIENCE)

    def on_event(self, event: Event) -> None:
        """Have the command run once for each pair of networks."""
        if not isinstance(event, ChildTraffic) or not event.command:
            return
        from charon_plugins.updown.environment import variables
        from charon_plugins.updown.runner import Task

        daemon, runner = self._daemon, self._runner
        if daemon is None or runner is None:
            return
        interface = daemon.kernel.net.interface_of(event.local) or ""
        # Neither addresses nor numbers: both may change while it is up.
        key = f"{event.child.name} ({event.remote_id})"
        for pair in event.pairs:
            runner.add(Task(key, event.command, variables(event, pair, interface)))
