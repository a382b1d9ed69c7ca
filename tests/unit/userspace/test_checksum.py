from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.userspace.checksum import checksum, ones_sum, pseudo_header_sum
from tests.unit.userspace.factories import words_sum


def test_the_example_of_rfc_1071() -> None:
    assert ones_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0), (b"\0" * 7, 0), (b"\xff\xff", 0xFFFF), (b"\xff", 0xFF00), (b"\xff\xfe\0\1", 0xFFFF)],
)
def test_zero_and_its_other_form(data: bytes, expected: int) -> None:
    assert ones_sum(data) == expected


@given(st.binary(max_size=300), st.integers(0, 0xFFFFF))
def test_sum_is_that_of_the_words(data: bytes, start: int) -> None:
    front = bytes([start >> 24 & 255, start >> 16 & 255, start >> 8 & 255, start & 255])
    assert ones_sum(data, start) == words_sum(front + data)


@given(st.binary(min_size=2, max_size=100))
def test_data_with_its_checksum_sums_up_to_ones(data: bytes) -> None:
    even = data[: len(data) & ~1]
    assert words_sum(even + checksum(even).to_bytes(2, "big")) == 0xFFFF


def test_pseudo_header_has_addresses_protocol_and_length() -> None:
    addresses = bytes([10, 1, 0, 1, 10, 2, 0, 1])
    assert pseudo_header_sum(addresses, 6, 1000) == words_sum(addresses + b"\0\6\3\xe8")
