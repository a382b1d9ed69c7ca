"""SK and SKF payloads before they are opened (RFC 7296 section 3.14, RFC 7383 section 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

FRAGMENT_LAYOUT: Final = Struct("!HH")
"""Fragment number and total fragments, ahead of the ciphertext of an SKF."""


@dataclass(frozen=True, slots=True)
class Encrypted(Payload):
    """SK payload as received: the last one of its message.

    Attributes:
        first_payload: type of the first payload inside; stands in the Next Payload field.
        data: initialization vector, ciphertext, integrity checksum.
    """

    TYPE: ClassVar[int] = PayloadType.SK
    NAME: ClassVar[str] = "SK"
    LIMIT: ClassVar[int] = 1

    first_payload: int
    data: bytes

    def encode_body(self) -> bytes:
        """The sealed octets."""
        return self.data

    @classmethod
    def parse_body(cls, cursor: Cursor, first_payload: int = 0) -> Encrypted:
        """Take the whole body."""
        return cls(first_payload, cursor.rest())


@dataclass(frozen=True, slots=True)
class EncryptedFragment(Payload):
    """SKF payload as received: the last one of its message.

    Attributes:
        first_payload: in fragment 1 the type of the first payload inside, else 0.
        number: fragment number, from 1 to `total`.
        total: number of fragments of the message.
        data: initialization vector, ciphertext, integrity checksum.
    """

    TYPE: ClassVar[int] = PayloadType.SKF
    NAME: ClassVar[str] = "SKF"
    LIMIT: ClassVar[int] = 1

    first_payload: int
    number: int
    total: int
    data: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise ValueError(f"fragment {self.number} of {self.total}")

    def encode_body(self) -> bytes:
        """Fragment number, total fragments, the sealed octets."""
        return FRAGMENT_LAYOUT.pack(self.number, self.total) + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor, first_payload: int = 0) -> EncryptedFragment:
        """Read the numbers and everything behind them."""
        number, total = cursor.unpack(FRAGMENT_LAYOUT)
        return cursor.checked(cls, first_payload, number, total, cursor.rest())
