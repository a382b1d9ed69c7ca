"""EAP packets: code, identifier, type, data (RFC 3748 section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from charon_core.eap.registry import EapType
from charon_core.encoding.cursor import Cursor

IDENTITY: Final = EapType(1)
NOTIFICATION: Final = EapType(2)
NAK: Final = EapType(3)

FIRST_METHOD: Final = 4
"""Types below it belong to EAP itself (RFC 3748 section 5)."""

_EXPANDED: Final = 254
_HEADER_LENGTH: Final = 4
_MAX_NAKS: Final = 64
"""Methods that a Nak may name; more are passed over."""


class EapCode(IntEnum):
    """What a packet is."""

    REQUEST = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


@dataclass(frozen=True, slots=True)
class EapPacket:
    """One packet.

    Attributes:
        code: What it is.
        identifier: Matches responses with requests, 0..255.
        kind: The method or the type of EAP's own that a request or response belongs to; None
            with Success and Failure.
        data: What follows the type.
        is_expanded: Whether the type has the long form, as those of vendors must (RFC 3748 5.7).
    """

    code: EapCode
    identifier: int
    kind: EapType | None = None
    data: bytes = b""
    is_expanded: bool = False

    def encode(self) -> bytes:
        """Return the packet's octets."""
        body = b""
        if self.kind is not None:
            short = not self.is_expanded and _is_short(self.kind)
            body = (bytes((self.kind.type,)) if short else _expanded(self.kind)) + self.data
        length = _HEADER_LENGTH + len(body)
        return bytes((self.code, self.identifier)) + length.to_bytes(2, "big") + body

    @classmethod
    def parse(cls, octets: bytes) -> EapPacket:
        """Read a packet.

        Raises:
            ParseError: An unknown code, a wrong length, a request or response without a type, or
                Success or Failure with more than a header.
        """
        cursor = Cursor(octets, "EAP")
        code, identifier, length = cursor.u8(), cursor.u8(), cursor.u16()
        if length != len(octets):
            raise cursor.error(f"packet says {length} octets and has {len(octets)}")
        if code not in _CODES:
            raise cursor.error(f"code {code}, expected 1 to 4")
        if code in {EapCode.SUCCESS, EapCode.FAILURE}:
            cursor.expect_end()
            return cls(EapCode(code), identifier)
        kind = EapType(cursor.u8())
        is_expanded = kind.type == _EXPANDED
        if is_expanded:
            kind = _take_expanded(cursor)
        if not kind.type:
            raise cursor.error("type 0 is reserved")
        return cls(EapCode(code), identifier, kind, cursor.rest(), is_expanded)


_CODES: Final = frozenset(map(int, EapCode))


def _is_short(kind: EapType) -> bool:
    return not kind.vendor and kind.type < _EXPANDED


def _expanded(kind: EapType) -> bytes:
    return bytes((_EXPANDED,)) + kind.vendor.to_bytes(3, "big") + kind.type.to_bytes(4, "big")


def _take_expanded(cursor: Cursor) -> EapType:
    vendor = int.from_bytes(cursor.take(3), "big")
    return EapType(cursor.u32(), vendor)


def nak_of(request: EapPacket, wanted: tuple[EapType, ...]) -> EapPacket:
    """Return the answer to a request for a method that is not wanted (RFC 3748 5.3).

    Args:
        request: The request; the form of its type decides that of the answer.
        wanted: Methods that are wanted instead; none if there are none.
    """
    if request.is_expanded:
        data = b"".join(map(_expanded, wanted)) or _expanded(EapType(0))
        return EapPacket(EapCode.RESPONSE, request.identifier, NAK, data, is_expanded=True)
    numbers = [kind.type for kind in wanted if _is_short(kind)]
    if not all(map(_is_short, wanted)):
        # The short form cannot name them: 254 says that there are some.
        numbers.append(_EXPANDED)
    return EapPacket(EapCode.RESPONSE, request.identifier, NAK, bytes(numbers or [0]))


def wanted_by(nak: EapPacket, offered: tuple[EapType, ...]) -> tuple[EapType, ...]:
    """Return which of the methods that could be offered a Nak names, in the peer's order.

    Raises:
        ParseError: It is malformed.
    """
    if not nak.is_expanded:
        wanted: list[EapType] = []
        for number in nak.data[:_MAX_NAKS]:
            if number == _EXPANDED:
                wanted += [kind for kind in offered if not _is_short(kind)]
            elif EapType(number) in offered:
                wanted.append(EapType(number))
        return tuple(dict.fromkeys(wanted))
    cursor = Cursor(nak.data, "EAP Nak")
    found: dict[EapType, None] = {}
    for _ in range(_MAX_NAKS):
        if not cursor.remaining:
            break
        if cursor.u8() != _EXPANDED:
            raise cursor.error("a type that is not expanded, expected 254")
        kind = _take_expanded(cursor)
        if kind in offered:
            found[kind] = None
    return tuple(found)
