"""Distinguished names: text to DER, DER to text, and the rules by which two of them match."""

from __future__ import annotations

import string
from typing import Final, NamedTuple

from charon_core.config import der

MAX_TEXT_RDNS: Final = 20
"""Relative distinguished names that a written name may have."""

MAX_WIRE_ATTRIBUTES: Final = 64
"""Attributes of a name from a peer; more are refused rather than worked through."""

WILDCARD: Final = b"*"
"""An attribute value that stands for any value of that attribute."""

_NAMES: Final = (
    ("ND", "0.2.262.1.10.7.20"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("T", "2.5.4.12"),
    ("D", "2.5.4.13"),
    ("postalAddress", "2.5.4.16"),
    ("postalCode", "2.5.4.17"),
    ("N", "2.5.4.41"),
    ("G", "2.5.4.42"),
    ("I", "2.5.4.43"),
    ("ID", "2.5.4.45"),
    ("dnQualifier", "2.5.4.46"),
    ("dmdName", "2.5.4.54"),
    ("pseudonym", "2.5.4.65"),
    ("E", "1.2.840.113549.1.9.1"),
    ("Email", "1.2.840.113549.1.9.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("UN", "1.2.840.113549.1.9.2"),
    ("unstructuredName", "1.2.840.113549.1.9.2"),
    ("UA", "1.2.840.113549.1.9.8"),
    ("unstructuredAddress", "1.2.840.113549.1.9.8"),
    ("EN", "2.16.840.1.113730.3.1.3"),
    ("employeeNumber", "2.16.840.1.113730.3.1.3"),
    ("TCGID", "1.3.6.1.4.1.1201.1.1.2.2.75"),
)
_OID_OF: Final = {name.lower(): der.encode_oid(oid) for name, oid in _NAMES}
# The first name of each attribute is the one that is displayed.
_NAME_OF: Final = {der.encode_oid(oid): name for name, oid in reversed(_NAMES)}
_IA5_ONLY: Final = {_OID_OF["e"], _OID_OF["un"]}

_PRINTABLE: Final = frozenset((string.ascii_letters + string.digits + " '()+,-./:=?").encode())
_ASCII: Final = bytes(range(0x20, 0x7F))
# The string types between which a printable value is the same value.
_FOLDED: Final = frozenset({der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING})


class Attribute(NamedTuple):
    """One attribute of a relative distinguished name.

    Attributes:
        oid: Content octets of the object identifier.
        tag: DER tag of the value.
        value: Content octets of the value.
    """

    oid: bytes
    tag: int
    value: bytes


Rdn = tuple[Attribute, ...]
NormalName = tuple[tuple[tuple[bytes, int, bytes], ...], ...]
"""A name in the form in which equal names compare equal: one tuple of attributes for each RDN."""


def encode(rdns: tuple[Rdn, ...]) -> bytes:
    """Return the DER of a Name (RFC 5280 section 4.1.2.4)."""
    return der.encode(
        der.SEQUENCE,
        b"".join(der.encode(der.SET, b"".join(sorted(map(_encode_one, rdn)))) for rdn in rdns),
    )


def _encode_one(attribute: Attribute) -> bytes:
    return der.encode(
        der.SEQUENCE,
        der.encode(der.OBJECT_IDENTIFIER, attribute.oid)
        + der.encode(attribute.tag, attribute.value),
    )


def decode(data: bytes) -> tuple[Rdn, ...]:
    """Take a DER Name apart.

    Raises:
        der.DerError: not a strict DER Name, an RDN without attributes, or too many attributes.
    """
    # Loops without generators: every handshake with certificates goes through here.
    read, count = der.read, 0
    rdns: list[Rdn] = []
    set_stop, stop = der.whole(data, der.SEQUENCE)
    while set_stop < stop:
        tag, at, set_stop = read(data, set_stop, stop)
        if tag != der.SET or at == set_stop:
            message = f"RDN {len(rdns) + 1} of a name is not a SET with attributes"
            raise der.DerError(message)
        rdn: list[Attribute] = []
        while at < set_stop:
            tag, start, at = read(data, at, set_stop)
            count += 1
            if tag != der.SEQUENCE or count > MAX_WIRE_ATTRIBUTES:
                message = f"name has no attribute in RDN {len(rdns) + 1}, or too many"
                raise der.DerError(message)
            oid_tag, oid_start, oid_stop = read(data, start, at)
            value_tag, value_start, value_stop = read(data, oid_stop, at)
            if oid_tag != der.OBJECT_IDENTIFIER or value_stop != at or oid_start == oid_stop:
                message = f"attribute in RDN {len(rdns) + 1} is not one type and one value"
                raise der.DerError(message)
            oid = data[oid_start:oid_stop]
            rdn.append(Attribute(oid, value_tag, data[value_start:value_stop]))
        rdns.append(tuple(rdn))
    return tuple(rdns)


def parse(text: str) -> bytes:
    """Return the DER of a written name, such as ``C=CH, O=Test, CN=x`` or ``/C=CH/O=Test/CN=x``.

    Separators cannot be escaped. Attribute types are the usual short names, in any case, or
    dotted object identifiers. Values become PrintableString where possible, IA5String for the
    attributes defined so, else UTF8String.

    Raises:
        ValueError: not such a name.
    """
    separator = ","
    if text.startswith("/"):
        separator, text = "/", text[1:]
    items = text.split(separator)
    if len(items) > MAX_TEXT_RDNS:
        message = f"a name has {len(items)} parts, {MAX_TEXT_RDNS} are allowed"
        raise ValueError(message)
    return encode(tuple((_parse_attribute(item),) for item in items))


def _parse_attribute(item: str) -> Attribute:
    name, equals, written = (part.strip() for part in item.partition("="))
    if not (name and equals and written):
        message = f"'{item.strip()}' is not a part of a name, expected TYPE=VALUE"
        raise ValueError(message)
    oid = _OID_OF.get(name.lower()) or der.encode_oid(name)
    value = written.encode()
    if oid in _IA5_ONLY:
        if not value.isascii():
            message = f"'{written}' has characters outside ASCII, which '{name}' cannot have"
            raise ValueError(message)
        return Attribute(oid, der.IA5_STRING, value)
    printable = _PRINTABLE.issuperset(value)
    return Attribute(oid, der.PRINTABLE_STRING if printable else der.UTF8_STRING, value)


def display(data: bytes) -> str:
    """Return a DER Name as text, ``C=CH, O=Test, CN=x``; what cannot be shown becomes ``?``."""
    try:
        rdns = decode(data)
    except der.DerError:
        return f"(invalid name #{data[:64].hex()})"
    return ", ".join(" + ".join(map(_display_attribute, rdn)) for rdn in rdns)


def _display_attribute(attribute: Attribute) -> str:
    name = _NAME_OF.get(attribute.oid)
    if name is None:
        try:
            name = der.decode_oid(attribute.oid)
        except der.DerError:
            name = "?"
    return f"{name}={_display_value(attribute)}"


def _display_value(attribute: Attribute) -> str:
    tag, value = attribute.tag, attribute.value
    if tag == der.BMP_STRING:
        text = value.decode("utf-16-be", "replace")
    elif tag in _FOLDED or tag == der.TELETEX_STRING:
        text = value.decode("latin-1" if tag == der.TELETEX_STRING else "utf-8", "replace")
    else:
        return f"#{value.hex()}"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def normalise(rdns: tuple[Rdn, ...]) -> NormalName:
    """Return the form in which names that are the same compare equal.

    A printable value is the same in any case and in each of the common string types.
    """
    return tuple(
        tuple(sorted(map(_normalise_attribute, rdn)))
        if len(rdn) > 1
        else (_normalise_attribute(rdn[0]),)
        for rdn in rdns
    )


def _normalise_attribute(attribute: Attribute) -> tuple[bytes, int, bytes]:
    oid, tag, value = attribute
    # translate() that deletes the printable octets leaves nothing of a printable value.
    if tag in _FOLDED and not value.translate(None, _ASCII):
        return oid, 0, value.lower()
    return oid, tag, value


def wildcards(pattern: NormalName) -> int:
    """Return how many attributes of a name stand for any value."""
    return sum(value == WILDCARD for rdn in pattern for _, _, value in rdn)


def count_wildcards(received: NormalName, pattern: NormalName) -> int | None:
    """Return how many wildcards `pattern` needs to match `received`, or None if it does not.

    Both must have the same attributes in the same order.
    """
    if len(received) != len(pattern):
        return None
    needed = 0
    for theirs, ours in zip(received, pattern, strict=True):
        if theirs == ours:
            needed += any(value == WILDCARD for _, _, value in ours)
            continue
        if len(theirs) != len(ours):
            return None
        for (oid, tag, value), (our_oid, our_tag, our_value) in zip(theirs, ours, strict=True):
            if oid != our_oid:
                return None
            if our_value == WILDCARD:
                needed += 1
            elif value != our_value or tag != our_tag:
                return None
    return needed
