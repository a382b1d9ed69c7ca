"""Malformed messages octet by octet, by the classes of faults that key daemons have had."""

from __future__ import annotations

import pytest

from charon_core.encoding import notify_data
from charon_core.encoding.errors import ParseError
from charon_core.encoding.message import Message, open_message
from charon_core.encoding.payloads import MAX_PAYLOADS
from charon_core.encoding.payloads.certificate import (
    MAX_CERTIFICATE_REQUESTS,
    MAX_CERTIFICATES,
)
from charon_core.encoding.payloads.configuration import MAX_ATTRIBUTES
from charon_core.encoding.payloads.delete import MAX_DELETED_SPIS
from charon_core.encoding.payloads.notify import MAX_NOTIFIES
from charon_core.encoding.payloads.security_association import MAX_PROPOSALS, MAX_TRANSFORMS
from charon_core.encoding.payloads.traffic_selectors import MAX_SELECTORS
from charon_core.encoding.registry import PayloadType
from tests.unit.encoding.samples import GENERIC, ToySealer, with_chain, with_payload

SA, KE, IDI, CERT, CERTREQ, AUTH, NONCE, N, D, V, TSI, SK, CP, EAP, SKF = (
    PayloadType.SA,
    PayloadType.KE,
    PayloadType.IDI,
    PayloadType.CERT,
    PayloadType.CERTREQ,
    PayloadType.AUTH,
    PayloadType.NONCE,
    PayloadType.NOTIFY,
    PayloadType.DELETE,
    PayloadType.VENDOR_ID,
    PayloadType.TSI,
    PayloadType.SK,
    PayloadType.CP,
    PayloadType.EAP,
    PayloadType.SKF,
)


def refused(octets: bytes) -> ParseError:
    """The error that parsing ends in; there must be one."""
    with pytest.raises(ParseError) as caught:
        Message.parse(octets)
    return caught.value


def repeated(payload_type: int, body: bytes, times: int) -> bytes:
    """A message with the same payload many times."""
    size = 4 + len(body)
    more = GENERIC.pack(payload_type, 0, size) + body
    last = GENERIC.pack(0, 0, size) + body
    return with_chain(payload_type, more * (times - 1) + last)


class TestClass1Lengths:
    """A length of 0, or shorter than its own header, in any layer."""

    @pytest.mark.parametrize("payload_type", [*range(33, 55), 200])
    @pytest.mark.parametrize("length", [0, 1, 3])
    def test_payload(self, payload_type, length):
        refused(with_chain(payload_type, GENERIC.pack(0, 0, length) + bytes(40)))

    @pytest.mark.parametrize("payload_type", [*range(33, 55), 200])
    def test_payload_longer_than_the_message(self, payload_type):
        refused(with_chain(payload_type, GENERIC.pack(0, 0, 45) + bytes(40)))

    @pytest.mark.parametrize(
        "payload_type", [SA, KE, IDI, CERT, CERTREQ, AUTH, NONCE, N, D, TSI, CP, EAP, SKF]
    )
    def test_payload_without_a_body(self, payload_type):
        refused(with_payload(payload_type, b""))

    @pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 17, 0xFFFF])
    def test_proposal(self, length):
        transform = bytes.fromhex("00000008 0400001f")
        refused(with_payload(SA, b"\0\0" + length.to_bytes(2, "big") + b"\1\1\0\1" + transform))

    @pytest.mark.parametrize("length", [0, 1, 7, 9, 11, 13, 0xFFFF])
    def test_transform(self, length):
        body = bytes.fromhex("00000014 01010001 0000") + length.to_bytes(2, "big")
        refused(with_payload(SA, body + bytes.fromhex("0100000c 800e0080")))

    @pytest.mark.parametrize("attribute", ["80", "800e", "800e00", "000f0001", "000fffff0000"])
    def test_transform_attribute(self, attribute):
        value = bytes.fromhex(attribute)
        transform = (
            b"\0\0" + (8 + len(value)).to_bytes(2, "big") + bytes.fromhex("0100000c") + value
        )
        proposal = b"\0\0" + (8 + len(transform)).to_bytes(2, "big") + b"\1\1\0\1" + transform
        refused(with_payload(SA, proposal))

    @pytest.mark.parametrize("size", [1, 4, 9, 255])
    def test_spi_size_of_a_proposal(self, size):
        body = bytes.fromhex("00000010 0101") + bytes((size, 1))
        refused(with_payload(SA, body + bytes.fromhex("00000008 0400001f")))

    @pytest.mark.parametrize("size", [1, 4, 255])
    def test_spi_size_of_a_notify(self, size):
        refused(with_payload(N, bytes((3, size, 0x40, 0x00))))

    @pytest.mark.parametrize("size", [0, 1, 3, 5, 8, 255])
    def test_spi_size_of_a_delete(self, size):
        refused(with_payload(D, bytes((3, size, 0, 1)) + bytes(4)))

    @pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 15, 17, 20, 40, 0xFFFF])
    def test_selector(self, length):
        addresses = bytes.fromhex("0000ffff 0a000000 0a0000ff")
        body = b"\1\0\0\0\7\0" + length.to_bytes(2, "big") + addresses
        refused(with_payload(TSI, body))

    @pytest.mark.parametrize("length", [0, 1, 3])
    def test_selector_of_unknown_type(self, length):
        refused(with_payload(TSI, b"\1\0\0\0\x0a\0" + length.to_bytes(2, "big") + bytes(4)))

    @pytest.mark.parametrize("attribute", ["00", "000100", "00010004000000", "0001ffff00"])
    def test_configuration_attribute(self, attribute):
        refused(with_payload(CP, b"\1\0\0\0" + bytes.fromhex(attribute)))

    @pytest.mark.parametrize("packet", ["01", "010100", "01010000", "01010003", "0101000501ff"])
    def test_eap_packet(self, packet):
        refused(with_payload(EAP, bytes.fromhex(packet)))

    @pytest.mark.parametrize("announcement", ["00", "01", "03", "0302", "020e00"])
    def test_announcement_of_an_authentication_method(self, announcement):
        with pytest.raises(ParseError):
            notify_data.parse_auth_methods(bytes.fromhex(announcement))


class TestClass2Progress:
    """A list or loop that does not advance."""

    def test_payloads_of_no_length_that_name_themselves(self):
        refused(with_chain(V, GENERIC.pack(V, 0, 0) * 3))

    def test_transforms_of_no_length(self):
        refused(with_payload(SA, bytes.fromhex("00000010 010100ff 03000000 0400001f")))

    def test_proposals_of_no_length(self):
        refused(with_payload(SA, bytes.fromhex("02000000 01010001 00000008 0400001f")))

    def test_thousands_of_spis_of_no_length(self):
        refused(with_payload(D, bytes.fromhex("0300ffff")))
        refused(with_payload(D, bytes.fromhex("0100ffff")))

    def test_selectors_that_are_announced_but_absent(self):
        refused(with_payload(TSI, bytes.fromhex("ff000000")))

    def test_fragments_of_a_plaintext_need_no_progress_to_be_refused(self):
        assert "fragment 0 of 0" in refused(with_payload(SKF, bytes(8))).reason


class TestClass4Echo:
    """Values of the peer that would go back into our encoder or into kernel calls."""

    @pytest.mark.parametrize("protocol", [0, 1, 4, 255])
    @pytest.mark.parametrize("notify_type", ["4009", "002c"])
    def test_child_notify_with_a_protocol_that_has_no_child(self, protocol, notify_type):
        body = bytes((protocol, 4)) + bytes.fromhex(notify_type) + b"\1\2\3\4"
        refused(with_payload(N, body))

    @pytest.mark.parametrize("size", [0, 2, 8])
    def test_rekeying_with_an_spi_of_another_protocol(self, size):
        refused(with_payload(N, bytes((3, size, 0x40, 0x09)) + bytes(size)))

    @pytest.mark.parametrize("size", [2, 8])
    def test_missing_child_with_an_spi_of_another_protocol(self, size):
        refused(with_payload(N, bytes((3, size, 0x00, 0x2C)) + bytes(size)))

    @pytest.mark.parametrize("protocol", [0, 4, 255])
    def test_delete_for_a_protocol_that_has_no_sa(self, protocol):
        refused(with_payload(D, bytes((protocol, 4, 0, 1, 1, 2, 3, 4))))

    def test_delete_of_an_ike_sa_by_spi(self):
        refused(with_payload(D, bytes((1, 8, 0, 1)) + bytes(range(8))))
        refused(with_payload(D, bytes((1, 8, 0, 0))))
        refused(with_payload(D, bytes((1, 0, 0, 1))))

    @pytest.mark.parametrize(
        "head", ["00000014 01030401 00000000", "00000018 01010801 0000000000000000"]
    )
    def test_proposal_with_an_spi_of_zero(self, head):
        refused(with_payload(SA, bytes.fromhex(head + "00000008 0400001f")))

    @pytest.mark.parametrize("text", [b"moon\0", b"moon\r", b"moon\n.example.org", b""])
    @pytest.mark.parametrize("id_type", [2, 3])
    def test_name_that_ends_early_for_some_readers(self, id_type, text):
        refused(with_payload(IDI, bytes((id_type, 0, 0, 0)) + text))

    @pytest.mark.parametrize(("id_type", "octets"), [(1, 0), (1, 3), (1, 16), (5, 4), (13, 1)])
    def test_address_identity_of_a_wrong_size(self, id_type, octets):
        refused(with_payload(IDI, bytes((id_type, 0, 0, 0)) + bytes(octets)))

    def test_selector_whose_range_is_turned_round(self):
        refused(with_payload(TSI, bytes.fromhex("01000000 07000010 0000ffff 0a0000ff 0a000000")))

    def test_selector_whose_ports_are_turned_round(self):
        refused(with_payload(TSI, bytes.fromhex("01000000 07060010 01bb0050 0a000000 0a0000ff")))

    def test_address_of_a_wrong_size_in_a_configuration(self):
        refused(with_payload(CP, bytes.fromhex("02000000 00010005 0a00000118")))


class TestClass5ErrorPaths:
    """Errors without keys, SA or context: each can be logged and says whether to answer."""

    @pytest.mark.parametrize(
        "octets",
        [b"", bytes(27), bytes(28), with_payload(SA, b""), with_chain(SK, b"\0"), b"\xff" * 64],
    )
    def test_every_error_reads_as_text(self, octets):
        error = refused(octets)
        assert str(error).count(":") >= 1
        assert "octet" in str(error)
        with pytest.raises(ParseError) as caught:
            open_message(octets, ToySealer())
        assert not caught.value.answerable


class TestClass6And10Emptiness:
    """Key exchange data that is absent, key lengths of zero, empty lists."""

    def test_key_exchange_without_data(self):
        refused(with_payload(KE, bytes.fromhex("001f0000")))

    def test_key_length_of_zero(self):
        refused(with_payload(SA, bytes.fromhex("00000014 01010001 0000000c 0100000c 800e0000")))

    def test_two_key_lengths(self):
        refused(
            with_payload(SA, bytes.fromhex("00000018 01010001 00000010 0100000c 800e0080 800e0100"))
        )

    def test_proposal_without_transforms(self):
        refused(with_payload(SA, bytes.fromhex("00000008 01010000")))

    def test_authentication_without_data(self):
        refused(with_payload(AUTH, bytes.fromhex("02000000")))

    @pytest.mark.parametrize("size", [0, 1, 15, 257])
    def test_nonce_of_a_wrong_size(self, size):
        refused(with_payload(NONCE, bytes(size)))

    def test_selectors_without_one(self):
        refused(with_payload(TSI, bytes(4)))

    def test_authority_hashes_of_a_wrong_size(self):
        refused(with_payload(CERTREQ, b"\x04" + bytes(30)))


class TestClass11Bounds:
    """More of something than anybody needs."""

    def test_payloads(self):
        assert Message.parse(repeated(V, b"v", MAX_PAYLOADS))
        refused(repeated(V, b"v", MAX_PAYLOADS + 1))
        refused(repeated(200, b"v", MAX_PAYLOADS + 1))

    def test_payloads_of_many_unknown_types(self):
        chain = b"".join(GENERIC.pack(kind + 1, 0, 4) for kind in range(60, 60 + MAX_PAYLOADS))
        refused(with_chain(60, chain + GENERIC.pack(0, 0, 4)))

    @pytest.mark.parametrize(
        ("payload_type", "body", "limit"),
        [
            (N, bytes.fromhex("00004000"), MAX_NOTIFIES),
            (CERT, b"\x04\x30", MAX_CERTIFICATES),
            (CERTREQ, b"\x04", MAX_CERTIFICATE_REQUESTS),
            (SA, bytes.fromhex("00000010 01010001 00000008 0400001f"), 1),
            (KE, bytes.fromhex("001f0000 01"), 1),
            (IDI, b"\2\0\0\0a", 1),
            (PayloadType.IDR, b"\2\0\0\0a", 1),
            (AUTH, b"\2\0\0\0a", 1),
            (NONCE, bytes(16), 1),
            (TSI, bytes.fromhex("01000000 07000010 0000ffff 00000000 ffffffff"), 1),
            (PayloadType.TSR, bytes.fromhex("01000000 07000010 0000ffff 00000000 ffffffff"), 1),
            (EAP, bytes.fromhex("03010004"), 1),
        ],
    )
    def test_payloads_of_one_type(self, payload_type, body, limit):
        assert len(Message.parse(repeated(payload_type, body, limit)).payloads) == limit
        refused(repeated(payload_type, body, limit + 1))

    def test_proposals(self):
        def proposals(count: int) -> bytes:
            return b"".join(
                bytes((0 if number == count else 2, 0, 0, 16, number, 1, 0, 1))
                + bytes.fromhex("00000008 0400001f")
                for number in range(1, count + 1)
            )

        assert Message.parse(with_payload(SA, proposals(MAX_PROPOSALS)))
        assert "proposals" in refused(with_payload(SA, proposals(MAX_PROPOSALS + 1))).reason

    def test_transforms(self):
        def proposal(number: int, transforms: int, *, last: bool) -> bytes:
            length = (8 + 8 * transforms).to_bytes(2, "big")
            head = bytes((0 if last else 2, 0)) + length + bytes((number, 1, 0, transforms))
            more = bytes.fromhex("03000008 0400001f") * (transforms - 1)
            return head + more + bytes.fromhex("00000008 0400001f")

        full = proposal(1, 255, last=False) + proposal(2, 255, last=False)
        left = MAX_TRANSFORMS - 2 * 255
        assert Message.parse(with_payload(SA, full + proposal(3, left, last=True)))
        error = refused(with_payload(SA, full + proposal(3, left + 1, last=True)))
        assert "transforms" in error.reason

    def test_selectors(self):
        one = bytes.fromhex("07000010 0000ffff 00000000 ffffffff")
        for count in (MAX_SELECTORS, MAX_SELECTORS + 1):
            octets = with_payload(TSI, bytes((count, 0, 0, 0)) + one * count)
            if count > MAX_SELECTORS:
                refused(octets)
            else:
                assert Message.parse(octets)

    def test_deleted_spis(self):
        for count in (MAX_DELETED_SPIS, MAX_DELETED_SPIS + 1):
            octets = with_payload(D, b"\3\4" + count.to_bytes(2, "big") + b"\1\2\3\4" * count)
            if count > MAX_DELETED_SPIS:
                refused(octets)
            else:
                assert Message.parse(octets)

    def test_configuration_attributes(self):
        assert Message.parse(with_payload(CP, b"\1\0\0\0" + b"\0\1\0\0" * MAX_ATTRIBUTES))
        refused(with_payload(CP, b"\1\0\0\0" + b"\0\1\0\0" * (MAX_ATTRIBUTES + 1)))


class TestConsistency:
    """Counts, flags and numbers that contradict each other; octets that nobody claims."""

    @pytest.mark.parametrize("count", [0, 1, 3, 255])
    def test_number_of_transforms(self, count):
        body = bytes.fromhex("00000018 010100") + bytes((count,))
        refused(with_payload(SA, body + bytes.fromhex("03000008 02000005 00000008 0400001f")))

    @pytest.mark.parametrize("more", [1, 3, 255])
    def test_first_octet_of_a_proposal(self, more):
        body = bytes((more,)) + bytes.fromhex("000010 01010001 00000008 0400001f")
        refused(with_payload(SA, body))

    @pytest.mark.parametrize("more", [1, 2, 255])
    def test_first_octet_of_a_transform(self, more):
        body = bytes.fromhex("00000010 01010001") + bytes((more,))
        refused(with_payload(SA, body + bytes.fromhex("000008 0400001f")))

    def test_last_proposal_that_announces_another(self):
        refused(with_payload(SA, bytes.fromhex("02000010 01010001 00000008 0400001f")))

    def test_proposal_behind_the_last(self):
        refused(with_payload(SA, bytes.fromhex("00000010 01010001 00000008 0400001f") * 2))

    @pytest.mark.parametrize("numbers", [(0,), (1, 1), (2, 1), (0, 1)])
    def test_proposal_numbers(self, numbers):
        body = b"".join(
            bytes((2 if index + 1 < len(numbers) else 0, 0, 0, 16, number, 1, 0, 1))
            + bytes.fromhex("00000008 0400001f")
            for index, number in enumerate(numbers)
        )
        refused(with_payload(SA, body))

    @pytest.mark.parametrize("count", [0, 2])
    def test_number_of_selectors(self, count):
        one = bytes.fromhex("07000010 0000ffff 00000000 ffffffff")
        refused(with_payload(TSI, bytes((count, 0, 0, 0)) + one))

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_number_of_spis(self, count):
        refused(with_payload(D, bytes((3, 4, 0, count)) + b"\1\2\3\4\5\6\7\x08"))

    def test_octets_behind_the_last_payload(self):
        refused(with_chain(NONCE, GENERIC.pack(0, 0, 20) + bytes(16) + b"\0"))

    def test_octets_without_a_payload(self):
        refused(with_chain(0, b"\0\0\0\4"))

    @pytest.mark.parametrize("payload_type", [SK, SKF])
    def test_octets_behind_the_encrypted_payload(self, payload_type):
        body = bytes.fromhex("00010001") + bytes(40)
        chain = GENERIC.pack(V, 0, 4 + len(body)) + body + GENERIC.pack(0, 0, 4)
        assert "last payload" in refused(with_chain(payload_type, chain)).reason

    @pytest.mark.parametrize("payload_type", [SK, SKF])
    def test_encrypted_payload_inside_an_encrypted_payload(self, payload_type):
        sealer = ToySealer()
        inner = GENERIC.pack(0, 0, 48) + bytes.fromhex("00010001") + bytes(40)
        length = 4 + sealer.sealed_length(len(inner))
        head = with_chain(SK, GENERIC.pack(payload_type, 0, length) + bytes(length - 4))[:32]
        with pytest.raises(ParseError, match="inside an encrypted payload") as caught:
            open_message(head + sealer.seal(head, inner), ToySealer())
        assert caught.value.answerable

    @pytest.mark.parametrize(("number", "total"), [(0, 0), (0, 1), (1, 0), (2, 1), (65535, 1)])
    def test_fragment_numbers(self, number, total):
        body = number.to_bytes(2, "big") + total.to_bytes(2, "big") + bytes(40)
        refused(with_payload(SKF, body))
