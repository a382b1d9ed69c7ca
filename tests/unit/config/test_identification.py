"""Identities: parsing, display, matching, and what peers may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config import identification as ids
from charon_core.config.identification import Identification
from charon_core.encoding.errors import ParseError
from charon_core.encoding.registry import IdType

parse = Identification.parse

TYPED = [
    # 1: prefixes; the data are literal or hexadecimal
    ("ipv4:10.0.0.1", ids.IPV4_ADDR, b"10.0.0.1"),
    ("ipv4:#0a000001", ids.IPV4_ADDR, bytes([10, 0, 0, 1])),
    ("IPv4:#0A000001", ids.IPV4_ADDR, bytes([10, 0, 0, 1])),
    ("ipv6:#fe:c0", ids.IPV6_ADDR, b"\xfe\xc0"),
    ("ipv4net:#0a000000ff000000", ids.IPV4_ADDR_SUBNET, b"\n\0\0\0\xff\0\0\0"),
    ("ipv6net:x", ids.IPV6_ADDR_SUBNET, b"x"),
    ("ipv4range:x", ids.IPV4_ADDR_RANGE, b"x"),
    ("ipv6range:x", ids.IPV6_ADDR_RANGE, b"x"),
    ("rfc822:moon", ids.RFC822_ADDR, b"moon"),
    ("email:moon", ids.RFC822_ADDR, b"moon"),
    ("userfqdn:moon", ids.RFC822_ADDR, b"moon"),
    ("fqdn:a@b", ids.FQDN, b"a@b"),
    ("dns:a=b", ids.FQDN, b"a=b"),
    ("asn1dn:#3000", ids.DER_ASN1_DN, b"\x30\x00"),
    ("asn1gn:#82", ids.DER_ASN1_GN, b"\x82"),
    ("keyid:moon", ids.KEY_ID, b"moon"),
    ("keyid:#1", ids.KEY_ID, b"\x01"),
    ("keyid:", ids.KEY_ID, b""),
    # 2: numbers
    ("{2}:moon", ids.FQDN, b"moon"),
    ("{11}:#0102", ids.KEY_ID, b"\x01\x02"),
    ("{201}:moon", 201, b"moon"),
    # 3: names, and what looks like one
    ("C=CH, O=", ids.KEY_ID, b"C=CH, O="),
    ("nosuch=x", ids.KEY_ID, b"nosuch=x"),
    ("=", ids.KEY_ID, b"="),
    # 4: the words for anybody
    ("", ids.ANY, b""),
    ("%any", ids.ANY, b""),
    ("%any6", ids.ANY, b""),
    ("0.0.0.0", ids.ANY, b""),
    ("*", ids.ANY, b""),
    ("::", ids.ANY, b""),
    ("0::0", ids.ANY, b""),
    # 5: without colon
    ("10.0.0.1", ids.IPV4_ADDR, bytes([10, 0, 0, 1])),
    ("10.1.2.3/8", ids.IPV4_ADDR_SUBNET, b"\n\0\0\0\xff\0\0\0"),
    ("10.0.0.1-10.0.0.9", ids.IPV4_ADDR_RANGE, bytes([10, 0, 0, 1, 10, 0, 0, 9])),
    ("10.0.0.9-10.0.0.1", ids.FQDN, b"10.0.0.9-10.0.0.1"),
    ("10.0.0.1/99", ids.FQDN, b"10.0.0.1/99"),
    ("10.0.0.0/255.0.0.0", ids.FQDN, b"10.0.0.0/255.0.0.0"),
    ("10.0.0", ids.FQDN, b"10.0.0"),
    ("010.0.0.1", ids.FQDN, b"010.0.0.1"),
    ("moon.example.org", ids.FQDN, b"moon.example.org"),
    ("*.example.org", ids.FQDN, b"*.example.org"),
    ("my-host", ids.FQDN, b"my-host"),
    # 6: with colon
    ("fec0::1", ids.IPV6_ADDR, bytes.fromhex("fec0") + bytes(13) + b"\x01"),
    ("fe80::/10", ids.IPV6_ADDR_SUBNET, b"\xfe\x80" + bytes(14) + b"\xff\xc0" + bytes(14)),
    ("::1-::2", ids.IPV6_ADDR_RANGE, bytes(15) + b"\x01" + bytes(15) + b"\x02"),
    ("foo:bar", ids.KEY_ID, b"foo:bar"),
    # 7 to 10: with @
    ("@#0102", ids.KEY_ID, b"\x01\x02"),
    ("@#01:02", ids.KEY_ID, b"\x01\x02"),
    ("@@moon", ids.RFC822_ADDR, b"moon"),
    ("@moon.example.org", ids.FQDN, b"moon.example.org"),
    ("@10.0.0.1", ids.FQDN, b"10.0.0.1"),
    ("@", ids.FQDN, b""),
    ("carol@example.org", ids.RFC822_ADDR, b"carol@example.org"),
    ("*@example.org", ids.RFC822_ADDR, b"*@example.org"),
]


@pytest.mark.parametrize(("text", "id_type", "data"), TYPED)
def test_written_identities(text, id_type, data):
    identity = parse(text)
    assert (identity.id_type, identity.data) == (id_type, data)


def test_xmpp_addresses_become_general_names():
    expected = bytes.fromhex("a0110608 2b06010505070805 a0050c03 614062".replace(" ", ""))
    assert parse("xmppaddr:a@b") == Identification(ids.DER_ASN1_GN, expected)


@pytest.mark.parametrize("text", ["@#0g", "keyid:#xy", "asn1dn:#3 z", "{11}:#-1"])
def test_bad_hexadecimal_digits_are_refused(text):
    with pytest.raises(ValueError, match="hexadecimal"):
        parse(text)


SHOWN = [
    ("%any", "%any"),
    ("10.0.0.1", "10.0.0.1"),
    ("ipv4:10.0.0.1", "49.48.46.48"),
    ("ipv4:#01", "(invalid ID_IPV4_ADDR #01)"),
    ("10.1.0.0/16", "10.1.0.0/16"),
    ("10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
    ("FEC0:0::1", "fec0::1"),
    ("fe80::/10", "fe80::/10"),
    ("@moon.example.org", "moon.example.org"),
    ("carol@example.org", "carol@example.org"),
    ("c=ch,o=X Y ,cn=foo", "C=ch, O=X Y, CN=foo"),
    ("/C=CH/O=a, b/CN=x", "C=CH, O=a, b, CN=x"),
    ("emailAddress=a@b", "E=a@b"),
    ("@#0102", "01:02"),
    ("@#6d6f6f6e", "moon"),
    ("keyid:0123456789abcdefghij", "30:31:32:33:34:35:36:37:38:39:61:62:63:64:65:66:67:68:69:6a"),
    ("asn1dn:#30", "(invalid name #30)"),
    ("asn1gn:#8200", "(ASN.1 general name)"),
    ("{13}:", "ID_NULL"),
    ("fqdn:#6d6f6f6e00", "moon?"),
    ("{12}:abc", "abc"),
    ("{77}:#ff", "ff"),
]


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_display(text, shown):
    assert str(parse(text)) == shown


@pytest.mark.parametrize("text", ["10.0.0.1", "@moon", "C=CH, O=T, CN=x", "carol@example.org"])
def test_what_is_shown_can_be_read_again(text):
    assert parse(str(parse(text))).matches(parse(text)) == 20


MATCHES = [
    ("moon.example.org", "moon.example.org", 20),
    ("MOON.Example.org", "moon.example.ORG", 20),
    ("moon.example.org", "*.example.org", 19),
    ("a.b.example.org", "*.EXAMPLE.org", 19),
    ("m.example.org", "*.example.org", 19),
    ("example.org", "*.example.org", 0),
    (".example.org", "*.example.org", 0),
    ("moon.example.com", "*.example.org", 0),
    ("moon.example.org", "sun.example.org", 0),
    ("moon.example.org", "rfc822:moon.example.org", 0),
    ("moon.example.org", "keyid:moon.example.org", 0),
    ("fqdn:*.example.org", "moon.example.org", 0),
    ("fqdn:*.example.org", "*.example.org", 20),
    ("moon", "fqdn:*", 19),
    ("carol@example.org", "*@example.org", 19),
    ("Carol@Example.org", "carol@example.org", 20),
    ("carol@sub.example.org", "*@example.org", 0),
    ("moon.example.org", "%any", 1),
    ("C=CH, CN=x", "%any", 1),
    ("%any", "%any", 1),
    ("%any", "moon", 0),
    ("10.0.0.1", "10.0.0.1", 20),
    ("10.0.0.1", "10.0.0.2", 0),
    ("10.0.0.1", "fqdn:10.0.0.1", 0),
    ("10.0.0.1", "ipv4:10.0.0.1", 0),
    ("10.1.2.3", "10.0.0.0/8", 2),
    ("11.1.2.3", "10.0.0.0/8", 0),
    ("10.0.0.5", "10.0.0.1-10.0.0.9", 2),
    ("10.0.0.1", "10.0.0.1-10.0.0.9", 2),
    ("10.0.0.9", "10.0.0.1-10.0.0.9", 2),
    ("10.0.0.10", "10.0.0.1-10.0.0.9", 0),
    ("fec0::5", "fec0::/16", 2),
    ("10.0.0.5", "fec0::/16", 0),
    ("10.0.0.5", "ipv4net:#00", 0),
    ("fqdn:10.0.0.5", "10.0.0.0/8", 0),
    ("@#0102", "@#0102", 20),
    ("@#0102", "@#0103", 0),
    ("C=CH, O=Test, CN=x", "C=CH, O=Test, CN=x", 20),
    ("C=CH, O=test, CN=X", "c=ch, o=Test, cn=x", 20),
    ("C=CH, O=Test, CN=x", "C=CH, O=Test, CN=*", 19),
    ("C=CH, O=Test, CN=x", "C=CH, O=*, CN=*", 18),
    ("C=CH, O=Test, CN=x", "C=*, O=*, CN=*", 17),
    ("C=CH, O=Test, CN=x", "O=Test, C=CH, CN=x", 0),
    ("C=CH, O=Test, CN=x", "C=CH, O=Test", 0),
    ("C=CH, O=Test", "C=CH, O=Test, CN=*", 0),
    ("C=CH, O=Test, CN=x", "C=CH, O=Test, OU=*", 0),
    ("C=CH, O=Test, CN=*", "C=CH, O=Test, CN=x", 0),
    ("C=CH, O=Test, CN=*", "C=CH, O=Test, CN=*", 20),
    ("C=CH, O=Test, CN=moon", "C=CH, O=Test, CN=*oon", 0),
    ("CN=a@b", "E=a@b", 0),
    ("asn1dn:#30", "CN=x", 0),
    ("asn1dn:#30", "asn1dn:#30", 20),
]


@pytest.mark.parametrize(("received", "configured", "score"), MATCHES)
def test_scores(received, configured, score):
    assert parse(received).matches(parse(configured)) == score


def test_twenty_wildcards_still_match():
    received = ", ".join(f"OU={n}" for n in range(20))
    configured = ", ".join("OU=*" for n in range(20))
    assert parse(received).matches(parse(configured)) == 2


def test_string_types_of_names_do_not_matter_for_printable_values():
    printable = Identification.from_dn(bytes.fromhex("300c310a300806035504031301" + "78"))
    utf8 = Identification.from_dn(bytes.fromhex("300c310a300806035504030c01" + "58"))
    assert printable.matches(utf8) == 20
    assert printable != utf8


def test_string_types_of_names_do_matter_otherwise():
    utf8 = Identification.from_dn(bytes.fromhex("300d310b300906035504030c02" + "c3bc"))
    teletex = Identification.from_dn(bytes.fromhex("300d310b3009060355040314" + "02c3bc"))
    assert utf8.matches(teletex) == 0
    assert utf8.matches(utf8) == 20


class TestHardening:
    """Class 8: identities are not to be confused by NUL bytes, case, wildcards."""

    def test_a_name_with_a_terminator_does_not_borrow_a_suffix(self):
        evil = Identification(ids.FQDN, b"evil.com\0.example.org")
        assert evil.matches(parse("*.example.org")) == 0

    @pytest.mark.parametrize("octet", [0, 10, 13, 27, 127])
    @pytest.mark.parametrize("id_type", [IdType.FQDN, IdType.RFC822_ADDR])
    def test_control_characters_are_refused_from_peers(self, id_type, octet):
        with pytest.raises(ParseError, match="control"):
            Identification.from_wire(id_type, b"moon" + bytes([octet]) + b".example.org")

    def test_the_reserved_type_cannot_become_anybody(self):
        with pytest.raises(ParseError, match="reserved"):
            Identification.from_wire(0, b"")

    @pytest.mark.parametrize(("id_type", "length"), [(IdType.IPV4_ADDR, 4), (IdType.IPV6_ADDR, 16)])
    def test_addresses_have_one_length(self, id_type, length):
        for size in {0, 1, length - 1, length + 1, 2 * length}:
            with pytest.raises(ParseError, match="octets"):
                Identification.from_wire(id_type, bytes(size))
        assert Identification.from_wire(id_type, bytes(length)).address

    def test_endless_identities_are_refused(self):
        with pytest.raises(ParseError, match="at most"):
            Identification.from_wire(IdType.KEY_ID, bytes(ids.MAX_LENGTH + 1))

    def test_a_wildcard_of_a_peer_is_a_literal_star(self):
        sent = Identification.from_wire(IdType.FQDN, b"*.example.org")
        assert sent.matches(parse("moon.example.org")) == 0


def test_names_that_match_have_the_same_key():
    assert parse("CN=Moon, C=CH").match_key == parse("cn=mooN, c=ch").match_key
    assert parse("CN=moon").match_key != parse("CN=sun").match_key
    assert parse("asn1dn:#30").match_key != parse("asn1dn:#31").match_key


def test_patterns_are_told_from_single_identities():
    patterns = ["%any", "*.example.org", "*@x", "CN=*", "10.0.0.0/8", "::1-::2", "{4}:"]
    singles = ["10.0.0.1", "moon", "a*.example.org", "CN=**", "@#2a", "asn1dn:#30", "{13}:"]
    assert [text for text in patterns + singles if parse(text).is_pattern] == patterns


def test_addresses_become_identities():
    assert Identification.from_address("10.0.0.1") == parse("10.0.0.1")
    assert Identification.from_address("fe80::1%eth0") == parse("fe80::1")
    assert Identification.from_address("10.0.0.1").address == "10.0.0.1"
    for text in ("moon", "10.0.0.0/8", "ipv4:#01", "keyid:#01020304"):
        assert parse(text).address is None
    with pytest.raises(ValueError, match="moon"):
        Identification.from_address("moon")


def test_repr_names_type_and_value():
    assert repr(parse("@moon")) == "Identification(ID_FQDN, 'moon')"
    assert repr(parse("{77}:#ff")) == "Identification(ID_77, 'ff')"


def test_any_is_one_object():
    assert Identification.any() is parse("%any")
    assert Identification.any().is_any


NAMES = st.sampled_from(["CN=x", "cn=X", "C=CH, CN=x", "CN=*", "C=*, CN=*", "C=CH", "O=a,OU=b"])
TEXTS = st.one_of(st.text(max_size=40), NAMES, st.sampled_from([row[0] for row in TYPED]))


@given(TEXTS)
def test_any_text_is_an_identity_or_a_value_error(text):
    try:
        identity = parse(text)
    except ValueError:
        return
    assert str(identity) or identity.data == b"" or identity.id_type == ids.DER_ASN1_DN
    assert identity.matches(identity) == (1 if identity.is_any else 20)


@given(TEXTS, TEXTS)
def test_a_perfect_match_means_the_same_key_in_an_index(one, other):
    try:
        first, second = parse(one), parse(other)
    except ValueError:
        return
    if first.is_any or second.is_any:
        return
    assert (first.matches(second) == 20) == (first.match_key == second.match_key)


@given(st.integers(0, 300), st.binary(max_size=64))
def test_peers_can_only_cause_parse_errors(id_type, data):
    try:
        identity = Identification.from_wire(id_type, data)
    except ParseError:
        return
    assert isinstance(str(identity), str)
    assert identity.matches(Identification.any()) == 1
    assert identity.matches(identity) == 20
    hash(identity.match_key)
    assert not identity.is_any
