from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.userspace.replay import ReplayWindow

SPACE = 1 << 32


def window(size: int = 64, highest: int = 0, *, extended: bool = False) -> ReplayWindow:
    return ReplayWindow(size, extended=extended, highest=highest)


def feed(replay: ReplayWindow, number: int) -> bool:
    """Take a packet as an inbound SA does; return whether it was taken."""
    whole = replay.infer(number % SPACE)
    if not replay.is_fresh(whole):
        return False
    replay.accept(whole)
    return True


def test_a_number_is_taken_once() -> None:
    replay = window()
    assert [feed(replay, n) for n in (1, 2, 2, 1, 5, 4, 5, 4, 3)] == [
        True, True, False, False, True, True, False, False, True,
    ]  # fmt: skip


def test_zero_is_never_sent_and_never_taken() -> None:
    assert not feed(window(), 0)


@pytest.mark.parametrize("size", [1, 2, 32, 33, 64, 1000, 4096])
def test_the_window_has_exactly_its_size(size: int) -> None:
    replay = window(size)
    assert feed(replay, 10_000)
    assert not replay.is_fresh(10_000 - size)
    if size > 1:
        assert feed(replay, 10_000 - size + 1)
        assert not replay.is_fresh(10_000 - size + 1)


@pytest.mark.parametrize("jump", [63, 64, 65, 1_000_000])
def test_a_jump_forgets_what_is_out_of_the_window(jump: int) -> None:
    replay = window(64, highest=100)
    assert feed(replay, 101)
    assert feed(replay, 101 + jump)
    assert not replay.is_fresh(101)
    assert not replay.is_fresh(101 + jump)
    assert replay.is_fresh(101 + jump - 1) == (jump > 1)


def test_looking_a_number_up_changes_nothing() -> None:
    replay = window(32)
    for _ in range(3):
        assert replay.is_fresh(5)
    assert replay.highest == 0


def test_without_a_window_everything_is_taken() -> None:
    replay = window(0)
    assert [feed(replay, n) for n in (7, 7, 3, 100, 1)] == [True] * 5
    assert replay.highest == 100


@pytest.mark.parametrize("size", [0, 1, 5, 44, 45, 200])
@pytest.mark.parametrize("gap", [0, 1, 30, 500])
@pytest.mark.parametrize("count", [1, 44, 64])
def test_a_run_is_entered_like_its_numbers(size: int, gap: int, count: int) -> None:
    at_once, one_by_one = window(size), window(size)
    for replay in (at_once, one_by_one):
        for number in (1, 2, 4, 9):
            replay.accept(number)
    first = 10 + gap
    at_once.accept_run(first, count)
    for number in range(first, first + count):
        one_by_one.accept(number)
    assert at_once.highest == one_by_one.highest
    for number in range(first + count + 3):
        assert at_once.is_fresh(number) == one_by_one.is_fresh(number), number


class Sieve:
    """The replay window as RFC 4303 section 3.4.3 says it, with a set."""

    def __init__(self, size: int) -> None:
        self.size, self.seen = size, {0}

    def feed(self, number: int) -> bool:
        fresh = number not in self.seen and number > max(self.seen) - self.size
        if fresh:
            self.seen.add(number)
        return fresh


@given(st.integers(1, 100), st.lists(st.integers(1, 300), max_size=200))
def test_any_order_gives_what_the_rfc_says(size: int, numbers: list[int]) -> None:
    replay, sieve = window(size), Sieve(size)
    assert [feed(replay, n) for n in numbers] == [sieve.feed(n) for n in numbers]


# -- extended sequence numbers (RFC 4303 appendix A2.2) --


@pytest.mark.parametrize(
    ("highest", "low", "whole"),
    [
        (0, 1, 1),
        (0, 500, 500),
        (1000, 999, 999),
        (SPACE - 1, 0, SPACE),  # the wrap
        (SPACE - 1, 5, SPACE + 5),
        (SPACE - 10, SPACE - 12, SPACE - 12),
        (SPACE + 3, SPACE - 2, SPACE - 2),  # late, from before the wrap
        (SPACE + 3, 1, SPACE + 1),
        (SPACE + 63, 0, SPACE),
        (SPACE + 100, 36, 2 * SPACE + 36),  # just out of the window: taken for the next round
        (SPACE + 100, 37, SPACE + 37),
        (7 * SPACE + 2**31, 2**31 + 9, 7 * SPACE + 2**31 + 9),
        (7 * SPACE + 2**31, 2**31 - 64, 8 * SPACE + 2**31 - 64),
    ],
)
def test_high_bits_are_inferred(highest: int, low: int, whole: int) -> None:
    assert window(64, highest, extended=True).infer(low) == whole


def test_numbers_from_before_the_start_are_refused() -> None:
    replay = window(64, extended=True)
    whole = replay.infer(SPACE - 1)
    assert whole < 0
    assert not replay.is_fresh(whole)
    assert not window(0, extended=True).is_fresh(-1)


def test_without_esn_nothing_is_inferred() -> None:
    assert window(64, SPACE - 1).infer(3) == 3


@pytest.mark.parametrize("size", [0, 1, 64, 4096])
def test_a_stream_goes_through_the_wrap(size: int) -> None:
    replay = window(size, SPACE - 100, extended=True)
    for number in range(SPACE - 99, SPACE + 200):
        assert feed(replay, number)
        assert replay.highest == number


@given(
    st.integers(1, 4096),
    st.integers(0, 1 << 40),
    st.integers(-4095, 1 << 30),
)
def test_every_number_near_the_highest_is_found(size: int, highest: int, offset: int) -> None:
    number = highest + max(offset, 1 - size)
    if number > 0:
        assert window(size, highest, extended=True).infer(number % SPACE) == number
