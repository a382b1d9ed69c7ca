"""Which PASS policies a route past the device does justice to, and which it does not.

A route knows destinations alone. Leading that of a PASS policy past the device is right as long as
no other policy wants some of these packets: those that are to be protected would leave in the
clear. Where there is one, they all go into the device, and the policies decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.kernel.interface import PolicyAction

if TYPE_CHECKING:
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import PolicySpec


class Exceptions:
    """PASS policies among the others. The caller has a lock."""

    def __init__(self) -> None:
        self._passes: dict[PolicySpec, int] = {}
        self._others: dict[PolicySpec, int] = {}
        # How many of the others contradict a PASS policy.
        self._contradictions: dict[PolicySpec, int] = {}

    def add(self, spec: PolicySpec) -> list[PolicySpec]:
        """Take note of a policy; return the PASS policies whose `is_contradicted` changes."""
        table = self._passes if spec.action is PolicyAction.PASS else self._others
        table[spec] = table.get(spec, 0) + 1
        if table[spec] > 1:
            return []
        if table is self._passes:
            number = sum(contradicts(other, spec) for other in self._others)
            self._contradictions[spec] = number
            return []
        return self._count(spec, 1)

    def remove(self, spec: PolicySpec) -> list[PolicySpec]:
        """Take back what `add` did; return as it does."""
        table = self._passes if spec.action is PolicyAction.PASS else self._others
        table[spec] -= 1
        if table[spec]:
            return []
        del table[spec]
        if table is self._passes:
            del self._contradictions[spec]
            return []
        return self._count(spec, -1)

    def is_contradicted(self, spec: PolicySpec) -> bool:
        """Whether another policy wants some of the packets to the destinations of this one."""
        return self._contradictions.get(spec, 0) > 0

    def knows(self, spec: PolicySpec) -> bool:
        """Whether a policy has been added more often than removed."""
        return spec in self._passes or spec in self._others

    def clear(self) -> None:
        """Forget everything."""
        for table in (self._passes, self._others, self._contradictions):
            table.clear()

    def _count(self, other: PolicySpec, step: int) -> list[PolicySpec]:
        changed = []
        for spec in self._passes:
            if contradicts(other, spec):
                before = self.is_contradicted(spec)
                self._contradictions[spec] += step
                if self.is_contradicted(spec) is not before:
                    changed.append(spec)
        return changed


def contradicts(other: PolicySpec, spec: PolicySpec) -> bool:
    """Whether a route past the device for PASS policy ``spec`` takes packets of ``other`` along.

    It does not where the other one's destinations are within: then they have a route of their own,
    which is the more specific one. Nor where all of its packets are to pass.
    """
    here, there = spec.source, spec.destination
    if not _overlap(other.destination, there) or _is_within(other.destination, there):
        return False
    is_any = all(end.protocol == 0 and end.is_any_port for end in (here, there))
    return not (is_any and _is_within(other.source, here) and spec.strength <= other.strength)


def _overlap(one: TrafficSelector, other: TrafficSelector) -> bool:
    return one.family == other.family and one.start <= other.end and other.start <= one.end


def _is_within(inner: TrafficSelector, outer: TrafficSelector) -> bool:
    return inner.family == outer.family and outer.start <= inner.start and inner.end <= outer.end
