"""Identities of peers: parsing, display, and the score with which one matches another."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Final

from charon_core.config import der, dn
from charon_core.config.identity_types import (
    ADDRESS_LENGTHS,
    ANY,
    DER_ASN1_DN,
    DER_ASN1_GN,
    FC_NAME,
    FQDN,
    IPV4_ADDR,
    IPV4_ADDR_RANGE,
    IPV4_ADDR_SUBNET,
    IPV6_ADDR,
    IPV6_ADDR_RANGE,
    IPV6_ADDR_SUBNET,
    KEY_ID,
    NULL,
    RANGES,
    RFC822_ADDR,
    SUBNETS,
    TEXT_TYPES,
    TYPE_NAMES,
    display,
)
from charon_core.encoding.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = [
    "ANY",
    "DER_ASN1_DN",
    "DER_ASN1_GN",
    "FC_NAME",
    "FQDN",
    "IPV4_ADDR",
    "IPV4_ADDR_RANGE",
    "IPV4_ADDR_SUBNET",
    "IPV6_ADDR",
    "IPV6_ADDR_RANGE",
    "IPV6_ADDR_SUBNET",
    "KEY_ID",
    "MAX_LENGTH",
    "NULL",
    "RFC822_ADDR",
    "Identification",
]

SCORE_PERFECT: Final = 20
"""The identities are the same."""

SCORE_ONE_WILDCARD: Final = 19
"""One wildcard was needed; each further one takes off one more."""

SCORE_MANY_WILDCARDS: Final = 2
"""The least that a pattern with wildcards scores."""

SCORE_ANY: Final = 1
"""The pattern is ANY."""

SCORE_NONE: Final = 0
"""The identities do not match."""

MAX_LENGTH: Final = 4096
"""Octets of an identity that a peer may send; certificates' longest names are far shorter."""

_PREFIXES: Final = {
    "ipv4": IPV4_ADDR,
    "ipv6": IPV6_ADDR,
    "ipv4net": IPV4_ADDR_SUBNET,
    "ipv6net": IPV6_ADDR_SUBNET,
    "ipv4range": IPV4_ADDR_RANGE,
    "ipv6range": IPV6_ADDR_RANGE,
    "rfc822": RFC822_ADDR,
    "email": RFC822_ADDR,
    "userfqdn": RFC822_ADDR,
    "fqdn": FQDN,
    "dns": FQDN,
    "asn1dn": DER_ASN1_DN,
    "asn1gn": DER_ASN1_GN,
    "xmppaddr": DER_ASN1_GN,
    "keyid": KEY_ID,
}
_PREFIXED: Final = re.compile(r"(?:\{(\d{1,3})\}|([a-zA-Z0-9]+)):(.*)", re.DOTALL)
_ANY_TEXTS: Final = frozenset({"", "%any", "%any6", "0.0.0.0", "*", "::", "0::0"})

# otherName of an XMPP address (RFC 6120 section 13.7.1.4): [0] { OID, [0] UTF8String }.
_XMPP_OID: Final = der.encode(der.OBJECT_IDENTIFIER, der.encode_oid("1.3.6.1.5.5.7.8.5"))
_CONTEXT_0: Final = 0xA0

_CONTROLS: Final = bytes([*range(0x20), 0x7F])
_UNPARSED: Final = object()


@dataclass(frozen=True, slots=True, repr=False)
class Identification:
    """An identity as in an ID payload (RFC 7296 section 3.5), or a pattern for such identities.

    Equality is exact; use `matches` to find out whether a peer is who a configuration expects.

    Attributes:
        id_type: Number of the type; 0 stands for ANY.
        data: Content, in the form that the type asks for.
    """

    id_type: int
    data: bytes
    _key: object = field(default=_UNPARSED, init=False, compare=False)

    @classmethod
    def any(cls) -> Identification:
        """Return the pattern that every identity matches."""
        return _THE_ANY

    @classmethod
    def from_address(cls, host: str) -> Identification:
        """Return the identity of an IP address in text form.

        Raises:
            ValueError: `host` is not an IPv4 or IPv6 address.
        """
        address = ip_address(host.partition("%")[0])
        return cls(IPV4_ADDR if address.version == 4 else IPV6_ADDR, address.packed)

    @classmethod
    def from_dn(cls, name: bytes) -> Identification:
        """Return the identity of a DER Name, such as a certificate's subject.

        Raises:
            DerError: `name` is no strict DER Name.
        """
        identity = cls(DER_ASN1_DN, name)
        object.__setattr__(identity, "_key", dn.normalise(dn.decode(name)))
        return identity

    @classmethod
    def from_wire(cls, id_type: int, data: bytes) -> Identification:
        """Take what a peer sent.

        Raises:
            ParseError: the reserved type 0, an address of the wrong length, a name that is too
                long, or text with the control characters that RFC 7296 section 3.5 forbids.
        """
        if not 0 < id_type <= 255:
            raise _refuse(f"reserved identification type {id_type}")
        if len(data) > MAX_LENGTH:
            raise _refuse(f"identity of {len(data)} octets, at most {MAX_LENGTH} are accepted")
        if id_type in TEXT_TYPES:
            if data.translate(None, _CONTROLS) != data:
                raise _refuse("identity contains control characters")
        elif (length := ADDRESS_LENGTHS.get(id_type)) is not None and len(data) != length:
            name = TYPE_NAMES[id_type]
            raise _refuse(f"{name} of {len(data)} octets, expected {length}")
        return cls(id_type, data)

    @classmethod
    def parse(cls, text: str) -> Identification:
        """Take an identity as it is written in configurations and secrets.

        In this order: ``type:data`` and ``{number}:data`` (data literal, or hexadecimal behind
        ``#``), distinguished names (anything with ``=``), the words for ANY, addresses, subnets
        and ranges, ``@#hex``, ``@@user@domain``, ``@domain``, ``user@domain``, host names.

        Raises:
            ValueError: what should be hexadecimal digits is not.
        """
        prefixed = _PREFIXED.match(text)
        if prefixed is not None:
            number, prefix, rest = prefixed.groups()
            if number is not None:
                if int(number) <= 255:
                    return cls(int(number), _literal(rest))
            elif (id_type := _PREFIXES.get(prefix.lower())) is not None:
                data = _literal(rest)
                if prefix.lower() == "xmppaddr":
                    data = _xmpp_address(data)
                return cls(id_type, data)
        if "=" in text:
            try:
                return cls(DER_ASN1_DN, dn.parse(text))
            except ValueError:
                return cls(KEY_ID, text.encode())
        if "@" not in text:
            return _parse_without_at(text)
        if text.startswith("@#"):
            return cls(KEY_ID, _unhex(text[2:]))
        if text.startswith("@@"):
            return cls(RFC822_ADDR, text[2:].encode())
        if text.startswith("@"):
            return cls(FQDN, text[1:].encode())
        return cls(RFC822_ADDR, text.encode())

    @property
    def is_any(self) -> bool:
        """Whether every identity matches this pattern."""
        return self.id_type == ANY

    @property
    def is_pattern(self) -> bool:
        """Whether more than one identity matches this one."""
        id_type = self.id_type
        if id_type in TEXT_TYPES:
            return self.data.startswith(b"*")
        if id_type == DER_ASN1_DN:
            name = self._normal_name()
            return name is not None and dn.wildcards(name) > 0
        return id_type == ANY or id_type in SUBNETS.values() or id_type in RANGES.values()

    @property
    def address(self) -> str | None:
        """The IP address in canonical text, or None if the identity is not an address."""
        if ADDRESS_LENGTHS.get(self.id_type) == len(self.data) and self.id_type in SUBNETS:
            return str(ip_address(self.data))
        return None

    @property
    def type_name(self) -> str:
        """The IANA name of the type, for example ``ID_FQDN``."""
        return TYPE_NAMES.get(self.id_type, f"ID_{self.id_type}")

    @property
    def match_key(self) -> Hashable:
        """A key for dictionaries: two identities that match perfectly have the same one."""
        id_type = self.id_type
        if id_type in TEXT_TYPES:
            return id_type, self.data.lower()
        if id_type == DER_ASN1_DN:
            return id_type, self._normal_name() or self.data
        return id_type, self.data

    def matches(self, pattern: Identification) -> int:
        """Return how well this identity, which a peer claims, fits a configured one.

        Returns:
            20 for the same identity, 19 and less for each wildcard needed (2 at least), 1 if the
            pattern is ANY, 0 for no match.
        """
        theirs, ours = self.id_type, pattern.id_type
        if ours == ANY:
            return SCORE_ANY
        if theirs != ours:
            return SCORE_MANY_WILDCARDS if self._is_within(pattern) else SCORE_NONE
        if self.data == pattern.data:
            return SCORE_PERFECT
        if theirs in TEXT_TYPES:
            return _match_text(self.data.lower(), pattern.data.lower())
        if theirs == DER_ASN1_DN:
            return self._match_name(pattern)
        return SCORE_NONE

    def __str__(self) -> str:
        """The bare value, as log lines and status output show it."""
        return display(self.id_type, self.data)

    def __repr__(self) -> str:
        return f"Identification({self.type_name}, {str(self)!r})"

    def _normal_name(self) -> dn.NormalName | None:
        """The name in comparable form, worked out once; None if the data is no DER Name."""
        if self._key is _UNPARSED:
            try:
                key = dn.normalise(dn.decode(self.data))
            except der.DerError:
                key = None
            object.__setattr__(self, "_key", key)
        return self._key  # type: ignore[return-value]

    def _match_name(self, pattern: Identification) -> int:
        theirs, ours = self._normal_name(), pattern._normal_name()
        if theirs is None or ours is None:
            return SCORE_NONE
        if theirs == ours:
            return SCORE_PERFECT
        needed = dn.count_wildcards(theirs, ours)
        return SCORE_NONE if needed is None else max(SCORE_PERFECT - needed, SCORE_MANY_WILDCARDS)

    def _is_within(self, pattern: Identification) -> bool:
        """Whether this is an address of the subnet or range that the pattern stands for."""
        data = self.data
        size = ADDRESS_LENGTHS.get(self.id_type)
        if self.id_type not in SUBNETS or size != len(data) or len(pattern.data) != 2 * size:
            return False
        low, high = pattern.data[:size], pattern.data[size:]
        if pattern.id_type == RANGES[self.id_type]:
            return low <= data <= high
        mask = int.from_bytes(high, "big")
        masked = int.from_bytes(data, "big") & mask
        return pattern.id_type == SUBNETS[self.id_type] and masked == int.from_bytes(low, "big")


_THE_ANY: Final = Identification(ANY, b"")


def _refuse(reason: str) -> ParseError:
    return ParseError("ID", 0, reason)


def _match_text(theirs: bytes, ours: bytes) -> int:
    """Match two lower-case names; only the pattern's leading ``*`` is a wildcard."""
    if theirs == ours:
        return SCORE_PERFECT
    if ours.startswith(b"*") and len(theirs) >= len(ours) and theirs.endswith(ours[1:]):
        # A name cut short by whoever stops at a terminator must not borrow the suffix.
        clean = theirs.translate(None, _CONTROLS) == theirs
        return SCORE_ONE_WILDCARD if clean else SCORE_NONE
    return SCORE_NONE


def _unhex(digits: str) -> bytes:
    """Decode hexadecimal digits, colons allowed; an odd number of digits is padded on the left."""
    digits = digits.replace(":", "")
    try:
        return bytes.fromhex("0" + digits if len(digits) % 2 else digits)
    except ValueError:
        message = f"'{digits}' is not hexadecimal; behind '#' only the digits 0-9 a-f may follow"
        raise ValueError(message) from None


def _literal(text: str) -> bytes:
    return _unhex(text[1:]) if text.startswith("#") else text.encode()


def _xmpp_address(address: bytes) -> bytes:
    value = der.encode(_CONTEXT_0, der.encode(der.UTF8_STRING, address))
    return der.encode(_CONTEXT_0, _XMPP_OID + value)


def _parse_without_at(text: str) -> Identification:
    if text in _ANY_TEXTS:
        return _THE_ANY
    six = ":" in text
    address_type = IPV6_ADDR if six else IPV4_ADDR
    try:
        return Identification(address_type, inet_pton(AF_INET6 if six else AF_INET, text))
    except (OSError, ValueError):
        pass
    if "/" in text or "-" in text:
        try:
            return _parse_addresses(text, address_type)
        except ValueError:
            pass
    return Identification(KEY_ID if six else FQDN, text.encode())


def _parse_addresses(text: str, address_type: int) -> Identification:
    """Take ``network/bits`` or ``first-last``."""
    if "/" in text:
        network = ip_network(text, strict=False)
        if not text.partition("/")[2].isdigit():
            message = f"'{text}' has no number of prefix bits"
            raise ValueError(message)
        data = network.network_address.packed + network.netmask.packed
        return Identification(SUBNETS[address_type], data)
    first, _, last = text.partition("-")
    kind = IPv6Address if address_type == IPV6_ADDR else IPv4Address
    low, high = kind(first.strip()).packed, kind(last.strip()).packed
    if low > high:
        message = f"the range '{text}' ends before it begins"
        raise ValueError(message)
    return Identification(RANGES[address_type], low + high)
