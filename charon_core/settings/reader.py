"""From the text of charon.toml to `Settings`, or to everything that is wrong with it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from charon_core.settings.errors import SettingsError, SettingsProblem
from charon_core.settings.model import PluginSettings, Settings
from charon_core.settings.table import PluginTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.settings.table import Position

T = TypeVar("T")

_TOML_PLACE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)\Z")


def load_settings(file: str | Path, *, must_exist: bool = False) -> Settings:
    """Read a settings file.

    Args:
        file: Its path.
        must_exist: Whether its absence is an error; otherwise it counts as empty.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or says what cannot be; has all of it.
    """
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError:
        if not must_exist:
            return Settings()
        raise _unusable(
            file, "expected a settings file, found none; create it or name another"
        ) from None
    except OSError as error:
        raise _unusable(file, f"cannot be read: {error.strerror}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unusable(
            file, f"expected UTF-8, got the octet {content[error.start]:#04x}", line
        ) from None
    return parse_settings(text, str(file))


def parse_settings(text: str, file: str = "charon.toml") -> Settings:
    """Turn the text of a settings file into settings; `file` is its name in messages.

    Raises:
        SettingsError: with all problems, each with file, line and key.
    """
    # An empty file needs no parser: that spares its import at the start of the daemon.
    if not text.strip():
        return Settings()
    from charon_core.settings.convert import Conversion

    document = _parse_toml(text, file)
    lines = _LazyLines(text)
    conversion = Conversion(file, lines.line_of)
    plugins = document.get("plugins")
    tables: dict[str, PluginTable] = {}
    if isinstance(plugins, dict):
        own = ("load", "block")
        for name in [key for key, value in plugins.items() if isinstance(value, dict)]:
            if name not in own:
                values = plugins.pop(name)
                tables[name] = PluginTable(values, file, ("plugins", name), lines.all())
    settings = conversion.section(Settings, document, ())
    if conversion.problems:
        raise SettingsError(sorted(conversion.problems, key=lambda problem: problem.line))
    if tables:
        settings = replace(
            settings,
            plugins=PluginSettings(settings.plugins.load, settings.plugins.block, tables),
        )
    return settings


def parse_table(table: PluginTable | Mapping[str, object], kind: type[T]) -> T:
    """Turn a plugin's table into a dataclass whose fields are declared with `option()`.

    Raises:
        SettingsError: with all problems, as for the daemon's own keys.
    """
    from charon_core.settings.convert import Conversion

    known = table if isinstance(table, PluginTable) else PluginTable(table)
    conversion = Conversion(
        known.file, lambda position: known.line_of(*position[len(known.prefix) :])
    )
    result = conversion.section(kind, dict(known), known.prefix)
    if conversion.problems:
        raise SettingsError(sorted(conversion.problems, key=lambda problem: problem.line))
    return result


def problem_at(file: str | Path, position: Position, text: str) -> SettingsProblem:
    """Return what turned out to be wrong with a key after the settings were read, with its line."""
    try:
        content = Path(file).read_text(errors="replace")
    except OSError:
        content = ""
    line = _LazyLines(content).line_of(position)
    return SettingsProblem(str(file), line, ".".join(map(str, position)), text)


class _LazyLines:
    """The lines of keys, found when the first one is asked for."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: dict[Position, int] | None = None

    def all(self) -> dict[Position, int]:
        if self._lines is None:
            from charon_core.settings.positions import key_lines

            self._lines = key_lines(self._text)
        return self._lines

    def line_of(self, position: Position) -> int:
        while position:
            if line := self.all().get(position):
                return line
            position = position[:-1]
        return 0


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        if place := _TOML_PLACE.match(message):
            raise _unusable(
                file, f"not TOML: {place[1]} (column {place[3]})", int(place[2])
            ) from None
        raise _unusable(file, f"not TOML: {message}", text.count("\n") + 1) from None


def _unusable(file: str | Path, text: str, line: int = 0) -> SettingsError:
    return SettingsError([SettingsProblem(str(file), line, "", text)])
