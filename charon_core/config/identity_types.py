"""Identification types: their numbers and names, and how the data of each are shown."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from charon_core.config import dn
from charon_core.encoding.registry import IdType

ANY: Final = 0
"""Pseudo type of an identity that matches everything; never on the wire (reserved there)."""

IPV4_ADDR: Final = int(IdType.IPV4_ADDR)
FQDN: Final = int(IdType.FQDN)
RFC822_ADDR: Final = int(IdType.RFC822_ADDR)
IPV6_ADDR: Final = int(IdType.IPV6_ADDR)
DER_ASN1_DN: Final = int(IdType.DER_ASN1_DN)
DER_ASN1_GN: Final = int(IdType.DER_ASN1_GN)
KEY_ID: Final = int(IdType.KEY_ID)
FC_NAME: Final = int(IdType.FC_NAME)
NULL: Final = int(IdType.NULL)
# Registered for IKEv1 only; here they are patterns in configurations and secrets.
IPV4_ADDR_SUBNET: Final = 4
IPV6_ADDR_SUBNET: Final = 6
IPV4_ADDR_RANGE: Final = 7
IPV6_ADDR_RANGE: Final = 8

TYPE_NAMES: Final = {
    ANY: "ID_ANY",
    IPV4_ADDR: "ID_IPV4_ADDR",
    FQDN: "ID_FQDN",
    RFC822_ADDR: "ID_RFC822_ADDR",
    IPV4_ADDR_SUBNET: "ID_IPV4_ADDR_SUBNET",
    IPV6_ADDR: "ID_IPV6_ADDR",
    IPV6_ADDR_SUBNET: "ID_IPV6_ADDR_SUBNET",
    IPV4_ADDR_RANGE: "ID_IPV4_ADDR_RANGE",
    IPV6_ADDR_RANGE: "ID_IPV6_ADDR_RANGE",
    DER_ASN1_DN: "ID_DER_ASN1_DN",
    DER_ASN1_GN: "ID_DER_ASN1_GN",
    KEY_ID: "ID_KEY_ID",
    FC_NAME: "ID_FC_NAME",
    NULL: "ID_NULL",
}

ADDRESS_LENGTHS: Final = {
    IPV4_ADDR: 4,
    IPV4_ADDR_SUBNET: 8,
    IPV4_ADDR_RANGE: 8,
    IPV6_ADDR: 16,
    IPV6_ADDR_SUBNET: 32,
    IPV6_ADDR_RANGE: 32,
}
SUBNETS: Final = {IPV4_ADDR: IPV4_ADDR_SUBNET, IPV6_ADDR: IPV6_ADDR_SUBNET}
RANGES: Final = {IPV4_ADDR: IPV4_ADDR_RANGE, IPV6_ADDR: IPV6_ADDR_RANGE}
TEXT_TYPES: Final = frozenset({FQDN, RFC822_ADDR})
_DIGEST_LENGTH: Final = 20


def display(id_type: int, data: bytes) -> str:
    """Return an identity as log lines and status output show it: the bare value."""
    if id_type == ANY:
        return "%any"
    if id_type in TEXT_TYPES or id_type == FC_NAME:
        return _printable(data)
    if id_type in ADDRESS_LENGTHS:
        return _display_address(id_type, data)
    if id_type == DER_ASN1_DN:
        return dn.display(data)
    if id_type == DER_ASN1_GN:
        return "(ASN.1 general name)"
    if id_type == NULL:
        return "ID_NULL"
    if id_type == KEY_ID and len(data) != _DIGEST_LENGTH and data.isascii():
        text = data.decode("ascii")
        if text.isprintable():
            return text
    return data.hex(":")


def _display_address(id_type: int, data: bytes) -> str:
    """Show what is there; data that is too short for its type has no other form than hex."""
    size = 4 if id_type in {IPV4_ADDR, IPV4_ADDR_SUBNET, IPV4_ADDR_RANGE} else 16
    single = id_type in SUBNETS
    if len(data) < (size if single else 2 * size):
        return f"(invalid {TYPE_NAMES[id_type]} #{data.hex()})"
    first = str(ip_address(data[:size]))
    if single:
        return first
    second = data[size : 2 * size]
    if id_type in RANGES.values():
        return f"{first}-{ip_address(second)}"
    bits = int.from_bytes(second, "big").bit_count()
    return f"{first}/{bits}"


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
