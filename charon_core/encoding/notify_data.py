"""The data of Notify payloads that have an inner structure, one value class or function each."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from charon_core.encoding.cursor import Cursor
from charon_core.encoding.registry import GatewayIdType

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LISTED_NUMBERS: Final = 64
"""Numbers in a list such as SIGNATURE_HASH_ALGORITHMS."""

MAX_ANNOUNCEMENTS: Final = 64
"""Authentication methods in SUPPORTED_AUTH_METHODS."""

_U16: Final = Struct("!H")
_U32: Final = Struct("!I")
_IPCOMP: Final = Struct("!HB")
_ADDRESS_LENGTHS: Final = {
    int(GatewayIdType.IPV4_ADDRESS): 4,
    int(GatewayIdType.IPV6_ADDRESS): 16,
}


def encode_numbers(numbers: Iterable[int]) -> bytes:
    """16-bit numbers one after the other: see `parse_numbers`."""
    return b"".join([_U16.pack(number) for number in numbers])


def parse_numbers(data: bytes, name: str) -> tuple[int, ...]:
    """Read a list of 16-bit numbers; unknown ones are legal.

    For SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4) and SECURE_PASSWORD_METHODS (RFC 6467).

    Args:
        data: notification data.
        name: of the notify, for errors.

    Raises:
        ParseError: an odd number of octets, or more than MAX_LISTED_NUMBERS numbers.
    """
    cursor = Cursor(data, name)
    if len(data) > _U16.size * MAX_LISTED_NUMBERS:
        raise cursor.error(f"{len(data)} octets, expected at most {MAX_LISTED_NUMBERS} numbers")
    numbers = []
    while cursor.remaining:
        numbers.append(cursor.u16())
    return tuple(numbers)


def parse_number(data: bytes, size: int, name: str) -> int:
    """Read data that is one unsigned integer.

    For INVALID_KE_PAYLOAD (2 octets: the method that the responder wants), SET_WINDOW_SIZE and
    AUTH_LIFETIME (4 octets), UNSUPPORTED_CRITICAL_PAYLOAD (1 octet).

    Args:
        data: notification data.
        size: octets that it must have.
        name: of the notify, for errors.
    """
    cursor = Cursor(data, name)
    value = int.from_bytes(cursor.take(size), "big")
    cursor.expect_end()
    return value


@dataclass(frozen=True, slots=True)
class IpcompSupported:
    """IPCOMP_SUPPORTED (RFC 7296 section 2.22).

    Attributes:
        cpi: 16-bit index that the sender wants to receive.
        transform: see IpcompId.
    """

    cpi: int
    transform: int

    def encode(self) -> bytes:
        """Notification data."""
        return _IPCOMP.pack(self.cpi, self.transform)

    @classmethod
    def parse(cls, data: bytes) -> IpcompSupported:
        """Read notification data."""
        cursor = Cursor(data, "IPCOMP_SUPPORTED")
        cpi, transform = cursor.unpack(_IPCOMP)
        cursor.expect_end()
        return cls(cpi, transform)


@dataclass(frozen=True, slots=True)
class Redirect:
    """REDIRECT and REDIRECTED_FROM (RFC 5685 sections 5 and 9).

    Attributes:
        gateway_type: see GatewayIdType.
        gateway: network octets of an address, or a name.
        nonce: the initiator's nonce when redirected in IKE_SA_INIT, else empty.
    """

    gateway_type: int
    gateway: bytes
    nonce: bytes = b""

    def __post_init__(self) -> None:
        expected = _ADDRESS_LENGTHS.get(self.gateway_type, len(self.gateway))
        if not self.gateway or len(self.gateway) != expected:
            raise ValueError(
                f"gateway identity of type {self.gateway_type} with {len(self.gateway)} octets"
            )

    def encode(self) -> bytes:
        """Notification data."""
        return bytes((self.gateway_type, len(self.gateway))) + self.gateway + self.nonce

    @classmethod
    def parse(cls, data: bytes) -> Redirect:
        """Read notification data."""
        cursor = Cursor(data, "REDIRECT")
        gateway_type = cursor.u8()
        gateway = cursor.take(cursor.u8())
        return cursor.checked(cls, gateway_type, gateway, cursor.rest())


@dataclass(frozen=True, slots=True)
class Ticket:
    """TICKET_LT_OPAQUE (RFC 5723 section 7.2).

    Attributes:
        lifetime: seconds that the ticket is valid for.
        ticket: opaque octets that the client presents later in TICKET_OPAQUE.
    """

    lifetime: int
    ticket: bytes

    def encode(self) -> bytes:
        """Notification data."""
        return _U32.pack(self.lifetime) + self.ticket

    @classmethod
    def parse(cls, data: bytes) -> Ticket:
        """Read notification data."""
        cursor = Cursor(data, "TICKET_LT_OPAQUE")
        return cls(cursor.u32(), cursor.rest())


@dataclass(frozen=True, slots=True)
class MessageIdSync:
    """IKEV2_MESSAGE_ID_SYNC (RFC 6311 section 5.2).

    Attributes:
        nonce: 4 octets that pair request and response.
        expected_send: message ID that the sender will use in its next request.
        expected_receive: message ID that the sender expects in the peer's next request.
    """

    nonce: bytes
    expected_send: int
    expected_receive: int

    def encode(self) -> bytes:
        """Notification data."""
        return self.nonce + _U32.pack(self.expected_send) + _U32.pack(self.expected_receive)

    @classmethod
    def parse(cls, data: bytes) -> MessageIdSync:
        """Read notification data."""
        cursor = Cursor(data, "IKEV2_MESSAGE_ID_SYNC")
        value = cls(cursor.take(4), cursor.u32(), cursor.u32())
        cursor.expect_end()
        return value


@dataclass(frozen=True, slots=True)
class PpkIdentity:
    """PPK_IDENTITY (RFC 8784 section 5.1).

    Attributes:
        id_type: see PpkIdType.
        data: names the preshared key; never empty.
    """

    id_type: int
    data: bytes

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("PPK identity is empty")

    def encode(self) -> bytes:
        """Notification data."""
        return bytes((self.id_type,)) + self.data

    @classmethod
    def parse(cls, data: bytes) -> PpkIdentity:
        """Read notification data."""
        cursor = Cursor(data, "PPK_IDENTITY")
        return cursor.checked(cls, cursor.u8(), cursor.rest())


@dataclass(frozen=True, slots=True)
class AuthAnnouncement:
    """One authentication method of SUPPORTED_AUTH_METHODS (RFC 9593 section 3.2).

    Attributes:
        method: see AuthMethod.
        certificate_link: which CERTREQ payload of the message it belongs to, from 1; 0 for all;
            None in an announcement of the method alone.
        algorithm: DER AlgorithmIdentifier of RFC 7427, or empty.
    """

    method: int
    certificate_link: int | None = None
    algorithm: bytes = b""

    def __post_init__(self) -> None:
        if self.algorithm and self.certificate_link is None:
            raise ValueError("an announced algorithm comes with a certificate link")

    def encode(self) -> bytes:
        """The announcement with its length octet."""
        body = bytes((self.method,))
        if self.certificate_link is not None:
            body += bytes((self.certificate_link,)) + self.algorithm
        return bytes((1 + len(body),)) + body

    @classmethod
    def parse(cls, cursor: Cursor) -> AuthAnnouncement:
        """Read one announcement."""
        length = cursor.u8()
        with cursor.restrict(length - 1):
            method = cursor.u8()
            link = cursor.u8() if cursor.remaining else None
            return cls(method, link, cursor.rest())


def encode_auth_methods(announcements: Iterable[AuthAnnouncement]) -> bytes:
    """Notification data of SUPPORTED_AUTH_METHODS."""
    return b"".join([announcement.encode() for announcement in announcements])


def parse_auth_methods(data: bytes) -> tuple[AuthAnnouncement, ...]:
    """Read notification data of SUPPORTED_AUTH_METHODS (RFC 9593 section 3.2).

    Raises:
        ParseError: an announcement is malformed, or there are more than MAX_ANNOUNCEMENTS.
    """
    cursor = Cursor(data, "SUPPORTED_AUTH_METHODS")
    announcements: list[AuthAnnouncement] = []
    while cursor.remaining:
        if len(announcements) == MAX_ANNOUNCEMENTS:
            raise cursor.error(f"more than {MAX_ANNOUNCEMENTS} announcements")
        announcements.append(AuthAnnouncement.parse(cursor))
    return tuple(announcements)
