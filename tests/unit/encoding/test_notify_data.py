from __future__ import annotations

import pytest

from charon_core.encoding import notify_data
from charon_core.encoding.errors import ParseError
from charon_core.encoding.notify_data import (
    AuthAnnouncement,
    IpcompSupported,
    MessageIdSync,
    PpkIdentity,
    Redirect,
    Ticket,
)
from charon_core.encoding.registry import AuthMethod, GatewayIdType, HashId, PpkIdType

VALUES = [
    (IpcompSupported(0x1234, 2), "1234 02"),
    (
        Redirect(GatewayIdType.IPV4_ADDRESS, bytes((192, 0, 2, 1)), b"\xaa" * 4),
        "0104c0000201aaaaaaaa",
    ),
    (Redirect(GatewayIdType.FQDN, b"gw"), "0302 6777"),
    (Ticket(3600, b"\x01\x02"), "00000e10 0102"),
    (MessageIdSync(b"nonc", 5, 7), "6e6f6e63 00000005 00000007"),
    (PpkIdentity(PpkIdType.PPK_ID_FIXED, b"key"), "02 6b6579"),
]


@pytest.mark.parametrize(("value", "octets"), VALUES, ids=lambda v: type(v).__name__)
def test_values_on_the_wire(value, octets):
    data = bytes.fromhex(octets)
    assert value.encode() == data
    assert type(value).parse(data) == value


@pytest.mark.parametrize(
    ("value", "shortest"),
    [(IpcompSupported(1, 1), 3), (Ticket(1, b""), 4), (MessageIdSync(b"nonc", 1, 1), 12)],
    ids=lambda v: type(v).__name__,
)
def test_truncation_at_every_length(value, shortest):
    data = value.encode()
    for length in range(shortest):
        with pytest.raises(ParseError):
            type(value).parse(data[:length])


@pytest.mark.parametrize(
    ("parse", "octets"),
    [
        (IpcompSupported.parse, "12340200"),
        (MessageIdSync.parse, "00" * 13),
        (Redirect.parse, "0105c00002010a"),
        (Redirect.parse, "0204c0000201"),
        (Redirect.parse, "0300"),
        (Redirect.parse, "03ff67"),
        (PpkIdentity.parse, "01"),
        (PpkIdentity.parse, ""),
    ],
)
def test_malformed_values(parse, octets):
    with pytest.raises(ParseError):
        parse(bytes.fromhex(octets))


def test_hash_algorithms():
    data = notify_data.encode_numbers([HashId.SHA2_256, HashId.IDENTITY])
    assert data == bytes.fromhex("00020005")
    assert notify_data.parse_numbers(data + b"\xff\xff", "HASH") == (2, 5, 0xFFFF)
    with pytest.raises(ParseError, match="HASH, octet 2"):
        notify_data.parse_numbers(b"\0\2\0", "HASH")
    with pytest.raises(ParseError, match="at most 64"):
        notify_data.parse_numbers(bytes(130), "HASH")


def test_single_numbers():
    assert notify_data.parse_number(b"\x00\x13", 2, "INVALID_KE_PAYLOAD") == 19
    for data in (b"", b"\x13", b"\0\0\x13"):
        with pytest.raises(ParseError, match="INVALID_KE_PAYLOAD"):
            notify_data.parse_number(data, 2, "INVALID_KE_PAYLOAD")


def test_supported_authentication_methods():
    announcements = (
        AuthAnnouncement(AuthMethod.SHARED_KEY_MIC),
        AuthAnnouncement(AuthMethod.RSA_DIGITAL_SIGNATURE, 2),
        AuthAnnouncement(AuthMethod.DIGITAL_SIGNATURE, 1, bytes.fromhex("300506032b6570")),
    )
    data = notify_data.encode_auth_methods(announcements)
    assert data == bytes.fromhex("0202 030102 0a0e01300506032b6570")
    assert notify_data.parse_auth_methods(data) == announcements
    with pytest.raises(ParseError, match="more than 64"):
        notify_data.parse_auth_methods(b"\x02\x02" * 65)
    with pytest.raises(ValueError, match="certificate link"):
        AuthAnnouncement(AuthMethod.DIGITAL_SIGNATURE, None, b"\x30")
