"""X.509 certificates taken apart, strictly: every octet belongs to a known field (RFC 5280).

Names are kept as they are on the wire, since identities are compared with them octet by octet or
by rules of our own, and a PSK daemon need not load an X.509 library. Keys and signatures, where
mistakes are costly, are left to the `cryptography` library.
"""

from __future__ import annotations

from calendar import timegm
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from charon_core.config import der
from charon_core.credentials.extensions import Extensions, read_extensions

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LENGTH: Final = 65535
"""Octets of a certificate; an IKE payload cannot carry more."""

MAX_SERIAL_LENGTH: Final = 21
"""Octets of a serial number: RFC 5280 allows 20, and many CAs pad one more in front."""

_CONTEXT_0: Final = 0xA0
_CONTEXT_1: Final = 0x81
_CONTEXT_2: Final = 0x82
_CONTEXT_3: Final = 0xA3
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18


@dataclass(frozen=True, slots=True)
class CertificateFields:
    """The fields of a certificate.

    Attributes:
        tbs: The octets that are signed.
        version: 1 or 3 (2 is never seen).
        serial: Content octets of the serial number.
        issuer: DER Name, not looked into.
        subject: DER Name, not looked into.
        not_before: Seconds since 1970.
        not_after: Seconds since 1970.
        spki: DER SubjectPublicKeyInfo.
        algorithm: DER AlgorithmIdentifier of the signature.
        signature: The signature's octets.
        extensions: The extensions, empty in version 1.
    """

    tbs: bytes
    version: int
    serial: bytes
    issuer: bytes
    subject: bytes
    not_before: int
    not_after: int
    spki: bytes
    algorithm: bytes
    signature: bytes
    extensions: Extensions = field(default_factory=Extensions)


class Fields:
    """A SEQUENCE whose fields are read one after the other."""

    __slots__ = ("data", "offset", "stop")

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self.data = data
        self.offset = start
        self.stop = stop

    def next_tag(self) -> int:
        """Return the tag of the next element, 0 at the end."""
        return self.data[self.offset] if self.offset < self.stop else 0

    def take(self, tag: int) -> tuple[int, int]:
        """Read an element of that tag; return where its content starts and stops."""
        start, self.offset = der.expect(self.data, self.offset, self.stop, tag)
        return start, self.offset

    def element(self, tag: int) -> bytes:
        """Read an element of that tag; return it whole, with tag and length."""
        begin = self.offset
        _, stop = self.take(tag)
        return self.data[begin:stop]

    def content(self, tag: int) -> bytes:
        """Read an element of that tag; return its content."""
        start, stop = self.take(tag)
        return self.data[start:stop]

    def finish(self) -> None:
        """Refuse anything behind the last field."""
        if self.offset != self.stop:
            message = f"{self.stop - self.offset} octets behind the last field"
            raise der.DerError(message)


def read_certificate(data: bytes) -> CertificateFields:
    """Take a DER certificate apart.

    Raises:
        DerError: not a strict DER certificate of version 1 to 3; the text says what is wrong.
    """
    if len(data) > MAX_LENGTH:
        message = f"certificate of {len(data)} octets, at most {MAX_LENGTH} are accepted"
        raise der.DerError(message)
    outer = Fields(data, *der.whole(data, der.SEQUENCE))
    tbs = outer.element(der.SEQUENCE)
    algorithm = outer.element(der.SEQUENCE)
    signature = read_bit_string(outer.content(der.BIT_STRING))
    outer.finish()

    fields = Fields(tbs, *der.whole(tbs, der.SEQUENCE))
    version = _read_version(fields)
    serial = fields.content(der.INTEGER)
    if not 1 <= len(serial) <= MAX_SERIAL_LENGTH:
        message = f"serial number of {len(serial)} octets, expected 1 to {MAX_SERIAL_LENGTH}"
        raise der.DerError(message)
    if fields.element(der.SEQUENCE) != algorithm:
        message = "the signature algorithm inside and outside the signed part differ"
        raise der.DerError(message)
    issuer = fields.element(der.SEQUENCE)
    validity = Fields(tbs, *fields.take(der.SEQUENCE))
    not_before, not_after = read_time(validity), read_time(validity)
    validity.finish()
    subject = fields.element(der.SEQUENCE)
    spki = fields.element(der.SEQUENCE)
    for unique_id in (_CONTEXT_1, _CONTEXT_2):
        if fields.next_tag() == unique_id:
            fields.take(unique_id)
    extensions = Extensions()
    if version == 3 and fields.next_tag() == _CONTEXT_3:
        start, stop = fields.take(_CONTEXT_3)
        content_start, content_stop = der.expect(tbs, start, stop, der.SEQUENCE)
        if content_stop != stop:
            message = "octets behind the extensions"
            raise der.DerError(message)
        extensions = read_extensions(tbs, content_start, content_stop)
    fields.finish()
    return CertificateFields(
        tbs,
        version,
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        spki,
        algorithm,
        signature,
        extensions,
    )


def read_bit_string(content: bytes) -> bytes:
    """Return the octets of a BIT STRING that has no odd bits at its end."""
    if not content or content[0] != 0:
        message = "a BIT STRING is not a whole number of octets"
        raise der.DerError(message)
    return content[1:]


def _read_version(fields: Fields) -> int:
    if fields.next_tag() != _CONTEXT_0:
        return 1
    version = Fields(fields.data, *fields.take(_CONTEXT_0))
    number = version.content(der.INTEGER)
    version.finish()
    if number not in {b"\x01", b"\x02"}:
        message = f"certificate version {number.hex()}, expected 1 or 2 (for versions 2 and 3)"
        raise der.DerError(message)
    return number[0] + 1


def read_time(fields: Fields) -> int:
    """Return a UTCTime or GeneralizedTime as seconds since 1970 (RFC 5280 section 4.1.2.5)."""
    tag = fields.next_tag()
    if tag not in {_UTC_TIME, _GENERALIZED_TIME}:
        message = f"tag 0x{tag:02x} where a time should be"
        raise der.DerError(message)
    text = fields.content(tag)
    year_digits = 2 if tag == _UTC_TIME else 4
    if len(text) != year_digits + 11 or not text[:-1].isdigit() or not text.endswith(b"Z"):
        message = f"time {text!r} is not of the form {'YY' * (year_digits // 2)}MMDDhhmmssZ"
        raise der.DerError(message)
    year = int(text[:year_digits])
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = _pairs(text[year_digits:-1])
    if not (
        year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60
    ):
        message = f"time {text!r} does not exist"
        raise der.DerError(message)
    return timegm((year, month, day, hour, minute, second, 0, 0, 0))


def _pairs(digits: bytes) -> Iterator[int]:
    return (int(digits[at : at + 2]) for at in range(0, len(digits), 2))
