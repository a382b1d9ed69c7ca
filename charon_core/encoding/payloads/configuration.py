"""CP payload: virtual addresses, DNS servers and the like (RFC 7296 section 3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import ConfigAttribute, PayloadType, name_of

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

MAX_ATTRIBUTES: Final = 256
"""Attributes a CP payload."""

_LAYOUT: Final = Struct("!B3x")
_ATTRIBUTE: Final = Struct("!HH")
_ATTRIBUTE_TYPE_MASK: Final = 0x7FFF  # the highest bit is reserved
# Octets of a value if there is one; an empty one asks for something, or says there is none.
_VALUE_LENGTHS: Final = {
    int(ConfigAttribute.INTERNAL_IP4_ADDRESS): 4,
    int(ConfigAttribute.INTERNAL_IP4_NETMASK): 4,
    int(ConfigAttribute.INTERNAL_IP4_DNS): 4,
    int(ConfigAttribute.INTERNAL_IP4_NBNS): 4,
    int(ConfigAttribute.INTERNAL_IP4_DHCP): 4,
    int(ConfigAttribute.INTERNAL_IP6_ADDRESS): 17,
    int(ConfigAttribute.INTERNAL_IP6_DNS): 16,
    int(ConfigAttribute.INTERNAL_IP6_DHCP): 16,
    int(ConfigAttribute.INTERNAL_IP4_SUBNET): 8,
    int(ConfigAttribute.INTERNAL_IP6_SUBNET): 17,
}


@dataclass(frozen=True, slots=True)
class ConfigurationAttribute:
    """One attribute (RFC 7296 section 3.15.1).

    Attributes:
        type: see ConfigAttribute.
        value: in the form of the type; empty in a request that leaves the choice to the peer.
    """

    type: int
    value: bytes = b""

    def __post_init__(self) -> None:
        if self.value:
            expected = _VALUE_LENGTHS.get(self.type)
            if expected is not None and len(self.value) != expected:
                raise ValueError(
                    f"{name_of(ConfigAttribute, self.type)} of {len(self.value)} octets, "
                    f"expected none or {expected}"
                )

    def encode(self) -> bytes:
        """The attribute with its header."""
        return _ATTRIBUTE.pack(self.type, len(self.value)) + self.value

    @classmethod
    def parse(cls, cursor: Cursor) -> ConfigurationAttribute:
        """Read one attribute."""
        kind, length = cursor.unpack(_ATTRIBUTE)
        return cursor.checked(cls, kind & _ATTRIBUTE_TYPE_MASK, cursor.take(length))


@dataclass(frozen=True, slots=True)
class Configuration(Payload):
    """Configuration payload.

    Attributes:
        type: see ConfigType.
        attributes: in the order of the message; may be empty.
    """

    TYPE: ClassVar[int] = PayloadType.CP
    NAME: ClassVar[str] = "CP"

    type: int
    attributes: tuple[ConfigurationAttribute, ...] = ()

    def encode_body(self) -> bytes:
        """Type, reserved octets, attributes."""
        return _LAYOUT.pack(self.type) + b"".join(
            [attribute.encode() for attribute in self.attributes]
        )

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Configuration:
        """Read attributes up to the end of the body."""
        (kind,) = cursor.unpack(_LAYOUT)
        attributes: list[ConfigurationAttribute] = []
        while cursor.remaining:
            if len(attributes) == MAX_ATTRIBUTES:
                raise cursor.error(f"more than {MAX_ATTRIBUTES} configuration attributes")
            attributes.append(ConfigurationAttribute.parse(cursor))
        return cls(kind, tuple(attributes))
