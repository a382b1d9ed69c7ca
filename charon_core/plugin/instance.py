"""One plugin in the host: imported, checked against the contract, and called hook by hook."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pluggy import PluginManager

from charon_core.plugin import hookspecs
from charon_core.plugin.features import Feature
from charon_core.plugin.info import PluginInfo, PluginState
from charon_core.plugin.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.plugin.distributions import FoundPlugin

TRACE_VARIABLE = "CHARON_TRACE_HOOKS"
"""Environment variable: if it is not empty, each hook call is a line on standard error."""

# Frames that tell nothing of the place of a fault: they only lead there.
_MACHINERY = (
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
    "/importlib/__init__.py",
    "/pluggy/_hooks.py",
    "/pluggy/_manager.py",
    "/pluggy/_callers.py",
    "/charon_core/plugin/instance.py",
)

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("charon_"))


class PluginFailure(Exception):  # noqa: N818 - says what is the case
    """An import or a hook of a plugin raised.

    Attributes:
        where: ``import``, or the name of the hook.
        cause: What it raised, with the place in the plugin's code, in a line.
        details: The traceback.
    """

    def __init__(self, where: str, error: BaseException) -> None:
        import traceback

        self.where = where
        self.cause = _in_a_line(error)
        self.details = "".join(traceback.format_exception(error)).rstrip()
        super().__init__(f"{where}: {self.cause}")


class Instance:
    """A plugin that is installed, in whatever state.

    Attributes:
        found: Its entry point.
        state: How far it has come.
        reason: Why it is blocked, failed or unmet.
        hooks: The hooks that it implements, in the order of the contract.
        features: What it provides and depends on.
        ledger: What it has registered.
        plugin: The object that has the hooks; None before the import and after the end.
        begun: Whether it has passed a hook that may have opened something, so that its
            `charon_destroy` is due.
    """

    def __init__(self, found: FoundPlugin) -> None:
        self.found = found
        self.state = PluginState.READY
        self.reason = ""
        self.hooks: tuple[str, ...] = ()
        self.features: tuple[Feature, ...] = ()
        self.ledger = Ledger()
        self.begun = False
        self.plugin: object = None

    @property
    def name(self) -> str:
        """The name of the entry point."""
        return self.found.name

    @property
    def is_alive(self) -> bool:
        """Whether its hooks may be called."""
        return self.state in (PluginState.READY, PluginState.LOADED)

    def info(self) -> PluginInfo:
        """Return what is told of it."""
        return PluginInfo(
            name=self.name,
            version=self.found.version,
            distribution=self.found.distribution,
            target=self.found.target,
            hooks=self.hooks,
            features=tuple(feature.provides for feature in self.features),
            state=self.state,
            reason=self.reason,
        )


class Caller:
    """Imports plugins and calls their hooks, one plugin at a time.

    pluggy's own call of a hook ends at the first plugin that raises; here each plugin is called
    alone, and what it raises is turned into `PluginFailure`.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._manager = PluginManager("charon")
        self._manager.add_hookspecs(hookspecs)
        self._plugins: list[object] = []
        self._trace: Callable[[str], object] | None = None
        if environment.get(TRACE_VARIABLE):
            self._trace = lambda line: sys.stderr.write(f"{line}\n")

    def bring_in(self, instance: Instance) -> None:
        """Import a plugin, make its object, and note its hooks and features.

        Raises:
            PluginFailure: it cannot be imported, or does not keep to the contract.
        """
        try:
            plugin = _resolve(instance.found.target)
            instance.plugin = plugin
            self._manager.register(plugin, name=instance.name)
            self._plugins.append(plugin)
            instance.hooks = self._known_hooks(plugin)
        except (Exception, SystemExit) as error:
            self.dismiss(instance)
            raise PluginFailure("import", error) from error
        try:
            features = self.call(instance, "charon_features")
            instance.features = _checked(features)
        except (TypeError, ValueError) as error:
            raise PluginFailure("charon_features", error) from error

    def call(self, instance: Instance, hook: str, **arguments: Any) -> Any:
        """Call one hook of one plugin; None if it has none of this name.

        Raises:
            PluginFailure: the hook raised.
        """
        if hook not in instance.hooks:
            return None
        others = [plugin for plugin in self._plugins if plugin is not instance.plugin]
        caller = self._manager.subset_hook_caller(hook, others)
        start = time.perf_counter()
        outcome = "raised"
        try:
            results = caller(**arguments)
            result: Any = results[0] if results else None
            # A generator runs here, where what it raises is still told apart.
            if hook == "charon_features" and result is not None:
                result = tuple(result)
            outcome = "done"
        except (Exception, SystemExit) as error:
            raise PluginFailure(hook, error) from error
        finally:
            if self._trace is not None:
                took = (time.perf_counter() - start) * 1000
                named = ", ".join(arguments)
                self._trace(f"hook {instance.name}: {hook}({named}) {outcome} in {took:.1f} ms")
        return result

    def dismiss(self, instance: Instance) -> None:
        """Forget the object of a plugin; its hooks are not called any more."""
        plugin = instance.plugin
        instance.plugin = None
        if plugin is None:
            return
        if self._manager.is_registered(plugin):
            self._manager.unregister(plugin)
        self._plugins = [other for other in self._plugins if other is not plugin]

    def _known_hooks(self, plugin: object) -> tuple[str, ...]:
        """Return the hooks of a plugin; one that the contract does not have is an error."""
        names = {caller.name for caller in self._manager.get_hookcallers(plugin) or ()}
        for name in sorted(names.difference(HOOKS)):
            from difflib import get_close_matches

            near = get_close_matches(name, HOOKS, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(HOOKS)}"
            raise TypeError(f"there is no hook {name!r}; {advice}")
        return tuple(name for name in HOOKS if name in names)


def _resolve(target: str) -> object:
    """Import what an entry point names; of a class, make an instance."""
    module, _, attribute = target.partition(":")
    found: Any = import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    return found() if isinstance(found, type) else found


def _checked(features: Any) -> tuple[Feature, ...]:
    for feature in features or ():
        if not isinstance(feature, Feature):
            raise TypeError(f"expected charon_core.plugin.Feature objects, got {feature!r}")
    return tuple(features or ())


def _in_a_line(error: BaseException) -> str:
    """Say what was raised, and where; the last frame is the nearest to the cause."""
    import traceback

    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.endswith(_MACHINERY)]
    place = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text}{place}"
