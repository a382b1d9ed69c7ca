"""EAP packets: what is legal goes there and back, everything else is a ParseError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.eap.names import kind_name
from charon_core.eap.packet import IDENTITY, NAK, EapCode, EapPacket, nak_of, wanted_by
from charon_core.eap.registry import EapType
from charon_core.encoding.errors import ParseError

VENDOR = EapType(7, 311)


@pytest.mark.parametrize(
    "packet",
    [
        EapPacket(EapCode.SUCCESS, 3),
        EapPacket(EapCode.FAILURE, 255),
        EapPacket(EapCode.REQUEST, 0, IDENTITY, b"who"),
        EapPacket(EapCode.RESPONSE, 9, EapType(4), bytes(17)),
        EapPacket(EapCode.RESPONSE, 9, VENDOR, b"x", is_expanded=True),
        EapPacket(EapCode.RESPONSE, 9, EapType(4), b"x", is_expanded=True),
    ],
)
def test_there_and_back(packet: EapPacket) -> None:
    assert EapPacket.parse(packet.encode()) == packet


def test_octets() -> None:
    assert EapPacket(EapCode.REQUEST, 5, EapType(4), b"ab").encode() == bytes.fromhex(
        "01050007046162"
    )
    assert EapPacket(EapCode.REQUEST, 5, VENDOR, b"a").encode() == bytes.fromhex(
        "0105000dfe000137000000" + "0761"
    )


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"\1", b"\1\2\0", b"\1\2\0\4", b"\1\2\0\5\0", b"\3\1\0\5\0", b"\5\1\0\4", b"\0\1\0\4",
        b"\1\2\0\6\4", b"\1\2\0\5\4\4", b"\1\2\0\5\xfe", b"\1\2\0\x0b\xfe\0\0\0\0\0\0",
        b"\1\2\0\x0c\xfe\0\0\0\0\0\0\0",
    ],
)  # fmt: skip
def test_malformed(octets: bytes) -> None:
    with pytest.raises(ParseError):
        EapPacket.parse(octets)


@given(st.binary(max_size=64))
def test_anything_is_a_packet_or_a_parse_error(octets: bytes) -> None:
    try:
        packet = EapPacket.parse(octets)
    except ParseError:
        return
    assert packet.encode() == octets


@given(st.binary(max_size=64), st.booleans())
def test_any_nak_names_what_is_offered_or_is_malformed(data: bytes, expanded: bool) -> None:
    nak = EapPacket(EapCode.RESPONSE, 1, NAK, data, is_expanded=expanded)
    offered = (EapType(4), EapType(18), VENDOR)
    try:
        wanted = wanted_by(nak, offered)
    except ParseError:
        return
    assert set(wanted) <= set(offered)


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("wanted", [(), (EapType(18), EapType(4)), (EapType(18), VENDOR)])
def test_a_nak_names_what_is_wanted(expanded: bool, wanted: tuple[EapType, ...]) -> None:
    request = EapPacket(EapCode.REQUEST, 1, EapType(23), is_expanded=expanded)
    nak = EapPacket.parse(nak_of(request, wanted).encode())
    assert nak.kind == NAK
    assert nak.is_expanded == expanded
    assert wanted_by(nak, (EapType(4), EapType(18), VENDOR, EapType(50))) == wanted


def test_a_nak_without_alternative_is_a_zero() -> None:
    request = EapPacket(EapCode.REQUEST, 1, EapType(23))
    assert nak_of(request, ()).data == b"\0"


def test_names() -> None:
    assert kind_name(EapType(23)) == "EAP_AKA"
    assert kind_name(EapType(200)) == "EAP_200"
    assert kind_name(VENDOR) == "EAP_7-311"
    assert kind_name(None) == "EAP"
