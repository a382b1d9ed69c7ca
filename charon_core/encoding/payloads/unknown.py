"""A payload of a type that this implementation does not know (RFC 7296 section 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from charon_core.encoding.payloads.base import Payload

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Unknown(Payload):
    """Any other payload. Received ones have a clear critical bit: set, it fails the parsing.

    Attributes:
        type: number of the payload type.
        critical: the critical bit.
        data: the body.
    """

    TYPE: ClassVar[int] = -1
    NAME: ClassVar[str] = "unknown payload"

    type: int
    critical: bool
    data: bytes

    @property
    def payload_type(self) -> int:
        """Number of the payload type."""
        return self.type

    @property
    def is_critical(self) -> bool:
        """The critical bit."""
        return self.critical

    def encode_body(self) -> bytes:
        """The body."""
        return self.data

    @classmethod
    def parse_body(cls, cursor: Cursor, payload_type: int = 0) -> Unknown:
        """Take the whole body; the type stands outside it, in the chain."""
        return cls(payload_type, critical=False, data=cursor.rest())
