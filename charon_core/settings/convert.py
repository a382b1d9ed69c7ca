"""From TOML values to the types of settings dataclasses, collecting what does not fit."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from charon_core.settings.errors import SettingsProblem
from charon_core.settings.option import Option, options_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.settings.table import Position

T = TypeVar("T")


class _Refused(Exception):  # noqa: N818 - says what happened
    """A value does not fit; the problem has been noted."""


class Conversion:
    """Reads one file; problems gather in `problems` while the reading goes on."""

    def __init__(self, file: str, line_of: Callable[[Position], int]) -> None:
        self.problems: list[SettingsProblem] = []
        self._file = file
        self._line_of = line_of

    def section(self, kind: type[T], values: Mapping[str, Any], position: Position) -> T:
        """Make a settings dataclass of a table; keys that are wrong keep their default."""
        hints = typing.get_type_hints(kind)
        known = {name: option for name, option, _ in options_of(kind)}
        good: dict[str, Any] = {}
        for key, value in values.items():
            option = known.get(key)
            if option is None:
                self._unknown(key, tuple(known), position)
                continue
            try:
                good[key] = self._value(value, hints[key], option, (*position, key))
            except _Refused:
                continue
        result = kind(**good)
        check = getattr(result, "problems", None)
        for key, text in check() if check is not None else ():
            self._problem((*position, key), text)
        return result

    def _unknown(self, key: str, known: tuple[str, ...], position: Position) -> None:
        near = get_close_matches(key, known, 1) or get_close_matches(
            key.replace("-", "_").lower(), known, 1
        )
        advice = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
        self._problem((*position, key), f"unknown key; {advice}")

    def _problem(self, position: Position, text: str) -> None:
        key = ""
        for part in position:
            key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
        self.problems.append(SettingsProblem(self._file, self._line_of(position), key, text))

    def _refuse(self, position: Position, expected: str, value: Any) -> _Refused:
        self._problem(position, f"expected {expected}, got {_shown(value)}")
        return _Refused()

    def _value(self, value: Any, hint: Any, option: Option, position: Position) -> Any:
        if is_dataclass(hint):
            if not isinstance(value, dict):
                raise self._refuse(position, f"a table [{_name(position)}]", value)
            return self.section(typing.cast("type[Any]", hint), value, position)
        origin = typing.get_origin(hint)
        if origin is tuple:
            result = self._list(value, typing.get_args(hint)[0], option, position)
        elif origin is Mapping:
            result = self._table(value, typing.get_args(hint)[1], option, position)
        elif origin is typing.Union or origin is types.UnionType:
            # "int | None": TOML has no null, the default stands for it.
            inner = next(item for item in typing.get_args(hint) if item is not type(None))
            return self._value(value, inner, option, position)
        else:
            result = self._scalar(value, hint, option, position)
        expected = option.check(result) if option.check is not None else None
        if expected is not None:
            raise self._refuse(position, expected, value)
        return result

    def _list(self, value: Any, inner: Any, option: Option, position: Position) -> Any:
        if not isinstance(value, list):
            if is_dataclass(inner):
                raise self._refuse(position, f"tables [[{_name(position)}]]", value)
            raise self._refuse(position, f"a list of {_PLURALS.get(inner, 'values')}", value)
        each = Option(
            option.doc, minimum=option.minimum, maximum=option.maximum, choices=option.choices
        )
        # Every element is looked at, so that all that is wrong comes up at once.
        return tuple(
            self._all(
                (lambda item=item, index=index: self._value(item, inner, each, (*position, index)))
                for index, item in enumerate(value)
            )
        )

    def _table(self, value: Any, inner: Any, option: Option, position: Position) -> Any:
        if not isinstance(value, dict):
            raise self._refuse(position, "a table like {name = value}", value)
        each = Option(option.doc, option.unit, option.minimum, option.maximum)

        def convert(key: str, item: Any) -> tuple[str, Any]:
            if option.keys and key not in option.keys:
                self._unknown(key, option.keys, position)
                raise _Refused
            return key, self._value(item, inner, each, (*position, key))

        return dict(
            self._all(
                (lambda key=key, item=item: convert(key, item)) for key, item in value.items()
            )
        )

    @staticmethod
    def _all(conversions: Any) -> list[Any]:
        results, refused = [], False
        for convert in conversions:
            try:
                results.append(convert())
            except _Refused:
                refused = True
        if refused:
            raise _Refused
        return results

    def _scalar(self, value: Any, hint: Any, option: Option, position: Position) -> Any:
        if hint is float and type(value) is int:
            value = float(value)
        if type(value) is not hint:
            raise self._refuse(position, _expected(hint, option), value)
        if option.choices and value not in option.choices:
            near = get_close_matches(value, option.choices, 1)
            advice = f" (did you mean {near[0]!r}?)" if near else ""
            raise self._refuse(position, _expected(hint, option) + advice, value)
        if hint in (int, float):
            low, high = option.minimum, option.maximum
            # The form of the comparison also refuses nan.
            if not ((low is None or value >= low) and (high is None or value <= high)):
                raise self._refuse(position, _expected(hint, option), value)
        return value


_PLURALS = {str: "strings", int: "whole numbers", float: "numbers", bool: "true or false"}


def _expected(hint: Any, option: Option) -> str:
    if option.choices:
        return "one of " + ", ".join(repr(choice) for choice in option.choices)
    if hint is bool:
        return "true or false"
    if hint is str:
        return "a string"
    text = "a whole number" if hint is int else "a number"
    if option.unit:
        text += {"s": " of seconds"}.get(option.unit, f" of {option.unit}")
    if option.minimum is not None and option.maximum is not None:
        return f"{text} from {option.minimum:g} to {_plain(option.maximum)}"
    if option.minimum is not None:
        return f"{text} of at least {option.minimum:g}"
    if option.maximum is not None:
        return f"{text} of at most {_plain(option.maximum)}"
    return text


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def _name(position: Position) -> str:
    return ".".join(str(part) for part in position)


def _shown(value: Any) -> str:
    """Show a value that was refused; long ones are cut, since they may be anything."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if len(value) > 3 else repr(value)[:60]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
