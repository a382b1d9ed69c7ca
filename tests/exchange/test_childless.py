"""IKE_SAs without CHILD_SA (RFC 6023), in both roles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.bus.events import IkeUp
from charon_core.encoding.message import Message
from charon_core.encoding.payloads import SecurityAssociation, TrafficSelectorsInitiator
from charon_core.encoding.registry import NotifyType
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.tries import give_up
from tests.exchange.orders import orders
from tests.exchange.test_rounds import ALICE, MOON, rounds, secrets
from tests.exchange.tricks import twist, without, without_notify
from tests.exchange.world import World, child, connection, tunnel


def bring_up(world: World, peer) -> bool:
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert len(outcome) == 1
    return outcome[0]


def test_an_ike_sa_alone() -> None:
    world = World()
    peer = tunnel(world, children=())
    assert bring_up(world, peer)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert not world.moon.backend.states
    assert not world.moon.backend.reserved
    world.elapse(3600)
    assert world.moon.states == ["ESTABLISHED"]
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_each_loss() -> None:
    def scene() -> World:
        world = World()
        world.moon.initiate(tunnel(world, children=()))
        return world

    for world in orders(scene, losses=1):
        assert world.moon.states == world.sun.states == ["ESTABLISHED"]


def test_with_several_rounds() -> None:
    world = World()
    secrets(world)
    both = rounds(2, MOON, ALICE)
    connection(world, world.sun, remote=both)
    assert bring_up(world, connection(world, world.moon, local=both, children=()))


def test_a_child_follows_later() -> None:
    """What ikev2 calls childless initiation is for this: a key exchange for each CHILD_SA."""
    world = World()
    peer = tunnel(world, children=())
    pfs = child(esp="aes128gcm16-x25519!")
    (sun,) = world.sun.connections.all_peers()
    mirrored = replace(pfs, local_ts=pfs.remote_ts, remote_ts=pfs.local_ts)
    world.sun.connections.replace(sun, replace(sun, children=(mirrored,)))
    assert bring_up(world, peer)
    outcome: list[bool] = []
    world.moon.with_ike(lambda ike: ike.initiate_child(pfs, outcome.append))
    world.run()
    assert outcome == [True], world.sun.recorder.alerts
    world.assert_traffic_flows()


def test_a_responder_that_does_not_take_it_is_left() -> None:
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(tunnel(world, children=()), outcome=outcome)
    world.step()
    packet = world.in_flight[0]
    message = Message.parse(packet.data)
    kept = without_notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED)(message.payloads)
    world.in_flight[0] = replace(packet, data=replace(message, payloads=tuple(kept)).encode())
    world.run()
    assert outcome == [False]
    assert world.moon.recorder.said("does not support IKE_SAs without CHILD_SA")
    world.elapse(31)
    world.assert_nothing_left()


def test_whoever_waits_is_told_of_a_refusal() -> None:
    world = World()
    peer = tunnel(world, children=())
    world.sun.secrets.replace_secrets(())
    assert not bring_up(world, peer)
    world.elapse(31)
    world.assert_nothing_left()


def test_whoever_waits_is_told_of_the_next_try() -> None:
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(tunnel(world, children=(), keyingtries=2), outcome=outcome)
    world.in_flight.clear()
    world.moon.with_ike(give_up)
    assert outcome == []
    world.run()
    assert outcome == [True]


@pytest.mark.parametrize("make_before_break", [False, True])
def test_reauthentication_needs_no_child(make_before_break: bool) -> None:
    world = World(parameters=IkeParameters(make_before_break=make_before_break))
    assert bring_up(world, tunnel(world, children=()))
    world.moon.with_ike(lambda ike: ike.reauthenticate())
    world.run()
    world.moon.do_jobs()
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert len(world.moon.recorder.of(IkeUp)) == 2


def test_rekeying_needs_no_child() -> None:
    world = World()
    assert bring_up(world, tunnel(world, children=()))
    world.moon.with_ike(lambda ike: ike.rekey())
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


def test_half_a_request_for_a_child_is_no_childless_one() -> None:
    """TSi without SA: the IKE_SA comes up, and no CHILD_SA with it."""
    world = World()
    world.moon.initiate(tunnel(world))
    world.step()
    world.step()
    twist(world, without(SecurityAssociation, TrafficSelectorsInitiator))
    world.run()
    assert not world.sun.backend.states
    assert not world.moon.backend.states
