"""Sends log lines to the local syslog, or to the journal where systemd has one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from charon_core.bus.listener import Level
from charon_core.bus.log_format import LeveledLogger, LogLevels, prefix_of
from charon_core.bus.log_socket import LogSocket
from charon_core.bus.text import escape, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.listener import LogRecord

SYSLOG_PATH = "/dev/log"
JOURNAL_PATH = "/run/systemd/journal/socket"

MAX_LINE = 8192
"""Octets of a line; what is longer is cut, since services refuse large datagrams."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Facility(IntEnum):
    """The facilities of syslog, by the numbers of RFC 5424 section 6.2.1."""

    KERN = 0
    USER = 1
    MAIL = 2
    DAEMON = 3
    AUTH = 4
    SYSLOG = 5
    LPR = 6
    NEWS = 7
    UUCP = 8
    CRON = 9
    AUTHPRIV = 10
    FTP = 11
    LOCAL0 = 16
    LOCAL1 = 17
    LOCAL2 = 18
    LOCAL3 = 19
    LOCAL4 = 20
    LOCAL5 = 21
    LOCAL6 = 22
    LOCAL7 = 23


class Transport(Enum):
    """Where lines go."""

    AUTO = "auto"
    """To the journal if its socket exists at the start, else to syslog."""
    SYSLOG = "syslog"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class SysLogConfig:
    """How lines go to the system's log.

    Attributes:
        facility: As which kind of program they are filed.
        identifier: The program's name in each line.
        levels: What is taken.
        sa_name: Whether lines carry ``<name|id>`` of their IKE_SA.
        transport: Which service.
        syslog_path: The socket of syslog.
        journal_path: The socket of the journal.
    """

    facility: Facility = Facility.DAEMON
    identifier: str = "charon"
    levels: LogLevels = field(default_factory=LogLevels)
    sa_name: bool = True
    transport: Transport = Transport.AUTO
    syslog_path: str = SYSLOG_PATH
    journal_path: str = JOURNAL_PATH


class SysLogger(LeveledLogger):
    """A logger for one facility. Never raises and never waits for the service."""

    def __init__(
        self,
        config: SysLogConfig,
        report: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose the service; it is connected to with the first line.

        Args:
            config: What goes where.
            report: Told in a line when the service fails and when it is back. Is called from
                within `log` and may log.
            clock: Monotonic seconds.
        """
        super().__init__(f"syslog {config.facility.name.lower()}", config.levels)
        self.config = config
        self._report = report
        self.transport = _choose(config)
        is_journal = self.transport is Transport.JOURNAL
        self._socket = LogSocket(config.journal_path if is_journal else config.syslog_path, clock)
        self._encode = _journal_encoder(config) if is_journal else _syslog_encoder(config)

    @property
    def lost(self) -> int:
        """Lines lost since one went out last."""
        return self._socket.lost

    def log(self, record: LogRecord) -> None:
        """Send one record, each line as a message of its own."""

        def lost_line(number: int) -> bytes:
            return self._encode(record, f"{number} log lines lost before this one")

        for line in lines_of(record.text):
            notice = self._socket.send(self._encode(record, line), lost_line)
            if notice is not None and self._report is not None:
                self._report(notice)

    def close(self) -> None:
        """Close the connection; what is logged afterwards opens it again."""
        self._socket.close()


def _choose(config: SysLogConfig) -> Transport:
    if config.transport is not Transport.AUTO:
        return config.transport
    return Transport.JOURNAL if Path(config.journal_path).exists() else Transport.SYSLOG


def _severity(level: int) -> int:
    """Return the severity of RFC 5424: notice, informational or debug."""
    if level <= Level.AUDIT:
        return 5
    return 6 if level == Level.CONTROL else 7


def _octets(text: str) -> bytes:
    """Return the text in UTF-8, cut to `MAX_LINE` octets between two characters."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= MAX_LINE:
        return data
    return data[:MAX_LINE].decode("utf-8", "ignore").encode()


def _syslog_encoder(config: SysLogConfig) -> Callable[[LogRecord, str], bytes]:
    """Return what makes datagrams as the C library's syslog() does: RFC 3164 without host."""
    facility, sa_name = config.facility << 3, config.sa_name
    tag = escape(config.identifier)

    def encode(record: LogRecord, line: str) -> bytes:
        when = time.localtime(record.time)
        text = (
            f"<{facility | _severity(record.level)}>"
            f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2d} "
            f"{when.tm_hour:02d}:{when.tm_min:02d}:{when.tm_sec:02d} "
            f"{tag}[{os.getpid()}]: {prefix_of(record, sa_name=sa_name)}{line}"
        )
        return _octets(text)

    return encode


def _journal_encoder(config: SysLogConfig) -> Callable[[LogRecord, str], bytes]:
    """Return what makes datagrams of systemd's native protocol: fields, a line each.

    The values have no line breaks, since lines are split and escaped before.
    """
    sa_name = config.sa_name
    fixed = (
        f"SYSLOG_IDENTIFIER={escape(config.identifier)}\nSYSLOG_FACILITY={int(config.facility)}\n"
    )

    def encode(record: LogRecord, line: str) -> bytes:
        message = _octets(prefix_of(record, sa_name=sa_name) + line)
        fields = (
            f"{fixed}PRIORITY={_severity(record.level)}\nGROUP={record.group.name}\n"
            f"LEVEL={int(record.level)}\nTHREAD={record.thread}\n"
        )
        if record.sa is not None:
            fields += (
                f"IKE_SA_NAME={escape(record.sa.name)}\nIKE_SA_UNIQUE_ID={record.sa.unique_id}\n"
            )
        return fields.encode("utf-8", "backslashreplace") + b"MESSAGE=" + message + b"\n"

    return encode
