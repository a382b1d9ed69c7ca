"""What all payloads have in common (RFC 7296 section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from typing import Self

    from charon_core.encoding.cursor import Cursor

MAX_PAYLOADS: Final = 128
"""Payloads a message, of all types together."""


class Payload:
    """One payload without its generic header: that belongs to the chain (see chain.py).

    Subclasses are frozen dataclasses. They check on construction what must never be sent, and
    raise ValueError then; `parse_body` turns that into ParseError. Reserved octets are sent as
    zero and ignored on receipt. Unknown numbers in a field are legal and kept.
    """

    __slots__ = ()

    TYPE: ClassVar[int]
    """Number of the payload type."""

    NAME: ClassVar[str]
    """Notation of RFC 7296 section 1.2, for errors and summaries."""

    LIMIT: ClassVar[int] = MAX_PAYLOADS
    """How many of this type a message may carry."""

    @property
    def payload_type(self) -> int:
        """Number of the payload type; that of the peer in an Unknown."""
        return self.TYPE

    @property
    def is_critical(self) -> bool:
        """The critical bit; clear for every payload that RFC 7296 defines (section 2.5)."""
        return False

    def encode_body(self) -> bytes:
        """The octets that follow the generic payload header."""
        raise NotImplementedError

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Self:
        """Read a payload from `cursor`, which is restricted to the body.

        Raises:
            ParseError: the body does not follow the wire format.
        """
        raise NotImplementedError
