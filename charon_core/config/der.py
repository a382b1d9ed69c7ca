"""A small strict DER coder: enough for names and keys, so that no X.509 library need be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
TELETEX_STRING: Final = 0x14
IA5_STRING: Final = 0x16
BMP_STRING: Final = 0x1E
SEQUENCE: Final = 0x30
SET: Final = 0x31

MAX_LENGTH_OCTETS: Final = 4
"""Octets of a long-form length; four already mean 4 GiB."""

_HIGH_TAG: Final = 0x1F


class DerError(ValueError):
    """The octets are not the DER that was expected; the text says what and at which offset."""


def read(data: bytes, offset: int, end: int) -> tuple[int, int, int]:
    """Read one tag and length at `offset`, which must not reach beyond `end`.

    Returns:
        Tag octet, offset of the content, offset behind the content.

    Raises:
        DerError: truncated, a tag number above 30, or a length that is not in its shortest form.
    """
    if end - offset < 2:
        message = f"DER ends at offset {offset} where a tag and a length should be"
        raise DerError(message)
    tag = data[offset]
    if tag & _HIGH_TAG == _HIGH_TAG:
        message = f"DER tag number above 30 at offset {offset}"
        raise DerError(message)
    length = data[offset + 1]
    start = offset + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= MAX_LENGTH_OCTETS or end - start < count:
            message = f"DER length at offset {offset + 1} is indefinite, too long or truncated"
            raise DerError(message)
        length = int.from_bytes(data[start : start + count], "big")
        if length < 0x80 or length < 1 << (8 * (count - 1)):
            message = f"DER length at offset {offset + 1} is not in its shortest form"
            raise DerError(message)
        start += count
    stop = start + length
    if stop > end:
        message = f"DER length at offset {offset + 1} reaches {stop - end} octets too far"
        raise DerError(message)
    return tag, start, stop


def expect(data: bytes, offset: int, end: int, tag: int) -> tuple[int, int]:
    """Read one element of a known tag; return where its content starts and stops."""
    found, start, stop = read(data, offset, end)
    if found != tag:
        message = f"DER tag 0x{found:02x} at offset {offset}, expected 0x{tag:02x}"
        raise DerError(message)
    return start, stop


def elements(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield each element (tag, content start, content stop) of a constructed content.

    An element takes two octets at least, so the loop always advances.
    """
    while start < stop:
        tag, content, start_of_next = read(data, start, stop)
        yield tag, content, start_of_next
        start = start_of_next


def whole(data: bytes, tag: int) -> tuple[int, int]:
    """Read the one element that `data` consists of; return where its content starts and stops.

    Raises:
        DerError: another tag, or octets behind the element.
    """
    start, stop = expect(data, 0, len(data), tag)
    if stop != len(data):
        message = f"{len(data) - stop} octets behind the DER element at offset 0"
        raise DerError(message)
    return start, stop


def encode(tag: int, content: bytes) -> bytes:
    """Return the element of that tag around `content`."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def encode_unsigned(value: int) -> bytes:
    """Return the INTEGER element of a number that is not negative."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_oid(dotted: str) -> bytes:
    """Return the content octets (no tag, no length) of an object identifier.

    Raises:
        ValueError: it is not two or more numbers joined by dots, or the first two are impossible.
    """
    arcs = [int(arc) for arc in dotted.split(".") if arc.isascii() and arc.isdigit()]
    if len(arcs) < 2 or len(arcs) != dotted.count(".") + 1:
        message = f"'{dotted}' is not an object identifier (numbers joined by dots)"
        raise ValueError(message)
    if arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39):
        message = f"object identifier '{dotted}' begins with impossible numbers"
        raise ValueError(message)
    out = bytearray()
    for arc in (40 * arcs[0] + arcs[1], *arcs[2:]):
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(0x80 | (arc & 0x7F))
        out.extend(reversed(group))
    return bytes(out)


def decode_oid(content: bytes) -> str:
    """Return the dotted text of an object identifier's content octets.

    Raises:
        DerError: empty, truncated or not in its shortest form.
    """
    if not content or content[-1] & 0x80:
        message = "object identifier is empty or truncated"
        raise DerError(message)
    arcs: list[int] = []
    arc = 0
    fresh = True
    for octet in content:
        if fresh and octet == 0x80:
            message = "object identifier is not in its shortest form"
            raise DerError(message)
        arc = arc << 7 | (octet & 0x7F)
        fresh = not octet & 0x80
        if fresh:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
