"""ipsec.conf as sections: merged by name, with `also` and %default resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_plugins.stroke.starter.lexer import Header, Lexer, Setting
from charon_plugins.stroke.starter.place import ConfError, Place, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

DEFAULT: Final = "%default"
#: Sections of this name get a generated one.
AUTO_NAME: Final = "%auto"

#: Other spellings of keywords, here without ``left`` and ``right``.
_ALIASES = {
    "keylife": "lifetime",
    "rekeymargin": "margintime",
    "leftsubnetwithin": "leftsubnet",
    "rightsubnetwithin": "rightsubnet",
    "leftrsasigkey": "leftsigkey",
    "rightrsasigkey": "rightsigkey",
    "crluri1": "crluri",
    "ocspuri1": "ocspuri",
}


class Also(NamedTuple):
    """Inheritance from the section ``name``, and where it is written."""

    name: str
    place: Place


@dataclass(slots=True)
class Section:
    """A section as written: its own settings and the names it inherits from, in order."""

    kind: str
    name: str
    place: Place
    settings: dict[str, Setting] = field(default_factory=dict)
    also: list[Also] = field(default_factory=list)

    def take(self, setting: Setting) -> None:
        """Add a setting; a later one replaces an earlier one, `also` adds up.

        Of two spellings of one keyword the alphabetically later one counts, as it always did.
        """
        if setting.key == "also":
            if setting.value is not None:
                self.also.append(Also(setting.value, setting.value_place))
            return
        key = _ALIASES.get(setting.key, setting.key)
        if key not in self.settings or self.settings[key].key <= setting.key:
            self.settings[key] = setting


@dataclass(frozen=True, slots=True)
class Document:
    """All sections of a file and of those that it includes.

    Attributes:
        setup: the settings of ``config setup``.
        conns: connections, %default among them, in order of first appearance.
        cas: the same for ca sections.
        warnings: what was odd but did no harm.
    """

    setup: Section
    conns: Mapping[str, Section]
    cas: Mapping[str, Section]
    warnings: tuple[Problem, ...]

    def layers(self, section: Section) -> Sequence[Section]:
        """The sections whose settings make up ``section``, strongest first."""
        return _layers(section, self.conns if section.kind == "conn" else self.cas)


def load(path: Path, read: Callable[[Path], str] | None = None) -> Document:
    """Read a file and what it includes.

    Raises:
        OSError: the file itself cannot be read.
        ConfError: a syntax error, or an `also` that names no section or leads back to its own;
            with all problems found.
    """
    lexer = Lexer(read)
    setup = Section("config", "setup", Place(str(path), 1, 1))
    sections: dict[str, dict[str, Section]] = {"conn": {}, "ca": {}}
    current: Section | None = None
    generated = 0
    for line in lexer.lines(path):
        if isinstance(line, Setting):
            if current is not None:
                current.take(line)
            elif not lexer.errors:
                text = f"{line.key!r} is ignored: it stands before the first section"
                lexer.warnings.append(Problem(line.place, text))
        elif line.kind == "config":
            current = setup
        else:
            name = line.name
            if name == AUTO_NAME:
                generated += 1
                name = f"{line.kind}_{generated}"
            current = _section(sections[line.kind], line, name)
    errors = list(lexer.errors)
    for group in sections.values():
        errors += _check_inheritance(group)
    if errors:
        raise ConfError(sorted(errors, key=lambda problem: problem.place))
    return Document(setup, sections["conn"], sections["ca"], tuple(lexer.warnings))


def _section(group: dict[str, Section], header: Header, name: str) -> Section:
    return group.setdefault(name, Section(header.kind, name, header.place))


def _check_inheritance(group: Mapping[str, Section]) -> list[Problem]:
    """Problems of all `also` settings: unknown names and loops."""
    problems = [
        Problem(also.place, f"also = {also.name!r}: there is no section '{s.kind} {also.name}'")
        for s in group.values()
        for also in s.also
        if also.name not in group
    ]
    if problems:
        return problems
    done: set[str] = set()
    for section in group.values():
        loop = _find_loop(section, group, done)
        if loop is not None:
            problems.append(loop)
    return problems


def _find_loop(start: Section, group: Mapping[str, Section], done: set[str]) -> Problem | None:
    """Depth-first walk with an explicit stack: a long chain must not exhaust Python's own."""
    path: list[str] = []
    on_path: set[str] = set()
    stack: list[tuple[Section, int]] = [(start, 0)]
    while stack:
        section, position = stack.pop()
        if position == 0:
            if section.name in done:
                continue
            path.append(section.name)
            on_path.add(section.name)
        if position == len(section.also):
            path.pop()
            on_path.discard(section.name)
            done.add(section.name)
            continue
        stack.append((section, position + 1))
        also = section.also[position]
        if also.name in on_path:
            cycle = " -> ".join([*path[path.index(also.name) :], also.name])
            done |= on_path
            return Problem(also.place, f"also = {also.name!r} closes a loop: {cycle}")
        stack.append((group[also.name], 0))
    return None


def _layers(section: Section, group: Mapping[str, Section]) -> list[Section]:
    # A section that is reachable twice counts at its weakest position, and the last `also` is the
    # strongest: the reverse of the order in which a post-order walk first completes each section.
    completed: dict[str, Section] = {}
    roots = [group[DEFAULT]] if DEFAULT in group else []
    for root in (*roots, section):
        stack: list[tuple[Section, bool]] = [(root, False)]
        while stack:
            visited, is_complete = stack.pop()
            if is_complete:
                completed.setdefault(visited.name, visited)
            elif visited.name not in completed:
                stack.append((visited, True))
                stack += [(group[also.name], False) for also in reversed(visited.also)]
    return list(completed.values())[::-1]


def effective(layers: Iterable[Section]) -> dict[str, Setting]:
    """Settings that count, by keyword in the order in which they take effect.

    Strongest layer first, alphabetically inside a layer; a weaker layer adds only what no stronger
    one has. A setting without a value stays in its place: it means the default.
    """
    result: dict[str, Setting] = {}
    for layer in layers:
        for key in sorted(layer.settings.keys() - result.keys()):
            result[key] = layer.settings[key]
    return result
