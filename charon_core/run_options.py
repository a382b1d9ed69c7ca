"""The options of `charon run`, which Debian's starter passes without naming a subcommand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from charon_core.settings.log import LOG_GROUPS
from charon_core.settings.overrides import Overrides

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = (
    ("--root DIR", "Put DIR before every file and socket, the settings file included."),
    ("--config FILE", "Read this settings file; it has to exist."),
    ("--name NAME", "Name of the daemon in its pid file: NAME.pid."),
    ("--use-syslog", "Log to syslog and not to standard output."),
    ("--debug-GROUP LEVEL", f"Log level (-1..4) of a group: {', '.join(LOG_GROUPS)}, or all."),
)
"""Each option as it is shown, and what it does."""

_DEBUG = re.compile(r"--debug-([a-z]+)\Z")
_LEVELS = {str(level): level for level in range(-1, 5)}


class UsageError(Exception):
    """An option that is not understood."""


class RunOptions(NamedTuple):
    """What was asked for on the command line.

    Attributes:
        root: The folder that all paths are moved below.
        config: The settings file, if it was named.
        name: The daemon's name; ``charon`` unless started under another one.
        overrides: What changes in the settings.
    """

    root: Path | None = None
    config: Path | None = None
    name: str = "charon"
    overrides: Overrides = Overrides()


def parse_run_options(arguments: Sequence[str], program: str = "charon") -> RunOptions:
    """Understand the options of ``charon run``.

    Args:
        arguments: What follows the program's name (and ``run``).
        program: The program's own path: starter's ``--daemon NAME`` starts
            ``/usr/lib/ipsec/NAME``, and waits for ``NAME.pid``.

    Raises:
        UsageError: an option is unknown or lacks its value.
    """
    known = {"--root": "", "--config": "", "--name": ""}
    levels: dict[str, int] = {}
    notes: list[str] = []
    use_syslog = False
    rest = list(arguments)
    while rest:
        option, given, value = rest.pop(0).partition("=")
        if option == "--use-syslog" and not given:
            use_syslog = True
            continue
        debug = _DEBUG.match(option)
        if option not in known and not debug:
            raise UsageError(f"unknown option {option!r}; 'charon run --help' lists all")
        if not given:
            if not rest:
                raise UsageError(f"{option} needs a value")
            value = rest.pop(0)
        if debug:
            _take_level(debug[1], value, levels, notes)
        elif not value:
            raise UsageError(f"{option} needs a value")
        else:
            known[option] = value
    return RunOptions(
        root=Path(known["--root"]).absolute() if known["--root"] else None,
        config=Path(known["--config"]) if known["--config"] else None,
        name=_checked_name(known["--name"]) or _name_of(program),
        overrides=Overrides(use_syslog, levels, tuple(notes)),
    )


def _take_level(group: str, value: str, levels: dict[str, int], notes: list[str]) -> None:
    """Note a log level; what is wrong with it must not keep a gateway from starting."""
    # starter cuts group names to three characters.
    if value not in _LEVELS:
        notes.append(f"option --debug-{group}: expected a level from -1 to 4, got {value!r}")
    elif group in ("all", "any"):
        levels.update(dict.fromkeys(LOG_GROUPS, _LEVELS[value]))
    elif group in LOG_GROUPS:
        levels[group] = _LEVELS[value]
    else:
        notes.append(f"option --debug-{group}: unknown group; known are: {', '.join(LOG_GROUPS)}")


def _checked_name(name: str) -> str:
    if "/" in name or name in (".", ".."):
        raise UsageError(f"--name: expected a name without slashes, got {name!r}")
    return name


def _name_of(program: str) -> str:
    """Return the daemon's name: starter runs it as ``/usr/lib/ipsec/NAME``."""
    path = Path(program)
    return path.name if path.parent.name == "ipsec" else "charon"
