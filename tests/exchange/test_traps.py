"""Traps: the first packet brings the CHILD_SA up, and nothing leaves in the clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from charon_core.config.child import Action, ChildMode
from charon_core.control.routing import Unrouted
from charon_core.kernel.interface import KernelError, PolicyDirection
from charon_core.network.packet import Endpoint
from tests.exchange.test_uniqueness import lose
from tests.exchange.test_virtual_addresses import POOL, client, gateway
from tests.exchange.world import World, child, connection, selectors, share_secret, tunnel

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from tests.exchange.world import Host


def trapped(world: World, **settings: object) -> PeerConfig:
    """Configure both sides, and install the trap at moon."""
    peer = tunnel(world, **settings)
    assert world.moon.routing.route(peer, peer.children[0])
    return peer


def outward(host: Host) -> list[bool]:
    """Return whether each outbound policy is that of a trap."""
    return [
        policy.routed
        for policy in host.backend.policies.values()
        if policy.direction is PolicyDirection.OUT
    ]


def unguarded(world: World, host: Host) -> None:
    """Fail as soon as traffic of the host could leave without a policy."""

    def look() -> None:
        assert outward(host), "traffic would leave in the clear"

    world.watch = look


def test_a_packet_brings_up_what_a_trap_stands_for() -> None:
    world = World()
    trapped(world)
    assert outward(world.moon) == [True]
    assert len(world.moon.backend.policies) == 3
    assert not world.sent
    (trap,) = world.moon.traps.all()
    unguarded(world, world.moon)
    world.moon.packet()
    world.run()
    (established,) = world.moon.children
    assert established.reqid == trap.reqid
    assert outward(world.moon) == [False]
    assert established.local_ts == selectors("10.1.0.0/16")
    world.assert_traffic_flows()
    world.moon.packet()
    assert len(world.moon.children) == 1

    # Its end is not that of the trap, whoever ends it.
    world.sun.delete_ike()
    world.run()
    assert outward(world.moon) == [True]
    world.moon.packet()
    world.run()
    assert len(world.moon.children) == 1
    world.moon.delete_child()
    world.run()
    assert outward(world.moon) == [True]
    world.moon.delete_ike()
    world.run()
    assert world.moon.routing.unroute("net") is Unrouted.TRAP
    assert world.moon.routing.unroute("net") is None
    world.assert_nothing_left()
    assert len(world.moon.kernel._reqids) == 0


def test_the_packet_leads_the_selectors_of_the_offer() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    # The responder grants each host an SA of its own.
    narrow = child(local=("10.2.0.1",), remote=("10.1.0.1",))
    connection(world, world.sun, children=(narrow,))
    peer = connection(world, world.moon)
    assert world.moon.routing.route(peer, peer.children[0])
    (trap,) = world.moon.traps.all()
    world.moon.packet("10.1.0.1/32[udp/5000]", "10.2.0.1/32[udp/53]")
    world.run()
    (established,) = world.moon.children
    assert established.local_ts == selectors("10.1.0.1")
    # What it does not carry stays with the trap, which its policies are stronger than.
    assert established.reqid != trap.reqid
    assert sorted(outward(world.moon)) == [False, True]


def test_a_second_packet_gets_an_sa_of_its_own() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    children = tuple(
        child(f"host{n}", local=(f"10.2.0.{n}",), remote=("10.1.0.0/16",)) for n in (1, 2)
    )
    connection(world, world.sun, children=children)
    peer = connection(world, world.moon)
    assert world.moon.routing.route(peer, peer.children[0])
    world.moon.packet("10.1.0.1", "10.2.0.1")
    world.run()
    world.moon.packet("10.1.0.1", "10.2.0.2")
    world.run()
    granted = {established.remote_ts for established in world.moon.children}
    assert granted == {selectors("10.2.0.1"), selectors("10.2.0.2")}
    # A third one gets an SA that is not for it: so it is not tried at every packet.
    for _ in range(50):
        world.moon.packet("10.1.0.1", "10.2.0.3")
        world.run()
        world.elapse(0.02)
    assert world.moon.recorder.said("peer leaves out 10.1.0.1/32 === 10.2.0.3/32")
    assert len(world.moon.children) == 3


def test_a_dead_peer_is_no_reason_for_a_storm() -> None:
    world = World()
    trapped(world, keyingtries=1)
    world.hosts.pop(world.sun.address)
    begun = 0.0
    for _ in range(3600):
        world.moon.packet()
        world.elapse(1)
        assert len(world.moon.sas) <= 1
    initiations = [line for line in world.moon.recorder.lines if "creating acquire job" in line]
    assert 10 <= len(initiations) <= 40
    begun = world.now
    world.hosts[world.sun.address] = world.sun
    while not world.moon.children and world.now < begun + 300:
        world.moon.packet()
        world.elapse(1)
    assert len(world.moon.children) == 1
    assert outward(world.moon) == [False]


def test_a_refusal_for_ever_is_one_ike_sa() -> None:
    world = World()
    peer = tunnel(world, keyingtries=0)
    world.sun.secrets.clear()
    share_secret(world.sun, b"another secret")
    assert world.moon.routing.route(peer, peer.children[0])
    for _ in range(600):
        world.moon.packet()
        world.run()
        world.elapse(1)
        assert len(world.moon.sas) <= 1
    world.sun.secrets.clear()
    share_secret(world.sun)
    world.elapse(301)
    assert len(world.moon.children) == 1


def test_packets_while_it_is_initiated_change_nothing() -> None:
    world = World()
    trapped(world)
    world.moon.packet()
    while world.in_flight:
        for _ in range(3):
            world.moon.packet()
        world.step()
    assert len(world.moon.sas) == len(world.moon.children) == 1


def test_a_late_packet_finds_the_child_there() -> None:
    world = World()
    trapped(world)
    world.moon.packet()
    world.run()
    (trap,) = world.moon.traps.all()
    world.moon.backend.inject_acquire(trap.reqid, *selectors("10.1.0.1"), *selectors("10.2.0.1"))
    world.moon.do_jobs()
    world.run()
    assert len(world.moon.children) == 1
    world.moon.backend.inject_acquire(trap.reqid)
    world.moon.backend.inject_acquire(99)
    world.moon.do_jobs()
    assert len(world.moon.children) == 1


def test_rekeying_and_expiry_below_a_trap() -> None:
    world = World()
    trapped(world)
    unguarded(world, world.moon)
    world.moon.packet()
    world.run()
    world.moon.rekey_child()
    world.run()
    world.elapse(10)
    world.assert_traffic_flows()
    (established,) = world.moon.children
    world.moon.backend.inject_expire(established._outbound_id, hard=True)
    world.run()
    assert world.moon.children == []
    assert outward(world.moon) == [True]


def test_a_trap_is_replaced_without_a_gap() -> None:
    world = World()
    peer = trapped(world)
    changed = child(local=("10.1.0.0/16",), remote=("10.2.0.0/16",), rekey_time=60, life_time=90)
    assert world.moon.routing.route(peer, changed)
    (trap,) = world.moon.traps.all()
    assert trap.child == changed
    assert world.moon.routing.route(peer, changed)
    assert world.moon.traps.all() == [trap]
    assert world.moon.routing.unroute("net") is Unrouted.TRAP
    world.assert_nothing_left()


def test_what_cannot_be_trapped() -> None:
    world = World()
    peer = tunnel(world)
    moon = world.moon
    refused = [
        child(mode=ChildMode.TRANSPORT, proxy_mode=True),
        child(install_policy=False),
        child(local=("fd01::/16",)),
    ]
    for config in refused:
        assert not moon.routing.route(peer, config)
    anybody = connection(world, moon, name="any", ike_settings={})
    from dataclasses import replace

    anywhere = replace(anybody, ike=replace(anybody.ike, remote=("%any",)))
    assert not moon.routing.route(anywhere, anywhere.children[0])
    assert moon.traps.all() == []
    world.assert_nothing_left()


def test_a_trap_that_the_kernel_refuses_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    peer = tunnel(world)
    add = world.moon.backend.add_policy

    def refuse(spec: object) -> None:
        if spec.direction is PolicyDirection.FORWARD:
            raise KernelError("add policy", "no")
        add(spec)

    monkeypatch.setattr(world.moon.backend, "add_policy", refuse)
    assert not world.moon.routing.route(peer, peer.children[0])
    world.assert_nothing_left()
    assert len(world.moon.kernel._reqids) == 0


def held(world: World, **actions: Action) -> PeerConfig:
    """Bring a tunnel up at moon that is to be held."""
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun)
    peer = connection(world, world.moon, children=(child(**actions),), dpd_delay=30)
    world.moon.initiate(peer)
    world.run()
    assert outward(world.moon) == [False]
    unguarded(world, world.moon)
    return peer


def test_a_dead_peer_is_held() -> None:
    world = World()
    held(world, dpd_action=Action.TRAP)
    lose(world.sun)
    world.hosts.pop(world.sun.address)
    world.elapse(600)
    assert world.moon.sas == []
    assert outward(world.moon) == [True]
    world.hosts[world.sun.address] = world.sun
    world.moon.packet()
    world.run()
    world.assert_traffic_flows()


@pytest.mark.parametrize("what", ["delete_child", "delete_ike"])
def test_what_the_peer_closes_is_held(what: str) -> None:
    world = World()
    held(world, close_action=Action.TRAP)
    getattr(world.sun, what)()
    world.run()
    assert world.moon.children == []
    assert outward(world.moon) == [True]
    world.moon.packet()
    world.run()
    world.assert_traffic_flows()
    (trap,) = world.moon.traps.all()
    getattr(world.sun, what)()
    world.run()
    assert world.moon.traps.all() == [trap]


@pytest.mark.parametrize("what", ["delete_child", "delete_ike"])
def test_what_we_close_is_not_held(what: str) -> None:
    world = World()
    held(world, close_action=Action.TRAP, dpd_action=Action.TRAP)
    world.watch = lambda: None
    getattr(world.moon, what)()
    world.run()
    assert world.moon.traps.all() == []


def test_a_road_warrior_is_held_where_it_was() -> None:
    """A responder does not know by its configuration where the peer is."""
    from dataclasses import replace

    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    suns = child(local=("10.2.0.0/16",), remote=("10.1.0.0/16",), close_action=Action.TRAP)
    fixed = connection(world, world.sun, children=(suns,))
    world.sun.connections.remove("net")
    world.sun.connections.add(replace(fixed, ike=replace(fixed.ike, remote=("%any",))))
    world.moon.initiate(connection(world, world.moon))
    world.run()
    unguarded(world, world.sun)
    world.moon.delete_ike()
    world.run()
    (trap,) = world.sun.traps.all()
    assert trap.remote == Endpoint(world.moon.address, 4500), "where MOBIKE went from port 500"
    world.sun.packet("10.2.0.1", "10.1.0.1")
    world.run()
    world.assert_traffic_flows()


def test_both_sides_trap_and_meet() -> None:
    """Both traps go off at once: one IKE_SA stays, and traffic flows both ways."""
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    for host in (world.moon, world.sun):
        peer = connection(world, host)
        assert host.routing.route(peer, peer.children[0])
    world.moon.packet()
    world.sun.packet("10.2.0.1", "10.1.0.1")
    world.run()
    world.elapse(60)
    assert len(world.moon.sas) == len(world.sun.sas) == 1
    world.assert_traffic_flows()


def test_a_packet_without_the_virtual_address_brings_up_the_tunnel_that_has_it() -> None:
    world = World()
    peer = client(world, "0.0.0.0")
    gateway(world, POOL)
    assert world.moon.routing.route(peer, peer.children[0])
    world.moon.packet(world.moon.address, "10.2.0.1")
    world.run()
    (established,) = world.moon.children
    assert established.local_ts == selectors("10.9.0.1")
    assert not world.moon.recorder.said("it pauses")


def test_a_proposal_that_fits_counts_for_more_than_the_packet() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    wide = child("wide", local=("10.2.0.0/16",), remote=("10.1.0.0/16",), esp="aes256-sha512!")
    narrow = child("narrow", local=("10.2.0.9",), remote=("10.1.0.0/16",))
    connection(world, world.sun, children=(wide, narrow))
    peer = connection(world, world.moon)
    assert world.moon.routing.route(peer, peer.children[0])
    world.moon.packet("10.1.0.1", "10.2.0.1")
    world.run()
    assert [each.config.name for each in world.sun.children] == ["narrow"]
