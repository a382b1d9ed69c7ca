"""What is told of a plugin: by `charon plugins`, by control commands, in the log."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class PluginState(Enum):
    """How far a plugin has come."""

    READY = "ready"
    """Imported, and everything that it depends on is there; not created."""
    LOADED = "loaded"
    """Created and registered: it works."""
    BLOCKED = "blocked"
    """The settings do not let it load."""
    FAILED = "failed"
    """Its import or one of its hooks raised."""
    UNMET = "unmet"
    """Something that it needs is not there."""
    STOPPED = "stopped"
    """Destroyed in order."""


class PluginInfo(NamedTuple):
    """One plugin.

    Attributes:
        name: The name of its entry point.
        version: The version of its distribution; empty if it is part of none.
        distribution: The name of the distribution that it came with; empty if none.
        target: What its entry point names: ``package.module:Class``.
        hooks: The hooks that it implements, without those of a plugin that was not imported.
        features: The features that it provides.
        state: How far it has come.
        reason: Why it is blocked, failed or unmet; empty otherwise.
    """

    name: str
    version: str
    distribution: str
    target: str
    hooks: tuple[str, ...]
    features: tuple[str, ...]
    state: PluginState
    reason: str = ""
