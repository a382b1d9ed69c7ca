"""A settings file with every key, its default and its meaning, made from the dataclasses."""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from charon_core.settings.model import Settings
from charon_core.settings.option import options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.settings.option import Option

_WIDTH = 96

_HEAD = """\
# charon.toml: the settings of charon. Every key has a default; an empty file, or none, is valid.
# Keys that stand here behind a "#" have the value that they would have anyway.
"""

_PLUGIN_TABLES = """\
# A table of its own for each plugin; its README tells what it takes.
# [plugins.stroke]
"""


def sample_settings() -> str:
    """Return the text of the sample, valid TOML that means the same as an empty file."""
    parts = [_HEAD, *_section(Settings, "")]
    return "\n".join(parts)


def _section(kind: type, name: str) -> Iterator[str]:
    """Yield the blocks of one table and of those within it."""
    hints = typing.get_type_hints(kind)
    nested = []
    own = []
    for key, option, default in options_of(kind):
        inner = _inner(hints[key])
        if inner is None:
            own.append(_key(key, option, default))
        else:
            nested.append((key, option, inner, typing.get_origin(hints[key]) is tuple))
    if own:
        yield f"[{name}]\n" + "\n".join(own)
    for key, option, inner, repeated in nested:
        full = f"{name}.{key}" if name else key
        head = _comment(option.doc) + "\n"
        if repeated:
            keys = next(_section(inner, full)).partition("\n")[2]
            yield head + _as_comment(f"[[{full}]]\n{keys}")
        else:
            blocks = list(_section(inner, full))
            yield head + blocks[0]
            yield from blocks[1:]
        if full == "plugins":
            yield _PLUGIN_TABLES


def _inner(hint: Any) -> type[Any] | None:
    """Return the dataclass that a table, or each of an array of tables, is read into."""
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint if isinstance(hint, type) and is_dataclass(hint) else None


def _key(name: str, option: Option, default: object) -> str:
    limits = []
    if option.unit:
        limits.append(f"in {option.unit}")
    if option.choices:
        limits.append("one of " + ", ".join(choice or '""' for choice in option.choices))
    elif option.minimum is not None and option.maximum is not None:
        limits.append(f"{option.minimum:g} to {_number(option.maximum)}")
    doc = option.doc + (f" ({', '.join(limits)})" if limits else "")
    lines = [_comment(doc)]
    if option.example and _empty(default):
        lines.append(f"# For example: {name} = {option.example}")
    shown = option.example if isinstance(default, int) and option.example else to_toml(default)
    lines.append(f"# {name} = {shown}\n")
    return "\n".join(lines)


def _empty(default: object) -> bool:
    return default in ("", (), {}) or isinstance(default, str)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, _WIDTH))


def _as_comment(text: str) -> str:
    lines = (f"# {line}" if line[:1] not in ("", "#") else line for line in text.splitlines())
    return "\n".join(lines) + "\n"


def to_toml(value: object) -> str:
    """Write a value of the settings as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")
