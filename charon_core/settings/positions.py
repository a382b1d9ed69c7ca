"""Where each key of a TOML text stands: `tomllib` does not tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charon_core.settings.table import Position

_KEY = re.compile(r'[A-Za-z0-9_-]+|"((?:[^"\\\n]|\\.)*)"|\'([^\'\n]*)\'')
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_PLAIN = re.compile(r"[^\[\]{}\"'#\n]+")


def key_lines(text: str) -> dict[Position, int]:
    """Map the position of each key and table to its line, counted from 1.

    A position is the path of names; an element of an array of tables adds its index. The text
    has to be valid TOML; of what is not, the lines up to there are given. Keys of inline tables
    are not listed: they stand on the line of the key that holds them, or near.
    """
    return _Scanner(text).scan()


class _Scanner:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Position, int] = {}
        self._arrays: dict[Position, int] = {}
        self._counted = 0
        self._line = 1

    def scan(self) -> dict[Position, int]:
        """Go through the text, statement by statement."""
        table: Position = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return self._lines
            line = self._line_here()
            if self._text[self._at] == "[":
                header = self._header()
                if header is None:
                    return self._lines
                table = header
                self._lines.setdefault(table, line)
            else:
                key = self._dotted_key()
                if not key or self._text[self._at : self._at + 1] != "=":
                    return self._lines
                self._at += 1
                for depth in range(1, len(key) + 1):
                    self._lines.setdefault((*table, *key[:depth]), line)
                self._value()

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _header(self) -> Position | None:
        """Read ``[a.b]`` or ``[[a.b]]`` and return its position, with the indices of arrays."""
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        names = self._dotted_key()
        if not names or not self._text.startswith("]" * brackets, self._at):
            return None
        self._at += brackets
        position: Position = ()
        for depth, name in enumerate(names, 1):
            position = (*position, name)
            if brackets == 2 and depth == len(names):
                self._arrays[position] = self._arrays.get(position, -1) + 1
                self._lines.setdefault(position, self._line)
            if position in self._arrays:
                position = (*position, self._arrays[position])
        return position

    def _dotted_key(self) -> tuple[str, ...]:
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            if match is None:
                return ()
            self._at = match.end()
            names.append(next((part for part in match.groups() if part is not None), match[0]))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(names)
            self._at += 1

    def _value(self) -> None:
        """Step over a value, which may have strings and brackets over several lines."""
        depth = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "\n" and depth == 0:
                return
            if char in "\"'":
                match = _STRING.match(self._text, self._at)
                self._at = match.end() if match else len(self._text)
            elif char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char in "[]{}\n":
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(char, 0)
                self._at += 1
            else:
                self._skip(_PLAIN)
