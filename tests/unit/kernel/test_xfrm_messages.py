"""XFRM messages against octets derived by hand from <linux/xfrm.h>, 64-bit, little endian."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.xfrm import constants, messages, structs

if TYPE_CHECKING:
    from charon_core.kernel.xfrm.structure import Structure

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="octets are little endian")

HEADER = 16


def octets(text: str) -> bytes:
    """Octets from hexadecimal lines; what follows # is a comment; ``00*12`` is twelve zeros."""
    result = bytearray()
    for line in text.splitlines():
        for word in line.partition("#")[0].split():
            digits, _, times = word.partition("*")
            result += bytes.fromhex(digits) * int(times or 1)
    return bytes(result)


IPV4_SELECTOR = octets("""
    0a020000 00*12            # daddr 10.2.0.0
    0a010000 00*12            # saddr 10.1.0.0
    0050 ffff                 # dport 80, mask
    0000 0000                 # sport, mask
    0200                      # family AF_INET
    10 18                     # prefixlen_d 16, prefixlen_s 24
    06 00*3                   # proto TCP, padding
    00000000                  # ifindex
    00000000                  # user
""")
IPV4_SELECTOR_VALUE = {
    "daddr": "10.2.0.0",
    "saddr": "10.1.0.0",
    "dport": 80,
    "dport_mask": 0xFFFF,
    "family": socket.AF_INET,
    "prefixlen_d": 16,
    "prefixlen_s": 24,
    "proto": 6,
}
IPV6_SELECTOR = octets("""
    20010db8 00*11 02         # daddr 2001:db8::2
    20010db8 00*11 01         # saddr 2001:db8::1
    0000 0000 0000 0000       # ports
    0a00                      # family AF_INET6
    80 40                     # prefixlen_d 128, prefixlen_s 64
    00 00*3                   # proto, padding
    03000000                  # ifindex
    e8030000                  # user
""")
IPV6_SELECTOR_VALUE = {
    "daddr": "2001:db8::2",
    "saddr": "2001:db8::1",
    "family": socket.AF_INET6,
    "prefixlen_d": 128,
    "prefixlen_s": 64,
    "ifindex": 3,
    "user": 1000,
}
LIFETIME = octets("""
    ffffffffffffffff          # soft bytes: no limit
    0010000000000000          # hard bytes 4096
    ffffffffffffffff          # soft packets
    ffffffffffffffff          # hard packets
    0a00000000000000          # soft seconds 10
    1400000000000000          # hard seconds 20
    0000000000000000          # soft seconds since use
    0000000000000000          # hard seconds since use
""")
LIFETIME_VALUE = {
    "soft_byte_limit": constants.XFRM_INF,
    "hard_byte_limit": 4096,
    "soft_packet_limit": constants.XFRM_INF,
    "hard_packet_limit": constants.XFRM_INF,
    "soft_add_expires_seconds": 10,
    "hard_add_expires_seconds": 20,
}
SA = (
    IPV4_SELECTOR
    + octets("""
    c0000202 00*12            # id.daddr 192.0.2.2
    c1234567 32 00*3          # id.spi, id.proto ESP, padding
    c0000201 00*12            # saddr 192.0.2.1
""")
    + LIFETIME
    + octets("""
    6400000000000000          # curlft.bytes 100
    0200000000000000          # curlft.packets 2
    00ca9a3b00000000          # curlft.add_time 1000000000
    01ca9a3b00000000          # curlft.use_time
    04000000 05000000 06000000  # stats
    07000000                  # seq
    2a000000                  # reqid 42
    0200                      # family
    01 20 a0 00*7             # mode tunnel, replay_window 32, flags ESN + AF_UNSPEC, padding
""")
)
SA_VALUE: dict[str, Any] = {
    "sel": IPV4_SELECTOR_VALUE,
    "id": {"daddr": "192.0.2.2", "spi": 0xC1234567, "proto": 50},
    "saddr": "192.0.2.1",
    "lft": LIFETIME_VALUE,
    "curlft": {"bytes": 100, "packets": 2, "add_time": 10**9, "use_time": 10**9 + 1},
    "stats": {"replay_window": 4, "replay": 5, "integrity_failed": 6},
    "seq": 7,
    "reqid": 42,
    "family": socket.AF_INET,
    "mode": constants.XFRM_MODE_TUNNEL,
    "replay_window": 32,
    "flags": constants.XFRM_STATE_ESN | constants.XFRM_STATE_AF_UNSPEC,
}
POLICY = (
    IPV6_SELECTOR
    + LIFETIME
    + octets("""
    00*32                     # curlft
    39300000                  # priority 12345
    08000000                  # index
    01 00 02 00 00*4          # dir out, action allow, flags ICMP, share any, padding
""")
)
POLICY_VALUE = {
    "sel": IPV6_SELECTOR_VALUE,
    "lft": LIFETIME_VALUE,
    "priority": 12345,
    "index": 8,
    "dir": 1,
    "flags": 2,
}
SA_ID = octets("""
    20010db8 00*11 02         # daddr
    c1234567                  # spi
    0a00 32 00                # family, proto, padding
""")
SA_ID_VALUE = {
    "daddr": "2001:db8::2",
    "spi": 0xC1234567,
    "family": socket.AF_INET6,
    "proto": 50,
}

MESSAGES: list[tuple[str, dict[str, Any], bytes]] = [
    ("usersa_info", SA_VALUE, SA),
    ("userspi_info", {"info": SA_VALUE, "min": 256, "max": 512}, SA + octets("00010000 00020000")),
    ("usersa_id", SA_ID_VALUE, SA_ID),
    ("usersa_flush", {"proto": 50}, octets("32 00*3")),
    ("userpolicy_info", POLICY_VALUE, POLICY),
    (
        "userpolicy_id",
        {"sel": IPV4_SELECTOR_VALUE, "index": 3, "dir": 2},
        IPV4_SELECTOR + octets("03000000 02 00*3"),
    ),
    ("userpolicy_flush", {}, b""),
    (
        "user_acquire",
        {
            "id": {"daddr": "2001:db8::9", "spi": 0, "proto": 50},
            "saddr": "2001:db8::8",
            "sel": IPV6_SELECTOR_VALUE,
            "policy": POLICY_VALUE,
            "aalgos": 0xFFFFFFFF,
            "ealgos": 1,
            "calgos": 2,
            "seq": 9,
        },
        octets("20010db8 00*11 09 00000000 32 00*3 20010db8 00*11 08")
        + IPV6_SELECTOR
        + POLICY
        + octets("ffffffff 01000000 02000000 09000000"),
    ),
    ("user_expire", {"state": SA_VALUE, "hard": 1}, SA + octets("01 00*7")),
    ("user_polexpire", {"pol": POLICY_VALUE, "hard": 1}, POLICY + octets("01 00*7")),
    (
        "user_mapping",
        {
            "id": SA_ID_VALUE,
            "reqid": 5,
            "old_saddr": "2001:db8::5",
            "new_saddr": "2001:db8::6",
            "old_sport": 4500,
            "new_sport": 1025,
        },
        SA_ID + octets("05000000 20010db8 00*11 05 20010db8 00*11 06 1194 0401"),
    ),
    (
        "aevent_id",
        {"sa_id": SA_ID_VALUE, "saddr": "2001:db8::7", "flags": 6, "reqid": 5},
        SA_ID + octets("20010db8 00*11 07 06000000 05000000"),
    ),
    (
        "user_report",
        {"proto": 50, "sel": IPV4_SELECTOR_VALUE},
        octets("32 00*3") + IPV4_SELECTOR,
    ),
]
BY_NAME = pytest.mark.parametrize(
    ("name", "value", "expected"), MESSAGES, ids=[name for name, _, _ in MESSAGES]
)


@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (structs.Selector, 56),
        (structs.Id, 24),
        (structs.LifetimeConfig, 64),
        (structs.LifetimeCurrent, 32),
        (structs.Stats, 12),
        (structs.SaInfo, 224),
        (structs.SaIdentity, 24),
        (structs.SpiInfo, 232),
        (structs.PolicyInfo, 168),
        (structs.PolicyId, 64),
        (structs.Acquire, 280),
        (structs.Expire, 232),
        (structs.PolicyExpire, 176),
        (structs.NatMapping, 64),
        (structs.AsyncEvent, 48),
        (structs.Report, 60),
        (structs.Template, 64),
        (structs.EncapTemplate, 24),
        (structs.ReplayState, 12),
        (structs.ReplayStateEsn, 24),
        (structs.Mark, 8),
        (structs.Algorithm, 68),
        (structs.AuthAlgorithm, 72),
        (structs.AeadAlgorithm, 72),
        (structs.PolicyType, 6),
        (structs.AddressFilter, 36),
        (structs.Flush, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_structures_have_the_size_that_c_gives_them(structure: type[Structure], size: int) -> None:
    assert structure.size == size
    assert len(structure.pack({})) == size


@BY_NAME
def test_message_encodes_to_the_octets_of_the_header(
    name: str, value: dict[str, Any], expected: bytes
) -> None:
    message = getattr(messages, name)()
    message.update(value)
    message["header"].update(type=0x10, flags=5, sequence_number=77)
    message.encode()
    assert struct.unpack_from("=IHHII", message.data) == (HEADER + len(expected), 0x10, 5, 77, 0)
    assert bytes(message.data[HEADER:]) == expected


def decoded(name: str, body: bytes) -> Any:
    header = struct.pack("=IHHII", HEADER + len(body), 0x10, 0, 1, 0)
    message = getattr(messages, name)(header + body)
    message.decode()
    return message


def assert_contains(actual: Any, expected: Any) -> None:
    """Whatever is in ``expected`` is in ``actual``, which may have more."""
    if isinstance(expected, dict):
        for key in expected:
            assert_contains(actual[key], expected[key])
    else:
        assert actual == expected


@BY_NAME
def test_message_decodes_to_what_was_encoded(
    name: str, value: dict[str, Any], expected: bytes
) -> None:
    assert_contains(decoded(name, expected), value)


@BY_NAME
def test_truncated_message_is_refused(name: str, value: dict[str, Any], expected: bytes) -> None:
    size = getattr(messages, name).structure.size
    for length in range(size):
        with pytest.raises(struct.error):
            decoded(name, expected[:length])


def test_every_message_type_of_the_kernel_has_its_class() -> None:
    for number, message_class in messages.MESSAGE_CLASSES.items():
        assert 0x10 <= number <= 0x26
        assert issubclass(message_class, messages.xfrm_message)


ALGORITHM_NAME = {
    name: octets(name.encode().hex()) + bytes(64 - len(name))
    for name in ("rfc4106(gcm(aes))", "cbc(aes)", "hmac(sha256)")
}

ATTRIBUTES: list[tuple[str, int, Any, bytes]] = [
    (
        "XFRMA_ALG_CRYPT",
        2,
        {"alg_name": "cbc(aes)", "alg_key_len": 32, "alg_key": b"\1\2\3\4"},
        ALGORITHM_NAME["cbc(aes)"] + octets("20000000 01020304"),
    ),
    (
        "XFRMA_ALG_AUTH_TRUNC",
        20,
        {"alg_name": "hmac(sha256)", "alg_key_len": 24, "alg_trunc_len": 128, "alg_key": b"abc"},
        ALGORITHM_NAME["hmac(sha256)"] + octets("18000000 80000000 616263"),
    ),
    (
        "XFRMA_ALG_AEAD",
        18,
        {"alg_name": "rfc4106(gcm(aes))", "alg_key_len": 16, "alg_icv_len": 96, "alg_key": b"xy"},
        ALGORITHM_NAME["rfc4106(gcm(aes))"] + octets("10000000 60000000 7879"),
    ),
    (
        "XFRMA_ENCAP",
        4,
        {"encap_type": 2, "encap_sport": 4500, "encap_dport": 40000, "encap_oa": bytes(16)},
        octets("0200 1194 9c40 0000 00*16"),
    ),
    (
        "XFRMA_TMPL",
        5,
        [
            {
                "id": {"daddr": "192.0.2.2", "spi": 0, "proto": 50},
                "family": socket.AF_INET,
                "saddr": "192.0.2.1",
                "reqid": 42,
                "mode": 1,
                "share": 0,
                "optional": 0,
                "aalgos": 0xFFFFFFFF,
                "ealgos": 0xFFFFFFFF,
                "calgos": 0xFFFFFFFF,
            }
        ],
        octets("""
            c0000202 00*12 00000000 32 00*3  # id
            0200 0000                        # family, padding
            c0000201 00*12                   # saddr
            2a000000 01 00 00 00             # reqid, mode, share, optional, padding
            ffffffff ffffffff ffffffff
        """),
    ),
    (
        "XFRMA_LTIME_VAL",
        9,
        {"bytes": 1, "packets": 2, "add_time": 3, "use_time": 4},
        octets("01 00*7 02 00*7 03 00*7 04 00*7"),
    ),
    (
        "XFRMA_REPLAY_VAL",
        10,
        {"oseq": 1, "seq": 2, "bitmap": 3},
        octets("01000000 02000000 03000000"),
    ),
    (
        "XFRMA_REPLAY_ESN_VAL",
        23,
        {
            "bmp_len": 2,
            "oseq": 1,
            "seq": 2,
            "oseq_hi": 3,
            "seq_hi": 4,
            "replay_window": 64,
            "bmp": [0x80000001, 0],
        },
        octets("02000000 01000000 02000000 03000000 04000000 40000000 01000080 00000000"),
    ),
    ("XFRMA_MARK", 21, {"v": 0x2A, "m": 0xFF}, octets("2a000000 ff000000")),
    ("XFRMA_TFCPAD", 22, 1000, octets("e8030000")),
    ("XFRMA_SA_EXTRA_FLAGS", 24, 1, octets("01000000")),
    ("XFRMA_SET_MARK", 29, 0x10, octets("10000000")),
    ("XFRMA_SET_MARK_MASK", 30, 0xF0, octets("f0000000")),
    ("XFRMA_IF_ID", 31, 7, octets("07000000")),
    ("XFRMA_MTIMER_THRESH", 32, 7, octets("07000000")),
    ("XFRMA_LASTUSED", 15, 0x1122334455, octets("5544332211 00*3")),
    ("XFRMA_PROTO", 25, 50, octets("32")),
    ("XFRMA_POLICY_TYPE", 16, {"type": 1, "reserved1": 0, "reserved2": 0}, octets("01 00*5")),
    ("XFRMA_SRCADDR", 13, socket.inet_pton(socket.AF_INET6, "::1"), octets("00*15 01")),
    (
        "XFRMA_ADDRESS_FILTER",
        26,
        {"saddr": bytes(16), "daddr": bytes(16), "family": 2, "splen": 8, "dplen": 9},
        octets("00*32 0200 08 09"),
    ),
]
BY_ATTRIBUTE = pytest.mark.parametrize(
    ("name", "number", "value", "expected"), ATTRIBUTES, ids=[row[0] for row in ATTRIBUTES]
)


@BY_ATTRIBUTE
def test_attribute_encodes(name: str, number: int, value: Any, expected: bytes) -> None:
    message = messages.usersa_flush()
    # The second attribute shows that the padding of the first is right.
    message["attrs"] = [(name, value), ("XFRMA_IF_ID", 9)]
    message.encode()
    length = 4 + len(expected)
    assert bytes(message.data[HEADER + 4 :]) == (
        struct.pack("=HH", length, number) + expected + bytes(-length % 4)
    ) + octets("0800 1f00 09000000")
    assert struct.unpack_from("=I", message.data) == (len(message.data),)


@BY_ATTRIBUTE
def test_attribute_decodes(name: str, number: int, value: Any, expected: bytes) -> None:
    length = 4 + len(expected)
    body = bytes(4) + struct.pack("=HH", length, number) + expected + bytes(-length % 4)
    message = decoded("usersa_flush", body + octets("0800 1f00 09000000"))
    assert message.get_attr(name) == value
    assert message.get_attrs("XFRMA_IF_ID")[-1] == 9


def test_several_templates() -> None:
    one = ATTRIBUTES[4][2][0]
    two = {**one, "saddr": "2001:db8::1", "family": socket.AF_INET6}
    two["id"] = {"daddr": "2001:db8::2", "spi": 0, "proto": 51}
    message = messages.userpolicy_info()
    message["attrs"] = [("XFRMA_TMPL", [one, two])]
    again = decoded("userpolicy_info", messages.encode_body(message))
    assert again.get_attr("XFRMA_TMPL") == [one, two]


def test_unknown_attributes_of_newer_kernels_are_skipped() -> None:
    body = bytes(4) + octets("0800 7700 01020304") + octets("0800 1f00 09000000")
    assert decoded("usersa_flush", body).get_attr("XFRMA_IF_ID") == 9


def test_keys_are_in_no_repr() -> None:
    message = decoded("usersa_info", SA + struct.pack("=HH", 76, 2) + ATTRIBUTES[0][3])
    assert message.get_attr("XFRMA_ALG_CRYPT")["alg_key"] == b"\1\2\3\4"
    for text in (repr(message), str(message), repr(message.get_attr("XFRMA_ALG_CRYPT"))):
        assert "cbc(aes)" in text
        assert "\\x01\\x02" not in text
        assert "01020304" not in text


@given(st.binary(max_size=600), st.sampled_from([name for name, _, _ in MESSAGES]))
def test_random_octets_raise_nothing_else_than_struct_error(body: bytes, name: str) -> None:
    try:
        message = decoded(name, body)
        for attribute in message["attrs"]:
            repr(attribute)
    except struct.error:
        pass
