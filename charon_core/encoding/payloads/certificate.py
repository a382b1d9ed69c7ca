"""CERT and CERTREQ payloads (RFC 7296 sections 3.6 and 3.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import CertEncoding, PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

MAX_CERTIFICATES: Final = 20
"""CERT payloads a message: a chain, its CRLs, and some reserve."""

MAX_CERTIFICATE_REQUESTS: Final = 20
"""CERTREQ payloads a message: one for each encoding is usual."""

AUTHORITY_HASH_LENGTH: Final = 20
"""Octets of a certification authority's hash: SHA-1 of its SubjectPublicKeyInfo."""

# Encodings whose CERTREQ lists hashes of trust anchors (RFC 7296 section 3.7).
_HASH_LIST_ENCODINGS: Final = frozenset(
    {
        int(CertEncoding.X509_SIGNATURE),
        int(CertEncoding.HASH_AND_URL_X509),
        int(CertEncoding.HASH_AND_URL_BUNDLE),
    }
)


@dataclass(frozen=True, slots=True)
class Certificate(Payload):
    """CERT payload.

    Attributes:
        encoding: see CertEncoding.
        data: DER or what the encoding says; never empty.
    """

    TYPE: ClassVar[int] = PayloadType.CERT
    NAME: ClassVar[str] = "CERT"
    LIMIT: ClassVar[int] = MAX_CERTIFICATES

    encoding: int
    data: bytes

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError(f"certificate of encoding {self.encoding} is empty")

    def encode_body(self) -> bytes:
        """Encoding and data."""
        return bytes((self.encoding,)) + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Certificate:
        """Read the encoding and everything behind it."""
        return cursor.checked(cls, cursor.u8(), cursor.rest())


@dataclass(frozen=True, slots=True)
class CertificateRequest(Payload):
    """CERTREQ payload.

    Attributes:
        encoding: see CertEncoding.
        data: for X.509 a row of 20-octet hashes of acceptable authorities, may be empty.
    """

    TYPE: ClassVar[int] = PayloadType.CERTREQ
    NAME: ClassVar[str] = "CERTREQ"
    LIMIT: ClassVar[int] = MAX_CERTIFICATE_REQUESTS

    encoding: int
    data: bytes

    def __post_init__(self) -> None:
        if self.encoding in _HASH_LIST_ENCODINGS and len(self.data) % AUTHORITY_HASH_LENGTH:
            raise ValueError(
                f"{len(self.data)} octets of authorities, expected a multiple of "
                f"{AUTHORITY_HASH_LENGTH}"
            )

    @property
    def authority_hashes(self) -> tuple[bytes, ...]:
        """The 20-octet hashes; empty for encodings that list something else."""
        if self.encoding not in _HASH_LIST_ENCODINGS:
            return ()
        return tuple(
            self.data[start : start + AUTHORITY_HASH_LENGTH]
            for start in range(0, len(self.data), AUTHORITY_HASH_LENGTH)
        )

    def encode_body(self) -> bytes:
        """Encoding and data."""
        return bytes((self.encoding,)) + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> CertificateRequest:
        """Read the encoding and everything behind it."""
        return cursor.checked(cls, cursor.u8(), cursor.rest())
