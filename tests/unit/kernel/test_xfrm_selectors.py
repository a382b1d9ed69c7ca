"""Ranges become prefixes and masks that match exactly the same packets."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.interface import KernelError
from charon_core.kernel.xfrm.selectors import MAX_SELECTORS, expand, from_kernel, port_blocks
from tests.unit.kernel.factories import ts


def test_networks_are_one_selector() -> None:
    assert expand(ts("10.1.0.0/16"), ts("10.2.0.0/24")) == [
        {
            "family": socket.AF_INET,
            "proto": 0,
            "saddr": "10.1.0.0",
            "prefixlen_s": 16,
            "daddr": "10.2.0.0",
            "prefixlen_d": 24,
            "sport": 0,
            "sport_mask": 0,
            "dport": 0,
            "dport_mask": 0,
        }
    ]


def test_protocol_of_one_side_is_enough() -> None:
    (selector,) = expand(ts("2001:db8::/32"), ts("::/0[tcp/443]"))
    assert selector["family"] == socket.AF_INET6
    assert selector["proto"] == 6
    assert (selector["dport"], selector["dport_mask"], selector["sport_mask"]) == (443, 0xFFFF, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8[icmp]", [(0, 0, 0, 0)]),
        ("10.0.0.0/8[icmp/8]", [(8, 0xFF, 0, 0xFF)]),
        ("10.0.0.0/8[icmp/769]", [(3, 0xFF, 1, 0xFF)]),
        ("10.0.0.0/8[icmp/2048-2303]", [(8, 0xFF, 0, 0)]),
        ("10.0.0.0/8[icmp/%opaque]", [(0, 0xFFFF, 0, 0xFFFF)]),
    ],
)
def test_icmp_type_and_code_are_the_ports_of_the_kernel(
    text: str, expected: list[tuple[int, ...]]
) -> None:
    for source, destination in ((text, "10.0.0.0/8[icmp]"), ("10.0.0.0/8[icmp]", text)):
        found = expand(ts(source), ts(destination))
        names = ("sport", "sport_mask", "dport", "dport_mask")
        assert [tuple(selector[name] for name in names) for selector in found] == expected


def test_different_icmp_types_select_nothing() -> None:
    with pytest.raises(KernelError, match="different ICMP types"):
        expand(ts("10.0.0.0/8[icmp/8]"), ts("10.0.0.0/8[icmp/0]"))


def test_opaque_ports_are_those_the_kernel_takes_for_zero() -> None:
    (selector,) = expand(ts("10.0.0.0/8[udp/%opaque]"), ts("10.0.0.0/8[udp]"))
    assert (selector["sport"], selector["sport_mask"]) == (0, 0xFFFF)


def test_too_many_selectors_are_refused_with_advice() -> None:
    with pytest.raises(KernelError, match=r"they would be \d+ \(use subnets"):
        expand(ts("10.0.0.1-10.255.255.254"), ts("10.0.0.1-10.0.0.254"))


def test_dynamic_selectors_are_refused() -> None:
    with pytest.raises(KernelError, match="they would be 0"):
        expand(TrafficSelector.dynamic_of(), ts("10.0.0.0/8"))


@given(st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted))
def test_port_blocks_cover_the_range_exactly_once(ends: list[int]) -> None:
    first, last = ends
    covered: list[int] = []
    for value, mask in port_blocks(first, last):
        assert value & ~mask == 0
        covered.extend(range(value, value + (0xFFFF & ~mask) + 1))
    assert covered == list(range(first, last + 1))


@given(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 300)),
    st.tuples(st.integers(0, 65000), st.integers(0, 40)),
)
def test_expansion_matches_the_same_packets(
    addresses: tuple[int, int], ports: tuple[int, int]
) -> None:
    first = min(addresses[0], 2**32 - 1 - addresses[1])
    last = first + addresses[1]
    source = TrafficSelector(
        4, 17, ports[0], ports[0] + ports[1], first.to_bytes(4), last.to_bytes(4)
    )
    try:
        found = expand(source, ts("10.0.0.0/8"))
    except KernelError:
        return
    assert len(found) <= MAX_SELECTORS

    def matches(address: int, port: int) -> bool:
        return any(_matches(selector, address, port) for selector in found)

    for address in {first - 1, first, (first + last) // 2, last, last + 1} - {-1, 2**32}:
        for port in {
            ports[0] - 1,
            ports[0],
            sum(ports) - ports[1] // 2,
            sum(ports),
            sum(ports) + 1,
        }:
            if port >= 0:
                inside = first <= address <= last and ports[0] <= port <= sum(ports)
                assert matches(address, port) == inside


def _matches(selector: dict[str, Any], address: int, port: int) -> bool:
    network = ipaddress.ip_network(f"{selector['saddr']}/{selector['prefixlen_s']}")
    return ipaddress.ip_address(address) in network and (
        port & selector["sport_mask"] == selector["sport"]
    )


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("10.1.0.1/32[tcp/1000]", "10.2.0.1/32[tcp/80]"),
        ("10.1.0.1/32", "10.2.0.1/32"),
        ("2001:db8::1/128[udp/5]", "2001:db8::2/128[udp/53]"),
        ("10.1.0.1/32[icmp/8]", "10.2.0.1/32[icmp/8]"),
    ],
)
def test_selector_of_an_acquire_is_read_back(source: str, destination: str) -> None:
    (selector,) = expand(ts(source), ts(destination))
    assert from_kernel(selector) == (ts(source), ts(destination))
