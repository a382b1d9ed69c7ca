"""Rekeying of IKE_SAs: the CHILD_SAs move, every collision is settled, nothing is left."""

from __future__ import annotations

from functools import partial

import pytest

from charon_core.bus.events import ChildDown, ChildUp, IkeDown, IkeRekeyed, IkeUp
from charon_core.sa.parameters import IkeParameters
from tests.exchange.orders import orders
from tests.exchange.test_child_rekey import rekeying
from tests.exchange.world import IKE_PROPOSAL, Host, World, connection, share_secret

PATIENCE = IkeParameters().rekeyed_patience


def tunnelled(seed: int = 1, ike: str = IKE_PROPOSAL, suns: str = "", **settings: object) -> World:
    world = World(seed=seed)
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, ike=suns or ike, **settings)
    peer = connection(world, world.moon, ike=ike, **settings)
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    world.watch = world.assert_traffic_flows
    for host in (world.moon, world.sun):
        host.recorder.happened.clear()
    return world


def spis(host: Host) -> list[tuple[bytes, bytes]]:
    return [(sa.initiator_spi, sa.responder_spi) for sa in host.sas]


def assert_one_ike_sa(world: World) -> None:
    """Both sides have the same one IKE_SA with its CHILD_SA, and it works."""
    assert spis(world.moon) == spis(world.sun)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    (moon,), (sun,) = world.moon.children, world.sun.children
    assert (moon.local_spi, moon.remote_spi) == (sun.remote_spi, sun.local_spi)
    assert len(world.moon.backend.states) == len(world.sun.backend.states) == 2
    world.assert_traffic_flows()
    for host in (world.moon, world.sun):
        outcome: list[bool] = []
        host.rekey_child(outcome)
        world.run()
        assert outcome == [True], "the new IKE_SA works in both directions"


def rekey(host: Host, outcome: list[bool] | None = None) -> None:
    done = outcome.append if outcome is not None else None
    host.with_ike(lambda ike: ike.rekey(done))


@pytest.mark.parametrize("who", ["moon", "sun"])
@pytest.mark.parametrize(
    "ike",
    [
        IKE_PROPOSAL,
        "aes256-sha256-ecp256!",
        "aes128-sha1-modp2048!",
        "chacha20poly1305-prfsha512-x448!",
    ],
)
def test_an_ike_sa_is_replaced(who: str, ike: str) -> None:
    world = tunnelled(ike=ike)
    before = spis(world.moon)
    outcome: list[bool] = []
    rekey(getattr(world, who), outcome)
    world.run()
    assert outcome == [True]
    assert not set(before) & set(spis(world.moon))
    for host in (world.moon, world.sun):
        (event,) = host.recorder.of(IkeRekeyed)
        assert event.new.unique_id == host.sas[0].unique_id != event.old.unique_id
        for kind in (IkeUp, IkeDown, ChildUp, ChildDown):
            assert host.recorder.of(kind) == []
    assert_one_ike_sa(world)
    world.watch = lambda: None
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()
    assert len(world.moon.recorder.of(IkeDown)) == len(world.moon.recorder.of(ChildDown)) == 1


def test_whoever_rekeys_is_the_initiator_of_the_new_one() -> None:
    world = tunnelled()
    rekey(world.sun)
    world.run()
    assert [sa.is_initiator for sa in world.sun.sas] == [True]
    assert [sa.is_initiator for sa in world.moon.sas] == [False]
    rekey(world.moon)
    world.run()
    assert [sa.is_initiator for sa in world.moon.sas] == [True]
    assert_one_ike_sa(world)


def test_times_rekey_for_as_long_as_the_tunnel_lives() -> None:
    world = tunnelled(rekey_time=600, jitter_time=100, over_time=60)
    world.elapse(6000)
    assert len(world.moon.recorder.of(IkeRekeyed)) >= 9
    assert world.moon.recorder.of(IkeDown) == []
    assert_one_ike_sa(world)


def test_both_sides_are_due_at_the_same_moment() -> None:
    world = tunnelled(rekey_time=600, over_time=60)
    world.elapse(6000)
    assert world.moon.recorder.of(IkeDown) == []
    assert_one_ike_sa(world)


def test_ike_sa_and_child_are_due_at_the_same_moment() -> None:
    world = World()
    world = rekeying(rekey_time=300, life_time=400)
    for host in (world.moon, world.sun):
        host.recorder.happened.clear()
    for _ in range(10):
        world.elapse(299.9)
        rekey(world.sun)
        rekey(world.moon)
        world.elapse(0.2)
        world.run()
    world.elapse(20)
    assert world.moon.recorder.of(IkeDown) == world.moon.recorder.of(ChildDown) == []
    world.elapse(10)
    assert_one_ike_sa(world)


# -- collisions --


def both_rekey(seed: int) -> World:
    world = tunnelled(seed)
    rekey(world.moon)
    rekey(world.sun)
    return world


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_both_rekey_at_once_in_every_order(seed: int) -> None:
    settled = 0
    for world in orders(partial(both_rekey, seed)):
        settled += len(world.moon.sas) == len(world.sun.sas) == 1
        assert world.moon.states.count("ESTABLISHED") == 1
        # Where a delete overtakes an answer, its sender never learns of the redundant one.
        world.elapse(PATIENCE)
        assert_one_ike_sa(world)
        for host in (world.moon, world.sun):
            assert host.recorder.of(IkeDown) == host.recorder.of(ChildDown) == []
    assert settled > 5


@pytest.mark.parametrize("seed", [1, 2])
def test_both_rekey_at_once_with_a_loss_at_each_point(seed: int) -> None:
    for world in orders(partial(both_rekey, seed), losses=1):
        # Where one side has not seen that there was a collision, it waits for a delete.
        world.elapse(PATIENCE)
        assert_one_ike_sa(world)


def rekey_and(action: str, seed: int = 1) -> World:
    world = tunnelled(seed)
    rekey(world.moon)
    getattr(world.sun, action)()
    return world


@pytest.mark.parametrize("losses", [0, 1])
def test_a_delete_wins_over_the_rekeying_that_it_crosses(losses: int) -> None:
    for world in orders(partial(_without_watch, "delete_ike"), losses=losses):
        world.elapse(400)
        # Served before the delete came, the new one lives; else nothing does.
        assert spis(world.moon) == spis(world.sun)
        if not world.moon.sas:
            world.assert_nothing_left()


def _without_watch(action: str) -> World:
    world = rekey_and(action)
    world.watch = lambda: None
    return world


@pytest.mark.parametrize("losses", [0, 1])
def test_a_child_rekeying_crosses(losses: int) -> None:
    for world in orders(partial(rekey_and, "rekey_child"), losses=losses):
        world.elapse(40)
        assert_one_ike_sa(world)


@pytest.mark.parametrize("losses", [0, 1])
def test_a_child_delete_crosses(losses: int) -> None:
    for world in orders(partial(_without_watch, "delete_child"), losses=losses):
        world.elapse(40)
        assert spis(world.moon) == spis(world.sun)
        assert world.moon.states == ["ESTABLISHED"]
        assert world.moon.children == world.sun.children == []


def test_what_was_queued_is_done_by_the_new_one() -> None:
    for host_name in ("moon", "sun"):
        world = tunnelled()
        world.watch = lambda: None
        host = getattr(world, host_name)
        outcome: list[bool] = []
        rekey(host)
        host.initiate(host.connections.get("net"), outcome=outcome)
        host.delete_ike()
        world.run()
        world.elapse(1)
        world.elapse(10)
        assert outcome == [True]
        world.assert_nothing_left()


def test_what_the_peer_asked_for_ends_with_what_it_was_to_replace() -> None:
    """Found by the random walk: both rekey, one gives up before it hears the other's answer."""
    world = tunnelled()
    world.watch = lambda: None
    rekey(world.sun)
    world.sun.delete_ike()
    rekey(world.moon)
    world.elapse(31, deliver=False, keep=True)
    assert world.sun.states == []
    world.run()
    world.elapse(300)
    world.assert_nothing_left()


# -- refusals --


def test_the_key_exchange_that_the_peer_wants_is_used() -> None:
    world = tunnelled(
        ike="aes128gcm16-prfsha256-x25519-ecp256!", suns="aes128gcm16-prfsha256-ecp256!"
    )
    outcome: list[bool] = []
    rekey(world.sun, outcome)
    world.run()
    assert outcome == [True]
    assert_one_ike_sa(world)


def test_a_refused_rekeying_is_tried_again() -> None:
    world = tunnelled()
    config = world.sun.connections.get("net")
    strict = connection(world, world.sun, name="strict", ike="aes256-sha384-ecp384!").ike

    def replace(ike) -> None:
        ike.ike_config = strict

    world.sun.with_ike(replace)
    outcome: list[bool] = []
    rekey(world.moon, outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.recorder.said("trying again in")
    assert any("nearest" in text or "differs" in text for text in world.sun.recorder.alerts)
    world.sun.with_ike(lambda ike: setattr(ike, "ike_config", config.ike))
    world.elapse(16)
    assert len(world.moon.recorder.of(IkeRekeyed)) == 1
    assert_one_ike_sa(world)


def test_a_peer_that_does_not_delete_what_it_replaced_is_not_waited_for() -> None:
    world = tunnelled()
    rekey(world.moon)
    world.step()
    world.step()
    world.in_flight.clear()
    for number in world.moon.manager.numbers()[:1]:
        with world.moon.manager.working_on(world.moon.manager.checkout_by_number(number)) as ike:
            ike.tasks.flush()
    world.elapse(PATIENCE + 1)
    assert world.sun.states == ["ESTABLISHED"]
    assert world.sun.recorder.said("has not deleted IKE_SA")
    assert world.sun.recorder.of(IkeDown) == []


# -- reauthentication --


@pytest.mark.parametrize("make_before_break", [False, True])
@pytest.mark.parametrize("who", ["moon", "sun", "both"])
def test_reauthentication_sets_the_ike_sa_up_anew(make_before_break: bool, who: str) -> None:
    world = World(parameters=IkeParameters(make_before_break=make_before_break))
    share_secret(world.moon)
    share_secret(world.sun)
    due = {"reauth_time": 600.0, "over_time": 60.0}
    connection(world, world.sun, **(due if who != "moon" else {}))
    peer = connection(world, world.moon, **(due if who != "sun" else {}))
    world.moon.initiate(peer)
    world.run()
    first = spis(world.moon)
    if make_before_break:
        world.moon.recorder.happened.clear()
    world.elapse(610)
    assert not set(first) & set(spis(world.moon))
    assert spis(world.moon) == spis(world.sun)
    world.elapse(3000)
    assert spis(world.moon) == spis(world.sun)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert len(world.moon.children) == len(world.sun.children) == 1
    assert world.moon.recorder.said("reauthenticating IKE_SA")
    if make_before_break:
        happened = [type(e) for e in world.moon.recorder.happened if type(e) in {IkeUp, IkeDown}]
        assert happened[:2] == [IkeUp, IkeDown]


def test_the_initiator_heeds_the_lifetime_that_the_responder_tells() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, reauth_time=600, over_time=60)
    peer = connection(world, world.moon, rekey_time=3000, over_time=60)
    world.moon.initiate(peer)
    world.run()
    assert world.moon.recorder.said(
        "received AUTH_LIFETIME of 600s, scheduling reauthentication in 540s"
    )
    world.elapse(541)
    assert world.moon.recorder.said("reauthenticating IKE_SA net[1]")
    assert not world.sun.recorder.said("reauthenticating")


def test_rekeying_does_not_put_reauthentication_off() -> None:
    world = tunnelled(rekey_time=500, reauth_time=1200, over_time=60)
    world.watch = lambda: None
    world.elapse(1100)
    assert len(world.moon.recorder.of(IkeRekeyed)) >= 2
    assert not world.moon.recorder.said("reauthenticating")
    world.elapse(150)
    assert world.moon.recorder.said("reauthenticating") or world.sun.recorder.said(
        "reauthenticating"
    )
    assert world.moon.states == ["ESTABLISHED"]


def test_who_is_told_to_stay_down_does_not_come_back() -> None:
    world = tunnelled(reauth_time=600, over_time=60)
    world.watch = lambda: None
    world.elapse(539)
    world.moon.with_ike(lambda ike: ike.reauthenticate())
    world.moon.delete_ike()
    world.run()
    world.elapse(1)
    world.assert_nothing_left()
