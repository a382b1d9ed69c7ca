"""Reads the lines of ipsec.conf: section headers and settings, with included files in their place.

Section headers stand in column 1, settings are indented, ``#`` begins a comment outside of double
quotes, and ``include`` may stand anywhere. There is no continuation of lines outside of quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.starter.place import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Included files may include others, down to this depth; a file that includes itself ends here.
MAX_INCLUDE_DEPTH: Final = 16

_BLANKS = re.compile(r"[ \t]*")
_KEY = re.compile(r'[^"#= \t\n]+')
_EQUALS = re.compile(r"[ \t]*=")
# A word that begins with @# keeps this hash: that is how a binary KEY_ID is written.
_WORD = re.compile(r'(?:@#)?[^"#= \t\n]*')
_HEADER = re.compile(r"(config|conn|ca)(?![^ \t\n#])")
# A line that only begins like an include, "include = x" for instance, is not one.
_INCLUDE = re.compile(
    r'include[ \t]+(?:"((?:[^"\\\n=]|\\[^\n])*)"|((?:[^ \t\n#\\"=]|\\[^\n])+))'
    r"(?=[ \t]*(?:[\n#]|\Z))"
)
_INCLUDE_ESCAPE = re.compile(r'\\(["#} ])')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


@dataclass(frozen=True, slots=True)
class Header:
    """Begin of a section: kind ``config``, ``conn`` or ``ca``, and its name."""

    kind: str
    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Setting:
    """One ``key = value`` line; without a value (``None``) it unsets what would be inherited."""

    key: str
    value: str | None
    place: Place
    value_place: Place


class _SyntaxError(Exception):
    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(place, text)


class Lexer:
    """Turns a file and those that it includes into headers and settings.

    Attributes:
        errors: syntax errors; the whole file is to be rejected if there is one.
        warnings: what is odd but harmless.
    """

    def __init__(self, read: Callable[[Path], str] | None = None) -> None:
        self._read = read or read_text
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def lines(self, path: Path) -> Iterator[Header | Setting]:
        """Headers and settings of a file in order.

        Raises:
            OSError: the file itself cannot be read.
        """
        yield from self._file(path, self._read(path), 0)

    def _file(self, path: Path, text: str, depth: int) -> Iterator[Header | Setting]:
        scanner = _Scanner(str(path), text)
        if "\r\n" in text:
            self.warnings.append(
                Problem(
                    Place(str(path), text[: text.index("\r\n")].count("\n") + 1, 1),
                    "lines end in CR LF: the carriage return becomes part of the value; "
                    "convert the file to plain LF",
                )
            )
        while not scanner.at_end:
            try:
                line = self._line(scanner)
            except _SyntaxError as error:
                self.errors.append(error.problem)
                scanner.skip_line()
                continue
            if isinstance(line, _Include):
                yield from self._include(path, line, depth)
            elif line is not None:
                yield line

    def _line(self, scanner: _Scanner) -> Header | Setting | _Include | None:
        indented = bool(scanner.match(_BLANKS))
        if scanner.at_line_end:
            scanner.skip_line()
            return None
        start = scanner.place
        include = _include(scanner)
        if include is not None:
            return include
        if scanner.peek("version"):
            scanner.skip_line()
            return None
        if indented:
            return _setting(scanner)
        return _header(scanner, start)

    def _include(self, path: Path, include: _Include, depth: int) -> Iterator[Header | Setting]:
        if depth >= MAX_INCLUDE_DEPTH:
            self.errors.append(
                Problem(
                    include.place,
                    f"includes are nested more than {MAX_INCLUDE_DEPTH} deep; "
                    "does a file include itself?",
                )
            )
            return
        pattern = str(path.parent / include.pattern)
        found = sorted(glob(pattern, include_hidden=True))  # noqa: PTH207 -- the pattern may be absolute
        if not found:
            self.warnings.append(Problem(include.place, f"include: no file matches {pattern!r}"))
        for name in found:
            try:
                text = self._read(Path(name))
            except OSError as error:
                self.warnings.append(
                    Problem(include.place, f"include: cannot read {name!r}: {error.strerror}")
                )
            else:
                yield from self._file(Path(name), text, depth + 1)


def read_text(path: Path) -> str:
    """Text of a file; octets that are not UTF-8 survive as surrogates, line ends stay as they are.

    Raises:
        OSError: the file cannot be read.
    """
    return path.read_bytes().decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _Include:
    pattern: str
    place: Place


class _Scanner:
    """A cursor over the text that knows line and column."""

    __slots__ = ("_file", "_line", "_line_start", "_position", "_text")

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._position = 0
        self._line = 1
        self._line_start = 0

    @property
    def at_end(self) -> bool:
        return self._position >= len(self._text)

    @property
    def at_line_end(self) -> bool:
        """True if nothing but a comment follows on this line."""
        return self.at_end or self._text[self._position] in "\n#"

    @property
    def place(self) -> Place:
        return Place(self._file, self._line, self._position - self._line_start + 1)

    def peek(self, text: str) -> bool:
        return self._text.startswith(text, self._position)

    def match(self, pattern: re.Pattern[str]) -> str:
        """Consume what the pattern matches here; it must not match a newline."""
        found = pattern.match(self._text, self._position)
        if found is None:
            return ""
        self._position = found.end()
        return found.group()

    def look(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return pattern.match(self._text, self._position)

    def advance(self, count: int) -> None:
        """Consume characters, newlines among them."""
        for _ in range(count):
            if self._text[self._position] == "\n":
                self._line += 1
                self._line_start = self._position + 1
            self._position += 1

    def take(self) -> str:
        """Consume one character; empty at the end of the text."""
        if self.at_end:
            return ""
        character = self._text[self._position]
        self.advance(1)
        return character

    def skip_line(self) -> None:
        end = self._text.find("\n", self._position)
        self._position = len(self._text) if end < 0 else end
        self.take()

    def finish_line(self, after: str) -> None:
        """Consume the end of the line, or complain about what stands before it."""
        self.match(_BLANKS)
        if not self.at_line_end:
            raise _SyntaxError(self.place, f"expected the end of the line after {after}")
        self.skip_line()

    def quoted(self) -> str:
        """Consume a double-quoted string, which may span lines, and undo its escapes."""
        opening = self.place
        self.take()
        result: list[str] = []
        while True:
            character = self.take()
            if character == '"':
                return "".join(result)
            if character == "\\":
                escaped = self.take()
                result.append(_ESCAPES.get(escaped, escaped))
            elif character:
                result.append(character)
            else:
                raise _SyntaxError(opening, 'this string has no closing " before the file ends')

    def word(self) -> str | None:
        """Consume a word, quoted or not; ``None`` if there is none."""
        if self.peek('"'):
            return self.quoted()
        return self.match(_WORD) or None


def _include(scanner: _Scanner) -> _Include | None:
    """Consume an include line; ``None``, with nothing consumed, if this is none."""
    found = scanner.look(_INCLUDE)
    if found is None:
        return None
    place = scanner.place
    scanner.match(_INCLUDE)
    scanner.finish_line("the include pattern")
    quoted, plain = found.groups()
    return _Include(_INCLUDE_ESCAPE.sub(r"\1", plain if quoted is None else quoted), place)


def _header(scanner: _Scanner, start: Place) -> Header:
    kind = scanner.match(_HEADER)
    if not kind:
        found = scanner.match(_WORD) or "this"
        hint = "; settings must be indented by a blank or tab" if scanner.look(_EQUALS) else ""
        raise _SyntaxError(
            start, f"expected 'config setup', 'conn NAME' or 'ca NAME', not {found!r}{hint}"
        )
    scanner.match(_BLANKS)
    place = scanner.place
    name = scanner.word()
    if kind == "config":
        if name != "setup":
            raise _SyntaxError(place, f"expected 'config setup', not 'config {name or ''}'")
    elif not name:
        raise _SyntaxError(place, f"expected a name after {kind!r}")
    scanner.finish_line(f"the name of the section, {name!r} (quote a name that contains blanks)")
    return Header(kind, name, start)


def _setting(scanner: _Scanner) -> Setting:
    place = scanner.place
    key = scanner.match(_KEY)
    if not key or not scanner.match(_EQUALS):
        found = f"'=' after {key!r}" if key else "a setting, KEY=VALUE"
        raise _SyntaxError(scanner.place, f"expected {found}")
    words: list[str] = []
    scanner.match(_BLANKS)
    value_place = scanner.place
    while not scanner.at_line_end:
        word = scanner.word()
        if word is None:
            raise _SyntaxError(
                scanner.place,
                f"a second '=' in the value of {key!r}; put the value into double quotes",
            )
        words.append(word)
        scanner.match(_BLANKS)
    scanner.skip_line()
    return Setting(key, " ".join(words) if words else None, place, value_place)
