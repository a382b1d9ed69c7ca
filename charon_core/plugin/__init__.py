"""The plugin host: contract, loader, dependencies."""

from __future__ import annotations

from pluggy import HookimplMarker

from charon_core.plugin.features import Feature

# Plugins import this module, and tools look at plugins: it has to stay cheap.
hookimpl = HookimplMarker("charon")
"""Marks a function of a plugin module, or a method of a plugin class, as one of its hooks."""

__all__ = ["Feature", "hookimpl"]
