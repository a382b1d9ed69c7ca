"""Distinguished names, with the X.509 library as the oracle."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config import der, dn

ATTRIBUTES = [
    ("ND", "0.2.262.1.10.7.20"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("T", "2.5.4.12"),
    ("D", "2.5.4.13"),
    ("postalAddress", "2.5.4.16"),
    ("postalCode", "2.5.4.17"),
    ("N", "2.5.4.41"),
    ("G", "2.5.4.42"),
    ("I", "2.5.4.43"),
    ("dnQualifier", "2.5.4.46"),
    ("dmdName", "2.5.4.54"),
    ("pseudonym", "2.5.4.65"),
    ("ID", "2.5.4.45"),
    ("EN", "2.16.840.1.113730.3.1.3"),
    ("employeeNumber", "2.16.840.1.113730.3.1.3"),
    ("E", "1.2.840.113549.1.9.1"),
    ("Email", "1.2.840.113549.1.9.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("UN", "1.2.840.113549.1.9.2"),
    ("unstructuredName", "1.2.840.113549.1.9.2"),
    ("UA", "1.2.840.113549.1.9.8"),
    ("unstructuredAddress", "1.2.840.113549.1.9.8"),
]
IA5_ONLY = {"1.2.840.113549.1.9.1", "1.2.840.113549.1.9.2"}


@pytest.mark.parametrize(("name", "oid"), ATTRIBUTES)
def test_every_attribute_is_encoded_as_the_library_does(name, oid):
    kind = x509.name._ASN1Type.IA5String if oid in IA5_ONLY else x509.name._ASN1Type.PrintableString
    attribute = x509.NameAttribute(x509.ObjectIdentifier(oid), "ab", _type=kind, _validate=False)
    expected = x509.Name([attribute]).public_bytes()
    assert dn.parse(f"{name}=ab") == expected
    assert dn.parse(f"{name.upper()} = ab ") == expected


def test_values_that_are_not_printable_become_utf8():
    expected = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Zürich"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "a_b"),
        ]
    ).public_bytes()
    assert dn.parse("O=Zürich, CN=a_b") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C",
        "C=",
        "=x",
        "C=CH,,O=x",
        "C=CH,",
        "/C=CH//O=x",
        "nosuch=x",
        "E=ü",
        "1.2.x=y",
        "3.1=y",
    ],
)
def test_bad_names_are_refused(text):
    with pytest.raises(ValueError, match=r"name|object identifier|characters|TYPE=VALUE"):
        dn.parse(text)


def test_twenty_parts_and_no_more():
    assert len(dn.decode(dn.parse(",".join(["OU=a"] * 20)))) == 20
    with pytest.raises(ValueError, match="20"):
        dn.parse(",".join(["OU=a"] * 21))


def test_unknown_attributes_are_shown_as_numbers_and_read_again():
    assert dn.display(dn.parse("1.2.3.4=x, CN=y")) == "1.2.3.4=x, CN=y"


def test_long_values_have_long_lengths():
    text = "CN=" + "a" * 300
    assert dn.display(dn.parse(text)) == text


NAME = dn.parse("C=CH, O=Test, CN=moon")


@pytest.mark.parametrize("length", range(len(NAME)))
def test_truncated_names_are_refused(length):
    with pytest.raises(der.DerError):
        dn.decode(NAME[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (NAME + b"\0", "behind"),
        (bytes.fromhex("31023100"), "tag"),
        (bytes.fromhex("30023100"), "without|SET with attributes"),
        (bytes.fromhex("30023000"), "SET"),
        (bytes.fromhex("3004310231 00".replace(" ", "")), "attribute"),
        (bytes.fromhex("300a3108300606000c017801"), "."),
        (bytes.fromhex("3080") + NAME[2:] + b"\0\0", "length"),
        (b"\x30\x81" + NAME[1:], "shortest"),
    ],
)
def test_malformed_names_are_refused(data, reason):
    with pytest.raises(der.DerError, match=reason):
        dn.decode(data)


def test_endless_names_are_refused():
    attribute = dn.Attribute(der.encode_oid("2.5.4.3"), der.UTF8_STRING, b"x")
    assert dn.decode(dn.encode(((attribute,),) * dn.MAX_WIRE_ATTRIBUTES))
    with pytest.raises(der.DerError, match="too many"):
        dn.decode(dn.encode(((attribute,),) * (dn.MAX_WIRE_ATTRIBUTES + 1)))


def test_rdns_with_several_attributes():
    oid_of = {name: der.encode_oid(oid) for name, oid in ATTRIBUTES}
    first = dn.Attribute(oid_of["CN"], der.UTF8_STRING, b"x")
    second = dn.Attribute(oid_of["OU"], der.PRINTABLE_STRING, b"y")
    data = dn.encode(((second, first),))
    assert dn.display(data) == "CN=x + OU=y"
    one = dn.normalise(((first, second),))
    other = dn.normalise(((second, first),))
    assert one == other
    any_of = dn.normalise(((first, second._replace(value=b"*")),))
    assert dn.count_wildcards(one, any_of) == 1
    assert dn.count_wildcards(one, dn.normalise(((first,),))) is None
    assert dn.count_wildcards(one, dn.normalise(((first,), (second,)))) is None


@pytest.mark.parametrize(
    ("tag", "value", "shown"),
    [
        (der.UTF8_STRING, "Zürich".encode(), "Zürich"),
        (der.UTF8_STRING, b"a\0b\nc", "a?b?c"),
        (der.UTF8_STRING, b"\xff", "\ufffd"),
        (der.BMP_STRING, "Zürich".encode("utf-16-be"), "Zürich"),
        (der.TELETEX_STRING, b"Z\xfcrich", "Zürich"),
        (der.INTEGER, b"\x01", "#01"),
    ],
)
def test_display_of_odd_values(tag, value, shown):
    attribute = dn.Attribute(der.encode_oid("2.5.4.3"), tag, value)
    assert dn.display(dn.encode(((attribute,),))) == f"CN={shown}"


VALUES = st.text(st.characters(exclude_characters=",/+=", codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["C", "O", "OU", "CN", "L"]), VALUES), min_size=1))
def test_names_survive_a_round_trip(parts):
    text = ", ".join(f"{name}={value}" for name, value in parts)
    try:
        data = dn.parse(text)
    except ValueError:
        assert len(parts) > 20 or any(not value.strip() for _, value in parts)
        return
    assert dn.encode(dn.decode(data)) == data
    decoded = [rdn[0].value.decode() for rdn in dn.decode(data)]
    assert decoded == [value.strip() for _, value in parts]


@given(st.binary(max_size=80))
def test_any_octets_decode_or_raise_a_der_error(data):
    try:
        rdns = dn.decode(data)
    except der.DerError:
        return
    assert isinstance(dn.display(data), str)
    dn.normalise(rdns)


@given(st.integers(0, len(NAME) - 1), st.integers(0, 255))
def test_one_wrong_octet_decodes_or_raises_a_der_error(position, octet):
    data = NAME[:position] + bytes([octet]) + NAME[position + 1 :]
    try:
        dn.decode(data)
    except der.DerError:
        return
    assert isinstance(dn.display(data), str)
