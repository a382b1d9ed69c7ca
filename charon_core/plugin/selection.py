"""Decides which of the plugins that are installed may load."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from charon_core.plugin.distributions import CORE, FoundPlugin, same_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from charon_core.settings import PluginSettings

EXACT_VARIABLE = "CHARON_PLUGINS"
"""Environment variable: exactly these load; names, or ``module:attribute``, with commas."""


class Choice(NamedTuple):
    """A plugin and why it may not load; an empty `reason` means that it may.

    Attributes:
        plugin: The plugin.
        reason: Why it is blocked.
        missing: It was asked for by name, and is not installed.
    """

    plugin: FoundPlugin
    reason: str = ""
    missing: bool = False


class Selection(NamedTuple):
    """The rules.

    Attributes:
        load: Names from ``plugins.load``; empty for all.
        block: Names from ``plugins.block``.
        trusted_only: Whether, without `load`, only distributions named ``charon-*`` count: so
            that nothing that happens to be installed gets the rights of root unasked.
        exact: What ``CHARON_PLUGINS`` says; None if it is not set. It goes over all others.
    """

    load: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    trusted_only: bool = False
    exact: tuple[str, ...] | None = None

    @classmethod
    def make(
        cls,
        settings: PluginSettings,
        environment: Mapping[str, str] = os.environ,
        *,
        is_root: bool | None = None,
    ) -> Selection:
        """Take the rules from settings, environment and user; `is_root` is for tests."""
        exact = environment.get(EXACT_VARIABLE)
        names = None if exact is None else (item.strip() for item in exact.split(","))
        return cls(
            load=settings.load,
            block=settings.block,
            trusted_only=os.geteuid() == 0 if is_root is None else is_root,
            exact=None if names is None else tuple(name for name in names if name),
        )

    def choose(self, found: Iterable[FoundPlugin]) -> list[Choice]:
        """Return all plugins, those of the core first, then as `load` has them, then by name."""
        plugins = sorted(found, key=self._rank)
        choices: list[Choice] = []
        taken: dict[str, FoundPlugin] = {}
        for plugin in plugins:
            owner = taken.setdefault(plugin.name.replace("-", "_"), plugin)
            if owner is plugin:
                choices.append(Choice(plugin, self._reason(plugin)))
            else:
                reason = f"its name is taken by that of {owner.distribution}"
                choices.append(Choice(plugin, reason))
        return choices + self._missing(plugins)

    def _rank(self, plugin: FoundPlugin) -> tuple[bool, int, bool, str, str]:
        asked = self.load if self.exact is None else self.exact
        position = next((i for i, name in enumerate(asked) if same_name(name, plugin.name)), 999)
        return (
            plugin.distribution != CORE,
            position,
            not plugin.distribution.startswith("charon-"),
            plugin.name,
            plugin.distribution,
        )

    def _reason(self, plugin: FoundPlugin) -> str:
        if self.exact is not None:
            listed = _has(self.exact, plugin.name)
            return "" if listed else f"not in the environment variable {EXACT_VARIABLE}"
        if _has(self.block, plugin.name):
            return "listed in plugins.block"
        if plugin.distribution == CORE:
            return ""
        if self.load:
            return "" if _has(self.load, plugin.name) else "not listed in plugins.load"
        if self.trusted_only and not plugin.distribution.startswith("charon-"):
            return (
                f"the distribution {plugin.distribution} is not one of charon's (charon-*), "
                f"and the daemon is root's; list {plugin.name!r} in plugins.load to allow it"
            )
        return ""

    def _missing(self, plugins: Sequence[FoundPlugin]) -> list[Choice]:
        """Return what was asked for and is not installed, and what is named by its module."""
        missing = []
        known = [plugin.name for plugin in plugins]
        asked, place = (
            (self.load, "plugins.load")
            if self.exact is None
            else (self.exact, f"the environment variable {EXACT_VARIABLE}")
        )
        for name in asked:
            if ":" in name and self.exact is not None:
                missing.append(Choice(FoundPlugin(name.rpartition(":")[2], name)))
            elif not _has(known, name):
                from difflib import get_close_matches

                near = get_close_matches(name, known, 1)
                advice = f"did you mean {near[0]!r}?" if near else f"installed are: {_list(known)}"
                reason = f"named in {place}, but not installed; {advice}"
                missing.append(Choice(FoundPlugin(name, ""), reason, missing=True))
        return missing


def _has(names: Iterable[str], name: str) -> bool:
    return any(same_name(item, name) for item in names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
