"""What the loggers have in common: levels by group, and a record as lines of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.bus.text import escape, lines_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.bus.listener import LogRecord

_NONE: Mapping[Group, Level] = MappingProxyType({})
_NUMBERS = tuple(f"{number:02d}" for number in range(100))
_LABELS = tuple(f"[{group.name}] " for group in Group)


@dataclass(frozen=True, slots=True)
class LogLevels:
    """Up to which level lines are taken.

    Attributes:
        default: Of the groups that are not named.
        groups: Of single groups.
    """

    default: Level = Level.CONTROL
    groups: Mapping[Group, Level] = field(default_factory=lambda: _NONE)

    def of(self, group: Group) -> Level:
        """Return the level of a group."""
        return self.groups.get(group, self.default)

    def changed(self, group: Group | None, level: Level) -> LogLevels:
        """Return these levels with the one of ``group`` changed, or all if it is None."""
        if group is None:
            return LogLevels(level)
        return LogLevels(self.default, {**self.groups, group: level})


class LeveledLogger:
    """A logger whose levels come from settings and can be changed while it runs."""

    def __init__(self, name: str, levels: LogLevels) -> None:
        self._name = name
        self._levels = levels

    @property
    def name(self) -> str:
        """The name under which its failures are reported."""
        return self._name

    @property
    def levels(self) -> LogLevels:
        """The levels in force."""
        return self._levels

    def level(self, group: Group) -> Level:
        """Return up to which level it wants the lines of ``group``."""
        return self._levels.of(group)

    def set_level(self, group: Group | None, level: Level) -> None:
        """Change one level, or all with None; `Bus.reconfigure` makes it take effect."""
        self._levels = self._levels.changed(group, level)

    def give_to(self, uid: int, gid: int) -> None:
        """Prepare for the process becoming another user; nothing to do where there is no file."""


def prefix_of(record: LogRecord, *, sa_name: bool) -> str:
    """Return what each line of a record begins with: ``05[IKE] <home|3> ``."""
    thread, sa = record.thread, record.sa
    label = (_NUMBERS[thread] if thread < 100 else str(thread)) + _LABELS[record.group]
    if sa is None or not sa_name:
        return label
    return f"{label}<{escape(sa.name)}|{sa.unique_id}> "


def text_lines(record: LogRecord, *, sa_name: bool) -> list[str]:
    """Return a record as lines of text, without time, each with its prefix."""
    prefix = prefix_of(record, sa_name=sa_name)
    return [prefix + line for line in lines_of(record.text)]
