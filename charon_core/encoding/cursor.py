"""The one bounds-checked reader that every parser of the project goes through."""
# ruff: noqa: SLF001 -- Restriction is the other half of Cursor and moves its bounds.

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from charon_core.encoding.errors import ParseError
from charon_core.encoding.registry import NotifyType

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_U16 = Struct("!H")
_U32 = Struct("!I")
_U64 = Struct("!Q")

_Fields = TypeVarTuple("_Fields")
_Value = TypeVar("_Value")


class Cursor:
    """A position in `data` that only moves forwards and never past the current end.

    All integers are in network byte order. Every method raises ParseError when the data does
    not hold what is asked for; nothing is consumed then.

    Args:
        data: the octets to read.
        payload_name: what is being read, for error messages.
    """

    __slots__ = ("_data", "_end", "_position", "payload_name")

    def __init__(self, data: bytes, payload_name: str = "") -> None:
        self._data = data
        self._position = 0
        self._end = len(data)
        self.payload_name = payload_name

    @property
    def remaining(self) -> int:
        """Octets between the position and the current end."""
        return self._end - self._position

    @property
    def end(self) -> int:
        """Octets from the beginning of the outermost data to the current end."""
        return self._end

    @property
    def offset(self) -> int:
        """Octets from the beginning of the outermost data to the position."""
        return self._position

    def u8(self) -> int:
        """Read one octet."""
        position = self._position
        if position >= self._end:
            raise self._short(1)
        self._position = position + 1
        return self._data[position]

    def u16(self) -> int:
        """Read a 16-bit integer."""
        return self.unpack(_U16)[0]  # type: ignore[no-any-return]

    def u32(self) -> int:
        """Read a 32-bit integer."""
        return self.unpack(_U32)[0]  # type: ignore[no-any-return]

    def u64(self) -> int:
        """Read a 64-bit integer."""
        return self.unpack(_U64)[0]  # type: ignore[no-any-return]

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        """Read the fixed-size fields of `layout` at once."""
        position = self._position
        after = position + layout.size
        if after > self._end:
            raise self._short(layout.size)
        self._position = after
        return layout.unpack_from(self._data, position)

    def take(self, count: int) -> bytes:
        """Read exactly `count` octets."""
        position = self._position
        after = position + count
        if count < 0 or after > self._end:
            raise self._short(count)
        self._position = after
        return self._data[position:after]

    def rest(self) -> bytes:
        """Read everything up to the current end; may be empty."""
        position = self._position
        self._position = end = self._end
        return self._data[position:end]

    def ahead(self) -> bytes:
        """Everything up to the current end, without reading it."""
        return self._data[self._position : self._end]

    def skip(self, count: int) -> None:
        """Pass over exactly `count` octets."""
        after = self._position + count
        if count < 0 or after > self._end:
            raise self._short(count)
        self._position = after

    def restrict(self, length: int) -> Restriction:
        """Confine this cursor to the next `length` octets within a `with` block.

        The block must consume them exactly: a nested structure can neither read past its
        own length nor leave octets behind, and a negative length (one shorter than the
        header that carries it) is refused on entry.
        """
        return Restriction(self, length)

    def narrow(self, length: int) -> int:
        """Enter a restriction without a `with` block, where each microsecond counts.

        Returns:
            The present end, for `widen`.
        """
        end = self._position + length
        outer_end = self._end
        if length < 0 or end > outer_end:
            raise self._short(length)
        self._end = end
        return outer_end

    def begin(self, header: Struct) -> tuple[Any, ...]:
        """Read the header of an item and narrow to its body, in one step.

        Args:
            header: its last field is the length of the whole item with this header.

        Returns:
            The fields of the header; `widen` to the end of before leaves the item.
        """
        position = self._position
        body = position + header.size
        outer_end = self._end
        if body > outer_end:
            raise self._short(header.size)
        fields = header.unpack_from(self._data, position)
        end = position + fields[-1]
        if end < body or end > outer_end:
            self._position = body
            raise self._short(end - body)
        self._position = body
        self._end = end
        return fields

    def widen(self, outer_end: int) -> None:
        """Leave the restriction that returned `outer_end`; it must be consumed exactly."""
        if self._position != self._end:
            raise self.error(f"{self._end - self._position} octets behind the last field")
        self._end = outer_end

    def error(
        self,
        reason: str,
        notify: NotifyType = NotifyType.INVALID_SYNTAX,
        notify_data: bytes = b"",
    ) -> ParseError:
        """Make (not raise) the ParseError for a fault at the position."""
        return ParseError(self.payload_name, self._position, reason, notify, notify_data)

    def checked(self, factory: Callable[[*_Fields], _Value], *fields: *_Fields) -> _Value:
        """Make a value that checks itself; its ValueError becomes a ParseError here."""
        try:
            return factory(*fields)
        except ValueError as error:
            raise self.error(str(error)) from error

    def expect_end(self) -> None:
        """Refuse octets that nothing has claimed."""
        if self._position != self._end:
            raise self.error(f"{self._end - self._position} octets behind the last field")

    def _short(self, wanted: int) -> ParseError:
        if wanted < 0:
            return self.error(f"a length that is {-wanted} octets shorter than its own header")
        return self.error(f"expected {wanted} octets, only {self._end - self._position} are left")


class Restriction:
    """The `with` block of `Cursor.restrict`: narrows the cursor, then widens it again."""

    __slots__ = ("_cursor", "_length", "_outer_end")

    def __init__(self, cursor: Cursor, length: int) -> None:
        self._cursor = cursor
        self._length = length
        self._outer_end = 0

    def __enter__(self) -> Cursor:
        self._outer_end = self._cursor.narrow(self._length)
        return self._cursor

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_type is None:
            self._cursor.widen(self._outer_end)
        else:
            self._cursor._end = self._outer_end
