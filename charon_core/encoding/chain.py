"""The chain of payloads: each one's generic header names the type of the next (RFC 7296 3.2)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from charon_core.encoding import payloads as known
from charon_core.encoding.payloads import MAX_PAYLOADS, Encrypted, EncryptedFragment, Unknown
from charon_core.encoding.registry import NotifyType, PayloadType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from charon_core.encoding.cursor import Cursor
    from charon_core.encoding.payloads import Payload

GENERIC_HEADER: Final = Struct("!BBH")
"""Next payload, critical bit and reserved bits, payload length with this header."""

MAX_PAYLOAD_LENGTH: Final = 0xFFFF
CRITICAL: Final = 0x80

NO_NEXT_PAYLOAD: Final = int(PayloadType.NONE)
_SK: Final = int(PayloadType.SK)
_SKF: Final = int(PayloadType.SKF)

_PAYLOADS: Final[Mapping[int, type[Payload]]] = {
    int(payload.TYPE): payload
    for payload in (
        known.SecurityAssociation,
        known.KeyExchange,
        known.IdentificationInitiator,
        known.IdentificationResponder,
        known.Certificate,
        known.CertificateRequest,
        known.Authentication,
        known.Nonce,
        known.Notify,
        known.Delete,
        known.VendorId,
        known.TrafficSelectorsInitiator,
        known.TrafficSelectorsResponder,
        known.Configuration,
        known.Eap,
    )
}


def parse_chain(cursor: Cursor, first: int, *, inside: bool = False) -> tuple[Payload, ...]:
    """Read payloads up to the end of `cursor`.

    An SK or SKF payload ends the chain; it is returned as it is, unopened.

    Args:
        cursor: at the first generic payload header.
        first: type of the first payload, 0 for none.
        inside: the octets come out of an SK payload, which holds no second one.

    Raises:
        ParseError: a payload does not follow the wire format, one of an unknown type is
            critical, there are more than allowed, or octets are left behind the last one.
    """
    chain: list[Payload] = []
    counts: dict[int, int] = {}
    end = cursor.end
    current = first
    while current != NO_NEXT_PAYLOAD:
        payload_class = _PAYLOADS.get(current)
        if payload_class is None:
            if current in (_SK, _SKF):
                chain.append(_parse_encrypted(cursor, current, inside=inside))
                return tuple(chain)
            payload_class = Unknown
        cursor.payload_name = payload_class.NAME
        following, flags, _ = cursor.begin(GENERIC_HEADER)
        counts[current] = count = counts.get(current, 0) + 1
        if count > payload_class.LIMIT or len(chain) == MAX_PAYLOADS:
            raise cursor.error(
                f"payload {len(chain) + 1} of the message and {count} of its type, "
                f"expected at most {MAX_PAYLOADS} and {payload_class.LIMIT}"
            )
        if payload_class is Unknown:
            chain.append(_parse_unknown(cursor, current, flags))
        else:
            chain.append(payload_class.parse_body(cursor))
        cursor.widen(end)
        current = following
    cursor.payload_name = "message"
    cursor.expect_end()
    return tuple(chain)


def _parse_unknown(cursor: Cursor, payload_type: int, flags: int) -> Unknown:
    """Keep a payload of unknown type, or refuse the message for it (RFC 7296 section 2.5)."""
    if flags & CRITICAL:
        raise cursor.error(
            f"payload type {payload_type} is unknown and critical",
            NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
            bytes((payload_type,)),
        )
    return Unknown.parse_body(cursor, payload_type)


def _parse_encrypted(
    cursor: Cursor, payload_type: int, *, inside: bool
) -> Encrypted | EncryptedFragment:
    """Keep an SK or SKF payload unopened; it must be the last one (RFC 7296 section 3.14)."""
    payload_class = Encrypted if payload_type == _SK else EncryptedFragment
    cursor.payload_name = payload_class.NAME
    if inside:
        raise cursor.error("an encrypted payload inside an encrypted payload")
    first_payload, _, length = cursor.unpack(GENERIC_HEADER)
    if length - GENERIC_HEADER.size != cursor.remaining:
        raise cursor.error(
            f"{length} octets, but {GENERIC_HEADER.size + cursor.remaining} are left of the "
            f"message, whose last payload it must be"
        )
    return payload_class.parse_body(cursor, first_payload)


def encode_chain(chain: Sequence[Payload]) -> tuple[int, bytes]:
    """Encode payloads with their generic headers.

    Returns:
        The type of the first payload (0 without any), and the octets.

    Raises:
        ValueError: a payload is longer than its length field can say.
    """
    parts: list[bytes] = []
    following = NO_NEXT_PAYLOAD
    for payload in reversed(chain):
        body = payload.encode_body()
        length = GENERIC_HEADER.size + len(body)
        if length > MAX_PAYLOAD_LENGTH:
            raise ValueError(
                f"{payload.NAME} payload of {length} octets, expected at most {MAX_PAYLOAD_LENGTH}"
            )
        if isinstance(payload, (Encrypted, EncryptedFragment)):
            following = payload.first_payload
        parts.append(body)
        flags = CRITICAL if payload.is_critical else 0
        parts.append(GENERIC_HEADER.pack(following, flags, length))
        following = payload.payload_type
    parts.reverse()
    return following, b"".join(parts)
