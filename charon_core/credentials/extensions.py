"""Certificate extensions that trust decisions and status output need (RFC 5280 section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config import der
from charon_core.credentials.general_names import URI, GeneralName, read_names

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_EXTENSIONS: Final = 64
"""Extensions of one certificate."""

ANY_POLICY: Final = "2.5.29.32.0"
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"

_PERMITTED: Final = 0xA0
_EXCLUDED: Final = 0xA1
_KEY_IDENTIFIER: Final = 0x80
_FULL_NAME: Final = 0xA0
_OCSP: Final = der.encode_oid("1.3.6.1.5.5.7.48.1")


class KeyUsage(Flag):
    """Bits of the keyUsage extension that matter here, as in the first octets of the BIT STRING."""

    NONE = 0
    DIGITAL_SIGNATURE = 0x8000
    NON_REPUDIATION = 0x4000
    KEY_CERT_SIGN = 0x0400
    CRL_SIGN = 0x0200


class NameConstraints(NamedTuple):
    """Names that certificates below a CA may and may not have."""

    permitted: tuple[GeneralName, ...]
    excluded: tuple[GeneralName, ...]


@dataclass(slots=True)
class Extensions:
    """The extensions of one certificate, with the defaults of those that are absent.

    Attributes:
        is_ca: Basic constraints with the CA flag.
        has_basic_constraints: The extension is there at all.
        path_length: CA certificates that may follow below this one, None for any number.
        key_usage: None if the extension is absent: then nothing is forbidden.
        extended_key_usage: Dotted OIDs.
        alt_names: Subject alternative names.
        subject_key_id: Identifier of the certificate's own key, empty if absent.
        authority_key_id: Identifier of the issuer's key, empty if absent.
        policies: Dotted OIDs of certificate policies, None if the extension is absent.
        name_constraints: None if the extension is absent.
        crl_uris: Where revocation lists are published.
        ocsp_uris: Where revocation can be asked for.
        unknown_critical: Dotted OIDs of critical extensions that nobody here understands.
        critical: Dotted OIDs of all critical extensions.
    """

    is_ca: bool = False
    has_basic_constraints: bool = False
    path_length: int | None = None
    key_usage: KeyUsage | None = None
    extended_key_usage: tuple[str, ...] = ()
    alt_names: tuple[GeneralName, ...] = ()
    subject_key_id: bytes = b""
    authority_key_id: bytes = b""
    policies: tuple[str, ...] | None = None
    name_constraints: NameConstraints | None = None
    crl_uris: tuple[str, ...] = ()
    ocsp_uris: tuple[str, ...] = ()
    unknown_critical: tuple[str, ...] = ()
    critical: frozenset[str] = frozenset()


def read_extensions(data: bytes, start: int, stop: int) -> Extensions:
    """Read the extensions of a certificate, the content of their SEQUENCE.

    Raises:
        DerError: malformed, an extension that occurs twice, or too many.
    """
    result = Extensions()
    seen: set[bytes] = set()
    critical: set[str] = set()
    for tag, at, end in der.elements(data, start, stop):
        if tag != der.SEQUENCE or len(seen) >= MAX_EXTENSIONS:
            message = "an extension is not a SEQUENCE, or there are too many"
            raise der.DerError(message)
        oid, is_critical, value = _split(data, at, end)
        if oid in seen:
            message = f"extension {der.decode_oid(oid)} occurs twice"
            raise der.DerError(message)
        seen.add(oid)
        if is_critical:
            critical.add(der.decode_oid(oid))
        reader = _READERS.get(oid)
        if reader is not None:
            reader(result, value)
        elif is_critical:
            result.unknown_critical += (der.decode_oid(oid),)
    result.critical = frozenset(critical)
    return result


def _split(data: bytes, at: int, end: int) -> tuple[bytes, bool, bytes]:
    oid_start, oid_stop = der.expect(data, at, end, der.OBJECT_IDENTIFIER)
    tag, start, stop = der.read(data, oid_stop, end)
    critical = False
    if tag == der.BOOLEAN:
        critical = _boolean(data[start:stop])
        tag, start, stop = der.read(data, stop, end)
    if tag != der.OCTET_STRING or stop != end:
        message = "an extension's value is not an OCTET STRING"
        raise der.DerError(message)
    return data[oid_start:oid_stop], critical, data[start:stop]


def _boolean(content: bytes) -> bool:
    if content not in {b"\x00", b"\xff"}:
        message = f"BOOLEAN {content.hex()}, expected 00 or ff"
        raise der.DerError(message)
    return content == b"\xff"


def _basic_constraints(result: Extensions, value: bytes) -> None:
    result.has_basic_constraints = True
    for tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        content = value[start:stop]
        if tag == der.BOOLEAN and not result.is_ca:
            result.is_ca = _boolean(content)
        elif tag == der.INTEGER and result.is_ca and len(content) == 1 and content[0] < 0x80:
            result.path_length = content[0]
        else:
            message = "basic constraints hold something else than the CA flag and a path length"
            raise der.DerError(message)


def _key_usage(result: Extensions, value: bytes) -> None:
    start, stop = der.whole(value, der.BIT_STRING)
    content = value[start:stop]
    if not 1 <= len(content) <= 3 or content[0] > 7:
        message = "key usage is no string of up to nine bits"
        raise der.DerError(message)
    bits = int.from_bytes(content[1:].ljust(2, b"\0"), "big")
    known = KeyUsage.NONE
    for usage in KeyUsage:
        if bits & usage.value:
            known |= usage
    result.key_usage = known


def _extended_key_usage(result: Extensions, value: bytes) -> None:
    result.extended_key_usage = _oids(value)


def _oids(value: bytes) -> tuple[str, ...]:
    oids: list[str] = []
    for tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        if tag != der.OBJECT_IDENTIFIER:
            message = f"tag 0x{tag:02x} where an object identifier should be"
            raise der.DerError(message)
        oids.append(der.decode_oid(value[start:stop]))
    return tuple(oids)


def _alt_names(result: Extensions, value: bytes) -> None:
    result.alt_names = tuple(read_names(value, *der.whole(value, der.SEQUENCE)))


def _subject_key_id(result: Extensions, value: bytes) -> None:
    start, stop = der.whole(value, der.OCTET_STRING)
    result.subject_key_id = value[start:stop]


def _authority_key_id(result: Extensions, value: bytes) -> None:
    for tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        if tag == _KEY_IDENTIFIER:
            result.authority_key_id = value[start:stop]


def _policies(result: Extensions, value: bytes) -> None:
    oids: list[str] = []
    for tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        if tag != der.SEQUENCE:
            message = "a certificate policy is not a SEQUENCE"
            raise der.DerError(message)
        oid_start, oid_stop = der.expect(value, start, stop, der.OBJECT_IDENTIFIER)
        oids.append(der.decode_oid(value[oid_start:oid_stop]))
    result.policies = tuple(oids)


def _name_constraints(result: Extensions, value: bytes) -> None:
    subtrees: dict[int, tuple[GeneralName, ...]] = {}
    for tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        if tag not in {_PERMITTED, _EXCLUDED} or tag in subtrees:
            message = "name constraints hold something else than one list of each kind"
            raise der.DerError(message)
        names: list[GeneralName] = []
        for subtree_tag, at, end in der.elements(value, start, stop):
            if subtree_tag != der.SEQUENCE:
                message = "a subtree of name constraints is not a SEQUENCE"
                raise der.DerError(message)
            # Minimum and maximum are not to be used (RFC 5280 section 4.2.1.10): with anything
            # behind the name, read_names() finds a second one.
            found = read_names(value, at, end, masks=True)
            if len(found) != 1:
                message = "a subtree of name constraints has a minimum or maximum"
                raise der.DerError(message)
            names += found
        subtrees[tag] = tuple(names)
    result.name_constraints = NameConstraints(
        subtrees.get(_PERMITTED, ()), subtrees.get(_EXCLUDED, ())
    )


def _crl_points(result: Extensions, value: bytes) -> None:
    uris: list[str] = []
    for point_tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        if point_tag != der.SEQUENCE:
            message = "a CRL distribution point is not a SEQUENCE"
            raise der.DerError(message)
        for tag, at, end in der.elements(value, start, stop):
            if tag != _FULL_NAME:
                continue
            for name_tag, name_at, name_end in der.elements(value, at, end):
                if name_tag == _FULL_NAME:
                    uris += _uris(read_names(value, name_at, name_end))
    result.crl_uris = tuple(uris)


def _uris(names: list[GeneralName]) -> list[str]:
    return [name.text for name in names if name.tag == URI]


def _authority_information(result: Extensions, value: bytes) -> None:
    uris: list[str] = []
    for tag, start, stop in der.elements(value, *der.whole(value, der.SEQUENCE)):
        if tag != der.SEQUENCE:
            message = "an access description is not a SEQUENCE"
            raise der.DerError(message)
        oid_start, oid_stop = der.expect(value, start, stop, der.OBJECT_IDENTIFIER)
        if value[oid_start:oid_stop] == _OCSP:
            uris += _uris(read_names(value, oid_stop, stop))
    result.ocsp_uris = tuple(uris)


_READERS: Final[dict[bytes, Callable[[Extensions, bytes], None]]] = {
    der.encode_oid(oid): reader
    for oid, reader in (
        ("2.5.29.14", _subject_key_id),
        ("2.5.29.15", _key_usage),
        ("2.5.29.17", _alt_names),
        ("2.5.29.19", _basic_constraints),
        ("2.5.29.30", _name_constraints),
        ("2.5.29.31", _crl_points),
        ("2.5.29.32", _policies),
        ("2.5.29.35", _authority_key_id),
        ("2.5.29.37", _extended_key_usage),
        ("1.3.6.1.5.5.7.1.1", _authority_information),
    )
}
