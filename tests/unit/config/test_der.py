"""The strict DER coder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config import der


@given(st.binary(max_size=70000))
def test_elements_survive_a_round_trip(content):
    data = der.encode(der.OCTET_STRING, content)
    start, stop = der.whole(data, der.OCTET_STRING)
    assert data[start:stop] == content


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "ends"),
        ("04", "ends"),
        ("0480", "indefinite"),
        ("0481", "truncated"),
        ("04817f" + "00" * 127, "shortest"),
        ("0482007f" + "00" * 127, "shortest"),
        ("048200ff" + "00" * 255, "shortest"),
        ("0485000000000100", "too long"),
        ("0401", "too far"),
        ("1f0100", "above 30"),
        ("0500", "expected 0x04"),
        ("040000", "behind"),
    ],
)
def test_what_is_not_strict_is_refused(data, reason):
    with pytest.raises(der.DerError, match=reason):
        der.whole(bytes.fromhex(data), der.OCTET_STRING)


def test_elements_of_a_sequence():
    data = bytes.fromhex("0201050500")
    assert list(der.elements(data, 0, len(data))) == [(der.INTEGER, 2, 3), (der.NULL, 5, 5)]
    assert list(der.elements(data, 0, 0)) == []


@given(st.binary(max_size=60))
def test_elements_always_advance(data):
    try:
        offsets = [stop for _, _, stop in der.elements(data, 0, len(data))]
    except der.DerError:
        return
    assert offsets == sorted(set(offsets))
    assert len(offsets) <= len(data) // 2


@pytest.mark.parametrize(
    ("dotted", "content"),
    [
        ("2.5.4.3", "550403"),
        ("1.2.840.113549.1.9.1", "2a864886f70d010901"),
        ("0.9.2342.19200300.100.1.25", "0992268993f22c640119"),
        ("2.999.3", "883703"),
        ("0.0", "00"),
        ("1.39", "4f"),
    ],
)
def test_object_identifiers(dotted, content):
    assert der.encode_oid(dotted).hex() == content
    assert der.decode_oid(bytes.fromhex(content)) == dotted


@pytest.mark.parametrize("dotted", ["", "1", "1.", "a.b", "3.1", "1.40", "1..2", "1.-2", "１.2"])
def test_bad_object_identifiers(dotted):
    with pytest.raises(ValueError, match="object identifier"):
        der.encode_oid(dotted)


@pytest.mark.parametrize("content", ["", "80", "5580", "558003", "ff"])
def test_bad_octets_of_object_identifiers(content):
    with pytest.raises(der.DerError):
        der.decode_oid(bytes.fromhex(content))


@pytest.mark.parametrize(
    ("value", "data"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (256, "02020100")]
)
def test_unsigned_numbers(value, data):
    assert der.encode_unsigned(value).hex() == data
