from __future__ import annotations

import pytest

from charon_core.encoding.errors import ParseError
from charon_core.encoding.header import HEADER_LENGTH, Header
from charon_core.encoding.registry import ExchangeType, PayloadType
from tests.unit.encoding.samples import SPI_I, SPI_R, ike_sa_init_request, renamed

OCTETS = bytes.fromhex("7f77e4e80fe14ac7fa5c1c5237421f032e202528000001020000001c")


def test_reads_the_fields_where_the_rfc_puts_them():
    assert Header.parse(OCTETS) == Header(
        initiator_spi=SPI_I,
        responder_spi=SPI_R,
        next_payload=PayloadType.SK,
        version=(2, 0),
        exchange=ExchangeType.INFORMATIONAL,
        is_initiator=True,
        is_response=True,
        message_id=0x102,
        length=HEADER_LENGTH,
    )


@pytest.mark.parametrize("flags", [0x00, 0x08, 0x10, 0x20, 0x28, 0xC7, 0xFF])
def test_flags_are_two_bits_and_reserved_ones_are_ignored(flags):
    header = Header.parse(renamed(OCTETS, flags=flags))
    assert header.is_initiator == bool(flags & 0x08)
    assert header.is_response == bool(flags & 0x20)
    assert header.encode()[19] == flags & 0x28


def test_encodes_what_it_reads():
    assert Header.parse(OCTETS).encode() == OCTETS


def test_other_versions_are_read_for_the_receiver_to_answer():
    assert Header.parse(renamed(OCTETS, version=0x31)).version == (3, 1)


@pytest.mark.parametrize("length", range(HEADER_LENGTH))
def test_truncation_at_every_length(length):
    with pytest.raises(ParseError, match="expected 28 octets"):
        Header.parse(OCTETS[:length])


@pytest.mark.parametrize("length", [0, 27, 29, 0xFFFFFFFF])
def test_length_field_must_be_that_of_the_datagram(length):
    with pytest.raises(ParseError, match=f"length field says {length} octets, came 28"):
        Header.parse(renamed(OCTETS, length=length))


def test_trailing_octets_are_refused():
    with pytest.raises(ParseError, match="IKE header, octet 24"):
        Header.parse(ike_sa_init_request().encode() + b"\x00")


def test_initiator_spi_is_never_zero():
    with pytest.raises(ParseError, match="SPI is zero"):
        Header.parse(bytes(8) + OCTETS[8:])
