"""Transport mode between two hosts: granted, declined, rekeyed, through NATs; and AH."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.config.child import ChildMode
from charon_core.config.keywords import parse_proposals
from charon_core.encoding.registry import ProtocolId
from charon_core.kernel.interface import IpsecProtocol, KernelError, KernelFeature, PolicyDirection
from charon_core.network.packet import Endpoint, Packet
from tests.exchange.world import World, child, connection, selectors, share_secret

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from charon_core.sa.ike_sa import IkeSa
    from tests.exchange.world import Host

ROUTER = "10.99.0.77"
ROUTER_OF_SUN = "10.99.0.78"


class Nats:
    """Hides moon, sun or both: who is behind has another address for the other one."""

    def __init__(self, world: World, *, moon: bool, sun: bool) -> None:
        self.world = world
        self.moons = ROUTER if moon else world.moon.address
        self.suns = ROUTER_OF_SUN if sun else world.sun.address
        world.nat = self.translate

    def translate(self, packet: Packet) -> Packet:
        moon, sun = self.world.moon.address, self.world.sun.address
        source, destination = packet.source, packet.destination
        if source.host == moon:
            return replace_ends(
                packet,
                Endpoint(self.moons, source.port + 20000 * (self.moons != moon)),
                Endpoint(sun, destination.port),
            )
        return replace_ends(
            packet, Endpoint(self.suns, source.port), Endpoint(moon, destination.port % 20000)
        )


def replace_ends(packet: Packet, source: Endpoint, destination: Endpoint) -> Packet:
    return Packet(source, destination, packet.data)


def hosts(
    world: World,
    *,
    moons: ChildMode,
    suns: ChildMode,
    nats: Nats | None = None,
    esp: str = "aes128gcm16!",
    **settings: object,
) -> PeerConfig:
    """Configure both for each other's addresses alone."""
    share_secret(world.moon)
    share_secret(world.sun)
    at_sun = connection(
        world, world.sun, children=(child(local=(), remote=(), mode=suns, esp=esp),)
    )
    peer = connection(
        world, world.moon, children=(child(local=(), remote=(), mode=moons, esp=esp, **settings),)
    )
    if nats is not None:
        world.sun.connections.remove("net")
        world.sun.connections.add(replace(at_sun, ike=replace(at_sun.ike, remote=("%any",))))
        world.moon.connections.remove("net")
        peer = replace(peer, ike=replace(peer.ike, remote=(nats.suns,)))
        world.moon.connections.add(peer)
        world.hosts[nats.suns] = world.sun
        world.hosts[nats.moons] = world.moon
    return peer


def modes(host: Host) -> set[ChildMode]:
    """Return the modes of SAs and policies, which must be one."""
    found = {state.mode for state in host.backend.states.values()}
    return found | {policy.template.mode for policy in host.backend.policies.values()}


def bring_up(world: World, peer: PeerConfig) -> None:
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True], world.moon.recorder.lines


@pytest.mark.parametrize("ipv6", [False, True])
def test_both_want_it(ipv6: bool) -> None:
    world = World(ipv6=ipv6)
    bring_up(world, hosts(world, moons=ChildMode.TRANSPORT, suns=ChildMode.TRANSPORT))
    for host in (world.moon, world.sun):
        assert modes(host) == {ChildMode.TRANSPORT}
        assert {policy.direction for policy in host.backend.policies.values()} == {
            PolicyDirection.OUT,
            PolicyDirection.IN,
        }
        (snapshot,) = host.manager.snapshots()
        assert snapshot.children[0].mode == "TRANSPORT"
    world.assert_traffic_flows()
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


@pytest.mark.parametrize("wants", ["moon", "sun"])
def test_one_of_them_does_not(wants: str) -> None:
    world = World()
    mode = {True: ChildMode.TRANSPORT, False: ChildMode.TUNNEL}
    bring_up(world, hosts(world, moons=mode[wants == "moon"], suns=mode[wants == "sun"]))
    assert modes(world.moon) == modes(world.sun) == {ChildMode.TUNNEL}
    assert world.moon.recorder.said("does not grant transport mode") is (wants == "moon")
    world.assert_traffic_flows()


def test_networks_behind_the_hosts_need_a_tunnel() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    here, there = ("10.1.0.0/16",), ("10.2.0.0/16",)
    mode = ChildMode.TRANSPORT
    connection(world, world.sun, children=(child(local=there, remote=here, mode=mode),))
    peer = connection(world, world.moon, children=(child(local=here, remote=there, mode=mode),))
    assert world.moon.routing.route(peer, peer.children[0])
    assert modes(world.moon) == {ChildMode.TUNNEL}
    world.moon.packet()
    world.run()
    assert modes(world.moon) == modes(world.sun) == {ChildMode.TUNNEL}


@pytest.mark.parametrize("rekeys", ["moon", "sun"])
@pytest.mark.parametrize(
    ("moon", "sun"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_through_nats(moon: bool, sun: bool, rekeys: str) -> None:
    world = World()
    nats = Nats(world, moon=moon, sun=sun)
    transport = ChildMode.TRANSPORT
    bring_up(world, hosts(world, moons=transport, suns=transport, nats=nats))
    for _ in range(2):
        ends = {
            "moon": (world.moon.address, nats.suns),
            "sun": (world.sun.address, nats.moons),
        }
        for host in (world.moon, world.sun):
            assert modes(host) == {transport}
            (established,) = host.children
            here, there = ends[host.name]
            assert established.local_ts == selectors(here)
            assert established.remote_ts == selectors(there)
            assert established.encapsulated is (moon or sun)
        world.assert_traffic_flows()
        getattr(world, rekeys).rekey_child()
        world.run()
        world.elapse(10)


def test_a_peer_behind_a_nat_that_moves_takes_the_selectors_along() -> None:
    world = World()
    nats = Nats(world, moon=True, sun=False)
    transport = ChildMode.TRANSPORT
    peer = hosts(world, moons=transport, suns=transport, nats=nats)
    bring_up(world, replace(peer, mobike=False))
    (before,) = world.sun.children
    world.sun.backend.inject_mapping(
        before.reqid, before.local_spi, before.remote, Endpoint("10.99.0.79", 24501)
    )
    (after,) = world.sun.children
    assert after.remote_ts == selectors("10.99.0.79")
    policies = list(world.sun.backend.policies.values())
    assert all(
        policy.template.destination in {"10.99.0.79", world.sun.address} for policy in policies
    )
    assert len(policies) == 2
    world.sun.delete_ike()
    world.run()
    world.elapse(100)
    assert world.sun.leaks() == {}


def test_a_move_that_fails_leaves_the_selectors_where_they_were() -> None:
    world = World()
    nats = Nats(world, moon=True, sun=False)
    transport = ChildMode.TRANSPORT
    bring_up(world, replace(hosts(world, moons=transport, suns=transport, nats=nats), mobike=False))
    policies, states = dict(world.sun.backend.policies), dict(world.sun.backend.states)

    def refuse(_: object) -> None:
        raise KernelError("add_policy", "no room")

    def move(ike: IkeSa) -> None:
        (established,) = ike.children
        before = established.local_ts, established.remote_ts, established.remote
        elsewhere = Endpoint("10.99.0.79", 24501)
        with pytest.raises(KernelError, match="no room"):
            established.move(established.local, elsewhere, encapsulated=True)
        assert (established.local_ts, established.remote_ts, established.remote) == before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.sun.backend, "add_policy", refuse)
        world.sun.with_ike(move)
    assert world.sun.backend.policies == policies
    assert world.sun.backend.states.keys() == states.keys()


def test_ports_stay_what_they_are_through_a_nat() -> None:
    world = World()
    nats = Nats(world, moon=True, sun=False)
    transport = ChildMode.TRANSPORT
    peer = hosts(world, moons=transport, suns=transport, nats=nats)
    config = replace(
        peer.children[0],
        local_ts=selectors("%dynamic[udp]"),
        remote_ts=selectors("%dynamic[udp/1701]"),
    )
    peer = replace(peer, children=(config,))
    world.moon.connections.remove("net")
    world.moon.connections.add(peer)
    bring_up(world, peer)
    (established,) = world.sun.children
    assert established.local_ts == selectors(f"{world.sun.address}[udp/1701]")
    assert established.remote_ts == selectors(f"{ROUTER}[udp]")


def test_a_trap_in_transport_mode() -> None:
    world = World()
    peer = hosts(world, moons=ChildMode.TRANSPORT, suns=ChildMode.TRANSPORT)
    assert world.moon.routing.route(peer, peer.children[0])
    assert modes(world.moon) == {ChildMode.TRANSPORT}
    world.moon.packet(f"{world.moon.address}/32[tcp/5000]", f"{world.sun.address}/32[tcp/80]")
    world.run()
    (established,) = world.moon.children
    assert established.mode is ChildMode.TRANSPORT
    (trap,) = world.moon.traps.all()
    assert established.reqid == trap.reqid


@pytest.mark.parametrize("who", ["moon", "sun"])
def test_a_kernel_without_it(who: str) -> None:
    world = World()
    backend = getattr(world, who).backend
    backend.features = backend.features - {KernelFeature.TRANSPORT}
    peer = hosts(world, moons=ChildMode.TRANSPORT, suns=ChildMode.TRANSPORT)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.children == world.sun.children == []


def test_ah_protects_without_encryption() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    configs = []
    for host in (world.sun, world.moon):
        config = replace(
            child(local=(), remote=(), mode=ChildMode.TRANSPORT),
            proposals=parse_proposals("sha256!", ProtocolId.AH),
        )
        configs.append(connection(world, host, children=(config,)))
    bring_up(world, configs[1])
    states = world.moon.backend.states.values()
    assert {state.id.protocol for state in states} == {IpsecProtocol.AH}
    assert all(state.encryption == 0 and state.integrity_key is not None for state in states)
    keys = {state.integrity_key.reveal() for state in states}
    assert keys == {state.integrity_key.reveal() for state in world.sun.backend.states.values()}
    assert {len(key) for key in keys} == {32}
    world.moon.rekey_child()
    world.run()
    world.elapse(10)
    world.assert_traffic_flows()
    world.moon.delete_child()
    world.run()
    assert world.moon.children == world.sun.children == []


def test_ah_does_not_pass_a_nat() -> None:
    world = World()
    nats = Nats(world, moon=True, sun=False)
    peer = hosts(world, moons=ChildMode.TRANSPORT, suns=ChildMode.TRANSPORT, nats=nats)
    for host in (world.moon, world.sun):
        (known,) = host.connections.remove("net")
        config = replace(known.children[0], proposals=parse_proposals("sha256!", ProtocolId.AH))
        host.connections.add(replace(known, children=(config,)))
    outcome: list[bool] = []
    world.moon.initiate(
        replace(peer, children=world.moon.connections.get("net").children), outcome=outcome
    )
    world.run()
    assert outcome == [False]
    assert world.moon.children == world.sun.children == []


@pytest.mark.parametrize("sun", [False, True])
def test_a_responder_that_answers_in_its_own_words(
    sun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's strongSwan does so behind a NAT."""
    from charon_core.sa.transport import TransportOffer

    monkeypatch.setattr(TransportOffer, "in_its_words", lambda _, local, remote: (local, remote))
    world = World()
    nats = Nats(world, moon=True, sun=sun)
    transport = ChildMode.TRANSPORT
    bring_up(world, hosts(world, moons=transport, suns=transport, nats=nats))
    (established,) = world.moon.children
    assert established.local_ts == selectors(world.moon.address)
    assert established.remote_ts == selectors(nats.suns)
    world.assert_traffic_flows()
