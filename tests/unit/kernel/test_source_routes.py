"""Routes that make traffic for a tunnel leave with a virtual address."""

from __future__ import annotations

import pytest

from charon_core.config.child import ChildMode
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.interface import (
    IpsecProtocol,
    KernelError,
    PolicyAction,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
    Route,
    Way,
)
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.kernel.static_net import StaticNet

VIRTUAL = "10.9.0.1"


class Net(StaticNet):
    """Has everything but its own network behind a router."""

    def way_to(self, destination: str) -> Way | None:
        return None if destination == "203.0.113.1" else Way("eth0", "192.0.2.254")


def policy(
    destination: str = "10.2.0.0/16",
    *,
    source: str = f"{VIRTUAL}/32",
    direction: PolicyDirection = PolicyDirection.OUT,
    mode: ChildMode = ChildMode.TUNNEL,
    peer: str = "198.51.100.1",
    **settings: object,
) -> PolicySpec:
    return PolicySpec(
        source=TrafficSelector.parse(source),
        destination=TrafficSelector.parse(destination),
        direction=direction,
        template=PolicyTemplate("192.0.2.1", peer, IpsecProtocol.ESP, 1, mode),
        **settings,
    )


@pytest.fixture
def net() -> Net:
    net = Net({"192.0.2.1": "eth0", "10.1.0.1": "eth1"})
    net.add_address(VIRTUAL, "eth0")
    return net


@pytest.fixture
def kernel(net: Net) -> KernelInterface:
    return KernelInterface(NullBackend(), net)


def route(destination: str = "10.2.0.0/16") -> Route:
    return Route(destination, interface="eth0", gateway="192.0.2.254", source=VIRTUAL)


def test_route_comes_and_goes_with_the_policy(kernel: KernelInterface, net: Net) -> None:
    kernel.add_policy(policy())
    assert net.routes == {route(): 1}
    kernel.delete_policy(policy())
    assert net.routes == {}


def test_route_stays_for_as_long_as_a_policy_needs_it(kernel: KernelInterface, net: Net) -> None:
    """As while a CHILD_SA is rekeyed."""
    kernel.add_policy(policy())
    kernel.add_policy(policy())
    kernel.delete_policy(policy())
    assert net.routes == {route(): 1}
    kernel.delete_policy(policy())
    assert net.routes == {}


@pytest.mark.parametrize(
    "other",
    [
        policy(source="10.1.0.0/24"),
        policy(source="0.0.0.0/0"),
        policy(source="10.0.0.0/8"),
        policy(direction=PolicyDirection.IN),
        policy(direction=PolicyDirection.FORWARD),
        policy(mode=ChildMode.TRANSPORT),
        policy(action=PolicyAction.PASS),
    ],
)
def test_other_policies_need_none(kernel: KernelInterface, net: Net, other: PolicySpec) -> None:
    kernel.add_policy(other)
    assert net.routes == {}
    kernel.delete_policy(other)


def test_network_with_a_virtual_address_alone_needs_one(kernel: KernelInterface, net: Net) -> None:
    kernel.add_policy(policy(source="10.9.0.0/24"))
    assert net.routes == {route(): 1}


def test_range_is_several_routes(kernel: KernelInterface, net: Net) -> None:
    selector = TrafficSelector.from_range("10.2.0.1", "10.2.0.4")
    spec = PolicySpec(
        source=TrafficSelector.parse(VIRTUAL),
        destination=selector,
        direction=PolicyDirection.OUT,
        template=policy().template,
    )
    kernel.add_policy(spec)
    assert {found.destination for found in net.routes} == {
        "10.2.0.1/32",
        "10.2.0.2/31",
        "10.2.0.4/32",
    }
    kernel.flush()
    assert net.routes == {}


def test_the_router_of_the_other_family_is_none(kernel: KernelInterface, net: Net) -> None:
    net.add_address("fd09::1", "eth0")
    kernel.add_policy(policy("fd02::/64", source="fd09::1/128"))
    assert list(net.routes) == [Route("fd02::/64", interface="eth0", source="fd09::1")]


def test_without_a_way_there_is_no_policy(kernel: KernelInterface) -> None:
    with pytest.raises(KernelError, match=r"no route to 203\.0\.113\.1"):
        kernel.add_policy(policy(peer="203.0.113.1"))
    assert isinstance(kernel.ipsec, NullBackend)
    assert kernel.ipsec.policies == {}


def test_routes_may_be_left_to_the_administrator(net: Net) -> None:
    kernel = KernelInterface(NullBackend(), net, install_routes=False)
    kernel.add_policy(policy())
    assert net.routes == {}


def test_virtual_addresses_go_where_they_are_told(kernel: KernelInterface, net: Net) -> None:
    assert kernel.add_virtual_address("10.9.0.2", "10.1.0.1") == "eth1"
    assert kernel.add_virtual_address("10.9.0.3", "192.0.2.1", "eth1") == "eth1"
    assert net.virtual_addresses() == [VIRTUAL, "10.9.0.2", "10.9.0.3"]
    kernel.remove_virtual_address("10.9.0.2", "eth1")
    assert net.virtual_addresses() == [VIRTUAL, "10.9.0.3"]


def test_virtual_address_without_an_interface(kernel: KernelInterface) -> None:
    with pytest.raises(KernelError, match=r"no interface has 172\.16\.0\.1"):
        kernel.add_virtual_address("10.9.0.2", "172.16.0.1")
