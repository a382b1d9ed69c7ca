"""The keys of charon.toml about logging."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the reader looks at the annotations
from dataclasses import dataclass

from charon_core.settings import checks
from charon_core.settings.option import Section, option, section

# The names of `charon_core.bus.Group`; a test compares.
LOG_GROUPS = (
    *("dmn", "mgr", "ike", "chd", "job", "cfg", "knl", "net", "asn", "enc"),
    *("tnc", "imc", "imv", "pts", "tls", "app", "esp", "lib"),
)

# The names of `charon_core.bus.sys_logger.Facility`; a test compares.
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp"),
    *(f"local{number}" for number in range(8)),
)

_LEVEL_DOC = (
    "Up to which level lines are taken: -1 silent, 0 audit, 1 control, 2 more, 3 raw, "
    "4 private (holds keys)."
)
_LEVELS_DOC = "Level by group, where it differs from level. Groups: " + " ".join(LOG_GROUPS) + "."
_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogFileSettings(Section):
    """``[[log.file]]``: one file that gets log lines."""

    path: str = option(
        "stdout",
        "Where to: an absolute path, stdout or stderr.",
        check=checks.log_destination,
        example='"/var/log/charon.log"',
    )
    level: int = option(1, _LEVEL_DOC, minimum=-1, maximum=4)
    levels: Mapping[str, int] = option(
        {}, _LEVELS_DOC, minimum=-1, maximum=4, keys=LOG_GROUPS, example="{ike = 2, knl = 2}"
    )
    format: str = option("text", "text, or json: one object a line.", choices=_FORMATS)
    time_format: str = option(
        "%b %d %H:%M:%S",
        "Time in front of a text line, as in strftime, and %f for microseconds. Empty: none.",
        check=checks.time_format,
    )
    ike_name: bool = option(True, "Show connection name and number of the IKE_SA in text lines.")
    flush: bool = option(True, "Write each line at once; false: when 8 KiB have come up.")
    append: bool = option(True, "Append to the file; false: empty it at the start.")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SyslogSettings(Section):
    """``[log.syslog]``: the local syslog, or the journal where it runs."""

    enabled: bool = option(False, "Send log lines to syslog, as --use-syslog does.")
    transport: str = option(
        "auto",
        "Which service: the journal where systemd has one, or syslog.",
        choices=("auto", "syslog", "journal"),
    )
    facility: str = option("daemon", "Facility of the lines.", choices=FACILITIES)
    identifier: str = option("charon", "The name in front of each line.")
    level: int = option(1, _LEVEL_DOC, minimum=-1, maximum=4)
    levels: Mapping[str, int] = option(
        {}, _LEVELS_DOC, minimum=-1, maximum=4, keys=LOG_GROUPS, example="{ike = 2, knl = 2}"
    )
    audit_facility: str = option(
        "authpriv",
        "Facility that gets the audit lines (level 0) as well. Empty: none.",
        choices=("", *FACILITIES),
    )
    ike_name: bool = option(True, "Show connection name and number of the IKE_SA.")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogSettings(Section):
    """``[log]``: where log lines go."""

    stdout: bool = option(
        True, "Log to standard output while no [[log.file]] is given; --use-syslog ends it."
    )
    level: int = option(1, _LEVEL_DOC, minimum=-1, maximum=4)
    levels: Mapping[str, int] = option(
        {}, _LEVELS_DOC, minimum=-1, maximum=4, keys=LOG_GROUPS, example="{ike = 2, knl = 2}"
    )
    format: str = option("text", "Of the standard output: text or json.", choices=_FORMATS)
    file: tuple[LogFileSettings, ...] = option((), "Files, as many as wanted.")
    syslog: SyslogSettings = section(SyslogSettings, "The local syslog")

    def outputs(self) -> tuple[LogFileSettings, ...]:
        """Return the files to log to; standard output where none is configured."""
        if self.file or not self.stdout:
            return self.file
        return (LogFileSettings("stdout", self.level, self.levels, self.format),)
