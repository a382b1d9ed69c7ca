"""The settings of charon.toml as frozen dataclasses, and the paths of a daemon."""

from __future__ import annotations

from charon_core.settings.attributes import AttributeSettings
from charon_core.settings.errors import SettingsError, SettingsProblem
from charon_core.settings.kernel import KernelSettings, UserspaceSettings, XfrmSettings
from charon_core.settings.log import LogFileSettings, LogSettings, SyslogSettings
from charon_core.settings.model import (
    PathSettings,
    PluginSettings,
    ProcessorSettings,
    ProcessSettings,
    Settings,
    WatchdogSettings,
)
from charon_core.settings.overrides import Overrides
from charon_core.settings.paths import Paths
from charon_core.settings.protocol import IkeSettings, NetworkSettings
from charon_core.settings.reader import load_settings, parse_settings, parse_table
from charon_core.settings.revocation import RevocationSettings
from charon_core.settings.table import PluginTable

__all__ = [
    "AttributeSettings",
    "IkeSettings",
    "KernelSettings",
    "LogFileSettings",
    "LogSettings",
    "NetworkSettings",
    "Overrides",
    "PathSettings",
    "Paths",
    "PluginSettings",
    "PluginTable",
    "ProcessSettings",
    "ProcessorSettings",
    "RevocationSettings",
    "Settings",
    "SettingsError",
    "SettingsProblem",
    "SyslogSettings",
    "UserspaceSettings",
    "WatchdogSettings",
    "XfrmSettings",
    "load_settings",
    "parse_settings",
    "parse_table",
]
