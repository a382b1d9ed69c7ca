"""The plugin host: finds plugins, loads them in order, and keeps their faults to themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from charon_core.bus.listener import Level
from charon_core.bus.log_format import LeveledLogger
from charon_core.plugin.distributions import find_plugins
from charon_core.plugin.features import order_plugins, providers
from charon_core.plugin.info import PluginInfo, PluginState
from charon_core.plugin.instance import Caller, Instance, PluginFailure
from charon_core.plugin.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from click import Group as CommandGroup

    from charon_core.bus import Group
    from charon_core.bus.bus import Bus
    from charon_core.kernel.backends import BackendRegistry
    from charon_core.plugin.distributions import FoundPlugin
    from charon_core.plugin.facade import Daemon
    from charon_core.settings import Paths, Settings

Report = Callable[..., None]
"""``report(level, message, *args)``: a line for the log."""


class PluginHost:
    """All plugins of one daemon.

    A daemon calls `discover`, `prepare`, `load`, then `reload` as often as it likes, and at the
    end `destroy`, which goes along with no other call. No call raises for what a plugin did: the
    plugin is disabled, with the reason in its `PluginInfo` and in the log.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        *,
        environment: Mapping[str, str] = os.environ,
        installed: Callable[[], Sequence[FoundPlugin]] = find_plugins,
        is_root: bool | None = None,
    ) -> None:
        """Set up a host; nothing is looked for yet.

        Args:
            settings: What may load, and the plugins' tables.
            report: ``report(level, message, *args)``: writes a log line.
            environment: Where ``CHARON_PLUGINS`` and ``CHARON_TRACE_HOOKS`` are looked up.
            installed: Returns the plugins that are installed.
            is_root: Whether the rule for root's daemons applies; None asks the system.
        """
        self._settings = settings
        self._report = report
        self._installed = installed
        self._selection = Selection.make(settings.plugins, environment, is_root=is_root)
        self._caller = Caller(environment)
        self._all: list[Instance] = []
        self._order: list[Instance] = []
        # Guards the two below; it is not held while a hook runs.
        self._lock = threading.Lock()
        self._reloading = False
        self._wanted: Settings | None = None
        # Lines that wait for the loggers, which are plugins as well; None: no longer needed.
        self._early: list[tuple[Any, ...]] | None = []

    def plugins(self) -> tuple[PluginInfo, ...]:
        """Return all plugins that are installed, or were asked for, in the order of loading."""
        rest = [instance for instance in self._all if instance not in self._order]
        return tuple(instance.info() for instance in (*self._order, *rest))

    # -- start --------------------------------------------------------------------------------

    def discover(self) -> None:
        """Find the plugins, import those that may load, and put them in order."""
        for choice in self._selection.choose(self._installed()):
            instance = Instance(choice.plugin)
            self._all.append(instance)
            if choice.missing:
                self._refuse(instance, PluginState.UNMET, choice.reason)
            elif choice.reason:
                instance.state, instance.reason = PluginState.BLOCKED, choice.reason
                self._say(Level.MORE, "plugin '%s' not loaded: %s", instance.name, choice.reason)
            else:
                try:
                    self._caller.bring_in(instance)
                except PluginFailure as failure:
                    self._fail(instance, failure)
        self._arrange()

    def prepare(self, bus: Bus, kernel: BackendRegistry, paths: Paths) -> None:
        """Let plugins register what the daemon itself stands on: loggers, kernel backends."""
        for instance in self._living():
            arguments = {
                "bus": instance.ledger.watch(bus),
                "log": self._settings.log,
                "paths": paths,
            }
            self._prepare(instance, "charon_register_loggers", **arguments)
        self._flush()
        for instance in self._living():
            watched = instance.ledger.watch(kernel)
            self._prepare(instance, "charon_register_kernel", kernel=watched)

    def _prepare(self, instance: Instance, hook: str, **arguments: object) -> None:
        """Call a hook from before the creation; a plugin that has it may need a `destroy`."""
        if self._call(instance, hook, **arguments) and hook in instance.hooks:
            instance.begun = True

    def load(self, daemon: Daemon) -> None:
        """Create each plugin and let it register, in the order of dependencies.

        Args:
            daemon: The facade; each plugin gets one of its own, made after this.
        """
        for instance in self._living():
            self._load(instance, daemon)
        loaded = [i.name for i in self._order if i.state is PluginState.LOADED]
        self._say(Level.CONTROL, "loaded plugins: %s", " ".join(loaded) or "none")

    def _load(self, instance: Instance, daemon: Daemon) -> None:
        watch = instance.ledger.watch
        own = replace(
            daemon,
            settings=self._settings.plugins.table(instance.name),
            core=_without_tables(daemon.core),
            bus=watch(daemon.bus),
            backends=watch(daemon.backends),
            credentials=watch(daemon.credentials),
            eap=watch(daemon.eap),
            attributes=watch(daemon.attributes),
            kernel=watch(daemon.kernel),
        )
        if not self._call(instance, "charon_create", daemon=own):
            return
        instance.begun = True
        registrations: tuple[tuple[str, dict[str, object]], ...] = (
            ("charon_register_credentials", {"credentials": own.credentials}),
            ("charon_register_backends", {"backends": own.backends}),
            ("charon_register_listeners", {"bus": own.bus}),
            ("charon_register_eap_methods", {"eap": own.eap}),
            ("charon_register_attributes", {"attributes": own.attributes}),
        )
        for hook, arguments in registrations:
            if not self._call(instance, hook, **arguments):
                return
        instance.state = PluginState.LOADED
        self._say(Level.MORE, "plugin '%s' %s loaded", instance.name, instance.found.version)

    # -- later --------------------------------------------------------------------------------

    def reload(self, settings: Settings) -> None:
        """Hand new settings to every plugin; which plugins are loaded does not change.

        May be called from any thread. While a reload goes on, a further one is kept and made
        after it, so that no plugin sees two at a time; of several only the last counts.
        """
        with self._lock:
            self._wanted = settings
            if self._reloading:
                return
            self._reloading = True
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                if wanted is None:
                    self._reloading = False
                    return
            self._reload(wanted)

    def _reload(self, settings: Settings) -> None:
        self._settings = settings
        core = _without_tables(settings)
        for instance in self._living():
            table = settings.plugins.table(instance.name)
            self._call(instance, "charon_reload", settings=table, core=core)

    def set_log_level(self, bus: Bus, group: Group | None, level: Level) -> None:
        """Change the level of a group, or of all with None, in the loggers of all plugins."""
        for instance in self._living():
            for logger in instance.ledger.held("remove_logger"):
                if isinstance(logger, LeveledLogger):
                    logger.set_level(group, level)
        bus.reconfigure()

    def give_logs_to(self, uid: int, gid: int) -> None:
        """Prepare the loggers of all plugins for the process becoming another user."""
        for instance in self._living():
            for logger in instance.ledger.held("remove_logger"):
                if isinstance(logger, LeveledLogger):
                    logger.give_to(uid, gid)

    def destroy(self) -> None:
        """Stop every plugin, the last created first, and take back what it registered."""
        for instance in reversed([*self._living()]):
            failed = self._take_down(instance)
            instance.state = PluginState.FAILED if failed else PluginState.STOPPED
            instance.reason = failed

    def register_commands(self, cli: CommandGroup) -> None:
        """Let plugins add subcommands to the command line; a host of its own does only this."""
        self._flush()
        for instance in self._living():
            self._call(instance, "charon_register_commands", cli=cli)

    # -- faults -------------------------------------------------------------------------------

    def _call(self, instance: Instance, hook: str, **arguments: object) -> bool:
        """Call a hook; False if the plugin failed and is disabled now."""
        try:
            self._caller.call(instance, hook, **arguments)
        except PluginFailure as failure:
            self._fail(instance, failure)
            return False
        return True

    def _fail(self, instance: Instance, failure: PluginFailure) -> None:
        """Disable a plugin, and those that cannot do without it."""
        for line in failure.details.splitlines():
            self._say(Level.MORE, "plugin '%s': %s", instance.name, line)
        self._refuse(instance, PluginState.FAILED, str(failure))
        refused = [instance]
        for provider in refused:
            # The list grows while it is gone through: those that need one of them, and so on.
            for dependent in self._living():
                if gone := self._unmet_need(dependent, provider):
                    reason = f"needs {gone}, which '{provider.name}' does not provide any more"
                    self._refuse(dependent, PluginState.UNMET, reason)
                    refused.append(dependent)
        refused.sort(key=lambda item: self._order.index(item) if item in self._order else -1)
        for item in reversed(refused):
            self._take_down(item)

    def _refuse(self, instance: Instance, state: PluginState, reason: str) -> None:
        instance.state, instance.reason = state, reason
        self._say(Level.AUDIT, "plugin '%s' disabled: %s", instance.name, reason)

    def _take_down(self, instance: Instance) -> str:
        """Call `charon_destroy` where it is due, and undo the rest; return what went wrong."""
        failed = ""
        if instance.begun:
            instance.begun = False
            try:
                self._caller.call(instance, "charon_destroy")
            except PluginFailure as failure:
                failed = str(failure)
                self._say(Level.AUDIT, "plugin '%s' failed to stop: %s", instance.name, failed)
        for error in instance.ledger.undo():
            what = f"{type(error).__name__}: {error}"
            self._say(Level.CONTROL, "plugin '%s': taking back failed: %s", instance.name, what)
        self._caller.dismiss(instance)
        return failed

    # -- order --------------------------------------------------------------------------------

    def _living(self) -> Iterator[Instance]:
        """Yield the plugins that work, in order; one that fails meanwhile is left out."""
        return (instance for instance in self._order if instance.is_alive)

    def _arrange(self) -> None:
        alive = {instance.name: instance for instance in self._all if instance.is_alive}
        order = order_plugins({name: item.features for name, item in alive.items()})
        self._order = [alive[name] for name in order.plugins]
        for name, reason in order.unmet.items():
            self._refuse(alive[name], PluginState.UNMET, reason)
            self._caller.dismiss(alive[name])
        for name, wants in order.missing.items():
            self._say(Level.MORE, "plugin '%s' goes without %s", name, ", ".join(wants))
        for name, wants in order.dropped.items():
            listed = ", ".join(wants)
            self._say(Level.CONTROL, "plugin '%s' loads before %s: a circle", name, listed)

    def _unmet_need(self, instance: Instance, gone: Instance) -> str:
        """Return what a plugin needs, `gone` provided, and no other does; empty if nothing."""
        alive = {item.name: item.features for item in self._living()}
        before = {gone.name: gone.features}
        needs = (need for feature in instance.features for need in feature.needs)
        lost = (need for need in needs if providers(before, need) and not providers(alive, need))
        return next(lost, "")

    def _flush(self) -> None:
        early, self._early = self._early, None
        for line in early or ():
            self._report(*line)

    def _say(self, level: Level, message: str, *arguments: object) -> None:
        if self._early is not None:
            self._early.append((level, message, *arguments))
        else:
            self._report(level, message, *arguments)


def _without_tables(settings: Settings) -> Settings:
    """Leave out the plugins' tables: they are the affair of each plugin alone."""
    return replace(settings, plugins=replace(settings.plugins, tables={}))
