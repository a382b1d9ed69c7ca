"""Rekeying of CHILD_SAs: no packet lost, every collision settled, nothing left."""

from __future__ import annotations

from functools import partial

import pytest

from charon_core.bus.events import ChildDown, ChildRekeyed, ChildUp
from charon_core.sa.parameters import IkeParameters
from tests.exchange.orders import orders
from tests.exchange.world import Host, World, child, connection, share_secret

LINGER = IkeParameters().rekeyed_linger


def rekeying(
    esp: str = "aes128gcm16!", suns: str | None = None, seed: int = 1, **settings: object
) -> World:
    """Return a world with a tunnel whose traffic is watched."""
    world = World(seed=seed)
    share_secret(world.moon)
    share_secret(world.sun)
    here, there = ("10.1.0.0/16",), ("10.2.0.0/16",)
    connection(
        world,
        world.sun,
        children=(child(local=there, remote=here, esp=suns or esp, **settings),),
    )
    peer = connection(
        world, world.moon, children=(child(local=here, remote=there, esp=esp, **settings),)
    )
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == ["ESTABLISHED"]
    world.watch = world.assert_traffic_flows
    for host in (world.moon, world.sun):
        host.recorder.happened.clear()
    return world


def assert_one_child(world: World) -> None:
    """Both sides have the same one CHILD_SA, and nothing else once nothing lingers."""
    world.elapse(LINGER + 0.1)
    (moon,), (sun,) = world.moon.children, world.sun.children
    assert (moon.local_spi, moon.remote_spi) == (sun.remote_spi, sun.local_spi)
    assert moon.state.value == sun.state.value == "INSTALLED"
    for host in (world.moon, world.sun):
        assert len(host.backend.states) == 2
        assert not host.backend.reserved
    world.assert_traffic_flows()


def assert_same_keys(world: World) -> None:
    for (spi, *_), state in world.moon.backend.states.items():
        twin = next(s for (other, *_), s in world.sun.backend.states.items() if other == spi)
        assert state.encryption_key == twin.encryption_key
        assert state.integrity_key == twin.integrity_key


@pytest.mark.parametrize("who", ["moon", "sun"])
@pytest.mark.parametrize(
    "esp",
    ["aes128gcm16!", "aes256-sha256!", "aes128gcm16-x25519!", "aes128-sha256-ecp256-esn!"],
)
def test_a_child_is_replaced_and_no_packet_lost(who: str, esp: str) -> None:
    world = rekeying(esp)
    before = world.moon.receives_by()
    outcome: list[bool] = []
    getattr(world, who).rekey_child(outcome)
    world.run()
    assert outcome == [True]
    assert before <= world.moon.receives_by(), "what is under way still arrives"
    assert_one_child(world)
    assert not before & world.moon.receives_by()
    assert_same_keys(world)
    for host in (world.moon, world.sun):
        (event,) = host.recorder.of(ChildRekeyed)
        assert event.new.spi_in == host.children[0].local_spi
        assert event.old.spi_in != event.new.spi_in
        assert host.recorder.of(ChildUp) == host.recorder.of(ChildDown) == []
    world.moon.delete_ike()
    world.watch = lambda: None
    world.run()
    world.assert_nothing_left()
    assert len(world.moon.recorder.of(ChildDown)) == 1


def test_reqid_and_policies_stay() -> None:
    world = rekeying()
    policies = dict(world.moon.backend.policies)
    world.moon.rekey_child()
    world.run()
    assert world.moon.backend.policies == policies


@pytest.mark.parametrize(
    "limits",
    [
        {"rekey_time": 300, "life_time": 400, "jitter_time": 100},
        {"rekey_time": 300, "life_time": 400},
    ],
    ids=["jitter", "at the same moment"],
)
def test_soft_lifetimes_rekey_for_as_long_as_the_tunnel_lives(limits: dict[str, float]) -> None:
    world = rekeying(**limits)
    world.elapse(3600)
    assert len(world.moon.recorder.of(ChildRekeyed)) >= 11
    assert world.moon.recorder.of(ChildDown) == []
    world.run()
    assert_one_child(world)


@pytest.mark.parametrize("unit", ["bytes", "packets"])
def test_soft_volumes_reach_the_kernel_below_the_hard_ones(unit: str) -> None:
    world = rekeying(**{f"rekey_{unit}": 1000, f"life_{unit}": 1200, f"jitter_{unit}": 100})
    for state in world.moon.backend.states.values():
        assert 900 <= getattr(state, f"soft_{unit}") <= 1000
        assert getattr(state, f"hard_{unit}") == 1200
    state = next(iter(world.moon.backend.states.values()))
    world.moon.backend.inject_expire(state.id, hard=False)
    world.run()
    assert len(world.moon.recorder.of(ChildRekeyed)) == 1
    assert_one_child(world)


# -- collisions --


def both_rekey(seed: int) -> World:
    world = rekeying(seed=seed)
    world.moon.rekey_child()
    world.sun.rekey_child()
    return world


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_both_rekey_at_once_in_every_order(seed: int) -> None:
    redundant = set()
    number = 0
    for world in orders(partial(both_rekey, seed)):
        number += 1
        assert_one_child(world)
        assert_same_keys(world)
        for host in (world.moon, world.sun):
            assert len(host.recorder.of(ChildRekeyed)) == 1
            assert host.recorder.of(ChildDown) == []
        redundant.add(world.moon.recorder.said("deleting our redundant"))
    assert number > 10


def test_the_lowest_nonce_decides() -> None:
    losers = {both_rekeyed(seed) for seed in range(1, 9)}
    assert losers == {"moon", "sun"}


def both_rekeyed(seed: int) -> str:
    world = both_rekey(seed)
    world.run()
    losers = [
        host.name
        for host in (world.moon, world.sun)
        if host.recorder.said("deleting our redundant")
    ]
    assert len(losers) == 1
    return losers[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_both_rekey_at_once_with_a_loss_at_each_point(seed: int) -> None:
    for world in orders(partial(both_rekey, seed), losses=1):
        assert_one_child(world)
        assert world.moon.recorder.of(ChildDown) == []


def rekey_and(action: str, who: str, seed: int = 1) -> World:
    world = rekeying(seed=seed)
    world.watch = lambda: None
    world.moon.rekey_child()
    getattr(getattr(world, who), action)()
    return world


@pytest.mark.parametrize("losses", [0, 1])
def test_a_delete_wins_over_the_rekeying_that_it_crosses(losses: int) -> None:
    for world in orders(partial(rekey_and, "delete_child", "sun"), losses=losses):
        world.elapse(30)
        moon, sun = world.moon.children, world.sun.children
        # Where the request was served before the delete came, the new one lives.
        assert len(moon) == len(sun) <= 1
        assert [c.local_spi for c in moon] == [c.remote_spi for c in sun]
        assert world.moon.states == ["ESTABLISHED"]
        assert len(world.moon.backend.states) == len(world.sun.backend.states) == 2 * len(moon)


@pytest.mark.parametrize("losses", [0, 1])
def test_an_ike_delete_ends_the_rekeying_that_it_crosses(losses: int) -> None:
    for world in orders(partial(rekey_and, "delete_ike", "sun"), losses=losses):
        world.elapse(200)
        world.assert_nothing_left()


def test_a_second_child_and_a_rekeying_cross() -> None:
    def scene() -> World:
        world = rekeying()
        # An additional one of the same selectors is used by its responder at once.
        world.watch = lambda: None
        world.moon.rekey_child()
        world.sun.initiate(world.sun.connections.get("net"))
        return world

    for world in orders(scene):
        world.elapse(LINGER + 1)
        assert len(world.moon.children) == len(world.sun.children) == 2
        assert len(world.moon.backend.states) == len(world.sun.backend.states) == 4


# -- refusals --


def test_the_key_exchange_that_the_peer_wants_is_used() -> None:
    world = rekeying("aes128gcm16-x25519-ecp256!", "aes128gcm16-ecp256!")
    outcome: list[bool] = []
    world.moon.rekey_child(outcome)
    world.run()
    assert outcome == [True]
    assert world.moon.recorder.said("it requested ECP_256")
    assert_one_child(world)
    world.sent.clear()
    world.moon.rekey_child()
    world.run()
    assert not world.moon.recorder.lines[-1].count("INVALID_KE")
    assert_one_child(world)


def forget(host: Host) -> None:
    """Lose the CHILD_SA without telling the peer, as after a fault."""
    host.with_ike(lambda ike: ike.remove_child(ike.children[0], "lost"))


def test_a_child_that_the_peer_has_lost_is_made_anew() -> None:
    world = rekeying()
    world.watch = lambda: None
    forget(world.sun)
    outcome: list[bool] = []
    world.moon.rekey_child(outcome)
    world.run()
    assert outcome == [True]
    assert world.moon.recorder.said("establishing a new one")
    assert len(world.moon.recorder.of(ChildDown)) == 1
    assert_one_child(world)


def test_temporary_failure_is_followed_by_another_try() -> None:
    world = rekeying()
    # sun deletes the IKE_SA, and its request is lost for now.
    world.watch = lambda: None
    world.sun.with_ike(lambda ike: ike.children[0].set_state(type(ike.children[0].state).DELETING))
    outcome: list[bool] = []
    world.moon.rekey_child(outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.recorder.said("trying again in")
    world.sun.with_ike(lambda ike: ike.children[0].set_state(type(ike.children[0].state).INSTALLED))
    world.watch = world.assert_traffic_flows
    world.elapse(16)
    assert len(world.moon.recorder.of(ChildRekeyed)) == 1
    assert_one_child(world)


def test_a_peer_that_does_not_delete_what_it_replaced_is_helped() -> None:
    world = rekeying()
    world.moon.rekey_child()
    world.step()
    world.step()
    world.in_flight.clear()  # moon's delete, and all that follows of it, is lost
    moon = next(iter(world.moon.manager._by_number.values())).ike
    moon.tasks._cancel_request()
    moon.tasks._active.clear()
    world.elapse(61)
    assert world.sun.recorder.said("has not deleted CHILD_SA")
    assert len(world.sun.children) == 1
    world.elapse(10)
    assert len(world.sun.backend.states) == 2


@pytest.mark.parametrize("who", ["moon", "sun"])
def test_a_kernel_that_refuses_the_new_one_keeps_the_old_one(who: str) -> None:
    world = rekeying()
    host = getattr(world, who)
    add_sa = host.backend.add_sa
    host.backend.add_sa = lambda spec: (_ for _ in ()).throw(OSError("no room"))
    outcome: list[bool] = []
    world.moon.rekey_child(outcome)
    world.run()
    assert outcome == [False]
    host.backend.add_sa = add_sa
    world.elapse(16)
    assert len(world.moon.recorder.of(ChildRekeyed)) == 1
    assert_one_child(world)


def test_rekeying_what_was_never_there_is_refused_by_name() -> None:
    world = rekeying()
    world.moon.with_ike(lambda ike: setattr(ike.children[0], "local_spi", 0xC0FFEE01))
    world.watch = lambda: None
    world.moon.rekey_child()
    world.run()
    assert world.sun.recorder.said("peer rekeys a CHILD_SA with SPI c0ffee01")
    assert world.sun.states == ["ESTABLISHED"]
