"""V payload: which implementation the peer runs (RFC 7296 section 3.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor


@dataclass(frozen=True, slots=True)
class VendorId(Payload):
    """Vendor ID payload.

    Attributes:
        data: any octets, usually a hash over a text.
    """

    TYPE: ClassVar[int] = PayloadType.VENDOR_ID
    NAME: ClassVar[str] = "V"

    data: bytes

    def encode_body(self) -> bytes:
        """The vendor ID itself."""
        return self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> VendorId:
        """Take the whole body."""
        return cls(cursor.rest())
