"""The names of EAP types (IANA: Extensible Authentication Protocol Registry), for logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.eap.registry import EapType

_NAMES: Final = {
    1: "EAP_IDENTITY",
    2: "EAP_NOTIFICATION",
    3: "EAP_NAK",
    4: "EAP_MD5",
    5: "EAP_OTP",
    6: "EAP_GTC",
    13: "EAP_TLS",
    18: "EAP_SIM",
    21: "EAP_TTLS",
    23: "EAP_AKA",
    25: "EAP_PEAP",
    26: "EAP_MSCHAPV2",
    50: "EAP_AKA_PRIME",
}


def kind_name(kind: EapType | None) -> str:
    """Return ``EAP_AKA``, ``EAP_200``, or ``EAP_7-311`` for type 7 of vendor 311."""
    if kind is None:
        return "EAP"
    if kind.vendor:
        return f"EAP_{kind.type}-{kind.vendor}"
    return _NAMES.get(kind.type, f"EAP_{kind.type}")
