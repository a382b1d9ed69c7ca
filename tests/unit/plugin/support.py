"""A place to put plugins into, and a daemon of registries that can be looked at."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

from charon_core.plugin.distributions import FoundPlugin
from charon_core.plugin.facade import Daemon
from charon_core.plugin.loader import PluginHost
from charon_core.settings import Paths, PluginTable, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.bus.listener import Level
    from charon_core.plugin.info import PluginInfo


class Registry:
    """Any registry of the daemon: keeps what is added, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[Any] = []
        self.number = 0

    def add(self, item: Any) -> None:
        self.items.append(item)

    def remove(self, item: Any) -> None:
        self.items.remove(item)

    add_listener = add_logger = add
    remove_listener = remove_logger = remove

    def register(self, name: str, factory: Any, *, rank: int = 0) -> int:
        self.items.append(name)
        return rank

    def unregister(self, name: str) -> None:
        self.items.remove(name)

    def count(self) -> int:
        return len(self.items)


REGISTRIES = ("bus", "backends", "credentials", "eap", "attributes", "kernel")


class World:
    """Installed plugins, a host for them, and the registries of a daemon."""

    def __init__(self) -> None:
        self.found: list[FoundPlugin] = []
        self.lines: list[tuple[Level, str]] = []
        self.registries = {name: Registry(name) for name in REGISTRIES}
        self.kernel_backends = Registry("kernel backends")
        self.paths = Paths.make(Settings().paths)
        self.settings = Settings()
        self.environment: dict[str, str] = {}
        self.is_root = False
        self.module = types.ModuleType(f"plugins_under_test_{id(self)}")
        sys.modules[self.module.__name__] = self.module
        self._host: PluginHost | None = None

    def install(
        self,
        name: str,
        plugin: object,
        distribution: str = "charon-sample",
        version: str = "1.0",
    ) -> None:
        """Install a class, a module or an object as a plugin."""
        setattr(self.module, name.replace("-", "_"), plugin)
        target = f"{self.module.__name__}:{name.replace('-', '_')}"
        self.found.append(FoundPlugin(name, target, distribution, version))

    @property
    def host(self) -> PluginHost:
        if self._host is None:
            self._host = PluginHost(
                self.settings,
                self._report,
                environment=self.environment,
                installed=lambda: self.found,
                is_root=self.is_root,
            )
        return self._host

    def _report(self, level: Level, message: str, *arguments: object) -> None:
        self.lines.append((level, message % arguments))

    def daemon(self) -> Daemon:
        """Return the facade over the registries."""
        others: Mapping[str, Any] = dict.fromkeys(
            ("processor", "scheduler", "controller", "resolver")
        )
        registries: Mapping[str, Any] = self.registries
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        return Daemon(
            settings=PluginTable(),
            core=self.settings,
            paths=self.paths,
            plugins=self.host.plugins,
            reload=nothing,
            stop=nothing,
            set_log_level=nothing,
            started=0.0,
            version="0",
            **others,
            **registries,
        )

    def prepare(self) -> None:
        self.host.discover()
        bus: Any = self.registries["bus"]
        kernel: Any = self.kernel_backends
        self.host.prepare(bus, kernel, self.paths)

    def load(self) -> PluginHost:
        """Do all that a daemon does at its start."""
        self.prepare()
        self.host.load(self.daemon())
        return self.host

    def info(self, name: str) -> PluginInfo:
        return next(item for item in self.host.plugins() if item.name == name)

    def state(self, name: str) -> str:
        return self.info(name).state.value

    def order(self) -> list[str]:
        return [item.name for item in self.host.plugins()]

    def said(self, text: str) -> bool:
        return any(text in line for _, line in self.lines)

    @property
    def left(self) -> list[Any]:
        """What is registered anywhere."""
        registries = (*self.registries.values(), self.kernel_backends)
        return [item for registry in registries for item in registry.items]
