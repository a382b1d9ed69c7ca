"""One key of the settings: its default, what it means, and which values it takes."""

from __future__ import annotations

from dataclasses import MISSING, Field, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_METADATA = "charon-option"


class Option(NamedTuple):
    """What is known of a key beside its type and default.

    Attributes:
        doc: What it does, in one or two sentences, for the person who sets it.
        unit: The unit of a number: ``s``, ``bytes``, ...; empty if it has none.
        minimum: The least number allowed, or the least length of a list.
        maximum: The greatest number allowed.
        choices: The words allowed; empty if any.
        keys: The keys allowed in a table of numbers; empty if any.
        check: Returns what would have been expected, or None if the value is good.
        example: A TOML value for the sample, where the default says too little.
    """

    doc: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    check: Callable[[Any], str | None] | None = None
    example: str = ""


class Section:
    """Base of the settings' dataclasses: how they compare and show themselves.

    Written once here, since `dataclass` compiles these methods anew for each class, which for
    all sections together costs 8 ms at the start of the daemon.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in self.__dataclass_fields__
        )

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
        return f"{type(self).__name__}({', '.join(shown)})"

    __hash__ = None  # type: ignore[assignment]
    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


def option(
    default: T,
    doc: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
    check: Callable[[Any], str | None] | None = None,
    example: str = "",
) -> T:
    """Declare a key of a settings dataclass; the arguments are those of `Option`."""
    known = Option(doc, unit, minimum, maximum, choices, keys, check, example)
    if getattr(type(default), "__hash__", None) is None:
        return field(default_factory=lambda: default, metadata={_METADATA: known})
    return field(default=default, metadata={_METADATA: known})


def section(kind: type[T], doc: str) -> T:
    """Declare a nested table, whose keys are the fields of the dataclass `kind`."""
    return field(default_factory=kind, metadata={_METADATA: Option(doc)})


def options_of(kind: type) -> Iterator[tuple[str, Option, object]]:
    """Yield name, option and default of each key of a settings dataclass.

    Fields that are not declared with `option()` or `section()` are not keys of the file.
    """
    for item in fields(kind):
        known = item.metadata.get(_METADATA)
        if isinstance(known, Option):
            factory = item.default_factory
            yield item.name, known, item.default if factory is MISSING else factory()
