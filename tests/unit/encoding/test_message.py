from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from charon_core.encoding.errors import IntegrityError, ParseError
from charon_core.encoding.message import (
    Message,
    intermediate_octets,
    open_message,
    seal_message,
)
from charon_core.encoding.payloads import (
    Encrypted,
    EncryptedFragment,
    KeyExchange,
    Nonce,
    Notify,
    VendorId,
)
from charon_core.encoding.registry import ExchangeType, NotifyType, PayloadType
from tests.unit.encoding.samples import (
    GENERIC,
    SPI_I,
    SPI_R,
    ToySealer,
    ike_auth_request,
    ike_sa_init_request,
    message,
    renamed,
    sample_messages,
    with_chain,
    with_payload,
)

SAMPLES = sample_messages()


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_round_trip_in_the_clear(sample):
    octets = sample.encode()
    assert Message.parse(octets) == sample
    assert Message.parse(octets).encode() == octets


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_round_trip_under_protection(sample):
    octets = seal_message(sample, ToySealer())
    assert open_message(octets, ToySealer()) == sample


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_truncation_at_every_length_in_the_clear(sample):
    octets = sample.encode()
    for length in range(len(octets)):
        with pytest.raises(ParseError):
            Message.parse(octets[:length])
        if length >= 28:
            # With a length field that agrees, each layer has to notice by itself.
            with pytest.raises(ParseError):
                Message.parse(renamed(octets[:length], length=length))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_truncation_at_every_length_under_protection(sample):
    octets = seal_message(sample, ToySealer())
    for length in range(len(octets)):
        with pytest.raises(ParseError):
            open_message(octets[:length], ToySealer())
        if length >= 28:
            with pytest.raises(ParseError):
                open_message(renamed(octets[:length], length=length), ToySealer())


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_truncated_plaintext_under_a_valid_checksum(sample):
    sealer = ToySealer()
    whole = seal_message(sample, sealer)
    plaintext = sealer.open(whole[:32], whole[32:])
    for length in range(len(plaintext)):
        octets = sealed(plaintext[:length], first=whole[28])
        with pytest.raises(ParseError) as caught:
            open_message(octets, ToySealer())
        assert not isinstance(caught.value, IntegrityError)
        assert caught.value.answerable


def sealed(plaintext: bytes, *, first: int) -> bytes:
    """A message whose SK payload holds octets as they are given."""
    sealer = ToySealer()
    length = 4 + sealer.sealed_length(len(plaintext))
    octets = with_chain(
        PayloadType.SK,
        GENERIC.pack(first, 0, length) + bytes(length - 4),
        exchange=ExchangeType.IKE_AUTH,
    )
    return octets[:32] + sealer.seal(octets[:32], plaintext)


def test_looks_up_payloads():
    request = ike_sa_init_request()
    assert request.first(Nonce) == request.payloads[2]
    assert request.first(VendorId) is None
    assert len(request.all(Notify)) == 4
    assert request.all(VendorId) == []
    assert request.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS) == request.payloads[-1]
    assert request.notify(NotifyType.COOKIE) is None


def test_messages_do_not_change():
    with pytest.raises(FrozenInstanceError):
        ike_sa_init_request().message_id = 1


def test_header_fields_stand_on_the_wire_as_in_the_message():
    octets = message(ExchangeType.INFORMATIONAL, 0x01020304, is_response=True).encode()
    assert octets == SPI_I + SPI_R + bytes.fromhex("00202528 01020304 0000001c")


def test_minor_versions_are_ignored():
    assert Message.parse(renamed(ike_sa_init_request().encode(), version=0x2F))


@pytest.mark.parametrize("version", [0x10, 0x30, 0x00, 0xFF])
def test_other_major_versions_are_answered(version):
    octets = renamed(ike_sa_init_request().encode(), version=version)
    with pytest.raises(ParseError) as caught:
        Message.parse(octets)
    assert caught.value.notify == NotifyType.INVALID_MAJOR_VERSION
    assert caught.value.answerable


def test_critical_payload_of_unknown_type_is_refused_with_its_number():
    with pytest.raises(ParseError) as caught:
        Message.parse(with_payload(200, b"abc", flags=0x80))
    assert caught.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert caught.value.notify_data == b"\xc8"
    assert caught.value.answerable


def test_critical_bit_of_known_payloads_is_ignored():
    parsed = Message.parse(with_payload(PayloadType.NONCE, bytes(16), flags=0x80))
    assert parsed.payloads == (Nonce(bytes(16)),)


def test_reserved_bits_of_the_generic_header_are_ignored():
    assert Message.parse(with_payload(200, b"abc", flags=0x7F)).payloads[0].data == b"abc"


def test_sk_payload_stays_closed_in_parse():
    octets = seal_message(ike_auth_request(), ToySealer())
    parsed = Message.parse(octets)
    assert parsed.payloads == (Encrypted(PayloadType.IDI, octets[32:]),)
    assert parsed.encode() == octets


def test_skf_payload_stays_closed_in_parse():
    octets = with_chain(PayloadType.SKF, bytes.fromhex("2300000b 00020003") + b"abc")
    parsed = Message.parse(octets)
    assert parsed.payloads == (EncryptedFragment(PayloadType.IDI, 2, 3, b"abc"),)
    assert parsed.encode() == octets


def test_empty_informational_under_protection_holds_padding_only():
    octets = seal_message(SAMPLES["informational-empty"], ToySealer())
    assert octets[16] == PayloadType.SK
    assert octets[28] == PayloadType.NONE
    assert open_message(octets, ToySealer()).payloads == ()


def test_every_flipped_octet_is_noticed():
    octets = seal_message(SAMPLES["auth-eap"], ToySealer())
    for position in range(len(octets)):
        changed = bytearray(octets)
        changed[position] ^= 0x01
        with pytest.raises(ParseError) as caught:
            open_message(bytes(changed), ToySealer())
        assert not caught.value.answerable


def test_wrong_key_is_an_integrity_error_that_nobody_answers():
    octets = seal_message(ike_auth_request(), ToySealer(b"one"))
    with pytest.raises(IntegrityError) as caught:
        open_message(octets, ToySealer(b"another"))
    assert not caught.value.answerable
    assert caught.value.payload == "SK"


def test_unprotected_message_cannot_be_opened():
    with pytest.raises(ParseError, match="expected an SK or SKF payload") as caught:
        open_message(ike_sa_init_request().encode(), ToySealer())
    assert not caught.value.answerable
    with pytest.raises(ParseError, match="expected an SK or SKF payload"):
        open_message(SAMPLES["informational-empty"].encode(), ToySealer())


def test_fragment_cannot_be_opened_as_a_whole_message():
    octets = with_chain(PayloadType.SKF, bytes.fromhex("2300000b 00020003") + b"abc")
    with pytest.raises(ParseError, match="came a fragment"):
        open_message(octets, ToySealer())


def test_payloads_ahead_of_the_sk_payload_are_covered_but_not_returned():
    sealer = ToySealer()
    outside = GENERIC.pack(PayloadType.SK, 0, 8) + b"\x00\x00\x40\x00"
    length = 4 + sealer.sealed_length(0)
    head = with_chain(
        PayloadType.NOTIFY,
        outside + GENERIC.pack(0, 0, length) + bytes(length - 4),
        exchange=ExchangeType.INFORMATIONAL,
    )[: 28 + len(outside) + 4]
    octets = head + sealer.seal(head, b"")
    assert open_message(octets, ToySealer()).payloads == ()
    forged = octets[:32] + b"\x00\x00\x40\x01" + octets[36:]
    with pytest.raises(IntegrityError):
        open_message(forged, ToySealer())


def test_unverified_critical_payload_beside_an_sk_payload_is_not_answered():
    outside = GENERIC.pack(PayloadType.SK, 0x80, 4)
    octets = with_chain(200, outside + GENERIC.pack(0, 0, 4 + 40) + bytes(40))
    with pytest.raises(ParseError) as caught:
        open_message(octets, ToySealer())
    assert caught.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert not caught.value.answerable


def test_message_too_long_for_one_sk_payload_is_refused():
    long = message(ExchangeType.IKE_AUTH, 1, *[VendorId(bytes(30000))] * 3)
    with pytest.raises(ValueError, match="needs fragmentation"):
        seal_message(long, ToySealer())


def test_intermediate_octets_count_neither_padding_nor_checksum():
    sent = message(ExchangeType.IKE_INTERMEDIATE, 1, KeyExchange(36, bytes(100)))
    plaintext = GENERIC.pack(0, 0, 108) + bytes.fromhex("00240000") + bytes(100)
    ahead = (
        SPI_I
        + SPI_R
        + bytes.fromhex("2e202b08 00000001")
        + (28 + 4 + 108).to_bytes(4, "big")
        + GENERIC.pack(PayloadType.KE, 0, 4 + 108)
    )
    assert intermediate_octets(sent) == (ahead, plaintext)
    received = open_message(seal_message(sent, ToySealer()), ToySealer())
    assert intermediate_octets(received) == (ahead, plaintext)


def test_intermediate_octets_are_those_received_not_those_we_would_send():
    plaintext = GENERIC.pack(0, 0x7F, 108) + bytes.fromhex("0024dead") + bytes(100)
    received = open_message(sealed(plaintext, first=PayloadType.KE), ToySealer())
    assert intermediate_octets(received)[1] == plaintext
    # Built anew from its payloads, the reserved octets would be zero.
    assert intermediate_octets(replace(received, opened=None))[1] != plaintext


def test_repr_does_not_show_the_plaintext():
    received = open_message(seal_message(SAMPLES["informational-empty"], ToySealer()), ToySealer())
    assert "opened" not in repr(received)
