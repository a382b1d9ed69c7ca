"""IKEv2 payloads, one small class each."""

from __future__ import annotations

from charon_core.encoding.payloads.authentication import Authentication
from charon_core.encoding.payloads.base import MAX_PAYLOADS, Payload
from charon_core.encoding.payloads.certificate import Certificate, CertificateRequest
from charon_core.encoding.payloads.configuration import Configuration, ConfigurationAttribute
from charon_core.encoding.payloads.delete import Delete
from charon_core.encoding.payloads.eap import Eap
from charon_core.encoding.payloads.encrypted import Encrypted, EncryptedFragment
from charon_core.encoding.payloads.identification import (
    Identification,
    IdentificationInitiator,
    IdentificationResponder,
)
from charon_core.encoding.payloads.key_exchange import KeyExchange
from charon_core.encoding.payloads.nonce import Nonce
from charon_core.encoding.payloads.notify import Notify
from charon_core.encoding.payloads.security_association import (
    ProposalSubstructure,
    SecurityAssociation,
    TransformSubstructure,
)
from charon_core.encoding.payloads.traffic_selectors import (
    SelectorSubstructure,
    TrafficSelectors,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from charon_core.encoding.payloads.unknown import Unknown
from charon_core.encoding.payloads.vendor_id import VendorId

__all__ = [
    "MAX_PAYLOADS",
    "Authentication",
    "Certificate",
    "CertificateRequest",
    "Configuration",
    "ConfigurationAttribute",
    "Delete",
    "Eap",
    "Encrypted",
    "EncryptedFragment",
    "Identification",
    "IdentificationInitiator",
    "IdentificationResponder",
    "KeyExchange",
    "Nonce",
    "Notify",
    "Payload",
    "ProposalSubstructure",
    "SecurityAssociation",
    "SelectorSubstructure",
    "TrafficSelectors",
    "TrafficSelectorsInitiator",
    "TrafficSelectorsResponder",
    "TransformSubstructure",
    "Unknown",
    "VendorId",
]
