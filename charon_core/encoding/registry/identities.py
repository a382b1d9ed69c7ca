"""Registered numbers inside payloads: identities, certificates, selectors, configuration."""

from __future__ import annotations

from enum import IntEnum


class IdType(IntEnum):
    """IKEv2 Identification Payload ID Types (ID_*)."""

    IPV4_ADDR = 1
    FQDN = 2
    RFC822_ADDR = 3
    IPV6_ADDR = 5
    DER_ASN1_DN = 9
    DER_ASN1_GN = 10
    KEY_ID = 11
    FC_NAME = 12  # RFC 4595
    NULL = 13  # RFC 7619


class CertEncoding(IntEnum):
    """IKEv2 Certificate Encodings."""

    PKCS7_WRAPPED_X509 = 1
    PGP = 2
    DNS_SIGNED_KEY = 3
    X509_SIGNATURE = 4
    KERBEROS_TOKEN = 6
    CRL = 7
    ARL = 8
    SPKI = 9
    X509_ATTRIBUTE = 10
    RAW_RSA_KEY = 11
    HASH_AND_URL_X509 = 12
    HASH_AND_URL_BUNDLE = 13
    OCSP_CONTENT = 14  # RFC 4806
    RAW_PUBLIC_KEY = 15  # RFC 7670


class AuthMethod(IntEnum):
    """IKEv2 Authentication Method."""

    RSA_DIGITAL_SIGNATURE = 1
    SHARED_KEY_MIC = 2
    DSS_DIGITAL_SIGNATURE = 3
    ECDSA_SHA2_256_P256 = 9  # RFC 4754
    ECDSA_SHA2_384_P384 = 10
    ECDSA_SHA2_512_P521 = 11
    GENERIC_SECURE_PASSWORD = 12  # RFC 6467
    NULL_AUTHENTICATION = 13  # RFC 7619
    DIGITAL_SIGNATURE = 14  # RFC 7427


class HashId(IntEnum):
    """IKEv2 Hash Algorithms (RFC 7427 section 7)."""

    SHA1 = 1
    SHA2_256 = 2
    SHA2_384 = 3
    SHA2_512 = 4
    IDENTITY = 5  # RFC 8420
    STREEBOG_256 = 6  # RFC 9385
    STREEBOG_512 = 7


class TsType(IntEnum):
    """IKEv2 Traffic Selector Types (TS_*)."""

    IPV4_ADDR_RANGE = 7
    IPV6_ADDR_RANGE = 8
    FC_ADDR_RANGE = 9  # RFC 4595
    SECLABEL = 10  # RFC 9478


class ConfigType(IntEnum):
    """IKEv2 Configuration Payload CFG Types."""

    CFG_REQUEST = 1
    CFG_REPLY = 2
    CFG_SET = 3
    CFG_ACK = 4


class ConfigAttribute(IntEnum):
    """IKEv2 Configuration Payload Attribute Types."""

    INTERNAL_IP4_ADDRESS = 1
    INTERNAL_IP4_NETMASK = 2
    INTERNAL_IP4_DNS = 3
    INTERNAL_IP4_NBNS = 4
    INTERNAL_IP4_DHCP = 6
    APPLICATION_VERSION = 7
    INTERNAL_IP6_ADDRESS = 8
    INTERNAL_IP6_DNS = 10
    INTERNAL_IP6_DHCP = 12
    INTERNAL_IP4_SUBNET = 13
    SUPPORTED_ATTRIBUTES = 14
    INTERNAL_IP6_SUBNET = 15
    MIP6_HOME_PREFIX = 16  # RFC 5026
    INTERNAL_IP6_LINK = 17  # RFC 5739
    INTERNAL_IP6_PREFIX = 18
    HOME_AGENT_ADDRESS = 19  # 3GPP TS 24.302
    P_CSCF_IP4_ADDRESS = 20  # RFC 7651
    P_CSCF_IP6_ADDRESS = 21
    FTT_KAT = 22  # 3GPP TS 24.302
    EXTERNAL_SOURCE_IP4_NAT_INFO = 23  # 3GPP TS 29.139
    TIMEOUT_PERIOD_FOR_LIVENESS_CHECK = 24  # 3GPP TS 24.302
    INTERNAL_DNS_DOMAIN = 25  # RFC 8598
    INTERNAL_DNSSEC_TA = 26
    ENCDNS_IP4 = 27  # RFC 9464
    ENCDNS_IP6 = 28
    ENCDNS_DIGEST_INFO = 29


class IpcompId(IntEnum):
    """IKEv2 Notification IPCOMP Transform IDs (in IPCOMP_SUPPORTED)."""

    OUI = 1
    DEFLATE = 2
    LZS = 3
    LZJH = 4


class GatewayIdType(IntEnum):
    """IKEv2 Gateway Identity Types (in REDIRECT, RFC 5685)."""

    IPV4_ADDRESS = 1
    IPV6_ADDRESS = 2
    FQDN = 3


class PpkIdType(IntEnum):
    """IKEv2 Post-quantum Preshared Key ID Types (in PPK_IDENTITY, RFC 8784)."""

    PPK_ID_OPAQUE = 1
    PPK_ID_FIXED = 2


class SecurePasswordMethod(IntEnum):
    """IKEv2 Secure Password Methods (RFC 6467)."""

    PACE = 1
    AUGPAKE = 2
    SECURE_PSK = 3
