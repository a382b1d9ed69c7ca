"""Pairs of address ranges that do not overlap: what a set of the kernel can hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from charon_core.kernel.userspace.selector import Selector

_Range: TypeAlias = tuple[int, int]


class Pairs:
    """Ranges of our side, each with ranges of the other side, all of one family.

    A set of the kernel with overlapping elements may remove another element than it was told to,
    so that nothing may be put into one without having been added here. Gateways have few ranges of
    their own and many of peers; each of the former costs a look.
    """

    def __init__(self) -> None:
        """Have none."""
        # Our range -> the ranges of the other side, sorted: they are disjoint.
        self._others: dict[_Range, list[_Range]] = {}

    def add(self, own: Selector, other: Selector) -> bool:
        """Add a pair; False if it overlaps with one that is there, and then it is not added."""
        start, end = own.start, own.end
        for (first, last), others in self._others.items():
            if first <= end and start <= last and _overlaps(others, other):
                return False
        insort(self._others.setdefault((start, end), []), (other.start, other.end))
        return True

    def remove(self, own: Selector, other: Selector) -> None:
        """Remove a pair that was added."""
        key = own.start, own.end
        others = self._others[key]
        del others[bisect_left(others, (other.start, other.end))]
        if not others:
            del self._others[key]


def _overlaps(ranges: list[_Range], other: Selector) -> bool:
    """Tell whether one of sorted, disjoint ranges has an address of another one."""
    # The last one that starts at or before the end is the only one that can reach so far.
    place = bisect_right(ranges, other.end, key=lambda each: each[0])
    return place > 0 and ranges[place - 1][1] >= other.start
