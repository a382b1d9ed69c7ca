from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.userspace.pairs import Pairs
from charon_core.kernel.userspace.selector import Selector


def selector(first: int, last: int) -> Selector:
    return Selector(4, min(first, last), max(first, last), 0, 0, 65535)


NUMBERS = st.integers(0, 12)
SELECTORS = st.builds(selector, NUMBERS, NUMBERS)
STEPS = st.lists(st.tuples(st.booleans(), SELECTORS, SELECTORS), max_size=40)


def meet(one: Selector, other: Selector) -> bool:
    return one.start <= other.end and other.start <= one.end


@given(STEPS)
def test_what_overlaps_is_refused_and_nothing_else(
    steps: list[tuple[bool, Selector, Selector]],
) -> None:
    pairs = Pairs()
    there: list[tuple[Selector, Selector]] = []
    for removes, own, other in steps:
        if removes and there:
            pairs.remove(*there.pop(0))
            continue
        fits = not any(meet(own, each) and meet(other, one) for each, one in there)
        assert pairs.add(own, other) is fits
        if fits:
            there.append((own, other))
    for each in there:
        pairs.remove(*each)
    assert pairs.add(selector(0, 12), selector(0, 12))
