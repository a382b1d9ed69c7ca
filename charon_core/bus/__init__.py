"""Log lines and events, from the daemon to those who listen."""

from __future__ import annotations

from charon_core.bus.alert import Alert, AlertKind
from charon_core.bus.bus import Bus
from charon_core.bus.listener import Group, Level, Listener, Logger, LogRecord
from charon_core.bus.refs import ChildRef, SaRef

__all__ = [
    "Alert",
    "AlertKind",
    "Bus",
    "ChildRef",
    "Group",
    "Level",
    "Listener",
    "LogRecord",
    "Logger",
    "SaRef",
]
