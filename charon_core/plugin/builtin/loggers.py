"""The loggers of charon-core: files and the system's log, as the section [log] asks for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.bus.log_format import LogLevels
from charon_core.plugin import Feature, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from charon_core.bus.bus import Bus
    from charon_core.bus.file_logger import FileLogConfig, FileLogger
    from charon_core.bus.sys_logger import SysLogConfig, SysLogger
    from charon_core.settings import LogFileSettings, LogSettings, Paths, Settings


class FileLoggers:
    """Writes lines to files and to standard output."""

    def __init__(self) -> None:
        self._loggers: list[FileLogger] = []

    @hookimpl
    def charon_features(self) -> tuple[Feature, ...]:
        """Provide a logger."""
        return (Feature("logger:file"),)

    @hookimpl
    def charon_register_loggers(self, bus: Bus, log: LogSettings, paths: Paths) -> None:
        """Open the files."""
        self._bus = bus
        self._paths = paths
        self._open([_file_config(file, paths) for file in log.outputs()])

    @hookimpl
    def charon_reload(self, core: Settings) -> None:
        """Open the files anew, which may have been renamed, with the settings as they are now."""
        old, self._loggers = self._loggers, []
        configs = [_file_config(file, self._paths) for file in core.log.outputs()]
        # What was written since the start is kept, also in files that a start would empty.
        self._open([replace(config, append=True) for config in configs], old)
        for logger in old:
            self._bus.remove_logger(logger)
            logger.close()

    @hookimpl
    def charon_destroy(self) -> None:
        """Write what is buffered."""
        for logger in self._loggers:
            logger.close()

    def _open(self, configs: list[FileLogConfig], old: Sequence[FileLogger] = ()) -> None:
        from charon_core.bus.file_logger import FileLogger

        for config in configs:
            before = next((item for item in old if item.config.target == config.target), None)
            logger = FileLogger(config, _reporter(self._bus), heir_of=before)
            self._loggers.append(logger)
            self._bus.add_logger(logger)


class SysLoggers:
    """Sends lines to syslog or to the journal, and audit lines to a facility of their own."""

    def __init__(self) -> None:
        self._loggers: list[SysLogger] = []

    @hookimpl
    def charon_features(self) -> tuple[Feature, ...]:
        """Provide a logger."""
        return (Feature("logger:syslog"),)

    @hookimpl
    def charon_register_loggers(self, bus: Bus, log: LogSettings) -> None:
        """Make the loggers if they are wanted."""
        self._bus = bus
        self._make(log)

    @hookimpl
    def charon_reload(self, core: Settings) -> None:
        """Make the loggers anew, with the settings as they are now."""
        old, self._loggers = self._loggers, []
        self._make(core.log)
        for logger in old:
            self._bus.remove_logger(logger)
            logger.close()

    @hookimpl
    def charon_destroy(self) -> None:
        """Close the connections."""
        for logger in self._loggers:
            logger.close()

    def _make(self, log: LogSettings) -> None:
        if not log.syslog.enabled:
            return
        from charon_core.bus.sys_logger import SysLogger

        for config in _syslog_configs(log):
            logger = SysLogger(config, _reporter(self._bus))
            self._loggers.append(logger)
            self._bus.add_logger(logger)


def _file_config(file: LogFileSettings, paths: Paths) -> FileLogConfig:
    from charon_core.bus.file_logger import STANDARD, FileLogConfig

    return FileLogConfig(
        target=file.path if file.path in STANDARD else str(paths.below_root(file.path)),
        levels=_levels(file.level, file.levels),
        time_format=file.time_format,
        sa_name=file.ike_name,
        json=file.format == "json",
        append=file.append,
        flush_line=file.flush,
    )


def _syslog_configs(log: LogSettings) -> list[SysLogConfig]:
    """Return what goes to syslog: the lines, and those of the audit where they are kept apart."""
    from charon_core.bus.sys_logger import Facility, SysLogConfig, Transport

    settings = log.syslog
    config = SysLogConfig(
        facility=Facility[settings.facility.upper()],
        identifier=settings.identifier,
        levels=_levels(settings.level, settings.levels),
        sa_name=settings.ike_name,
        transport=Transport(settings.transport),
    )
    if settings.audit_facility in ("", settings.facility):
        return [config]
    audit = Facility[settings.audit_facility.upper()]
    return [config, replace(config, facility=audit, levels=LogLevels(Level.AUDIT))]


def _levels(level: int, groups: Mapping[str, int]) -> LogLevels:
    named = {Group[name.upper()]: Level(number) for name, number in groups.items()}
    return LogLevels(Level(level), named)


def _reporter(bus: Bus) -> Callable[[str], None]:
    """Return what tells the other loggers that this one has a problem."""
    return lambda text: bus.log(Group.DMN, Level.CONTROL, "%s", text)
