"""Ni and Nr payloads (RFC 7296 section 3.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

MIN_NONCE_LENGTH: Final = 16
MAX_NONCE_LENGTH: Final = 256


@dataclass(frozen=True, slots=True)
class Nonce(Payload):
    """Nonce payload.

    Attributes:
        data: 16 to 256 random octets.
    """

    TYPE: ClassVar[int] = PayloadType.NONCE
    NAME: ClassVar[str] = "No"
    LIMIT: ClassVar[int] = 1

    data: bytes

    def __post_init__(self) -> None:
        if not MIN_NONCE_LENGTH <= len(self.data) <= MAX_NONCE_LENGTH:
            raise ValueError(
                f"nonce of {len(self.data)} octets, expected {MIN_NONCE_LENGTH} to "
                f"{MAX_NONCE_LENGTH}"
            )

    def encode_body(self) -> bytes:
        """The nonce itself."""
        return self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Nonce:
        """Take the whole body."""
        return cursor.checked(cls, cursor.rest())
