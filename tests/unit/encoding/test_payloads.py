from __future__ import annotations

import pytest

from charon_core.encoding.chain import parse_chain
from charon_core.encoding.cursor import Cursor
from charon_core.encoding.message import Message
from charon_core.encoding.payloads import (
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    ConfigurationAttribute,
    Delete,
    Eap,
    EncryptedFragment,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notify,
    ProposalSubstructure,
    SecurityAssociation,
    SelectorSubstructure,
    TrafficSelectorsInitiator,
    TransformSubstructure,
    Unknown,
    VendorId,
)
from charon_core.encoding.payloads.delete import MAX_DELETED_SPIS
from charon_core.encoding.payloads.traffic_selectors import MAX_SELECTORS, OPAQUE_PORTS
from charon_core.encoding.registry import (
    CertEncoding,
    ConfigAttribute,
    IdType,
    NotifyType,
    PayloadType,
    ProtocolId,
    TsType,
)
from tests.unit.encoding.samples import (
    AES_CBC_128,
    ESP_SPI,
    SPI_R,
    X25519,
    esp_proposal,
    ike_proposal,
    sample_messages,
    selector,
    with_chain,
)

SAMPLES = sample_messages()
PAYLOADS = {
    f"{name}-{index}-{payload.NAME}": payload
    for name, sample in SAMPLES.items()
    for index, payload in enumerate(sample.payloads)
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_body_round_trip(payload):
    cursor = Cursor(payload.encode_body())
    if isinstance(payload, Unknown):
        assert Unknown.parse_body(cursor, payload.type) == payload
    else:
        assert type(payload).parse_body(cursor) == payload
    cursor.expect_end()


@pytest.mark.parametrize(
    ("payload", "octets"),
    [
        (
            SecurityAssociation((ProposalSubstructure(1, 1, b"", (AES_CBC_128, X25519)),)),
            "0000001c 01010002 0300000c 0100000c 800e0080 00000008 0400001f",
        ),
        (
            SecurityAssociation((esp_proposal(),)),
            "00000020 01030402 c1020304 0300000c 01000014 800e0100 00000008 05000000",
        ),
        (KeyExchange(31, b"\xaa\xbb"), "001f0000 aabb"),
        (IdentificationInitiator(IdType.FQDN, b"a.b"), "02000000 612e62"),
        (IdentificationResponder(IdType.NULL, b""), "0d000000"),
        (Certificate(CertEncoding.X509_SIGNATURE, b"\x30"), "04 30"),
        (CertificateRequest(CertEncoding.X509_SIGNATURE, b""), "04"),
        (Authentication(2, b"\x01"), "02000000 01"),
        (Nonce(bytes(16)), "00" * 16),
        (Notify.of(NotifyType.COOKIE, b"\x05"), "00004006 05"),
        (Notify(3, ESP_SPI, NotifyType.REKEY_SA, b""), "03044009 c1020304"),
        (Delete(ProtocolId.IKE), "01000000"),
        (Delete(ProtocolId.ESP, (ESP_SPI,)), "03040001 c1020304"),
        (VendorId(b"v"), "76"),
        (
            TrafficSelectorsInitiator((selector("0a000001", "0a0000ff"),)),
            "01000000 07000010 0000ffff 0a000001 0a0000ff",
        ),
        (
            TrafficSelectorsInitiator(
                (SelectorSubstructure(8, 17, 500, 500, bytes(16), bytes(16)),)
            ),
            "01000000 08110028 01f401f4" + "00" * 32,
        ),
        (
            Configuration(1, (ConfigurationAttribute(1), ConfigurationAttribute(3, bytes(4)))),
            "01000000 00010000 00030004 00000000",
        ),
        (Eap(b"\x03\x07\x00\x04"), "03070004"),
        (EncryptedFragment(35, 2, 3, b"\xee"), "00020003 ee"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_body_octets_are_those_of_the_rfc(payload, octets):
    assert payload.encode_body() == bytes.fromhex(octets)


def test_reserved_octets_and_the_reserved_attribute_bit_are_ignored():
    kinds = [
        (KeyExchange, "001fffff aabb", KeyExchange(31, b"\xaa\xbb")),
        (IdentificationInitiator, "02ffffff 61", IdentificationInitiator(2, b"a")),
        (Authentication, "02ffffff 01", Authentication(2, b"\x01")),
        (
            Configuration,
            "01ffffff 80010000",
            Configuration(1, (ConfigurationAttribute(1),)),
        ),
    ]
    for payload_class, octets, expected in kinds:
        assert payload_class.parse_body(Cursor(bytes.fromhex(octets))) == expected


def test_unknown_transform_attributes_make_it_unusable_but_stay():
    # Attribute 15 as type/value, attribute 16 as type/length/value, around the key length.
    octets = bytes.fromhex("00000018 0100000c 800f0001 800e0080 00100004 deadbeef")
    transform, following = TransformSubstructure.parse(Cursor(octets))
    assert not following
    assert transform.key_length == 128
    assert transform.unknown_attributes == bytes.fromhex("800f0001 00100004 deadbeef")
    assert not transform.is_usable
    assert TransformSubstructure.parse(Cursor(transform.encode(is_last=True)))[0] == transform


def test_a_key_length_of_variable_size_is_not_understood():
    octets = bytes.fromhex("00000010 0100000c 000e0004 00000080")
    transform, _ = TransformSubstructure.parse(Cursor(octets))
    assert transform.key_length is None
    assert not transform.is_usable


def test_opaque_ports_are_legal():
    opaque = SelectorSubstructure(7, 6, *OPAQUE_PORTS, bytes(4), b"\xff" * 4)
    payload = TrafficSelectorsInitiator((opaque,))
    assert TrafficSelectorsInitiator.parse_body(Cursor(payload.encode_body())) == payload
    assert opaque.is_address_range


def test_a_selector_of_unknown_type_is_kept_beside_known_ones():
    label = SelectorSubstructure(TsType.SECLABEL, 0, 0, 0, b"system_u", b"")
    payload = TrafficSelectorsInitiator((label, selector("00000000", "ffffffff")))
    assert TrafficSelectorsInitiator.parse_body(Cursor(payload.encode_body())) == payload
    assert not label.is_address_range


def test_certificate_request_lists_authorities():
    request = CertificateRequest(CertEncoding.X509_SIGNATURE, bytes(range(40)))
    assert request.authority_hashes == (bytes(range(20)), bytes(range(20, 40)))
    assert CertificateRequest(CertEncoding.PGP, b"abc").authority_hashes == ()


def test_missing_child_sa_may_go_without_a_name():
    body = bytes.fromhex("0000002c")
    assert Notify.parse_body(Cursor(body)) == Notify.of(NotifyType.CHILD_SA_NOT_FOUND)


def test_notify_tells_errors_from_statuses_also_for_unknown_types():
    assert Notify.of(NotifyType.NO_PROPOSAL_CHOSEN).is_error
    assert Notify.of(9999).is_error
    assert not Notify.of(NotifyType.COOKIE).is_error
    assert not Notify.of(50000).is_error


def test_initiator_and_responder_payloads_are_different_things():
    assert IdentificationInitiator(2, b"a") != IdentificationResponder(2, b"a")
    assert IdentificationInitiator(2, b"a") == IdentificationInitiator(2, b"a")


@pytest.mark.parametrize(
    "make",
    [
        lambda: TransformSubstructure(1, 12, 0),
        lambda: ProposalSubstructure(0, 1, b"", (X25519,)),
        lambda: ProposalSubstructure(1, 1, b"", ()),
        lambda: ProposalSubstructure(1, ProtocolId.IKE, ESP_SPI, (X25519,)),
        lambda: ProposalSubstructure(1, ProtocolId.ESP, b"", (X25519,)),
        lambda: ProposalSubstructure(1, ProtocolId.AH, SPI_R, (X25519,)),
        lambda: ProposalSubstructure(1, ProtocolId.ESP, bytes(4), (X25519,)),
        lambda: SecurityAssociation(()),
        lambda: SecurityAssociation((ike_proposal(1), ike_proposal(1))),
        lambda: SecurityAssociation((ike_proposal(2), ike_proposal(1))),
        lambda: KeyExchange(31, b""),
        lambda: IdentificationInitiator(IdType.IPV4_ADDR, bytes(3)),
        lambda: IdentificationInitiator(IdType.IPV6_ADDR, bytes(4)),
        lambda: IdentificationInitiator(IdType.NULL, b"x"),
        lambda: IdentificationInitiator(IdType.FQDN, b""),
        lambda: IdentificationInitiator(IdType.FQDN, b"moon\x00.example.org"),
        lambda: IdentificationInitiator(IdType.RFC822_ADDR, b"moon@example.org\n"),
        lambda: Certificate(CertEncoding.X509_SIGNATURE, b""),
        lambda: CertificateRequest(CertEncoding.X509_SIGNATURE, bytes(19)),
        lambda: Authentication(2, b""),
        lambda: Nonce(bytes(15)),
        lambda: Nonce(bytes(257)),
        lambda: Notify.of(NotifyType.REKEY_SA),
        lambda: Notify(ProtocolId.IKE, ESP_SPI, NotifyType.REKEY_SA, b""),
        lambda: Notify(0, ESP_SPI, NotifyType.REKEY_SA, b""),
        lambda: Notify(ProtocolId.ESP, SPI_R, NotifyType.CHILD_SA_NOT_FOUND, b""),
        lambda: Delete(0),
        lambda: Delete(ProtocolId.IKE, (SPI_R,)),
        lambda: Delete(ProtocolId.IKE, (b"",)),
        lambda: Delete(ProtocolId.ESP, (SPI_R,)),
        lambda: Delete(ProtocolId.ESP, (ESP_SPI,) * (MAX_DELETED_SPIS + 1)),
        lambda: TrafficSelectorsInitiator(()),
        lambda: TrafficSelectorsInitiator(
            (selector("00000000", "ffffffff"),) * (MAX_SELECTORS + 1)
        ),
        lambda: selector("0a000001", "0a000000"),
        lambda: SelectorSubstructure(7, 0, 2, 1, bytes(4), bytes(4)),
        lambda: SelectorSubstructure(7, 0, 0, 0, bytes(16), bytes(16)),
        lambda: ConfigurationAttribute(ConfigAttribute.INTERNAL_IP4_ADDRESS, bytes(16)),
        lambda: ConfigurationAttribute(ConfigAttribute.INTERNAL_IP6_ADDRESS, bytes(16)),
        lambda: Eap(b"\x03\x07\x00"),
        lambda: Eap(b"\x03\x07\x00\x05"),
        lambda: EncryptedFragment(0, 0, 1, b""),
        lambda: EncryptedFragment(0, 2, 1, b""),
    ],
)
def test_what_must_never_be_sent_cannot_be_made(make):
    with pytest.raises(ValueError):
        make()


def test_identity_that_is_too_long_for_its_length_field_is_refused_when_encoding():
    sample = SAMPLES["informational-empty"]
    too_long = Message(
        sample.initiator_spi,
        sample.responder_spi,
        sample.exchange,
        sample.is_initiator,
        sample.is_response,
        sample.message_id,
        (VendorId(bytes(65532)),),
    )
    with pytest.raises(ValueError, match="V payload of 65536 octets"):
        too_long.encode()


def test_chain_keeps_unknown_payloads_that_are_not_critical():
    octets = with_chain(200, bytes.fromhex("c900000a") + b"abcdef" + bytes.fromhex("00000004"))
    parsed = Message.parse(octets)
    assert parsed.payloads == (
        Unknown(200, critical=False, data=b"abcdef"),
        Unknown(201, critical=False, data=b""),
    )
    assert parsed.encode() == octets


def test_chain_without_payloads_is_empty():
    assert parse_chain(Cursor(b""), PayloadType.NONE) == ()
