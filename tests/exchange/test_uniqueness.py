"""Several IKE_SAs with one peer: which of them stay."""

from __future__ import annotations

from functools import partial

import pytest

from charon_core.bus.events import IkeDown, IkeUp
from charon_core.config.peer import UniquePolicy
from tests.exchange.orders import orders
from tests.exchange.test_ike_rekey import spis
from tests.exchange.world import Host, World, connection, share_secret, tunnel


def initiate_anew(host: Host, peer) -> list[bool]:
    """Initiate a further IKE_SA, though there may be one."""
    from charon_core.network.packet import Endpoint

    outcome: list[bool] = []
    local, remote = Endpoint(host.address, 500), Endpoint(peer.ike.remote[0], 500)
    with host.manager.working_on(host.manager.create_initiator(local, remote)) as ike:
        ike.begin(peer)
        ike.initiate_child(peer.children[0], outcome.append)
    return outcome


def with_policies(moon: UniquePolicy, sun: UniquePolicy, seed: int = 1) -> World:
    world = World(seed=seed)
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.moon, unique=moon)
    connection(world, world.sun, unique=sun)
    return world


def lose(host: Host) -> None:
    """Forget all IKE_SAs, as in a crash."""
    host.manager.shut_down(lambda: False)
    host.manager._closed = False


def initial_contact_of(world: World) -> bool:
    return any("INIT_CONTACT" in line for line in world.sun.recorder.lines)


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (UniquePolicy.NO, 2),
        (UniquePolicy.NEVER, 2),
        (UniquePolicy.REPLACE, 1),
        (UniquePolicy.KEEP, 1),
    ],
)
def test_a_second_ike_sa_of_a_peer_that_knows_the_first(policy: UniquePolicy, left: int) -> None:
    world = with_policies(UniquePolicy.NO, policy)
    peer = world.moon.connections.get("net")
    assert initiate_anew(world.moon, peer) == []
    world.run()
    (first,) = spis(world.moon)
    world.elapse(60)
    outcome = initiate_anew(world.moon, peer)
    world.run()
    assert outcome == [policy is not UniquePolicy.KEEP]
    assert spis(world.moon) == spis(world.sun)
    assert len(spis(world.moon)) == left
    assert (first in spis(world.moon)) is (policy is not UniquePolicy.REPLACE)
    if left == 1:
        assert any("uniqueids" in text for text in world.sun.recorder.alerts)


@pytest.mark.parametrize("policy", [p for p in UniquePolicy if p is not UniquePolicy.NEVER])
def test_a_peer_that_has_lost_its_ike_sa_says_so(policy: UniquePolicy) -> None:
    world = with_policies(policy, policy)
    peer = world.moon.connections.get("net")
    initiate_anew(world.moon, peer)
    world.run()
    lose(world.moon)
    world.elapse(60)
    world.sent.clear()
    outcome = initiate_anew(world.moon, peer)
    world.run()
    assert outcome == [True]
    assert initial_contact_of(world)
    assert spis(world.moon) == spis(world.sun)
    assert len(spis(world.moon)) == 1
    assert len(world.sun.backend.states) == 2
    assert not any("DELETE" in line for line in world.sun.recorder.lines)


def test_never_heeds_no_initial_contact_and_sends_none() -> None:
    world = with_policies(UniquePolicy.NEVER, UniquePolicy.NEVER)
    peer = world.moon.connections.get("net")
    initiate_anew(world.moon, peer)
    world.run()
    assert not initial_contact_of(world)
    lose(world.moon)
    world.elapse(60)
    initiate_anew(world.moon, peer)
    world.run()
    assert len(world.sun.sas) == 2


def both_initiate(seed: int, policy: UniquePolicy) -> World:
    world = with_policies(policy, policy, seed)
    for host in (world.moon, world.sun):
        initiate_anew(host, host.connections.get("net"))
    return world


@pytest.mark.parametrize("seed", [1, 2])
def test_both_initiate_at_once_and_one_ike_sa_stays(seed: int) -> None:
    number = 0
    for world in orders(partial(both_initiate, seed, UniquePolicy.REPLACE)):
        number += 1
        assert len(spis(world.moon)) == 1
        assert spis(world.moon) == spis(world.sun)
        assert len(world.moon.backend.states) == len(world.sun.backend.states) == 2
        world.assert_traffic_flows()
        for host in (world.moon, world.sun):
            assert len(host.recorder.of(IkeUp)) - len(host.recorder.of(IkeDown)) == 1
    assert number > 10


def test_peers_of_other_identities_are_others() -> None:
    world = with_policies(UniquePolicy.REPLACE, UniquePolicy.REPLACE)
    share_secret(world.moon, b"another secret", "moon2.example.org", "sun.example.org")
    share_secret(world.sun, b"another secret", "moon2.example.org", "sun.example.org")
    from tests.exchange.world import auth

    second = connection(world, world.moon, name="two", local=auth("moon2.example.org"))
    connection(world, world.sun, name="two", remote=auth("moon2.example.org"))
    initiate_anew(world.moon, world.moon.connections.get("net"))
    initiate_anew(world.moon, second)
    world.run()
    assert len(world.sun.sas) == 2


def test_the_index_of_peers_forgets_what_is_gone() -> None:
    world = World()
    peer = tunnel(world)
    for _ in range(5):
        initiate_anew(world.moon, peer)
        world.run()
        world.elapse(20)
    world.moon.with_ike(lambda ike: ike.rekey())
    world.run()
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()
    assert len(world.moon.env.peers) == len(world.sun.env.peers) == 0
