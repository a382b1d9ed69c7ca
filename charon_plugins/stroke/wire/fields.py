"""Field tables: where each field of a message body lies.

A body is a frozen dataclass whose fields say their place::

    name: str | None = text(16)
    level: int = number(24, I32)
    me: End = part(296, End)

Offsets count from the start of the message. A part's own offsets count from the part's start.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Octets before the strings: header, body area and buflen. No message is shorter.
FIXED_LENGTH = 658
#: Offset of the first octet of the body area.
BODY_OFFSET = 16
#: Offset of the first octet behind the body area.
BODY_END = 656

U8 = Struct("<B")
U16 = Struct("<H")
I32 = Struct("<i")
U32 = Struct("<I")
I64 = Struct("<q")
U64 = Struct("<Q")
#: A string slot: the offset of a NUL-terminated string in the message, 0 for "not set".
SLOT = U64

_META = "stroke.place"


def text(offset: int) -> Any:
    """Declare a string slot at ``offset``."""
    return field(default=None, metadata={_META: (offset, None, None)})


def secret_text(offset: int) -> Any:
    """Declare a string slot whose value must not show in a repr."""
    return field(default=None, repr=False, metadata={_META: (offset, None, None)})


def number(offset: int, coder: Struct, default: int = 0) -> Any:
    """Declare an integer at ``offset``."""
    return field(default=default, metadata={_META: (offset, coder, None)})


def part(offset: int, cls: type[Any]) -> Any:
    """Declare a nested structure that begins at ``offset``."""
    return field(default_factory=cls, metadata={_META: (offset, None, cls)})


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of all fields of one body or part; offsets are absolute.

    Attributes:
        cls: the dataclass that holds the values.
        numbers: name, offset and coder of each integer.
        texts: name and offset of each string slot.
        parts: name and layout of each nested structure.
        slots: offset of every string slot, those of parts too, by dotted path (``me.auth``).
    """

    cls: type[Any]
    numbers: tuple[tuple[str, int, Struct], ...]
    texts: tuple[tuple[str, int], ...]
    parts: tuple[tuple[str, Layout], ...]
    slots: Mapping[str, int]

    @classmethod
    def of(cls, body: type[Any], base: int = 0) -> Layout:
        """Read the declarations of a dataclass whose structure begins at ``base``."""
        numbers, texts, parts = [], [], []
        slots: dict[str, int] = {}
        for declared in fields(body):
            offset, coder, nested = declared.metadata[_META]
            if nested is not None:
                layout = cls.of(nested, base + offset)
                parts.append((declared.name, layout))
                slots |= {f"{declared.name}.{path}": at for path, at in layout.slots.items()}
            elif coder is not None:
                numbers.append((declared.name, base + offset, coder))
            else:
                texts.append((declared.name, base + offset))
                slots[declared.name] = base + offset
        return cls(body, tuple(numbers), tuple(texts), tuple(parts), MappingProxyType(slots))
