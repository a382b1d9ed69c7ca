"""KE payload: the public value of a key exchange (RFC 7296 section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

_LAYOUT: Final = Struct("!HH")


@dataclass(frozen=True, slots=True)
class KeyExchange(Payload):
    """KE payload.

    Attributes:
        method: key exchange method, see KeyExchangeId.
        data: public value, encapsulation key or ciphertext; its length is checked by the
            method's implementation, here only that there is one.
    """

    TYPE: ClassVar[int] = PayloadType.KE
    NAME: ClassVar[str] = "KE"
    LIMIT: ClassVar[int] = 1

    method: int
    data: bytes

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError(f"key exchange method {self.method} with empty data")

    def encode_body(self) -> bytes:
        """Method, reserved octets, data."""
        return _LAYOUT.pack(self.method, 0) + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> KeyExchange:
        """Read the method and everything behind it."""
        method, _ = cursor.unpack(_LAYOUT)
        return cursor.checked(cls, method, cursor.rest())
