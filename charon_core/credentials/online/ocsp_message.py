"""OCSP on the wire: the request, and the response taken apart (RFC 6960, RFC 8954)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config import der
from charon_core.credentials.x509 import Fields, read_bit_string, read_time

if TYPE_CHECKING:
    from charon_core.credentials.certificates import Certificate

MAX_RESPONSE: Final = 256 << 10
"""Octets of a response; honest ones have one or two KiB."""

MAX_SINGLES: Final = 64
"""Certificates that one response may tell about."""

MAX_CERTIFICATES: Final = 8
"""Certificates of the responder in one response."""

MAX_EXTENSIONS: Final = 32

NONCE_LENGTH: Final = 32

REQUEST_TYPE: Final = "application/ocsp-request"
RESPONSE_TYPE: Final = "application/ocsp-response"

_ENUMERATED: Final = 0x0A
_GENERALIZED_TIME: Final = 0x18
_GOOD: Final = 0x80
_REVOKED: Final = 0xA1
_UNKNOWN: Final = 0x82
_CONTEXT_0: Final = 0xA0
_CONTEXT_1: Final = 0xA1
_CONTEXT_2: Final = 0xA2

_BASIC: Final = der.encode_oid("1.3.6.1.5.5.7.48.1.1")
_NONCE: Final = der.encode_oid("1.3.6.1.5.5.7.48.1.2")
_SHA1: Final = der.encode_oid("1.3.14.3.2.26")

_STATUS_NAMES: Final = {
    0: "successful",
    1: "malformedRequest",
    2: "internalError",
    3: "tryLater",
    5: "sigRequired",
    6: "unauthorized",
}

# CRLReason (RFC 5280 section 5.3.1), by the names that revocation lists have here, too.
_REASONS: Final = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}


class OcspError(ValueError):
    """A response that does not tell what was asked; the text says why."""


class CertId(NamedTuple):
    """Which certificate is meant: hashes of its issuer's name and key, its serial number.

    SHA-1 is what every responder knows (RFC 5019 section 2.1.1); what an answer rests on is its
    signature.
    """

    name_hash: bytes
    key_hash: bytes
    serial: bytes
    algorithm: bytes = _SHA1
    """Content of the hash algorithm's OBJECT IDENTIFIER."""

    @classmethod
    def of(cls, certificate: Certificate, issuer: Certificate) -> CertId:
        """Name a certificate."""
        name_hash = sha1(issuer.subject.data, usedforsecurity=False).digest()
        return cls(name_hash, bytes.fromhex(issuer.public_key.fingerprint), certificate.serial)

    def encode(self) -> bytes:
        """Return the DER CertID."""
        algorithm = der.encode(der.OBJECT_IDENTIFIER, self.algorithm) + der.encode(der.NULL, b"")
        return der.encode(
            der.SEQUENCE,
            der.encode(der.SEQUENCE, algorithm)
            + der.encode(der.OCTET_STRING, self.name_hash)
            + der.encode(der.OCTET_STRING, self.key_hash)
            + der.encode(der.INTEGER, self.serial),
        )

    @classmethod
    def read(cls, fields: Fields) -> CertId:
        """Read a DER CertID."""
        algorithm = Fields(fields.data, *fields.take(der.SEQUENCE))
        oid = algorithm.content(der.OBJECT_IDENTIFIER)
        name_hash = fields.content(der.OCTET_STRING)
        key_hash = fields.content(der.OCTET_STRING)
        serial = fields.content(der.INTEGER)
        fields.finish()
        return cls(name_hash, key_hash, serial, oid)


class SingleResponse(NamedTuple):
    """What a response says about one certificate.

    Attributes:
        cert_id: Which one.
        status: "good", "revoked" or "unknown".
        this_update: When that was known to be right, seconds since 1970.
        next_update: When newer information will be there; None: at any time.
        revoked_at: When it was revoked, seconds since 1970.
        reason: Why, by its name in RFC 5280.
    """

    cert_id: CertId
    status: str
    this_update: float
    next_update: float | None
    revoked_at: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BasicResponse:
    """A successful response; nothing of it is verified yet.

    Attributes:
        tbs: The signed octets.
        algorithm: DER AlgorithmIdentifier of the signature.
        signature: The signature.
        responder_name: DER Name of who signed, empty if it is named by its key.
        responder_key: SHA-1 of the key of who signed, empty if it is named by its name.
        singles: What it says.
        nonce: Of the request, or None.
        certificates: DER certificates that were sent along.
    """

    tbs: bytes
    algorithm: bytes
    signature: bytes
    responder_name: bytes
    responder_key: bytes
    singles: tuple[SingleResponse, ...]
    nonce: bytes | None
    certificates: tuple[bytes, ...]


def encode_request(asked: CertId, nonce: bytes) -> bytes:
    """Return the DER OCSPRequest about one CertID; without nonce if that is empty."""
    request = der.encode(der.SEQUENCE, asked.encode())
    tbs = der.encode(der.SEQUENCE, request)
    if nonce:
        value = der.encode(der.OCTET_STRING, der.encode(der.OCTET_STRING, nonce))
        extension = der.encode(der.SEQUENCE, der.encode(der.OBJECT_IDENTIFIER, _NONCE) + value)
        tbs += der.encode(_CONTEXT_2, der.encode(der.SEQUENCE, extension))
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, tbs))


def decode_response(data: bytes) -> BasicResponse:
    """Take a DER OCSPResponse apart.

    Raises:
        OcspError: It is none, or says that there is no answer.
    """
    if len(data) > MAX_RESPONSE:
        message = f"a response of {len(data)} octets, at most {MAX_RESPONSE} are read"
        raise OcspError(message)
    try:
        return _decode(data)
    except der.DerError as error:
        message = f"not an OCSP response: {error}"
        raise OcspError(message) from None


def _decode(data: bytes) -> BasicResponse:
    outer = Fields(data, *der.whole(data, der.SEQUENCE))
    status = outer.content(_ENUMERATED)
    if status != b"\x00":
        number = int.from_bytes(status[:2], "big")
        name = _STATUS_NAMES.get(number, f"status {number}")
        message = f"the responder says {name}"
        raise OcspError(message)
    wrapped = Fields(data, *outer.take(_CONTEXT_0))
    outer.finish()
    body = Fields(data, *wrapped.take(der.SEQUENCE))
    wrapped.finish()
    kind = body.content(der.OBJECT_IDENTIFIER)
    basic = body.content(der.OCTET_STRING)
    body.finish()
    if kind != _BASIC:
        message = f"a response of type {der.decode_oid(kind)}, expected id-pkix-ocsp-basic"
        raise OcspError(message)
    fields = Fields(basic, *der.whole(basic, der.SEQUENCE))
    tbs = fields.element(der.SEQUENCE)
    algorithm = fields.element(der.SEQUENCE)
    signature = read_bit_string(fields.content(der.BIT_STRING))
    certificates: tuple[bytes, ...] = ()
    if fields.next_tag() == _CONTEXT_0:
        certificates = _certificates(fields.content(_CONTEXT_0))
    fields.finish()
    responder_name, responder_key, singles, nonce = _response_data(tbs)
    return BasicResponse(
        tbs, algorithm, signature, responder_name, responder_key, singles, nonce, certificates
    )


def _certificates(data: bytes) -> tuple[bytes, ...]:
    found: list[bytes] = []
    list_of = Fields(data, *der.whole(data, der.SEQUENCE))
    while list_of.next_tag():
        if len(found) >= MAX_CERTIFICATES:
            message = f"more than {MAX_CERTIFICATES} certificates"
            raise der.DerError(message)
        found.append(list_of.element(der.SEQUENCE))
    return tuple(found)


def _response_data(
    tbs: bytes,
) -> tuple[bytes, bytes, tuple[SingleResponse, ...], bytes | None]:
    fields = Fields(tbs, *der.whole(tbs, der.SEQUENCE))
    if fields.next_tag() == _CONTEXT_0:
        version = Fields(tbs, *fields.take(_CONTEXT_0))
        if version.content(der.INTEGER) != b"\x00":
            message = "a response of another version than 1"
            raise der.DerError(message)
        version.finish()
    name = key = b""
    if fields.next_tag() == _CONTEXT_1:
        name = fields.content(_CONTEXT_1)
        der.whole(name, der.SEQUENCE)
    else:
        inner = fields.content(_CONTEXT_2)
        start, stop = der.whole(inner, der.OCTET_STRING)
        key = inner[start:stop]
        if len(key) != sha1(usedforsecurity=False).digest_size:
            message = f"the responder's key has a hash of {len(key)} octets, expected 20"
            raise der.DerError(message)
    _generalized_time(fields)
    singles: list[SingleResponse] = []
    responses = Fields(tbs, *fields.take(der.SEQUENCE))
    while responses.next_tag():
        if len(singles) >= MAX_SINGLES:
            message = f"it tells about more than {MAX_SINGLES} certificates"
            raise der.DerError(message)
        singles.append(_single(Fields(tbs, *responses.take(der.SEQUENCE))))
    nonce = _extensions(fields, _CONTEXT_1)
    fields.finish()
    return name, key, tuple(singles), nonce


def _single(fields: Fields) -> SingleResponse:
    asked = CertId.read(Fields(fields.data, *fields.take(der.SEQUENCE)))
    revoked_at, reason = 0.0, ""
    tag = fields.next_tag()
    if tag == _REVOKED:
        revoked = Fields(fields.data, *fields.take(_REVOKED))
        revoked_at, reason = float(_generalized_time(revoked)), _REASONS[0]
        if revoked.next_tag() == _CONTEXT_0:
            inner = Fields(fields.data, *revoked.take(_CONTEXT_0))
            reason = _reason(inner.content(_ENUMERATED))
            inner.finish()
        revoked.finish()
        status = "revoked"
    elif tag in {_GOOD, _UNKNOWN}:
        if fields.content(tag):
            message = "a status with something inside"
            raise der.DerError(message)
        status = "good" if tag == _GOOD else "unknown"
    else:
        message = f"a certificate status with tag 0x{tag:02x}"
        raise der.DerError(message)
    this_update = _generalized_time(fields)
    next_update: float | None = None
    if fields.next_tag() == _CONTEXT_0:
        inner = Fields(fields.data, *fields.take(_CONTEXT_0))
        next_update = _generalized_time(inner)
        inner.finish()
    _extensions(fields, _CONTEXT_1)
    fields.finish()
    return SingleResponse(asked, status, this_update, next_update, revoked_at, reason)


def _reason(content: bytes) -> str:
    number = int.from_bytes(content[:2], "big")
    return _REASONS.get(number, f"reason {number}")


def _generalized_time(fields: Fields) -> int:
    if fields.next_tag() != _GENERALIZED_TIME:
        message = f"tag 0x{fields.next_tag():02x} where a GeneralizedTime should be"
        raise der.DerError(message)
    return read_time(fields)


def _extensions(fields: Fields, tag: int) -> bytes | None:
    """Read extensions, which may be absent; return the nonce if it is among them.

    Raises:
        DerError: malformed, or a critical one that nobody here understands.
    """
    if fields.next_tag() != tag:
        return None
    wrapped = Fields(fields.data, *fields.take(tag))
    extensions = Fields(fields.data, *wrapped.take(der.SEQUENCE))
    wrapped.finish()
    nonce: bytes | None = None
    count = 0
    while extensions.next_tag():
        count += 1
        if count > MAX_EXTENSIONS:
            message = f"more than {MAX_EXTENSIONS} extensions"
            raise der.DerError(message)
        extension = Fields(fields.data, *extensions.take(der.SEQUENCE))
        oid = extension.content(der.OBJECT_IDENTIFIER)
        critical = False
        if extension.next_tag() == der.BOOLEAN:
            critical = extension.content(der.BOOLEAN) != b"\x00"
        value = extension.content(der.OCTET_STRING)
        extension.finish()
        if oid == _NONCE:
            if nonce is not None:
                message = "two nonces"
                raise der.DerError(message)
            nonce = _nonce(value)
        elif critical:
            message = f"critical extension {der.decode_oid(oid)} is not understood"
            raise der.DerError(message)
    return nonce


def _nonce(value: bytes) -> bytes:
    start, stop = der.whole(value, der.OCTET_STRING)
    return value[start:stop]
