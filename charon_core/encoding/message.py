"""IKE messages: header and payloads, in the clear or sealed in an SK payload (RFC 7296 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from charon_core.encoding.chain import (
    GENERIC_HEADER,
    MAX_PAYLOAD_LENGTH,
    encode_chain,
    parse_chain,
)
from charon_core.encoding.cursor import Cursor
from charon_core.encoding.errors import IntegrityError, ParseError
from charon_core.encoding.header import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    HEADER_LAYOUT,
    HEADER_LENGTH,
    MAJOR_VERSION,
    MINOR_VERSION,
    Header,
)
from charon_core.encoding.payloads import Encrypted, EncryptedFragment, Notify
from charon_core.encoding.registry import NotifyType, PayloadType
from charon_core.encoding.summary import summarize

if TYPE_CHECKING:
    from charon_core.encoding.payloads import Payload

_Payload = TypeVar("_Payload", bound="Payload")

_VERSION: Final = MAJOR_VERSION << 4 | MINOR_VERSION
_SK: Final = int(PayloadType.SK)
_LENGTH_OFFSET: Final = 24  # of the length field in the IKE header


class Sealer(Protocol):
    """Encryption and integrity protection with the keys of one direction."""

    def sealed_length(self, n: int) -> int:
        """Octets that `seal` makes of a plaintext of `n` octets."""

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        """Pad and protect; returns initialization vector, ciphertext and checksum."""

    def open(self, aad: bytes, body: bytes) -> bytes:
        """The plaintext without padding; raises ValueError if the checksum is wrong."""


@dataclass(frozen=True, slots=True)
class Message:
    """One IKE message.

    Attributes:
        initiator_spi: 8 octets of the original initiator.
        responder_spi: 8 octets of the original responder, zero while unknown.
        exchange: exchange type.
        is_initiator: the sender is the original initiator of the IKE_SA.
        is_response: the message answers the request with the same message ID.
        message_id: 32-bit message ID.
        payloads: in the order of the message; those inside the SK payload once it is opened.
        opened: of a message that came in an SK payload, the octets ahead of the initialization
            vector and the plaintext, which the IKE_INTERMEDIATE exchange authenticates.
    """

    initiator_spi: bytes
    responder_spi: bytes
    exchange: int
    is_initiator: bool
    is_response: bool
    message_id: int
    payloads: tuple[Payload, ...] = ()
    opened: tuple[bytes, bytes] | None = field(default=None, repr=False, compare=False)

    def first(self, payload_class: type[_Payload]) -> _Payload | None:
        """The first payload of a class, or None."""
        for payload in self.payloads:
            if isinstance(payload, payload_class):
                return payload
        return None

    def all(self, payload_class: type[_Payload]) -> list[_Payload]:
        """All payloads of a class, in the order of the message."""
        return [payload for payload in self.payloads if isinstance(payload, payload_class)]

    def notify(self, notify_type: NotifyType) -> Notify | None:
        """The first Notify payload of a type, or None."""
        for payload in self.payloads:
            if isinstance(payload, Notify) and payload.notify_type == notify_type:
                return payload
        return None

    def summary(self) -> str:
        """One line for the log: "IKE_SA_INIT request 0 [ SA KE No N(COOKIE) ]"."""
        return summarize(self.exchange, self.is_response, self.message_id, self.payloads)

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Read a message as it stands; an SK or SKF payload stays unopened.

        Raises:
            ParseError: see Header.parse and parse_chain; INVALID_MAJOR_VERSION for a message
                of another version than 2.
        """
        header = Header.parse(data)
        check_version(header)
        cursor = Cursor(data, "message")
        cursor.skip(HEADER_LENGTH)
        return message_of(header, parse_chain(cursor, header.next_payload), None)

    def encode(self) -> bytes:
        """The whole message in the clear.

        Raises:
            ValueError: a payload is too long for its length field.
        """
        first, chain = encode_chain(self.payloads)
        return encode_header(self, first, HEADER_LENGTH + len(chain)) + chain


def encode_header(message: Message, next_payload: int, length: int) -> bytes:
    """The IKE header of `message` with the two fields that depend on its payloads."""
    flags = FLAG_INITIATOR if message.is_initiator else 0
    if message.is_response:
        flags |= FLAG_RESPONSE
    return HEADER_LAYOUT.pack(
        message.initiator_spi,
        message.responder_spi,
        next_payload,
        _VERSION,
        message.exchange,
        flags,
        message.message_id,
        length,
    )


def seal_message(message: Message, sealer: Sealer) -> bytes:
    """Encode a message with all its payloads inside one SK payload.

    Raises:
        ValueError: the message is too long for one SK payload.
    """
    first, plaintext = encode_chain(message.payloads)
    return seal_plaintext(message, sealer, first, plaintext)


def seal_plaintext(message: Message, sealer: Sealer, first: int, plaintext: bytes) -> bytes:
    """Like `seal_message`, for payloads that are encoded already."""
    length = GENERIC_HEADER.size + sealer.sealed_length(len(plaintext))
    if length > MAX_PAYLOAD_LENGTH:
        raise ValueError(
            f"SK payload of {length} octets, expected at most {MAX_PAYLOAD_LENGTH}; "
            f"the message needs fragmentation"
        )
    aad = encode_header(message, _SK, HEADER_LENGTH + length) + GENERIC_HEADER.pack(
        first, 0, length
    )
    return aad + sealer.seal(aad, plaintext)


def open_message(data: bytes, sealer: Sealer) -> Message:
    """Verify and decrypt a message that comes in one SK payload, then read its payloads.

    Payloads ahead of the SK payload are checked for syntax and covered by the checksum, but
    not returned: none of those in use may stand there.

    Raises:
        IntegrityError: checksum or padding is wrong.
        ParseError: there is no SK payload at the end, or a payload is malformed.
    """
    header, outer = parse_sealed(data)
    if not isinstance(outer, Encrypted):
        raise ParseError("SKF", HEADER_LENGTH, "expected a whole message, came a fragment")
    plaintext = open_sealed(sealer, data, outer)
    chain = parse_opened(plaintext, outer.first_payload)
    return message_of(header, chain, (data[: len(data) - len(outer.data)], plaintext))


def parse_sealed(data: bytes) -> tuple[Header, Encrypted | EncryptedFragment]:
    """Read a message up to the SK or SKF payload that ends it; nothing is verified yet.

    Raises:
        ParseError: the message does not end with such a payload, or is malformed before; it
            is never answerable.
    """
    try:
        header = Header.parse(data)
        check_version(header)
        cursor = Cursor(data, "message")
        cursor.skip(HEADER_LENGTH)
        outer = parse_chain(cursor, header.next_payload)
        sealed = outer[-1] if outer else None
        if not isinstance(sealed, (Encrypted, EncryptedFragment)):
            raise cursor.error("expected an SK or SKF payload at the end of the message")
    except ParseError as error:
        error.answerable = False
        raise
    return header, sealed


def parse_opened(plaintext: bytes, first: int) -> tuple[Payload, ...]:
    """Read the payloads of a verified plaintext; any fault is answerable."""
    try:
        return parse_chain(Cursor(plaintext, "message"), first, inside=True)
    except ParseError as error:
        error.answerable = True
        raise


def open_sealed(sealer: Sealer, data: bytes, sealed: Encrypted | EncryptedFragment) -> bytes:
    """The plaintext of the SK or SKF payload that ends the message `data`.

    Raises:
        IntegrityError: checksum or padding is wrong.
    """
    aad = data[: len(data) - len(sealed.data)]
    try:
        return sealer.open(aad, sealed.data)
    except ValueError as error:
        raise IntegrityError(sealed.NAME, len(aad), str(error)) from error


def intermediate_octets(message: Message) -> tuple[bytes, bytes]:
    """What an IKE_INTERMEDIATE message adds to the AUTH computation (RFC 9242 section 3.3.2).

    Args:
        message: one that came out of `open_message` or a Reassembler, or one to be sealed.

    Returns:
        IntAuth_A, the octets up to the SK payload's body, and IntAuth_P, the plaintext; the
        lengths in IntAuth_A count neither initialization vector nor padding nor checksum.
    """
    if message.opened is not None:
        ahead, plaintext = message.opened
    else:
        first, plaintext = encode_chain(message.payloads)
        ahead = encode_header(message, _SK, 0) + GENERIC_HEADER.pack(first, 0, 0)
    whole = len(ahead) + len(plaintext)
    adjusted = (
        ahead[:_LENGTH_OFFSET]
        + whole.to_bytes(4, "big")
        + ahead[HEADER_LENGTH:-2]
        + (GENERIC_HEADER.size + len(plaintext)).to_bytes(2, "big")
    )
    return adjusted, plaintext


def check_version(header: Header) -> None:
    """Refuse another major version than 2; minor versions are ignored (RFC 7296 section 2.5)."""
    major, minor = header.version
    if major != MAJOR_VERSION:
        raise ParseError(
            "IKE header",
            17,
            f"version {major}.{minor}, expected {MAJOR_VERSION}",
            NotifyType.INVALID_MAJOR_VERSION,
        )


def message_of(
    header: Header, payloads: tuple[Payload, ...], opened: tuple[bytes, bytes] | None
) -> Message:
    """A received message from its parts."""
    return Message(
        header.initiator_spi,
        header.responder_spi,
        header.exchange,
        header.is_initiator,
        header.is_response,
        header.message_id,
        payloads,
        opened,
    )
