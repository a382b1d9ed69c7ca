"""How tunnels come back: dead peers, closed SAs, refusals."""

from __future__ import annotations

from itertools import pairwise

import pytest

from charon_core.bus.events import ChildUp, IkeUp
from charon_core.config.child import Action
from charon_core.sa.parameters import IkeParameters
from tests.exchange.test_ike_rekey import spis
from tests.exchange.test_uniqueness import lose
from tests.exchange.world import World, child, connection, share_secret, tunnel


def with_actions(
    *,
    dpd: Action = Action.NONE,
    close: Action = Action.NONE,
    both: bool = False,
    **settings: object,
) -> World:
    """Return a world with a tunnel up, whose moon acts so."""
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    here, there = ("10.1.0.0/16",), ("10.2.0.0/16",)
    actions = {"dpd_action": dpd, "close_action": close}
    suns = actions if both else {}
    connection(world, world.sun, children=(child(local=there, remote=here, **suns),))
    peer = connection(
        world, world.moon, children=(child(local=here, remote=there, **actions),), **settings
    )
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == ["ESTABLISHED"]
    for host in (world.moon, world.sun):
        host.recorder.happened.clear()
    return world


@pytest.mark.parametrize("action", [Action.NONE, Action.START])
def test_a_peer_that_dies_and_comes_back(action: Action) -> None:
    world = with_actions(dpd=action, dpd_delay=30, keyingtries=0)
    before = spis(world.moon)
    lose(world.sun)
    world.hosts.pop(world.sun.address)
    world.elapse(600)
    assert len(world.moon.sas) == (action is Action.START)
    world.hosts[world.sun.address] = world.sun
    world.elapse(200)
    if action is Action.START:
        assert spis(world.moon) == spis(world.sun) != before
        assert world.moon.states == ["ESTABLISHED"]
        assert len(world.moon.children) == len(world.sun.children) == 1
    else:
        world.assert_nothing_left()


@pytest.mark.parametrize("action", [Action.NONE, Action.START])
@pytest.mark.parametrize("what", ["delete_child", "delete_ike"])
def test_a_peer_that_closes_what_is_to_stay(action: Action, what: str) -> None:
    world = with_actions(close=action)
    getattr(world.sun, what)()
    world.run()
    if action is Action.START:
        assert world.moon.states == ["ESTABLISHED"]
        assert len(world.moon.children) == len(world.sun.children) == 1
        assert len(world.moon.recorder.of(ChildUp)) == 1
    else:
        assert world.moon.children == world.sun.children == []


@pytest.mark.parametrize("what", ["delete_child", "delete_ike"])
def test_what_we_close_ourselves_stays_closed(what: str) -> None:
    world = with_actions(close=Action.START, dpd=Action.START)
    getattr(world.moon, what)()
    world.run()
    world.elapse(100)
    assert world.moon.children == world.sun.children == []


def test_both_close_and_both_want_it_back() -> None:
    world = with_actions(close=Action.START, both=True)
    world.moon.delete_child()
    world.sun.delete_child()
    world.run()
    assert len(world.moon.children) == len(world.sun.children) <= 2
    world.moon.delete_ike()
    world.sun.delete_ike()
    world.run()
    world.elapse(100)
    assert spis(world.moon) == spis(world.sun)
    assert len(world.moon.sas) <= 1


def test_rekeying_is_no_closing() -> None:
    world = with_actions(close=Action.START, both=True)
    for host in (world.moon, world.sun):
        host.rekey_child()
    world.run()
    world.elapse(10)
    assert len(world.moon.children) == 1
    for host in (world.moon, world.sun):
        host.with_ike(lambda ike: ike.rekey())
    world.run()
    world.elapse(100)
    assert len(world.moon.sas) == len(world.sun.sas) == 1
    assert world.moon.recorder.of(IkeUp) == world.moon.recorder.of(ChildUp) == []


def test_a_refusal_is_final_where_tries_are_numbered() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun, b"another secret")
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon, keyingtries=3), outcome=outcome)
    world.run()
    assert outcome == [False]
    world.assert_nothing_left()


def test_a_refusal_is_followed_by_ever_longer_pauses() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun, b"another secret")
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon, keyingtries=0), outcome=outcome)
    world.run()
    assert outcome == [False], "whoever waits is told"
    tries: list[float] = []
    for _ in range(3600):
        before = len(world.sent)
        world.elapse(1)
        if len(world.sent) > before:
            tries.append(world.now - 1000)
    pauses = [round(after - before) for before, after in pairwise([0.0, *tries])]
    assert 4 <= pauses[0] <= 6
    assert all(later >= earlier for earlier, later in pairwise(pauses[:6]))
    assert all(224 <= pause <= 301 for pause in pauses[7:])
    world.sun.secrets.clear()
    share_secret(world.sun)
    world.elapse(301)
    assert world.moon.states == ["ESTABLISHED"]
    assert len(world.moon.children) == 1
    assert outcome == [False]


def test_a_user_ends_the_tries() -> None:
    world = World(parameters=IkeParameters())
    peer = tunnel(world, keyingtries=0)
    world.sun.connections.remove("net")
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == ["CREATED"]
    world.moon.delete_ike()
    world.run()
    world.elapse(1000)
    world.assert_nothing_left()
