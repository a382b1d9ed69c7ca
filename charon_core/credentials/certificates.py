"""Certificates as values: who they name, which key they have, what they may be used for."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from charon_core.config import der
from charon_core.config.identification import SCORE_NONE, SCORE_PERFECT, Identification
from charon_core.credentials import pem
from charon_core.credentials.extensions import KeyUsage
from charon_core.credentials.keys import PublicKey
from charon_core.credentials.x509 import read_certificate

if TYPE_CHECKING:
    from charon_core.credentials.extensions import Extensions
    from charon_core.crypto.signature_schemes import SignatureScheme

_EMPTY_NAME: Final = b"\x30\x00"
_NOT_CERTIFICATES: Final = ("KEY", "CRL", "PARAMETERS", "REQUEST", "PKCS")
_WEAK_ALGORITHMS: Final = {
    der.encode(der.OBJECT_IDENTIFIER, der.encode_oid(oid)): name
    for oid, name in (
        ("1.2.840.113549.1.1.2", "MD2 with RSA"),
        ("1.2.840.113549.1.1.3", "MD4 with RSA"),
        ("1.2.840.113549.1.1.4", "MD5 with RSA"),
        ("1.2.840.10040.4.3", "SHA-1 with DSA"),
    )
}
_FLAGGED_USAGES: Final = (
    ("1.3.6.1.5.5.7.3.9", "ocspSigning"),
    ("1.3.6.1.5.5.7.3.1", "serverAuth"),
    ("1.3.6.1.5.5.7.3.2", "clientAuth"),
    ("1.3.6.1.5.5.8.2.2", "ikeIntermediate"),
    ("1.3.6.1.4.1.311.20.2.2", "msSmartcardLogon"),
)


class CertificateError(ValueError):
    """Octets that are no certificate which could be used; the text says what is wrong."""


class Certificate:
    """An X.509 certificate. Equality is that of the octets.

    Attributes:
        der: The whole certificate.
        subject: Who it is for.
        issuer: Who signed it.
        alt_names: The identities of the subject alternative names.
        not_before: Begin of validity, seconds since 1970.
        not_after: End of validity, seconds since 1970.
        public_key: The subject's key.
        extensions: What else it says.
        serial: Serial number as in the certificate, octets.
        tbs: The signed octets.
        algorithm: DER AlgorithmIdentifier of the signature.
        signature: The signature.
    """

    __slots__ = (
        "_digest",
        "algorithm",
        "alt_names",
        "der",
        "extensions",
        "issuer",
        "not_after",
        "not_before",
        "public_key",
        "serial",
        "signature",
        "subject",
        "tbs",
        "version",
    )

    def __init__(self, data: bytes) -> None:
        """Take a DER certificate apart.

        Raises:
            CertificateError: it is not one.
        """
        try:
            fields = read_certificate(data)
            self.subject = Identification.from_dn(fields.subject)
            self.issuer = Identification.from_dn(fields.issuer)
            self.alt_names = tuple(
                identity
                for name in fields.extensions.alt_names
                if (identity := name.identity()) is not None
            )
        except der.DerError as error:
            message = f"not a certificate: {error}"
            raise CertificateError(message) from None
        self.der = data
        self.not_before = fields.not_before
        self.not_after = fields.not_after
        self.public_key = PublicKey(fields.spki)
        self.extensions: Extensions = fields.extensions
        self.serial = fields.serial
        self.tbs = fields.tbs
        self.algorithm = fields.algorithm
        self.signature = fields.signature
        self.version = fields.version
        self._digest = b""

    @classmethod
    def from_der(cls, data: bytes) -> Certificate:
        """Take a DER certificate apart, as the constructor does.

        Raises:
            CertificateError: it is not one.
        """
        return cls(data)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the certificate: a short name for it in caches."""
        if not self._digest:
            self._digest = sha256(self.der).digest()
        return self._digest

    @property
    def identities(self) -> tuple[Identification, ...]:
        """Everybody whom the certificate names: the subject, unless empty, and the alternatives.

        Names inside the subject, such as its CN, are no identities of their own.
        """
        if self.subject.data == _EMPTY_NAME:
            return self.alt_names
        return (self.subject, *self.alt_names)

    @property
    def is_ca(self) -> bool:
        """Whether the basic constraints say that it may sign certificates."""
        return self.extensions.is_ca

    @property
    def path_length(self) -> int | None:
        """CA certificates that may follow below this one, None for any number."""
        return self.extensions.path_length

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same name."""
        return self.subject.matches(self.issuer) == SCORE_PERFECT

    @property
    def subject_key_id(self) -> bytes:
        """Identifier of the subject's key, empty if the certificate does not say."""
        return self.extensions.subject_key_id

    @property
    def authority_key_id(self) -> bytes:
        """Identifier of the issuer's key, empty if the certificate does not say."""
        return self.extensions.authority_key_id

    @property
    def flags(self) -> tuple[str, ...]:
        """The words that status output shows, for example ``CA`` or ``serverAuth``."""
        usage = self.extensions.key_usage
        words = ["CA"] if self.is_ca else []
        if usage is not None and usage & KeyUsage.CRL_SIGN:
            words.append("CRLSign")
        extended = self.extensions.extended_key_usage
        words += [word for oid, word in _FLAGGED_USAGES if oid in extended]
        if self.is_self_issued:
            words.append("self-signed")
        return tuple(words)

    def has_identity(self, pattern: Identification) -> int:
        """Return how well the certificate fits a configured identity, as `Identification.matches`.

        The pattern is ours: never pass what a peer sent, whose wildcards would be honoured. For
        that there is `confirms`.
        """
        return max((identity.matches(pattern) for identity in self.identities), default=SCORE_NONE)

    def confirms(self, claimed: Identification) -> bool:
        """Tell whether the certificate names exactly the identity that a peer claims."""
        if claimed.is_any:
            return False
        key = claimed.match_key
        return any(identity.match_key == key for identity in self.identities)

    def is_valid_at(self, now: float) -> bool:
        """Whether the time (seconds since 1970) lies in the certificate's validity."""
        return self.not_before <= now <= self.not_after

    def scheme(self) -> SignatureScheme:
        """Return how the certificate was signed.

        Raises:
            InvalidSignature: a scheme that is not known or no longer safe; the text names it.
        """
        from charon_core.crypto.errors import InvalidSignature
        from charon_core.crypto.signature_schemes import decode_algorithm

        start, _ = der.whole(self.algorithm, der.SEQUENCE)
        for oid, name in _WEAK_ALGORITHMS.items():
            if self.algorithm.startswith(oid, start):
                message = f"signed by {name}, which is not safe"
                raise InvalidSignature(message)
        return decode_algorithm(self.algorithm)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __str__(self) -> str:
        """The name to call it by in messages: the subject, or else its first alternative name."""
        names = self.identities
        return f"'{names[0]}'" if names else f"serial {self.serial.hex(':')}"

    def __repr__(self) -> str:
        return f"Certificate({self})"


def format_time(seconds: float) -> str:
    """Return ``2026-11-23 09:47:28 UTC``, or the plain number where that date does not exist."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s since 1970"


def load_certificates(data: bytes) -> list[Certificate]:
    """Take all certificates of a file: every PEM block, or one in DER.

    The labels of PEM blocks are free, but keys and revocation lists are passed over.

    Raises:
        CertificateError: none is there, or one is malformed; the text says which block.
    """
    if not pem.is_pem(data):
        return [Certificate(data)]
    try:
        blocks = pem.read_blocks(data)
    except ValueError as error:
        raise CertificateError(str(error)) from None
    certificates: list[Certificate] = []
    for number, block in enumerate(blocks, 1):
        if any(word in block.label.upper() for word in _NOT_CERTIFICATES):
            continue
        try:
            certificates.append(Certificate(block.data))
        except CertificateError as error:
            message = f"PEM block {number} ({block.label}): {error}"
            raise CertificateError(message) from None
    if not certificates:
        message = "no certificate among the PEM blocks"
        raise CertificateError(message)
    return certificates
