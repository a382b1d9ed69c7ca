"""The IKE header: the first 28 octets of every message (RFC 7296 section 3.1)."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from charon_core.encoding.errors import ParseError

HEADER_LENGTH: Final = 28
SPI_LENGTH: Final = 8
NO_SPI: Final = bytes(SPI_LENGTH)
"""The responder's SPI as long as it is unknown."""

MAJOR_VERSION: Final = 2
MINOR_VERSION: Final = 0

FLAG_INITIATOR: Final = 0x08
FLAG_VERSION: Final = 0x10
FLAG_RESPONSE: Final = 0x20

HEADER_LAYOUT: Final = Struct("!8s8sBBBBII")
_NAME: Final = "IKE header"


class Header(NamedTuple):
    """The fields of the IKE header.

    Attributes:
        initiator_spi: 8 octets, chosen by the original initiator of the IKE_SA; never zero.
        responder_spi: 8 octets; zero in the first message of an IKE_SA.
        next_payload: type of the first payload, 0 for none.
        version: (major, minor); others than major 2 are kept here, so that the receiver can
            answer with INVALID_MAJOR_VERSION (RFC 7296 section 2.5).
        exchange: exchange type.
        is_initiator: the sender is the original initiator of the IKE_SA (I flag).
        is_response: the message answers a request with the same message ID (R flag).
        message_id: 32-bit message ID.
        length: octets of the whole message with this header.
    """

    initiator_spi: bytes
    responder_spi: bytes
    next_payload: int
    version: tuple[int, int]
    exchange: int
    is_initiator: bool
    is_response: bool
    message_id: int
    length: int

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read the header of the whole message `data`.

        Raises:
            ParseError: the data is shorter than a header, its length is not what the length
                field says, or the initiator's SPI is zero.
        """
        size = len(data)
        if size < HEADER_LENGTH:
            raise ParseError(_NAME, size, f"expected {HEADER_LENGTH} octets, came {size}")
        (
            initiator_spi,
            responder_spi,
            next_payload,
            version,
            exchange,
            flags,
            message_id,
            length,
        ) = HEADER_LAYOUT.unpack_from(data)
        if length != size:
            raise ParseError(_NAME, 24, f"length field says {length} octets, came {size}")
        if initiator_spi == NO_SPI:
            raise ParseError(_NAME, 0, "the initiator's SPI is zero")
        return cls(
            initiator_spi,
            responder_spi,
            next_payload,
            (version >> 4, version & 0x0F),
            exchange,
            flags & FLAG_INITIATOR != 0,
            flags & FLAG_RESPONSE != 0,
            message_id,
            length,
        )

    def encode(self) -> bytes:
        """The 28 octets on the wire; reserved flags and the version flag are zero."""
        flags = FLAG_INITIATOR if self.is_initiator else 0
        if self.is_response:
            flags |= FLAG_RESPONSE
        return HEADER_LAYOUT.pack(
            self.initiator_spi,
            self.responder_spi,
            self.next_payload,
            self.version[0] << 4 | self.version[1],
            self.exchange,
            flags,
            self.message_id,
            self.length,
        )
