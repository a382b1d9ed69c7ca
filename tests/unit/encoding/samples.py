"""Legal messages, made so that tests read like prose, and a sealer without real ciphers."""

from __future__ import annotations

import hashlib
import hmac
from struct import Struct

from charon_core.encoding.message import Message
from charon_core.encoding.payloads import (
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    ConfigurationAttribute,
    Delete,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    ProposalSubstructure,
    SecurityAssociation,
    SelectorSubstructure,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    TransformSubstructure,
    Unknown,
    VendorId,
)
from charon_core.encoding.registry import (
    AuthMethod,
    CertEncoding,
    ConfigAttribute,
    ConfigType,
    EncryptionId,
    EsnId,
    ExchangeType,
    IdType,
    IntegrityId,
    KeyExchangeId,
    NotifyType,
    PrfId,
    ProtocolId,
    TransformType,
    TsType,
)

SPI_I = bytes.fromhex("7f77e4e80fe14ac7")
SPI_R = bytes.fromhex("fa5c1c5237421f03")
ESP_SPI = bytes.fromhex("c1020304")

GENERIC = Struct("!BBH")
HEADER = Struct("!8s8sBBBBII")

AES_CBC_128 = TransformSubstructure(TransformType.ENCR, EncryptionId.AES_CBC, 128)
AES_GCM_256 = TransformSubstructure(TransformType.ENCR, EncryptionId.AES_GCM_16, 256)
PRF_SHA256 = TransformSubstructure(TransformType.PRF, PrfId.HMAC_SHA2_256)
INTEG_SHA256 = TransformSubstructure(TransformType.INTEG, IntegrityId.HMAC_SHA2_256_128)
X25519 = TransformSubstructure(TransformType.KE, KeyExchangeId.CURVE25519)
NO_ESN = TransformSubstructure(TransformType.ESN, EsnId.NO_ESN)


def ike_proposal(number: int = 1, spi: bytes = b"") -> ProposalSubstructure:
    """AES-CBC-128, SHA2-256, Curve25519."""
    return ProposalSubstructure(
        number, ProtocolId.IKE, spi, (AES_CBC_128, PRF_SHA256, INTEG_SHA256, X25519)
    )


def esp_proposal(number: int = 1, spi: bytes = ESP_SPI) -> ProposalSubstructure:
    """AES-GCM-256 without ESN."""
    return ProposalSubstructure(number, ProtocolId.ESP, spi, (AES_GCM_256, NO_ESN))


def selector(start: str, end: str) -> SelectorSubstructure:
    """An IPv4 range over all protocols and ports."""
    return SelectorSubstructure(
        TsType.IPV4_ADDR_RANGE, 0, 0, 65535, bytes.fromhex(start), bytes.fromhex(end)
    )


IPV6_SELECTOR = SelectorSubstructure(
    TsType.IPV6_ADDR_RANGE,
    6,
    443,
    443,
    bytes.fromhex("20010db8" + "00" * 12),
    bytes.fromhex("20010db8" + "ff" * 12),
)


def message(
    exchange: int,
    message_id: int,
    *payloads: Payload,
    is_initiator: bool = True,
    is_response: bool = False,
    responder_spi: bytes = SPI_R,
) -> Message:
    """A message of the IKE_SA with the sample SPIs."""
    return Message(
        SPI_I, responder_spi, exchange, is_initiator, is_response, message_id, tuple(payloads)
    )


def ike_sa_init_request(*extra: Payload) -> Message:
    """The first message of an IKE_SA."""
    return message(
        ExchangeType.IKE_SA_INIT,
        0,
        SecurityAssociation((ike_proposal(),)),
        KeyExchange(KeyExchangeId.CURVE25519, bytes(range(32))),
        Nonce(bytes(range(32, 64))),
        Notify.of(NotifyType.NAT_DETECTION_SOURCE_IP, bytes(range(20))),
        Notify.of(NotifyType.NAT_DETECTION_DESTINATION_IP, bytes(range(20, 40))),
        Notify.of(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),
        Notify.of(NotifyType.SIGNATURE_HASH_ALGORITHMS, bytes.fromhex("0002000300040005")),
        *extra,
        responder_spi=bytes(8),
    )


def ike_auth_request(*extra: Payload) -> Message:
    """What follows IKE_SA_INIT, with a certificate and a virtual address asked for."""
    return message(
        ExchangeType.IKE_AUTH,
        1,
        IdentificationInitiator(IdType.FQDN, b"moon.example.org"),
        Certificate(CertEncoding.HASH_AND_URL_X509, bytes(20) + b"http://192.0.2.1/c"),
        CertificateRequest(CertEncoding.X509_SIGNATURE, bytes(range(40))),
        IdentificationResponder(IdType.IPV4_ADDR, bytes.fromhex("c0000201")),
        Authentication(AuthMethod.DIGITAL_SIGNATURE, bytes(64)),
        Configuration(
            ConfigType.CFG_REQUEST,
            (
                ConfigurationAttribute(ConfigAttribute.INTERNAL_IP4_ADDRESS),
                ConfigurationAttribute(ConfigAttribute.INTERNAL_IP4_DNS),
            ),
        ),
        SecurityAssociation((esp_proposal(),)),
        TrafficSelectorsInitiator((selector("0a010000", "0a01ffff"),)),
        TrafficSelectorsResponder((selector("0a020000", "0a02ffff"), IPV6_SELECTOR)),
        Notify.of(NotifyType.MOBIKE_SUPPORTED),
        Notify.of(NotifyType.MULTIPLE_AUTH_SUPPORTED),
        *extra,
    )


def sample_messages() -> dict[str, Message]:
    """Messages that carry every payload class at least once, by name."""
    return {
        "init-request": ike_sa_init_request(),
        "init-two-proposals": message(
            ExchangeType.IKE_SA_INIT,
            0,
            SecurityAssociation(
                (
                    ike_proposal(1),
                    ProposalSubstructure(
                        2, ProtocolId.IKE, b"", (AES_GCM_256, PRF_SHA256, X25519, X25519)
                    ),
                )
            ),
            VendorId(b"a vendor"),
            VendorId(b""),
            responder_spi=bytes(8),
        ),
        "init-cookie": message(
            ExchangeType.IKE_SA_INIT,
            0,
            Notify.of(NotifyType.COOKIE, bytes(range(64))),
            is_initiator=False,
            is_response=True,
            responder_spi=bytes(8),
        ),
        "auth-request": ike_auth_request(),
        "auth-eap": message(
            ExchangeType.IKE_AUTH,
            2,
            Eap(bytes.fromhex("01010009016d6f6f6e")),
            is_initiator=False,
            is_response=True,
        ),
        "create-child-rekey": message(
            ExchangeType.CREATE_CHILD_SA,
            3,
            Notify(ProtocolId.ESP, ESP_SPI, NotifyType.REKEY_SA, b""),
            SecurityAssociation((esp_proposal(),)),
            Nonce(bytes(16)),
            Unknown(200, critical=False, data=b"of another world"),
            TrafficSelectorsInitiator((IPV6_SELECTOR,)),
            TrafficSelectorsResponder(
                (SelectorSubstructure(TsType.SECLABEL, 0, 0, 0, b"label", b""),)
            ),
        ),
        "create-child-rekey-ike": message(
            ExchangeType.CREATE_CHILD_SA,
            4,
            SecurityAssociation((ike_proposal(spi=SPI_R),)),
            Nonce(bytes(256)),
            KeyExchange(KeyExchangeId.MODP_2048, bytes(range(256))),
        ),
        "informational-empty": message(ExchangeType.INFORMATIONAL, 5),
        "informational-delete": message(
            ExchangeType.INFORMATIONAL,
            6,
            Delete(ProtocolId.ESP, (ESP_SPI, bytes.fromhex("c5060708"))),
            Delete(ProtocolId.IKE),
        ),
        "config-reply": message(
            ExchangeType.INFORMATIONAL,
            7,
            Configuration(
                ConfigType.CFG_REPLY,
                (
                    ConfigurationAttribute(
                        ConfigAttribute.INTERNAL_IP6_ADDRESS, bytes(15) + b"\x01\x40"
                    ),
                    ConfigurationAttribute(ConfigAttribute.APPLICATION_VERSION, b"charon"),
                    ConfigurationAttribute(0x7ABC, b"private use"),
                ),
            ),
            is_initiator=False,
            is_response=True,
        ),
    }


def with_payload(payload_type: int, body: bytes, *, flags: int = 0) -> bytes:
    """A whole message with one payload whose body is given octet by octet."""
    return with_chain(payload_type, GENERIC.pack(0, flags, 4 + len(body)) + body)


def with_chain(first: int, chain: bytes, *, exchange: int = ExchangeType.IKE_SA_INIT) -> bytes:
    """A whole message with payloads given octet by octet, generic headers and all."""
    return HEADER.pack(SPI_I, SPI_R, first, 0x20, exchange, 0x08, 0, 28 + len(chain)) + chain


def renamed(octets: bytes, **fields: int) -> bytes:
    """`octets` of a message with header fields exchanged, the length kept right."""
    names = ("next_payload", "version", "exchange", "flags", "message_id", "length")
    values = list(HEADER.unpack_from(octets))
    for name, value in fields.items():
        values[2 + names.index(name)] = value
    return HEADER.pack(*values) + octets[28:]


class ToySealer:
    """A keystream and a truncated HMAC: real enough to notice every changed octet."""

    BLOCK = 16
    IV = 8
    ICV = 16

    def __init__(self, key: bytes = b"one direction") -> None:
        self._key = key
        self._counter = 0
        self.opened = 0

    def sealed_length(self, n: int) -> int:
        return self.IV + -(-(n + 1) // self.BLOCK) * self.BLOCK + self.ICV

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        self._counter += 1
        iv = self._counter.to_bytes(self.IV, "big")
        padding = -(len(plaintext) + 1) % self.BLOCK
        padded = plaintext + bytes(padding) + bytes((padding,))
        ciphertext = self._mask(iv, padded)
        return iv + ciphertext + self._icv(aad + iv + ciphertext)

    def open(self, aad: bytes, body: bytes) -> bytes:
        self.opened += 1
        protected, icv = body[: -self.ICV], body[-self.ICV :]
        if len(protected) <= self.IV or not hmac.compare_digest(self._icv(aad + protected), icv):
            raise ValueError("integrity check failed")
        padded = self._mask(protected[: self.IV], protected[self.IV :])
        if padded[-1] >= len(padded):
            raise ValueError("padding is longer than the message")
        return padded[: -1 - padded[-1]]

    def _icv(self, octets: bytes) -> bytes:
        return hmac.digest(self._key, octets, "sha256")[: self.ICV]

    def _mask(self, iv: bytes, octets: bytes) -> bytes:
        stream = hashlib.shake_128(self._key + iv).digest(len(octets))
        return bytes(a ^ b for a, b in zip(octets, stream, strict=True))
