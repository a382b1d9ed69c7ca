"""What the command line changes in the settings of one run."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.settings.model import Settings


class Overrides(NamedTuple):
    """Options of ``charon run``, as Debian's starter passes them.

    Attributes:
        use_syslog: Log to syslog and not to standard output (``--use-syslog``).
        levels: Log levels by group in lower case (``--debug-ike 2``); they go over the levels
            of the settings in every logger.
        notes: What was odd on the command line and was passed over; one line each, to be
            logged at start, since a daemon under starter has no standard error.
    """

    use_syslog: bool = False
    levels: Mapping[str, int] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def apply(self, settings: Settings) -> Settings:
        """Return the settings as this run shall use them."""
        log = settings.log
        if self.levels:
            log = replace(
                log,
                levels={**log.levels, **self.levels},
                file=tuple(
                    replace(file, levels={**file.levels, **self.levels}) for file in log.file
                ),
                syslog=replace(log.syslog, levels={**log.syslog.levels, **self.levels}),
            )
        if self.use_syslog:
            log = replace(log, stdout=False, syslog=replace(log.syslog, enabled=True))
        return settings if log is settings.log else replace(settings, log=log)
