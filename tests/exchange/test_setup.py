"""Setting an IKE_SA up with its first CHILD_SA: the plain case, and all that can get lost."""

from __future__ import annotations

import pytest

from charon_core.bus.events import ChildUp, IkeUp
from charon_core.sa.environment import TimerKind
from tests.exchange.world import World, child, connection, establish, share_secret, tunnel


def test_four_messages_make_a_tunnel() -> None:
    world = World()
    establish(world)
    assert len(world.sent) == 4
    for host in (world.moon, world.sun):
        assert host.states == ["ESTABLISHED"]
        assert len(host.backend.states) == 2
        assert len(host.backend.policies) == 3
        assert len(host.recorder.of(IkeUp)) == 1
        assert len(host.recorder.of(ChildUp)) == 1


def test_both_sides_have_the_same_keys() -> None:
    world = World()
    establish(world)
    moon = {spi: state for (spi, *_), state in world.moon.backend.states.items()}
    sun = {spi: state for (spi, *_), state in world.sun.backend.states.items()}
    assert moon.keys() == sun.keys()
    for spi, state in moon.items():
        assert state.encryption_key == sun[spi].encryption_key
        assert state.inbound is not sun[spi].inbound
    one, other = moon.values()
    assert one.encryption_key != other.encryption_key


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_each_message_may_get_lost_once(lost: int) -> None:
    world = World()
    peer = tunnel(world)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    for _ in range(lost):
        world.step()
    world.drop()
    world.elapse(5)
    assert outcome == [True]
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert len(world.sun.backend.states) == 2


@pytest.mark.parametrize("repeated", [0, 1, 2, 3])
def test_each_message_may_come_twice(repeated: int) -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    for _ in range(repeated):
        world.step()
    packet = world.step()
    world.deliver(packet)
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert len(world.moon.backend.states) == len(world.sun.backend.states) == 2


def test_peer_that_never_answers_is_given_up() -> None:
    world = World()
    peer = tunnel(world, keyingtries=1)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.elapse(200, deliver=False)
    assert outcome == [False]
    assert len(world.sent) == 6
    assert any("does not answer" in text for text in world.moon.recorder.alerts)
    world.assert_nothing_left()


def test_keyingtries_start_over_with_a_fresh_spi() -> None:
    world = World()
    peer = tunnel(world, keyingtries=3)
    world.moon.initiate(peer)
    world.elapse(520, deliver=False)
    spis = {packet.data[:8] for packet in world.sent}
    assert len(spis) == 3
    assert world.moon.recorder.said("trying again (3/3)")
    world.assert_nothing_left()


def test_half_open_ike_sa_is_forgotten() -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    world.step()
    assert world.sun.manager.count() == world.sun.manager.count("10.99.0.1") == 1
    world.in_flight.clear()
    next(t for t in world.sun.timers if t.kind is TimerKind.HALF_OPEN).action()
    assert world.sun.manager.count() == world.sun.manager.count("10.99.0.1") == 0
    assert world.sun.states == []


def test_delete_of_the_ike_sa_leaves_nothing() -> None:
    world = World()
    establish(world)
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_delete_by_the_responder_leaves_nothing() -> None:
    world = World()
    establish(world)
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_both_delete_at_once() -> None:
    world = World()
    establish(world)
    world.moon.delete_ike()
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_delete_of_the_child_keeps_the_ike_sa() -> None:
    world = World()
    establish(world)
    world.moon.delete_child()
    world.run()
    for host in (world.moon, world.sun):
        assert host.states == ["ESTABLISHED"]
        assert not host.backend.states
        assert not host.backend.policies


def test_both_delete_the_child_at_once() -> None:
    world = World()
    establish(world)
    world.moon.delete_child()
    world.sun.delete_child()
    world.run()
    for host in (world.moon, world.sun):
        assert host.states == ["ESTABLISHED"]
        assert not host.backend.states
        assert not host.backend.policies


def test_each_try_asks_for_one_child_however_many_wait() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    pairs = [("a", "10.1.0.0/16", "10.2.0.0/16"), ("b", "10.3.0.0/16", "10.4.0.0/16")]
    connection(
        world,
        world.sun,
        children=tuple(child(n, local=(there,), remote=(here,)) for n, here, there in pairs),
    )
    peer = connection(
        world,
        world.moon,
        children=tuple(child(n, local=(here,), remote=(there,)) for n, here, there in pairs),
    )
    outcome: list[bool] = []
    world.moon.initiate(peer, "a", outcome)
    world.moon.initiate(peer, "b", outcome)
    world.elapse(166, deliver=False)
    assert world.moon.recorder.said("trying again")
    world.elapse(10)
    assert outcome == [True, True]
    assert {c.config.name for c in world.sun.children} == {"a", "b"}
