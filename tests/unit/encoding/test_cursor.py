from __future__ import annotations

from struct import Struct

import pytest

from charon_core.encoding.cursor import Cursor
from charon_core.encoding.errors import IntegrityError, ParseError
from charon_core.encoding.registry import NotifyType

OCTETS = bytes(range(1, 17))


def test_reads_network_byte_order_in_sequence():
    cursor = Cursor(OCTETS)
    assert cursor.u8() == 0x01
    assert cursor.u16() == 0x0203
    assert cursor.u32() == 0x04050607
    assert cursor.u64() == 0x08090A0B0C0D0E0F
    assert (cursor.remaining, cursor.offset) == (1, 15)
    assert cursor.rest() == b"\x10"
    assert cursor.rest() == b""
    cursor.expect_end()


def test_takes_skips_and_unpacks():
    cursor = Cursor(OCTETS)
    cursor.skip(2)
    assert cursor.take(3) == b"\x03\x04\x05"
    assert cursor.take(0) == b""
    assert cursor.unpack(Struct("!BH")) == (0x06, 0x0708)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("u8", ()),
        ("u16", ()),
        ("u32", ()),
        ("u64", ()),
        ("take", (1,)),
        ("skip", (1,)),
        ("unpack", (Struct("!B"),)),
    ],
)
def test_nothing_can_be_read_behind_the_end_and_nothing_is_consumed(method, arguments):
    cursor = Cursor(b"", "SA")
    with pytest.raises(ParseError) as caught:
        getattr(cursor, method)(*arguments)
    assert caught.value.payload == "SA"
    assert cursor.offset == 0


@pytest.mark.parametrize("method", ["take", "skip"])
def test_a_negative_length_is_refused(method):
    cursor = Cursor(OCTETS)
    cursor.skip(8)
    with pytest.raises(ParseError, match="shorter than its own header"):
        getattr(cursor, method)(-4)
    assert cursor.offset == 8


def test_restriction_confines_and_then_releases():
    cursor = Cursor(OCTETS)
    cursor.skip(1)
    with cursor.restrict(4) as inner:
        assert inner is cursor
        assert cursor.remaining == 4
        assert cursor.rest() == OCTETS[1:5]
    assert cursor.remaining == 11


def test_restrictions_nest():
    cursor = Cursor(OCTETS)
    with cursor.restrict(8):
        with cursor.restrict(2):
            cursor.skip(2)
        assert cursor.remaining == 6
        cursor.skip(6)
    assert cursor.remaining == 8


def test_restriction_must_be_consumed_exactly():
    cursor = Cursor(OCTETS)
    with pytest.raises(ParseError, match="1 octets behind the last field"), cursor.restrict(4):
        cursor.skip(3)


def test_restriction_cannot_be_left_by_reading():
    cursor = Cursor(OCTETS)
    with pytest.raises(ParseError, match="expected 5 octets, only 4"), cursor.restrict(4):
        cursor.take(5)


@pytest.mark.parametrize("length", [17, -1, -4])
def test_restriction_cannot_begin_with_a_wrong_length(length):
    cursor = Cursor(OCTETS)
    with pytest.raises(ParseError), cursor.restrict(length):
        pytest.fail("the block must not be entered")


def test_inner_restriction_cannot_be_wider_than_the_outer_one():
    cursor = Cursor(OCTETS)
    with pytest.raises(ParseError), cursor.restrict(4), cursor.restrict(5):
        pytest.fail("the block must not be entered")


def test_restriction_keeps_the_error_of_its_block():
    cursor = Cursor(OCTETS)
    with pytest.raises(KeyError), cursor.restrict(4):
        raise KeyError
    assert cursor.remaining == 16


def test_checked_turns_value_errors_into_parse_errors():
    cursor = Cursor(OCTETS, "IDi")
    cursor.skip(3)
    assert cursor.checked(int, "12") == 12
    with pytest.raises(ParseError, match="IDi, octet 3: invalid literal"):
        cursor.checked(int, "twelve")


def test_error_says_where_what_and_how_to_answer():
    error = ParseError("SA", 12, "expected 1, came 2", NotifyType.INVALID_MAJOR_VERSION, b"\x02")
    assert str(error) == "SA, octet 12: expected 1, came 2 (INVALID_MAJOR_VERSION)"
    assert error.notify_data == b"\x02"
    assert error.answerable


def test_invalid_syntax_and_integrity_errors_are_not_answered_by_default():
    assert not ParseError("SA", 0, "reason").answerable
    assert not IntegrityError("SK", 0, "reason").answerable
    assert str(ParseError("", 4, "reason")) == "octet 4: reason"


LENGTH_LAST = Struct("!BB")


def test_begin_reads_a_header_and_confines_to_its_item():
    cursor = Cursor(b"\x07\x04ab\x08\x02tail")
    end = cursor.end
    assert cursor.begin(LENGTH_LAST) == (7, 4)
    assert cursor.rest() == b"ab"
    cursor.widen(end)
    assert cursor.begin(LENGTH_LAST) == (8, 2)
    assert cursor.remaining == 0
    cursor.widen(end)
    assert cursor.rest() == b"tail"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "expected 2 octets, only 0 are left"),
        (b"\x07", "expected 2 octets, only 1 are left"),
        (b"\x07\x00", "2 octets shorter than its own header"),
        (b"\x07\x01ab", "1 octets shorter than its own header"),
        (b"\x07\x05ab", "expected 3 octets, only 2 are left"),
    ],
)
def test_begin_refuses_lengths_that_cannot_be(octets, reason):
    with pytest.raises(ParseError, match=reason):
        Cursor(octets).begin(LENGTH_LAST)


def test_widen_refuses_octets_left_behind():
    cursor = Cursor(b"\x07\x04ab")
    end = cursor.end
    cursor.begin(LENGTH_LAST)
    cursor.skip(1)
    with pytest.raises(ParseError, match="1 octets behind the last field"):
        cursor.widen(end)


def test_narrow_is_restrict_without_a_block():
    cursor = Cursor(OCTETS)
    end = cursor.narrow(4)
    assert cursor.rest() == OCTETS[:4]
    cursor.widen(end)
    assert cursor.remaining == 12
    with pytest.raises(ParseError):
        cursor.narrow(13)
