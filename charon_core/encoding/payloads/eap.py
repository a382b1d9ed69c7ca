"""EAP payload: one EAP packet (RFC 7296 section 3.16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

_MIN_LENGTH: Final = 4  # code, identifier, length (RFC 3748 section 4)


@dataclass(frozen=True, slots=True)
class Eap(Payload):
    """EAP payload.

    Attributes:
        data: the whole EAP packet; its length field is checked here, the rest by EAP itself.
    """

    TYPE: ClassVar[int] = PayloadType.EAP
    NAME: ClassVar[str] = "EAP"
    LIMIT: ClassVar[int] = 1

    data: bytes

    def __post_init__(self) -> None:
        data = self.data
        if len(data) < _MIN_LENGTH:
            raise ValueError(f"EAP packet of {len(data)} octets, expected at least {_MIN_LENGTH}")
        stated = data[2] << 8 | data[3]
        if stated != len(data):
            raise ValueError(f"EAP packet says {stated} octets and has {len(data)}")

    def encode_body(self) -> bytes:
        """The EAP packet."""
        return self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Eap:
        """Take the whole body."""
        return cursor.checked(cls, cursor.rest())
