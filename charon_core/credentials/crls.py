"""Certificate revocation lists from local files (RFC 5280 section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from charon_core.config import der
from charon_core.config.identification import Identification
from charon_core.credentials import pem

if TYPE_CHECKING:
    from datetime import datetime

    from charon_core.credentials.keys import PublicKey

MAX_LENGTH: Final = pem.MAX_FILE
"""Octets of a revocation list."""


class CrlError(ValueError):
    """Octets that are no revocation list which could be used; the text says what is wrong."""


class RevokedEntry(NamedTuple):
    """An entry of a revocation list.

    Attributes:
        serial: Serial number of the certificate.
        time: When it was revoked, seconds since 1970.
        reason: The reason's name in RFC 5280, for example ``keyCompromise``.
    """

    serial: int
    time: float
    reason: str


class Crl:
    """A revocation list, complete or delta; its signature is not checked by making one.

    Attributes:
        der: The whole list.
        issuer: Who signed it.
        this_update: When it was made, seconds since 1970.
        next_update: When the next one is due, seconds since 1970; None if it does not say.
        number: CRL number, None if it does not say.
        base_number: Number of the complete list that a delta list refers to, else None.
        authority_key_id: Identifier of the issuer's key, empty if it does not say.
        unusable: Why it must not be relied on, empty if it may.
    """

    __slots__ = (
        "_crl",
        "_signed_by",
        "authority_key_id",
        "base_number",
        "der",
        "issuer",
        "next_update",
        "number",
        "this_update",
        "unusable",
    )

    def __init__(self, data: bytes) -> None:
        """Take a DER revocation list apart.

        Raises:
            CrlError: it is not one.
        """
        # The library reads large lists fast; it is only loaded where there are any.
        from cryptography import x509
        from cryptography.x509.oid import ExtensionOID

        if len(data) > MAX_LENGTH:
            message = f"revocation list of {len(data)} octets, at most {MAX_LENGTH} are read"
            raise CrlError(message)
        try:
            crl = x509.load_der_x509_crl(data)
            self.issuer = Identification.from_dn(_issuer_name(crl.tbs_certlist_bytes))
            self.this_update = _seconds(crl.last_update_utc)
            next_update = crl.next_update_utc
            extensions = {extension.oid: extension for extension in crl.extensions}
        except (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion) as error:
            message = f"not a revocation list: {error}"
            raise CrlError(message) from None
        self.der = data
        self.next_update = None if next_update is None else _seconds(next_update)
        self._crl = crl
        self._signed_by = b""
        oids = ExtensionOID
        number = _value(extensions, oids.CRL_NUMBER)
        self.number: int | None = None if number is None else number.crl_number
        base = _value(extensions, oids.DELTA_CRL_INDICATOR)
        self.base_number: int | None = None if base is None else base.crl_number
        authority = _value(extensions, oids.AUTHORITY_KEY_IDENTIFIER)
        self.authority_key_id: bytes = (authority.key_identifier or b"") if authority else b""
        known = {oids.CRL_NUMBER, oids.DELTA_CRL_INDICATOR, oids.AUTHORITY_KEY_IDENTIFIER}
        # A list for part of the certificates (issuingDistributionPoint) says nothing about others.
        self.unusable = ", ".join(
            f"critical extension {oid.dotted_string} is not understood"
            for oid, extension in extensions.items()
            if extension.critical and oid not in known
        )

    @property
    def is_delta(self) -> bool:
        """Whether it only lists what changed since a complete list."""
        return self.base_number is not None

    def same_scope(self, other: Crl) -> bool:
        """Whether one replaces the other: same issuer, same key, both complete or both delta."""
        return (
            self.issuer.match_key == other.issuer.match_key
            and self.authority_key_id == other.authority_key_id
            and self.is_delta == other.is_delta
        )

    def is_newer_than(self, other: Crl) -> bool:
        """Whether this list was made after the other one, by number or else by time."""
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number > other.number
        return self.this_update > other.this_update

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether the signature is good and of a kind that is safe.

        An algorithm or a key that is too weak counts as no signature.
        """
        from cryptography.exceptions import UnsupportedAlgorithm

        from charon_core.crypto.errors import CryptoError

        try:
            digest = self._crl.signature_hash_algorithm
            if digest is not None and digest.name in {"md5", "sha1"}:
                return False
            key.require_strong()
            if self._signed_by == key.spki:
                return True
            issuer_key: Any = key.key
            if not self._crl.is_signature_valid(issuer_key):
                return False
            # A list serves many certificates; hashing megabytes for each takes its time.
            self._signed_by = key.spki
            return True
        except (ValueError, TypeError, UnsupportedAlgorithm, CryptoError):
            return False

    def find(self, serial: bytes) -> RevokedEntry | None:
        """Return the entry of a serial number (octets of the certificate), or None."""
        number = int.from_bytes(serial, "big", signed=True)
        # The library goes through all entries, which takes long in large lists; an entry has its
        # number in this one encoding.
        octets = (number if number >= 0 else ~number).bit_length() // 8 + 1
        if der.encode(der.INTEGER, number.to_bytes(octets, "big", signed=True)) not in self.der:
            return None
        entry = self._crl.get_revoked_certificate_by_serial_number(number)
        return None if entry is None else _entry(entry)

    def entries(self) -> list[RevokedEntry]:
        """Return all entries, for status output."""
        return [_entry(entry) for entry in self._crl]

    def __repr__(self) -> str:
        return f"Crl({self.issuer}, number {self.number})"


def load_crls(data: bytes) -> list[Crl]:
    """Take all revocation lists of a file: every PEM block, or one in DER.

    Raises:
        CrlError: none is there, or one is malformed.
    """
    if not pem.is_pem(data):
        return [Crl(data)]
    try:
        return [Crl(block.data) for block in pem.read_blocks(data)]
    except CrlError:
        raise
    except ValueError as error:
        raise CrlError(str(error)) from None


def _issuer_name(tbs: bytes) -> bytes:
    """Return the DER Name of the issuer as it stands in the list."""
    start, stop = der.whole(tbs, der.SEQUENCE)
    tag, _, offset = der.read(tbs, start, stop)
    if tag == der.INTEGER:
        _, offset = der.expect(tbs, offset, stop, der.SEQUENCE)
    _, end = der.expect(tbs, offset, stop, der.SEQUENCE)
    return tbs[offset:end]


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _value(extensions: dict[Any, Any], oid: Any) -> Any:
    extension = extensions.get(oid)
    return None if extension is None else extension.value


def _entry(entry: Any) -> RevokedEntry:
    from cryptography import x509

    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        reason = "unspecified"
    return RevokedEntry(entry.serial_number, _seconds(entry.revocation_date_utc), reason)
