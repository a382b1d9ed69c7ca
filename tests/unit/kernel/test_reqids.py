"""The same selectors and marks give the same reqid, as long as somebody holds it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.child import Mark
from charon_core.kernel.interface import REQID_LIMIT
from charon_core.kernel.reqids import ReqidAllocator
from tests.unit.kernel.factories import ts

HOME, AWAY, OTHER = ts("10.1.0.0/16"), ts("10.2.0.0/16"), ts("10.3.0.0/16")


def test_same_selectors_same_reqid_in_any_order() -> None:
    reqids = ReqidAllocator()
    first = reqids.acquire([HOME, OTHER], [AWAY])
    assert reqids.acquire([OTHER, HOME], [AWAY]) == first
    assert len(reqids) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"local_ts": [HOME]},
        {"remote_ts": [AWAY, OTHER]},
        {"local_ts": [AWAY], "remote_ts": [HOME, OTHER]},
        {"mark_in": Mark(1)},
        {"mark_out": Mark(1)},
        {"if_id": 1},
    ],
)
def test_anything_else_gives_another_reqid(changes: dict[str, Any]) -> None:
    reqids = ReqidAllocator()
    values: dict[str, Any] = {"local_ts": [HOME, OTHER], "remote_ts": [AWAY]}
    first = reqids.acquire(**values)
    assert reqids.acquire(**(values | changes)) != first


def test_number_is_free_after_the_last_release_only() -> None:
    reqids = ReqidAllocator()
    reqid = reqids.acquire([HOME], [AWAY])
    reqids.acquire([HOME], [AWAY])
    reqids.hold(reqid)
    for _ in range(2):
        reqids.release(reqid)
        assert reqids.acquire([HOME], [AWAY]) == reqid
        reqids.release(reqid)
    reqids.release(reqid)
    assert len(reqids) == 0
    with pytest.raises(KeyError):
        reqids.release(reqid)
    with pytest.raises(KeyError):
        reqids.hold(reqid)


def test_released_number_is_not_given_to_the_next() -> None:
    reqids = ReqidAllocator()
    first = reqids.acquire([HOME], [AWAY])
    reqids.release(first)
    assert reqids.acquire([HOME], [AWAY]) != first


def test_counter_wraps_and_skips_what_is_held() -> None:
    reqids = ReqidAllocator()
    held = reqids.acquire([HOME], [AWAY])
    reqids._next = REQID_LIMIT
    assert reqids.acquire([HOME], [OTHER]) == REQID_LIMIT
    assert reqids.acquire([OTHER], [OTHER]) == held + 1


def test_configured_number_is_used_as_it_is() -> None:
    reqids = ReqidAllocator()
    assert reqids.acquire([HOME], [AWAY], fixed=1) == 1
    assert reqids.acquire([OTHER], [AWAY], fixed=1) == 1
    assert reqids.acquire([HOME], [AWAY]) == 2
    reqids.release(1)
    reqids.release(1)
    with pytest.raises(KeyError):
        reqids.release(1)
    assert reqids.acquire([HOME], [AWAY]) == 2


def test_configured_number_that_was_allocated_already() -> None:
    reqids = ReqidAllocator()
    allocated = reqids.acquire([HOME], [AWAY])
    reqids.acquire([OTHER], [AWAY], fixed=allocated)
    reqids.release(allocated)
    assert reqids.acquire([HOME], [AWAY]) == allocated


@pytest.mark.parametrize("number", [-1, REQID_LIMIT + 1])
def test_impossible_numbers(number: int) -> None:
    with pytest.raises(ValueError, match="reqid must be in"):
        ReqidAllocator().acquire([HOME], [AWAY], fixed=number)


@given(st.lists(st.tuples(st.sampled_from("+-"), st.integers(0, 3))))
def test_no_two_holders_share_a_number(steps: list[tuple[str, int]]) -> None:
    reqids = ReqidAllocator()
    held: dict[int, list[int]] = {}
    for verb, which in steps:
        if verb == "+":
            number = reqids.acquire([HOME], [AWAY], if_id=which)
            held.setdefault(which, []).append(number)
        elif held.get(which):
            reqids.release(held[which].pop())
        numbers = [set(owned) for owned in held.values() if owned]
        assert all(len(owned) == 1 for owned in numbers)
        assert len(set().union(*numbers)) == len(numbers) == len(reqids)
