"""AUTH payload: the proof of an identity (RFC 7296 section 3.8)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

_LAYOUT: Final = Struct("!B3x")


@dataclass(frozen=True, slots=True)
class Authentication(Payload):
    """AUTH payload.

    Attributes:
        method: see AuthMethod.
        data: signature or keyed hash; for DIGITAL_SIGNATURE with the AlgorithmIdentifier
            ahead (RFC 7427 section 3). Never empty.
    """

    TYPE: ClassVar[int] = PayloadType.AUTH
    NAME: ClassVar[str] = "AUTH"
    LIMIT: ClassVar[int] = 1

    method: int
    data: bytes

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError(f"authentication method {self.method} with empty data")

    def encode_body(self) -> bytes:
        """Method, reserved octets, data."""
        return _LAYOUT.pack(self.method) + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Authentication:
        """Read the method and everything behind it."""
        (method,) = cursor.unpack(_LAYOUT)
        return cursor.checked(cls, method, cursor.rest())
