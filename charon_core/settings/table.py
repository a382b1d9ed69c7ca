"""A plugin's own table of the settings, that still knows where each key stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Position = tuple[str | int, ...]


class PluginTable(Mapping[str, object]):
    """The keys of ``[plugins.NAME]``, read-only.

    `charon_core.settings.parse_table` turns it into a dataclass of the plugin's own, with the
    same checks and messages as the daemon's keys have.
    """

    __slots__ = ("_lines", "_values", "file", "prefix")

    def __init__(
        self,
        values: Mapping[str, object] | None = None,
        file: str = "",
        prefix: tuple[str, ...] = (),
        lines: Mapping[Position, int] | None = None,
    ) -> None:
        self._values = dict(values or {})
        self._lines = lines or {}
        self.file = file
        self.prefix = prefix

    def __getitem__(self, key: str) -> object:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        # Values may be passwords (of a database, say): only the keys are shown.
        return f"PluginTable({'.'.join(self.prefix)}: {', '.join(self._values) or 'empty'})"

    def line_of(self, *key: str | int) -> int:
        """Return the line of a key below this table, or the nearest one above it; 0 if none."""
        position: Position = (*self.prefix, *key)
        while position:
            if line := self._lines.get(position):
                return line
            position = position[:-1]
        return 0
