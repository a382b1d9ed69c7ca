"""Why a daemon does not start, for its logs, where it has not come as far as to have any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from charon_core.bus.bus import Bus
from charon_core.bus.listener import Group, Level
from charon_core.plugin.builtin.loggers import FileLoggers, SysLoggers

if TYPE_CHECKING:
    from charon_core.settings import LogSettings, Paths


def write_to_logs(log: LogSettings, paths: Paths, text: str) -> None:
    """Write a line to each log that the settings name.

    The files may be those of a daemon that runs: they are appended to, whatever the settings say.
    """
    bus = Bus()
    files = tuple(replace(file, append=True) for file in log.file)
    loggers = FileLoggers(), SysLoggers()
    loggers[0].charon_register_loggers(bus, replace(log, file=files), paths)
    loggers[1].charon_register_loggers(bus, log)
    bus.log(Group.DMN, Level.AUDIT, "%s", text)
    for logger in loggers:
        logger.charon_destroy()
