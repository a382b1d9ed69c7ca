from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.userspace.flow import PORT_UNKNOWN, Flow
from charon_core.kernel.userspace.selector import Selector, SelectorPair
from tests.unit.userspace.factories import network


def selector(text: str = "10.1.0.0/16", **more: object) -> Selector:
    return Selector.of(network(text, **more))


def matches(chosen: Selector, address: str, protocol: int = 6, port: int = 80) -> bool:
    parsed = ip_address(address)
    return chosen.matches(parsed.version, int(parsed), protocol, port)


@pytest.mark.parametrize(
    ("chosen", "address", "protocol", "port", "expected"),
    [
        (selector(), "10.1.0.0", 6, 80, True),
        (selector(), "10.1.255.255", 17, 0, True),
        (selector(), "10.0.255.255", 6, 80, False),
        (selector(), "10.2.0.0", 6, 80, False),
        (selector("0.0.0.0/0"), "255.255.255.255", 1, 0, True),
        (selector("0.0.0.0/0"), "::1", 6, 80, False),
        (selector("::/0"), "10.1.0.1", 6, 80, False),
        (selector("fd01::/16"), "fd01::5", 6, 80, True),
        (selector(protocol=6), "10.1.0.1", 6, 1, True),
        (selector(protocol=6), "10.1.0.1", 17, 1, False),
        (selector(protocol=6, ports=(80, 80)), "10.1.0.1", 6, 80, True),
        (selector(protocol=6, ports=(80, 80)), "10.1.0.1", 6, 81, False),
        (selector(protocol=6, ports=(80, 90)), "10.1.0.1", 6, 90, True),
        # Without visible ports only any port or OPAQUE will do.
        (selector(protocol=6, ports=(80, 80)), "10.1.0.1", 6, PORT_UNKNOWN, False),
        (selector(protocol=6, ports=(0, 65534)), "10.1.0.1", 6, PORT_UNKNOWN, False),
        (selector(protocol=6), "10.1.0.1", 6, PORT_UNKNOWN, True),
        (selector(protocol=6, ports=(65535, 0)), "10.1.0.1", 6, PORT_UNKNOWN, True),
        (selector(protocol=6, ports=(65535, 0)), "10.1.0.1", 6, 80, False),
    ],
)
def test_one_side(chosen: Selector, address: str, protocol: int, port: int, expected: bool) -> None:
    assert matches(chosen, address, protocol, port) is expected


def flow(source: str, destination: str) -> Flow:
    one, other = ip_address(source), ip_address(destination)
    return Flow(one.version, int(one), int(other), 6, 1, 2)


def test_any_source_goes_to_any_destination() -> None:
    pair = SelectorPair(
        (selector("10.1.0.0/24"), selector("10.1.5.0/24")), (selector("10.2.0.0/16"),)
    )
    assert pair.matches(flow("10.1.0.1", "10.2.0.1"))
    assert pair.matches(flow("10.1.5.1", "10.2.9.1"))
    assert not pair.matches(flow("10.1.6.1", "10.2.0.1"))
    assert not pair.matches(flow("10.2.0.1", "10.1.0.1"))


def test_without_selectors_nothing_passes() -> None:
    everything = (selector("0.0.0.0/0"),)
    for pair in (SelectorPair((), everything), SelectorPair(everything, ()), SelectorPair((), ())):
        assert not pair.matches(flow("10.1.0.1", "10.2.0.1"))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_networks_make_up_the_range(one: int, other: int) -> None:
    start, end = sorted((one, other))
    chosen = Selector.of(
        TrafficSelector(4, 0, 0, 65535, start.to_bytes(4, "big"), end.to_bytes(4, "big"))
    )
    expected = start
    for address, prefix in chosen.cidrs():
        made = ip_network((address, prefix))
        assert int(made[0]) == expected
        expected = int(made[-1]) + 1
    assert expected == end + 1
    prefix, first_bits = chosen.surrounding()
    around = ip_network((first_bits << (32 - prefix), prefix))
    assert int(around[0]) <= start <= end <= int(around[-1])
    assert prefix == 32 or not end < int(around[0]) + around.num_addresses // 2


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.1.2.3/32", "fd01::1/128", "fd00::/8"])
def test_a_network_is_one_network(text: str) -> None:
    wanted = ip_network(text)
    assert list(selector(text).cidrs()) == [(int(wanted[0]), wanted.prefixlen)]
    assert selector(text).surrounding()[0] == wanted.prefixlen
