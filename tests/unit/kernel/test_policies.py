"""Who wins among policies, and what is in the kernel when several want the same selectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from charon_core.config.child import Mark
from charon_core.kernel.interface import (
    KernelError,
    PolicyAction,
    PolicyDirection,
    PolicySpec,
    SaNotFound,
)
from charon_core.kernel.null import NullBackend
from charon_core.kernel.policies import PolicyTable
from tests.unit.kernel.factories import policy, template


class Watched(NullBackend):
    """Counts calls, and fails when told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.failing = False

    def add_policy(self, spec: PolicySpec) -> None:
        self.calls.append(f"add {spec.template.reqid if spec.template else 0}")
        if self.failing:
            raise KernelError("add policy", "No buffer space available")
        super().add_policy(spec)

    def delete_policy(self, spec: PolicySpec) -> None:
        self.calls.append("delete")
        super().delete_policy(spec)

    @property
    def installed(self) -> list[int]:
        return [spec.template.reqid for spec in self.policies.values() if spec.template]


@pytest.fixture
def kernel() -> Watched:
    return Watched()


@pytest.fixture
def table(kernel: Watched) -> PolicyTable:
    return PolicyTable(kernel)


def reqid(number: int, **changes: Any) -> PolicySpec:
    return policy(template=template(number), **changes)


def test_documented_priority() -> None:
    assert policy("10.1.0.0/16", "10.2.0.0/16").priority == 208_384
    assert policy("10.1.0.0/16[tcp]", "10.2.0.0/16[tcp]").priority == 208_384 - 128


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (policy(action=PolicyAction.PASS, template=None), policy("10.1.0.1", "10.2.0.1")),
        (policy("0.0.0.0/0", "0.0.0.0/0"), policy("10.1.0.1", "10.2.0.1", routed=True)),
        (policy("10.1.0.0/24"), policy("10.1.0.0/16")),
        (policy("10.1.0.1", "0.0.0.0/0"), policy("10.0.0.0/8", "0.0.0.0/0[tcp/80]")),
        (policy("10.1.0.0/16", "10.2.0.0/16[tcp]"), policy("10.1.0.0/16", "10.2.0.0/16")),
        (policy("10.1.0.0/16[tcp/80]", "10.2.0.0/16"), policy("10.1.0.0/16[tcp]", "10.2.0.0/16")),
        (
            policy("10.1.0.0/16[tcp/80]", "10.2.0.0/16[tcp/80]"),
            policy("10.1.0.0/16[tcp/80]", "10.2.0.0/16[tcp]"),
        ),
        (policy("10.1.0.0/16[tcp/%opaque]"), policy("10.1.0.0/16[tcp/0-1023]")),
        (policy("2001:db8::/64", "::/0"), policy("2001:db8::/32", "::/0")),
        (policy("10.1.0.1-10.1.0.7"), policy("10.1.0.0/24")),
        (policy(priority=1), policy(action=PolicyAction.PASS, template=None)),
    ],
)
def test_stronger_policy_has_the_lower_priority(stronger: PolicySpec, weaker: PolicySpec) -> None:
    assert stronger.strength < weaker.strength


@pytest.mark.parametrize("family", [4, 6])
def test_classes_never_overlap(family: int) -> None:
    anything = ("0.0.0.0/0", "0.0.0.0/0") if family == 4 else ("::/0", "::/0")
    host = ("10.0.0.1[tcp/1]", "10.0.0.2[tcp/1]") if family == 4 else ("::1[tcp/1]", "::2[tcp/1]")
    classes: list[dict[str, Any]] = [
        {"action": PolicyAction.DROP, "template": None},
        {},
        {"routed": True},
    ]
    for base, changes in zip((100_000, 200_000, 300_000), classes, strict=True):
        assert policy(*host, **changes).priority == base
        assert policy(*anything, **changes).priority < base + 100_000


def test_installing_twice_keeps_one(table: PolicyTable, kernel: Watched) -> None:
    table.add(reqid(1))
    table.add(reqid(1))
    assert kernel.calls == ["add 1"]
    table.delete(reqid(1))
    assert kernel.installed == [1]
    table.delete(reqid(1))
    assert kernel.calls == ["add 1", "delete"]
    assert len(table) == 0


def test_priority_reaches_the_backend(table: PolicyTable, kernel: Watched) -> None:
    table.add(reqid(1))
    (installed,) = kernel.policies.values()
    assert installed.priority == 208_384


def test_installed_hides_trap_and_trap_comes_back(table: PolicyTable, kernel: Watched) -> None:
    table.add(reqid(1, routed=True))
    table.add(reqid(2))
    assert kernel.installed == [2]
    table.delete(reqid(2))
    assert kernel.installed == [1]
    assert kernel.calls == ["add 1", "add 2", "add 1"]


def test_trap_added_below_an_installed_policy_stays_out(
    table: PolicyTable, kernel: Watched
) -> None:
    table.add(reqid(2))
    table.add(reqid(1, routed=True))
    assert kernel.calls == ["add 2"]
    table.delete(reqid(1, routed=True))
    assert kernel.calls == ["add 2"]


def test_newest_of_equals_wins(table: PolicyTable, kernel: Watched) -> None:
    for number in (1, 2, 3):
        table.add(reqid(number))
    assert kernel.installed == [3]
    table.delete(reqid(1))
    assert kernel.calls == ["add 1", "add 2", "add 3"]
    table.delete(reqid(3))
    assert kernel.installed == [2]


def test_older_of_equals_that_is_added_again_is_the_newest(
    table: PolicyTable, kernel: Watched
) -> None:
    for number in (1, 2, 1):
        table.add(reqid(number))
    assert kernel.installed == [1]
    table.delete(reqid(1))
    assert kernel.installed == [2]
    table.delete(reqid(2))
    assert kernel.installed == [1]
    table.delete(reqid(1))
    assert kernel.is_empty


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": PolicyDirection.IN},
        {"mark": Mark(1)},
        {"if_id": 1},
        {"destination": "10.2.0.0/17"},
        {"source": "10.1.0.0/16[tcp]"},
    ],
)
def test_different_policies_stand_side_by_side(
    table: PolicyTable, kernel: Watched, changes: dict[str, Any]
) -> None:
    table.add(reqid(1))
    table.add(reqid(1, **changes))
    assert len(kernel.policies) == 2
    table.delete(reqid(1))
    assert len(kernel.policies) == 1


def test_failed_install_changes_nothing(table: PolicyTable, kernel: Watched) -> None:
    table.add(reqid(1))
    kernel.failing = True
    with pytest.raises(KernelError, match="No buffer space"):
        table.add(reqid(2))
    kernel.failing = False
    with pytest.raises(SaNotFound, match="never installed"):
        table.delete(reqid(2))
    table.delete(reqid(1))
    assert kernel.is_empty


def test_unknown_policies_are_not_deleted(table: PolicyTable, kernel: Watched) -> None:
    with pytest.raises(SaNotFound):
        table.delete(reqid(1))
    table.add(reqid(1))
    with pytest.raises(SaNotFound):
        table.delete(replace(reqid(1), routed=True))
    assert kernel.installed == [1]
