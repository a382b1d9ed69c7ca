from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.interface import PolicyAction, PolicyDirection, PolicySpec
from charon_core.kernel.userspace.flow import Flow
from charon_core.kernel.userspace.policy import Policy, PolicyIndex
from tests.unit.userspace.factories import policy_spec


def flow(
    source: str, destination: str, protocol: int = 6, ports: tuple[int, int] = (1, 80)
) -> Flow:
    one, other = ip_address(source), ip_address(destination)
    return Flow(one.version, int(one), int(other), protocol, *ports)


def index(*specs: PolicySpec) -> tuple[PolicyIndex, list[Policy]]:
    made, policies = PolicyIndex(), [Policy(spec) for spec in specs]
    for policy in policies:
        made.add(policy)
    return made, policies


def test_the_lower_priority_wins_however_specific() -> None:
    wide = policy_spec("0.0.0.0/0", "0.0.0.0/0", priority=10)
    narrow = policy_spec("10.1.0.0/16", "10.2.0.0/16", priority=20)
    made, policies = index(narrow, wide)
    assert made.find(flow("10.1.0.1", "10.2.0.1")) is policies[1]
    made.remove(policies[1])
    assert made.find(flow("10.1.0.1", "10.2.0.1")) is policies[0]
    assert made.find(flow("10.1.0.1", "10.3.0.1")) is None


def test_among_equals_the_first_wins() -> None:
    made, policies = index(policy_spec(priority=5, reqid=1), policy_spec(priority=5, reqid=2))
    found = made.find(flow("10.1.0.1", "10.2.0.1"))
    assert found is policies[0]
    assert found.reqid == 1


def test_protocol_and_ports_decide_too() -> None:
    web = policy_spec(priority=1, protocol=6, ports=(80, 80), action=PolicyAction.DROP)
    rest = policy_spec(priority=2)
    made, policies = index(web, rest)
    assert made.find(flow("10.1.0.1", "10.2.0.1", 6, (80, 80))) is policies[0]
    assert made.find(flow("10.1.0.1", "10.2.0.1", 6, (80, 81))) is policies[1]
    assert made.find(flow("10.1.0.1", "10.2.0.1", 17, (80, 80))) is policies[1]


def test_families_are_apart() -> None:
    made, policies = index(policy_spec("0.0.0.0/0", "0.0.0.0/0"), policy_spec("::/0", "::/0"))
    assert made.find(flow("fd01::1", "fd02::1")) is policies[1]
    assert made.find(flow("1.1.1.1", "2.2.2.2")) is policies[0]


def test_shunts_have_no_reqid() -> None:
    assert Policy(policy_spec(action=PolicyAction.DROP)).reqid == 0


def test_nothing_is_left_of_removed_policies() -> None:
    specs = [policy_spec(f"10.{n}.0.0/{n}", f"10.{n}.0.0/{32 - n}") for n in range(8, 24)]
    made, policies = index(*specs)
    for policy in policies:
        made.remove(policy)
    assert made._files == {4: {}}


def test_many_policies_cost_a_lookup_no_more() -> None:
    made = PolicyIndex()
    for number in range(20_000):
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        made.add(Policy(policy_spec("0.0.0.0/0", host)))
    probed = made._files[4]
    assert list(probed) == [32]
    assert all(list(sources) == [0] for sources in probed[32].values())
    assert made.find(flow("1.2.3.4", "10.0.78.31")) is not None
    assert made.find(flow("1.2.3.4", "10.0.78.32")) is None


def test_among_equals_the_first_one_counts_wherever_they_are_filed() -> None:
    """Found by the property below: ranges of other sizes are filed elsewhere."""
    wide, narrow = range_spec([0, 1], [0, 0], 0), range_spec([1, 1], [0, 0], 0)
    for first, second in ((wide, narrow), (narrow, wide)):
        others = [range_spec([0, 0], [0, 0], 0), range_spec([5, 5], [0, 0], 0)]
        made, policies = index(*others, first, second)
        assert made.find(flow("10.0.0.1", "10.0.0.0")) is policies[2]


ranges = st.tuples(st.integers(0, 255), st.integers(0, 255)).map(sorted)


def range_spec(source: list[int], destination: list[int], priority: int) -> PolicySpec:
    def selector(ends: list[int]) -> TrafficSelector:
        return TrafficSelector(
            4, 0, 0, 65535, bytes([10, 0, 0, ends[0]]), bytes([10, 0, 0, ends[1]])
        )

    return PolicySpec(
        source=selector(source),
        destination=selector(destination),
        direction=PolicyDirection.OUT,
        action=PolicyAction.DROP,
        priority=priority,
    )


@given(
    st.lists(st.tuples(ranges, ranges, st.integers(0, 9)), max_size=12),
    st.integers(0, 255),
    st.integers(0, 255),
)
def test_the_index_finds_what_a_scan_finds(
    specs: list[tuple[list[int], list[int], int]], source: int, destination: int
) -> None:
    made, policies = index(*(range_spec(*spec) for spec in specs))
    packet = flow(f"10.0.0.{source}", f"10.0.0.{destination}")
    fitting = [policy for policy in policies if policy.matches(packet)]
    assert made.find(packet) is min(fitting, key=lambda policy: policy.priority, default=None)


@pytest.mark.parametrize("prefix", [0, 1, 31, 32])
def test_every_prefix_length(prefix: int) -> None:
    made, policies = index(policy_spec("0.0.0.0/0", f"128.0.0.0/{prefix}"))
    assert made.find(flow("1.1.1.1", "128.0.0.0")) is policies[0]


def test_among_equals_the_first_counts_in_whichever_network_it_is_filed() -> None:
    # The second opens the files of a network in which a later equal of the first lies, too.
    specs = [([0, 1], [0, 1], 0), ([0, 0], [0, 0], 0), ([0, 1], [0, 0], 0)]
    made, policies = index(*(range_spec(*spec) for spec in specs))
    assert made.find(flow("10.0.0.1", "10.0.0.0")) is policies[0]
    made, policies = index(*(range_spec(*spec) for spec in reversed(specs)))
    assert made.find(flow("10.0.0.1", "10.0.0.0")) is policies[0]
