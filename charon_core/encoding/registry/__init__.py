"""The numbers of IKEv2 as IANA registers them ("IKEv2 Parameters"), and a few in private use.

Fields that a peer fills stay plain `int`, because unknown numbers are legal there; these enums
name the known ones and compare equal to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.encoding.registry.identities import (
    AuthMethod,
    CertEncoding,
    ConfigAttribute,
    ConfigType,
    GatewayIdType,
    HashId,
    IdType,
    IpcompId,
    PpkIdType,
    SecurePasswordMethod,
    TsType,
)
from charon_core.encoding.registry.messages import (
    FIRST_STATUS_NOTIFY,
    ExchangeType,
    NotifyType,
    PayloadType,
    ProtocolId,
)
from charon_core.encoding.registry.transforms import (
    EncryptionId,
    EsnId,
    IntegrityId,
    KeyExchangeId,
    PrfId,
    TransformAttributeType,
    TransformType,
)

if TYPE_CHECKING:
    from enum import IntEnum

__all__ = [
    "FIRST_STATUS_NOTIFY",
    "AuthMethod",
    "CertEncoding",
    "ConfigAttribute",
    "ConfigType",
    "EncryptionId",
    "EsnId",
    "ExchangeType",
    "GatewayIdType",
    "HashId",
    "IdType",
    "IntegrityId",
    "IpcompId",
    "KeyExchangeId",
    "NotifyType",
    "PayloadType",
    "PpkIdType",
    "PrfId",
    "ProtocolId",
    "SecurePasswordMethod",
    "TransformAttributeType",
    "TransformType",
    "TsType",
    "name_of",
]


def name_of(enum: type[IntEnum], value: int) -> str:
    """The registered name of `value`, or the number in parentheses if it has none."""
    # The class's own table: calling the class would raise and format a message for each unknown.
    # And the plain attribute: the property `name` runs Python code.
    member = enum._value2member_map_.get(value)
    return member._name_ if member is not None else f"({value})"
