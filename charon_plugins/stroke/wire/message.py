"""The message frame: bytes to `Message` and back, with every offset and length checked here."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from charon_core.encoding.errors import ParseError
from charon_plugins.stroke.wire.bodies import ADD_CONN_ORDER, BODIES, LAYOUTS, AddConn, Body
from charon_plugins.stroke.wire.fields import BODY_END, FIXED_LENGTH, SLOT, U16, Layout
from charon_plugins.stroke.wire.types import SILENT, MessageType

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Senders refuse when the length with the next string would reach this.
MAX_LENGTH: Final = 65535
#: What a string slot that points outside of the strings reads as.
INVALID_POINTER: Final = "(invalid pointer in stroke msg)"

_HEADER = struct.Struct("<H2xii4x")
#: The clients' structure, whose size the compiler rounds up, and the step of their buffer.
_ALLOCATION = 664
_ALLOCATION_STEP = 1024
_PAYLOAD = "stroke message"


class EncodeError(ValueError):
    """A value does not fit into a stroke message; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request.

    Attributes:
        type: a `MessageType`, or a number that this version does not know.
        body: arguments; ``None`` for an unknown type.
        verbosity: highest level of log lines to copy into the reply, -1 for no reply at all.
        buflen: what the sender's bookkeeping left there; means nothing to a receiver.
    """

    type: MessageType | int
    body: Body | None
    verbosity: int = 1
    buflen: int = 0

    @property
    def label(self) -> str:
        """Name of the command for people."""
        if isinstance(self.type, MessageType):
            return self.type.label
        return f"unknown type {self.type}"

    @property
    def wants_output(self) -> bool:
        """False if the client neither reads nor waits for the result."""
        return self.verbosity > SILENT


def decode(data: bytes) -> Message:
    """Decode one complete message.

    A string slot that points outside of the strings reads as `INVALID_POINTER`; a last string
    without terminator ends with the message. Padding and ``buflen`` are not looked at.

    Raises:
        ParseError: the message is shorter or longer than its length field says, or too short to
            be one.
    """
    if len(data) < FIXED_LENGTH:
        raise ParseError(
            _PAYLOAD, len(data), f"expected at least {FIXED_LENGTH} octets, {len(data)} came"
        )
    length, number, verbosity = _HEADER.unpack_from(data)
    if length != len(data):
        raise ParseError(_PAYLOAD, 0, f"length field says {length}, {len(data)} octets came")
    (buflen,) = U16.unpack_from(data, BODY_END)
    try:
        kind = MessageType(number)
    except ValueError:
        return Message(number, None, verbosity, buflen)
    return Message(kind, _read(LAYOUTS[BODIES[kind]], data), verbosity, buflen)


def _read(layout: Layout, data: bytes) -> Any:
    # No read can leave the data: all offsets lie below FIXED_LENGTH, which the caller has checked.
    values: dict[str, Any] = {
        name: coder.unpack_from(data, offset)[0] for name, offset, coder in layout.numbers
    }
    for name, offset in layout.texts:
        values[name] = _read_string(SLOT.unpack_from(data, offset)[0], data)
    for name, part in layout.parts:
        values[name] = _read(part, data)
    return layout.cls(**values)


def _read_string(slot: int, data: bytes) -> str | None:
    if slot == 0:
        return None
    if not FIXED_LENGTH <= slot <= len(data):
        return INVALID_POINTER
    end = data.find(b"\0", slot)
    return data[slot : end if end >= 0 else len(data)].decode("utf-8", "surrogateescape")


def encode(message: Message, order: Sequence[str] | None = None) -> bytes:
    """Encode a message.

    Args:
        message: what to send; its ``buflen`` is computed, not taken.
        order: dotted paths of the string fields in the order of their strings in the message;
            by default that of the C clients.

    Raises:
        EncodeError: a string holds a NUL, a number does not fit into its field, or the message
            would grow beyond 64 KiB.
    """
    buffer = bytearray(FIXED_LENGTH)
    strings = _Strings(buffer)
    if message.body is not None:
        layout = LAYOUTS[type(message.body)]
        _write(message.body, layout, buffer, "")
        for path in order or default_order(type(message.body)):
            strings.append(path, _value_at(message.body, path), layout.slots[path])
    _HEADER.pack_into(buffer, 0, len(buffer), int(message.type), message.verbosity)
    U16.pack_into(buffer, BODY_END, strings.allocated & 0xFFFF)
    return bytes(buffer)


def default_order(cls: type[Body]) -> tuple[str, ...]:
    """Order in which the C clients append the strings of a body."""
    return ADD_CONN_ORDER if cls is AddConn else tuple(LAYOUTS[cls].slots)


def _write(part: Any, layout: Layout, buffer: bytearray, prefix: str) -> None:
    for name, offset, coder in layout.numbers:
        value = getattr(part, name)
        try:
            coder.pack_into(buffer, offset, value)
        except struct.error as error:
            raise EncodeError(
                f"{prefix}{name} = {value} does not fit into {coder.size} octets ({coder.format})"
            ) from error
    for name, nested in layout.parts:
        _write(getattr(part, name), nested, buffer, f"{prefix}{name}.")


def _value_at(body: Any, path: str) -> str | None:
    for name in path.split("."):
        body = getattr(body, name)
    return body  # type: ignore[no-any-return]


class _Strings:
    """Appends strings behind the fixed part, and keeps the C clients' account of their buffer."""

    __slots__ = ("_buffer", "allocated")

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self.allocated = 0

    def append(self, path: str, value: str | None, slot: int) -> None:
        if value is None:
            return
        octets = value.encode("utf-8", "surrogateescape") + b"\0"
        if octets.find(b"\0") != len(octets) - 1:
            raise EncodeError(f"{path} contains a NUL character, which ends a string")
        start = len(self._buffer)
        if start + len(octets) >= MAX_LENGTH:
            raise EncodeError(
                f"{path} does not fit: a message holds less than {MAX_LENGTH} octets, "
                f"{start} are in use and this string needs {len(octets)}"
            )
        while start + len(octets) > _ALLOCATION + self.allocated:
            self.allocated += _ALLOCATION_STEP
        SLOT.pack_into(self._buffer, slot, start)
        self._buffer += octets
