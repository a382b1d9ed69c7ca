"""MOBIKE with NATs that come, go, and map anew (RFC 4555 2.2, 3.5, 3.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.config.ike import IkeConfig
from charon_core.encoding.mobike import NoNatsAllowed
from charon_core.network.packet import Endpoint
from charon_core.sa.jobs import MappingChanged
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.tasks.mobike_update import PathCheck
from tests.exchange.mobile_scene import (
    NEW,
    OLD,
    OTHER,
    SUN,
    assert_between,
    finish,
    mobile,
)
from tests.exchange.world import World, connection, share_secret

if TYPE_CHECKING:
    from charon_core.network.packet import Packet


class Nat:
    """Hides moon; its mappings and its address may change."""

    def __init__(self, world: World, outside: str = "198.51.100.9") -> None:
        self.outside = outside
        self.base = 40000
        self.is_there = True
        self._world = world
        self._inside: dict[Endpoint, Endpoint] = {}
        world.nat = self

    def change(self, outside: str, base: int) -> None:
        """Forget all mappings, and make others from now on."""
        self.outside, self.base = outside, base
        self._inside.clear()

    def __call__(self, packet: Packet) -> Packet:
        source, destination = packet.source, packet.destination
        if self.is_there and source.host in self._world.moon.net.addresses:
            inside, source = source, Endpoint(self.outside, self.base + source.port)
            self._inside[source] = inside
        destination = self._inside.get(destination, destination)
        return replace(packet, source=source, destination=destination)


def behind_nat(**settings: object) -> tuple[World, Nat]:
    world = mobile(**settings)
    nat = Nat(world)
    # It was not there when the tunnel came up.
    world.moon.net.inject_roam(address_change=False)
    world.run()
    return world, nat


def assert_mapped(world: World, nat: Nat) -> None:
    port = nat.base + 4500
    (ike,) = world.sun.sas
    assert ike.remote == Endpoint(nat.outside, port)
    for state in world.sun.backend.states.values():
        inward, outward = (nat.outside, SUN), (SUN, nat.outside)
        assert (state.id.source, state.id.destination) == (inward if state.inbound else outward)
        assert state.encapsulation == ((port, 4500) if state.inbound else (4500, port))
    assert all(state.encapsulation == (4500, 4500) for state in world.moon.backend.states.values())
    world.assert_traffic_flows()


def test_a_nat_that_appears_makes_esp_go_in_udp_and_back() -> None:
    world, nat = behind_nat()
    assert_mapped(world, nat)
    world.elapse(100)
    assert world.moon.keepalives
    nat.is_there = False
    world.moon.with_ike(lambda ike: (ike.tasks.queue(PathCheck(ike)), ike.tasks.initiate()))
    world.run()
    assert_between(world, OLD)
    world.elapse(60)
    world.moon.keepalives.clear()
    world.elapse(100)
    assert world.moon.keepalives == []
    finish(world)


def test_another_mapping_is_noticed_by_liveness_checks() -> None:
    world, nat = behind_nat(dpd_delay=30)
    world.elapse(100)
    nat.change(nat.outside, 50000)
    world.elapse(100)
    assert world.moon.recorder.said("NAT mappings have changed")
    assert_mapped(world, nat)
    nat.change("198.51.100.10", 50000)
    world.elapse(100)
    assert_mapped(world, nat)
    finish(world)


def test_moving_behind_a_nat_and_out_of_it() -> None:
    world = mobile()
    nat = Nat(world)
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert_mapped(world, nat)
    nat.is_there = False
    world.moon.change_addresses(add=(OTHER,), remove=(NEW,))
    world.run()
    assert_between(world, OTHER)
    finish(world)


@pytest.mark.parametrize("host_changes", [True, False])
def test_esp_from_another_mapping_is_followed(host_changes: bool) -> None:
    world, nat = behind_nat()
    nat.change("198.51.100.10" if host_changes else nat.outside, 50000)
    world.sun.recorder.lines.clear()
    nat(replace(world.sent[-1], source=Endpoint(OLD, 4500)))
    (inbound,) = (s for s in world.sun.backend.states.values() if s.inbound)
    MappingChanged(
        world.sun.manager, inbound.id.spi, Endpoint(nat.outside, nat.base + 4500)
    ).execute()
    world.run()
    assert_mapped(world, nat)
    assert world.sun.recorder.said("checking that the peer can be reached at") == host_changes


def test_ike_messages_alone_do_not_move_a_mobile_peer() -> None:
    """RFC 4555 3.8: dynamic updates are not for IKE messages."""
    world, nat = behind_nat()
    nat.base = 50000
    world.moon.rekey_child()
    world.run()
    assert world.sun.sas[0].remote == Endpoint(nat.outside, 44500)


@pytest.mark.parametrize("later", [False, True])
def test_nats_can_be_forbidden(later: bool) -> None:
    parameters = IkeParameters(mobike_no_nats=True)
    if later:
        world = mobile(parameters=parameters)
        Nat(world)
        world.moon.change_addresses(remove=(OLD,))
        world.run()
        assert any("UNEXPECTED_NAT_DETECTED" in alert for alert in world.moon.recorder.alerts)
        assert world.sun.sas[0].remote.host == OLD
        return
    world = World(parameters=parameters)
    Nat(world)
    share_secret(world.moon)
    share_secret(world.sun)
    peer = connection(world, world.sun)
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=peer.ike.proposals)
    world.sun.connections.add(replace(peer, ike=anywhere))
    world.moon.initiate(connection(world, world.moon))
    world.run()
    assert world.sun.states == []
    assert world.sun.recorder.said("does not allow that")
    assert world.moon.recorder.said("UNEXPECTED_NAT_DETECTED")


def test_no_nats_allowed_is_read_as_it_is_written() -> None:
    for value in (
        NoNatsAllowed("192.0.2.1", 500, "192.0.2.2", 4500),
        NoNatsAllowed("2001:db8::1", 1, "2001:db8::2", 65535),
    ):
        assert NoNatsAllowed.parse(value.encode()) == value
