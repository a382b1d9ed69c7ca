"""The net backend of tests and load generation."""

from __future__ import annotations

import pytest

from charon_core.kernel.interface import KernelError, NetBackend, Route, SaNotFound
from charon_core.kernel.static_net import StaticNet
from tests.unit.kernel.factories import Recorder


def test_answers() -> None:
    net: NetBackend = StaticNet(
        {"10.0.0.1": "eth0", "10.0.0.2": "eth1", "2001:db8::1": "eth0"},
        sources={"10.9.9.9": "10.0.0.2", "10.8.8.8": None},
    )
    assert net.source_address("203.0.113.1") == "10.0.0.1"
    assert net.source_address("10.0.0.2") == "10.0.0.2"
    assert net.source_address("10.9.9.9") == "10.0.0.2"
    assert net.source_address("10.8.8.8") is None
    assert net.source_address("2a00::1") == "2001:db8::1"
    assert net.interface_of("10.0.0.2") == "eth1"
    assert net.interface_of("10.0.0.3") is None
    assert net.local_addresses() == ["10.0.0.1", "10.0.0.2", "2001:db8::1"]
    assert net.is_local("2001:db8::1")
    assert not net.is_local("10.0.0.3")
    assert net.mtu("203.0.113.1") == 1500
    assert net.mtu("10.8.8.8") is None


def test_host_without_a_family() -> None:
    assert StaticNet({"10.0.0.1": "eth0"}).source_address("2a00::1") is None
    assert StaticNet().local_addresses() == ["127.0.0.1", "::1"]


def test_virtual_addresses_and_routes_are_counted() -> None:
    net, route = StaticNet({"10.0.0.1": "eth0"}), Route("10.2.0.0/16", "eth0")
    for _ in range(2):
        net.add_address("10.7.0.1", "eth0")
        net.add_route(route)
    assert net.is_local("10.7.0.1")
    for _ in range(2):
        net.remove_address("10.7.0.1", "eth0")
        net.remove_route(route)
    assert not net.virtual
    assert not net.routes
    assert not net.is_local("10.7.0.1")
    with pytest.raises(SaNotFound):
        net.remove_address("10.7.0.1", "eth0")
    with pytest.raises(SaNotFound):
        net.remove_route(route)
    with pytest.raises(KernelError, match="no interface eth9"):
        net.add_address("10.7.0.1", "eth9")


def test_roam() -> None:
    net, told = StaticNet(), Recorder()
    net.start(told)
    net.inject_roam(address_change=False)
    net.inject_roam()
    assert told.seen == [("roam", False), ("roam", True)]
