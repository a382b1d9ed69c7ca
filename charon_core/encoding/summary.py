"""A message in one line for logs, in the short names that users of IKEv2 daemons know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.encoding.payloads import (
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    Delete,
    Eap,
    Encrypted,
    EncryptedFragment,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notify,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Unknown,
    VendorId,
)
from charon_core.encoding.registry import (
    ConfigAttribute,
    ConfigType,
    ExchangeType,
    NotifyType,
    PayloadType,
    name_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.encoding.payloads import Payload

_NOTIFIES: Final[dict[int, str]] = {
    NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD: "CRIT",
    NotifyType.INVALID_IKE_SPI: "INVAL_IKE_SPI",
    NotifyType.INVALID_MAJOR_VERSION: "INVAL_MAJOR",
    NotifyType.INVALID_SYNTAX: "INVAL_SYN",
    NotifyType.INVALID_MESSAGE_ID: "INVAL_MID",
    NotifyType.INVALID_SPI: "INVAL_SPI",
    NotifyType.NO_PROPOSAL_CHOSEN: "NO_PROP",
    NotifyType.INVALID_KE_PAYLOAD: "INVAL_KE",
    NotifyType.AUTHENTICATION_FAILED: "AUTH_FAILED",
    NotifyType.SINGLE_PAIR_REQUIRED: "SINGLE_PAIR",
    NotifyType.NO_ADDITIONAL_SAS: "NO_ADD_SAS",
    NotifyType.INTERNAL_ADDRESS_FAILURE: "INT_ADDR_FAIL",
    NotifyType.FAILED_CP_REQUIRED: "FAIL_CP_REQ",
    NotifyType.TS_UNACCEPTABLE: "TS_UNACCEPT",
    NotifyType.INVALID_SELECTORS: "INVAL_SEL",
    NotifyType.UNACCEPTABLE_ADDRESSES: "UNACCEPT_ADDR",
    NotifyType.UNEXPECTED_NAT_DETECTED: "UNEXPECT_NAT",
    NotifyType.USE_ASSIGNED_HOA: "ASSIGNED_HoA",
    NotifyType.TEMPORARY_FAILURE: "TEMP_FAIL",
    NotifyType.CHILD_SA_NOT_FOUND: "NO_CHILD_SA",
    NotifyType.INVALID_GROUP_ID: "INVAL_GROUP",
    NotifyType.AUTHORIZATION_FAILED: "AUTHZ_FAILED",
    NotifyType.STATE_NOT_FOUND: "STATE_NOT_FOUND",
    NotifyType.TS_MAX_QUEUE: "TS_MAX_QUEUE",
    NotifyType.REGISTRATION_FAILED: "REG_FAILED",
    NotifyType.INITIAL_CONTACT: "INIT_CONTACT",
    NotifyType.SET_WINDOW_SIZE: "SET_WINSIZE",
    NotifyType.ADDITIONAL_TS_POSSIBLE: "ADD_TS_POSS",
    NotifyType.IPCOMP_SUPPORTED: "IPCOMP_SUPP",
    NotifyType.NAT_DETECTION_SOURCE_IP: "NATD_S_IP",
    NotifyType.NAT_DETECTION_DESTINATION_IP: "NATD_D_IP",
    NotifyType.COOKIE: "COOKIE",
    NotifyType.USE_TRANSPORT_MODE: "USE_TRANSP",
    NotifyType.HTTP_CERT_LOOKUP_SUPPORTED: "HTTP_CERT_LOOK",
    NotifyType.REKEY_SA: "REKEY_SA",
    NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED: "ESP_TFC_PAD_N",
    NotifyType.NON_FIRST_FRAGMENTS_ALSO: "NON_FIRST_FRAG",
    NotifyType.MOBIKE_SUPPORTED: "MOBIKE_SUP",
    NotifyType.ADDITIONAL_IP4_ADDRESS: "ADD_4_ADDR",
    NotifyType.ADDITIONAL_IP6_ADDRESS: "ADD_6_ADDR",
    NotifyType.NO_ADDITIONAL_ADDRESSES: "NO_ADD_ADDR",
    NotifyType.UPDATE_SA_ADDRESSES: "UPD_SA_ADDR",
    NotifyType.COOKIE2: "COOKIE2",
    NotifyType.NO_NATS_ALLOWED: "NO_NATS",
    NotifyType.AUTH_LIFETIME: "AUTH_LFT",
    NotifyType.MULTIPLE_AUTH_SUPPORTED: "MULT_AUTH",
    NotifyType.ANOTHER_AUTH_FOLLOWS: "AUTH_FOLLOWS",
    NotifyType.REDIRECT_SUPPORTED: "REDIR_SUP",
    NotifyType.REDIRECT: "REDIR",
    NotifyType.REDIRECTED_FROM: "REDIR_FROM",
    NotifyType.TICKET_LT_OPAQUE: "TKT_LT_OPAK",
    NotifyType.TICKET_REQUEST: "TKT_REQ",
    NotifyType.TICKET_ACK: "TKT_ACK",
    NotifyType.TICKET_NACK: "TKT_NACK",
    NotifyType.TICKET_OPAQUE: "TKT_OPAK",
    NotifyType.LINK_ID: "LINK_ID",
    NotifyType.USE_WESP_MODE: "WESP_MODE",
    NotifyType.ROHC_SUPPORTED: "ROHC_SUPP",
    NotifyType.EAP_ONLY_AUTHENTICATION: "EAP_ONLY",
    NotifyType.CHILDLESS_IKEV2_SUPPORTED: "CHDLESS_SUP",
    NotifyType.QUICK_CRASH_DETECTION: "CRASH_DET",
    NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED: "MSG_ID_SYN_SUP",
    NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED: "RPL_CTR_SYN_SUP",
    NotifyType.IKEV2_MESSAGE_ID_SYNC: "MSG_ID_SYN",
    NotifyType.IPSEC_REPLAY_COUNTER_SYNC: "RPL_CTR_SYN",
    NotifyType.SECURE_PASSWORD_METHODS: "SEC_PASSWD",
    NotifyType.PSK_PERSIST: "PSK_PST",
    NotifyType.PSK_CONFIRM: "PSK_CFM",
    NotifyType.ERX_SUPPORTED: "ERX_SUP",
    NotifyType.IFOM_CAPABILITY: "IFOM_CAP",
    NotifyType.GROUP_SENDER: "GROUP_SENDER",
    NotifyType.IKEV2_FRAGMENTATION_SUPPORTED: "FRAG_SUP",
    NotifyType.SIGNATURE_HASH_ALGORITHMS: "HASH_ALG",
    NotifyType.CLONE_IKE_SA_SUPPORTED: "CLONE_SUP",
    NotifyType.CLONE_IKE_SA: "CLONE_SA",
    NotifyType.PUZZLE: "PUZZLE",
    NotifyType.USE_PPK: "USE_PPK",
    NotifyType.PPK_IDENTITY: "PPK_ID",
    NotifyType.NO_PPK_AUTH: "NO_PPK",
    NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED: "IKE_INT_SUP",
    NotifyType.IP4_ALLOWED: "IP4_ALLOWED",
    NotifyType.IP6_ALLOWED: "IP6_ALLOWED",
    NotifyType.ADDITIONAL_KEY_EXCHANGE: "ADD_KE",
    NotifyType.USE_AGGFRAG: "AGGFRAG",
    NotifyType.SUPPORTED_AUTH_METHODS: "AUTH_METHODS",
    NotifyType.SA_RESOURCE_INFO: "SA_RESOURCE",
    NotifyType.USE_PPK_INT: "USE_PPK_INT",
    NotifyType.PPK_IDENTITY_KEY: "PPK_ID_KEY",
    NotifyType.USE_BEET_MODE: "BEET_MODE",
}

_ATTRIBUTES: Final[dict[int, str]] = {
    ConfigAttribute.INTERNAL_IP4_ADDRESS: "ADDR",
    ConfigAttribute.INTERNAL_IP4_NETMASK: "MASK",
    ConfigAttribute.INTERNAL_IP4_DNS: "DNS",
    ConfigAttribute.INTERNAL_IP4_NBNS: "NBNS",
    ConfigAttribute.INTERNAL_IP4_DHCP: "DHCP",
    ConfigAttribute.APPLICATION_VERSION: "VER",
    ConfigAttribute.INTERNAL_IP6_ADDRESS: "ADDR6",
    ConfigAttribute.INTERNAL_IP6_DNS: "DNS6",
    ConfigAttribute.INTERNAL_IP6_DHCP: "DHCP6",
    ConfigAttribute.INTERNAL_IP4_SUBNET: "SUBNET",
    ConfigAttribute.SUPPORTED_ATTRIBUTES: "SUP",
    ConfigAttribute.INTERNAL_IP6_SUBNET: "SUBNET6",
    ConfigAttribute.MIP6_HOME_PREFIX: "MIP6HPFX",
    ConfigAttribute.INTERNAL_IP6_LINK: "LINK6",
    ConfigAttribute.INTERNAL_IP6_PREFIX: "PFX6",
    ConfigAttribute.HOME_AGENT_ADDRESS: "HOA",
    ConfigAttribute.P_CSCF_IP4_ADDRESS: "PCSCF4",
    ConfigAttribute.P_CSCF_IP6_ADDRESS: "PCSCF6",
    ConfigAttribute.FTT_KAT: "FTT",
    ConfigAttribute.EXTERNAL_SOURCE_IP4_NAT_INFO: "NATINFO4",
    ConfigAttribute.TIMEOUT_PERIOD_FOR_LIVENESS_CHECK: "LIVENESS",
    ConfigAttribute.INTERNAL_DNS_DOMAIN: "DNSDOM",
    ConfigAttribute.INTERNAL_DNSSEC_TA: "DNSSECTA",
    ConfigAttribute.ENCDNS_IP4: "ENCDNS",
    ConfigAttribute.ENCDNS_IP6: "ENCDNS6",
    ConfigAttribute.ENCDNS_DIGEST_INFO: "ENCDNSDIG",
}

_CONFIGURATIONS: Final[dict[int, str]] = {
    ConfigType.CFG_REQUEST: "CPRQ",
    ConfigType.CFG_REPLY: "CPRP",
    ConfigType.CFG_SET: "CPS",
    ConfigType.CFG_ACK: "CPA",
}

_PLAIN: Final = frozenset({
    SecurityAssociation, KeyExchange, Nonce, Authentication, IdentificationInitiator,
    IdentificationResponder, TrafficSelectorsInitiator, TrafficSelectorsResponder,
    Certificate, CertificateRequest, VendorId, Delete,
})  # fmt: skip
"""Payloads whose name says it all."""

_EAP_CODES: Final = {1: "REQ", 2: "RES", 3: "SUCC", 4: "FAIL"}
_EAP_HEADER_LENGTH: Final = 4

_EAP_METHODS: Final = {
    1: "ID",
    2: "NOTE",
    3: "NAK",
    4: "MD5",
    5: "OTP",
    6: "GTC",
    13: "TLS",
    18: "SIM",
    21: "TTLS",
    23: "AKA",
    25: "PEAP",
    26: "MSCHAPV2",
    29: "MSCHAPV2",
    33: "MSTLV",
    50: "AKA'",
    52: "PWD",
    254: "EXP",
    255: "XP",
}

_PAYLOADS: Final[dict[int, str]] = {
    PayloadType.GSPM: "GSPM",
    PayloadType.IDG: "IDg",
    PayloadType.GSA: "GSA",
    PayloadType.KD: "KD",
    PayloadType.PS: "PS",
}


def summarize(
    exchange: int, is_response: bool, message_id: int, payloads: Iterable[Payload]
) -> str:
    """One line of exchange, direction, message ID and payloads.

    "IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) ]"
    """
    kind = "response" if is_response else "request"
    words = [name_of(ExchangeType, exchange), kind, str(message_id), "["]
    words.extend([payload_summary(payload) for payload in payloads])
    words.append("]")
    return " ".join(words)


def payload_summary(payload: Payload) -> str:
    """The short name of one payload, with what tells it from others of its type."""
    if type(payload) in _PLAIN:
        return payload.NAME
    if isinstance(payload, Notify):
        return f"N({notify_summary(payload.notify_type)})"
    if isinstance(payload, Configuration):
        return _configuration_summary(payload)
    if isinstance(payload, Eap):
        return _eap_summary(payload.data)
    if isinstance(payload, Encrypted):
        return "E"
    if isinstance(payload, EncryptedFragment):
        return f"EF({payload.number}/{payload.total})"
    if isinstance(payload, Unknown):
        return _PAYLOADS.get(payload.type, f"({payload.type})")
    return payload.NAME


def notify_summary(notify_type: int) -> str:
    """The short name of a notify type, or its number in parentheses."""
    return _NOTIFIES.get(notify_type) or f"({notify_type})"


def _configuration_summary(payload: Configuration) -> str:
    """CPRQ(ADDR DNS), CPRP(...), CPS(...) or CPA(...)."""
    attributes = " ".join(
        [_ATTRIBUTES.get(item.type, f"({item.type})") for item in payload.attributes]
    )
    name = _CONFIGURATIONS.get(payload.type, f"CP({payload.type})")
    return f"{name}({attributes})" if attributes else name


def _eap_summary(packet: bytes) -> str:
    """EAP/REQ/ID, EAP/RES/AKA, EAP/SUCC and the like."""
    code = packet[0]
    name = f"EAP/{_EAP_CODES.get(code, f'({code})')}"
    if code not in (1, 2) or len(packet) <= _EAP_HEADER_LENGTH:
        return name
    method = packet[_EAP_HEADER_LENGTH]
    return f"{name}/{_EAP_METHODS.get(method, f'({method})')}"
