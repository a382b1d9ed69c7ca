"""Messages of nf_tables: byte for byte, and what the kernel answers."""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from charon_core.kernel.netlink import HEADER, Frame, Message, attribute
from charon_core.kernel.nftables import (
    Base,
    Element,
    Hook,
    Kind,
    MetaKey,
    Table,
    Verdict,
    batch,
    count,
    counted,
    equals,
    ipv6_fragment_offset,
    is_for_this_host,
    is_in,
    mask,
    meta,
    native,
    payload,
    rule_handle,
    source_is_behind_its_interface,
    table_of,
    verdict,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="octets are little-endian here")

INET = bytes.fromhex("01000000")
NAME = bytes.fromhex("06000100 7400 0000")  # NFTA_..._TABLE "t"
TABLE = Table("t")


def expression(name: str, data: str) -> bytes:
    """NFTA_LIST_ELEM { NAME, DATA }."""
    body = attribute(1, name.encode() + b"\0") + attribute(0x8002, bytes.fromhex(data))
    return attribute(0x8001, body)


# By linux/netfilter/nf_tables.h; tests/kernel/test_guard_table.py asks the kernel and `nft`.
EXPRESSIONS = {
    "meta iif": (
        meta(MetaKey.IIF),
        expression("meta", "08000100 00000008 08000200 00000004"),
    ),
    "payload": (
        payload(Base.TRANSPORT, 2, 2),
        expression(
            "payload", "08000100 00000008 08000200 00000002 08000300 00000002 08000400 00000002"
        ),
    ),
    "cmp": (
        equals(native(5)),
        expression("cmp", "08000100 00000008 08000200 00000000 0c000380 08000100 05000000"),
    ),
    "cmp, negated, padded": (
        equals(b"\1\2", negate=True),
        expression("cmp", "08000100 00000008 08000200 00000001 0c000380 06000100 01020000"),
    ),
    "range": (
        within(b"\x0a\0\0\0", b"\x0a\0\0\xff"),
        expression(
            "range",
            "08000100 00000008 08000200 00000000"
            "0c000380 08000100 0a000000 0c000480 08000100 0a0000ff",
        ),
    ),
    "bitwise": (
        mask(b"\x1f\xff"),
        expression(
            "bitwise",
            "08000100 00000008 08000200 00000008 08000300 00000002"
            "0c000480 06000100 1fff0000 0c000580 06000100 00000000",
        ),
    ),
    "lookup": (is_in("s"), expression("lookup", "06000100 73000000 08000200 00000008")),
    "exthdr": (
        ipv6_fragment_offset(),
        expression(
            "exthdr", "08000100 00000008 05000200 2c000000 08000300 00000002 08000400 00000002"
        ),
    ),
    "fib saddr . iif oif != 0": (
        source_is_behind_its_interface(),
        expression("fib", "08000100 00000008 08000200 00000001 08000300 00000009")
        + equals(bytes(4), negate=True),
    ),
    "fib daddr type local": (
        is_for_this_host(),
        expression("fib", "08000100 00000008 08000200 00000003 08000300 00000002")
        + equals(b"\2\0\0\0"),
    ),
    "counter": (count("c"), expression("objref", "08000100 00000001 06000200 63000000")),
    "drop": (
        verdict(Verdict.DROP),
        expression("immediate", "08000100 00000000 10000280 0c000280 08000100 00000000"),
    ),
    "jump": (
        verdict(Verdict.JUMP, "c"),
        expression(
            "immediate", "08000100 00000000 18000280 14000280 08000100 fffffffd 06000200 63000000"
        ),
    ),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions(name: str) -> None:
    made, wanted = EXPRESSIONS[name]
    assert made.hex() == wanted.hex()


MESSAGES: dict[str, tuple[Message, int, str, int]] = {
    "table": (TABLE.create(), 0x0A00, "08000200 00000000", 0x400),
    "no table": (TABLE.delete(), 0x0A02, "", 0),
    "chain": (TABLE.add_chain("c"), 0x0A03, "06000300 63000000", 0x400),
    "base chain": (
        TABLE.add_base_chain("c", Hook.POSTROUTING, -300),
        0x0A03,
        (
            "06000300 63000000 14000480 08000100 00000004 08000200 fffffed4"
            "08000500 00000001 0b000700 66696c74 65720000"
        ),
        0x400,
    ),
    "no rule": (
        TABLE.delete_rule("c", 0x102),
        0x0A08,
        "06000200 63000000 0c000300 00000000 00000102",
        0,
    ),
    "no rules": (TABLE.flush_chain("c"), 0x0A08, "06000200 63000000", 0),
    "set": (
        TABLE.add_set("s", 1, 13, 2),
        0x0A09,
        "06000200 73000000 08000300 00000000 08000400 0000000d 08000500 00000002 08000a00 00000001",
        0x400,
    ),
    "set of ranges": (
        TABLE.add_range_set("s", 2, 455, (4, 4)),
        0x0A09,
        (
            "06000200 73000000 08000300 00000084 08000400 000001c7 08000500 00000008"
            "20000980 1c000280 0c000180 08000100 00000004 0c000180 08000100 00000004"
            "08000a00 00000002"
        ),
        0x400,
    ),
    "value": (
        TABLE.add_value("s", b"\x11\x94"),
        0x0A0C,
        "06000200 73000000 14000380 10000180 0c000180 06000100 11940000",
        0x400,
    ),
    "element": (
        TABLE.add_element("s", Element((b"\1" * 4, b"\2" * 4), (b"\3" * 4, b"\4" * 4))),
        0x0A0C,
        (
            "06000200 73000000 28000380 24000180"
            "10000180 0c000100 01010101 02020202 10000a80 0c000100 03030303 04040404"
        ),
        0x600,
    ),
    "counter": (
        TABLE.add_counter("c"),
        0x0A12,
        (
            "06000200 63000000 08000300 00000001 1c000480"
            "0c000100 0000000000000000 0c000200 0000000000000000"
        ),
        0x400,
    ),
    "ask": (TABLE.get_counter("c"), 0x0A13, "06000200 63000000 08000300 00000001", 0),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    message, kind, body, flags = MESSAGES[name]
    assert message.type == kind
    assert message.body.hex() == (INET + NAME + bytes.fromhex(body)).hex()
    assert message.flags == flags


def test_rules() -> None:
    expressions = [meta(MetaKey.MARK), equals(native(220))]
    body = (
        INET + NAME + bytes.fromhex("06000200 63000000") + attribute(0x8004, b"".join(expressions))
    )
    assert TABLE.add_rule("c", expressions) == Message(0x0A06, body, 0xC00)
    assert TABLE.add_rule("c", expressions, first=True, echo=True) == Message(0x0A06, body, 0x408)


def test_a_batch_has_edges_and_one_acknowledgement() -> None:
    edge = bytes.fromhex("0000000a")
    assert batch([TABLE.create(), TABLE.delete()]) == [
        Message(0x10, edge),
        TABLE.create(),
        TABLE.delete()._replace(flags=4),
        Message(0x11, edge),
    ]


def frame(kind: Kind, body: bytes) -> Frame:
    return Frame(kind.type, 0, 1, 0, bytes(HEADER.size) + body)


def test_what_the_kernel_says() -> None:
    rule = INET + NAME + attribute(2, b"c\0") + attribute(3, struct.pack(">Q", 77))
    assert rule_handle(frame(Kind.NEWRULE, rule)) == 77
    assert rule_handle(frame(Kind.NEWTABLE, rule)) is None
    data = attribute(1, struct.pack(">Q", 1000)) + attribute(2, struct.pack(">Q", 10))
    counter = INET + NAME + attribute(0x8004, data)
    assert counted(frame(Kind.NEWOBJ, counter)) == 10
    assert counted(frame(Kind.NEWRULE, counter)) is None
    assert table_of(frame(Kind.DELTABLE, INET + NAME)) == "t"
    assert table_of(frame(Kind.DELTABLE, b"\2\0\0\0" + NAME)) is None  # of another family
    assert table_of(Frame(16, 0, 1, 0, bytes(40))) is None  # of rtnetlink


READERS: list[Callable[[Frame], object]] = [rule_handle, counted, table_of]


@pytest.mark.parametrize("read", READERS)
def test_what_is_cut_or_garbled_is_no_error(read: Callable[[Frame], object]) -> None:
    body = INET + NAME + attribute(3, bytes(8)) + attribute(4, attribute(2, bytes(8)))
    for kind in (Kind.NEWRULE, Kind.NEWOBJ):
        for length in range(len(body)):
            read(frame(kind, body[:length]))
        for _ in range(50):
            read(frame(kind, os.urandom(60)))
