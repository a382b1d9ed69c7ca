"""MOBIKE (RFC 4555): addresses come and go, NATs change, and the tunnel stays."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import ChildDown, IkeDown, IkeMoved
from charon_core.config.child import Action
from charon_core.config.ike import IkeConfig
from charon_core.kernel.interface import KernelError
from charon_core.sa.parameters import IkeParameters, RoutabilityCheck
from tests.exchange.mobile_scene import (
    CHECKS,
    NEW,
    OLD,
    OTHER,
    SUN,
    SUN_TOO,
    assert_between,
    finish,
    lose_address,
    mobile,
)
from tests.exchange.orders import orders
from tests.exchange.world import World, child, connection, share_secret

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa
    from tests.exchange.world import Host


def test_both_sides_agree_and_tell_their_addresses() -> None:
    world = mobile(suns=(SUN_TOO,))
    for host, others in ((world.moon, (SUN_TOO,)), (world.sun, (NEW,))):
        assert host.recorder.said("peer supports MOBIKE")
        host.with_ike(lambda ike, others=others: check_addresses(ike, others))
    finish(world)


def check_addresses(ike: IkeSa, others: tuple[str, ...]) -> None:
    assert ike.mobility is not None
    assert ike.mobility.peer_addresses == others


@pytest.mark.parametrize(("moons", "suns"), [(True, False), (False, True), (False, False)])
def test_no_mobike_unless_both_allow_it(moons: bool, suns: bool) -> None:
    world = mobile(mobike=moons, suns_mobike=suns)
    for host in (world.moon, world.sun):
        assert not host.recorder.said("peer supports MOBIKE")
        host.with_ike(lambda ike: check_immobile(ike))  # noqa: PLW0108
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert world.sent == []
    assert world.moon.states == ["ESTABLISHED"]


def check_immobile(ike: IkeSa) -> None:
    assert ike.mobility is None


@CHECKS
def test_a_lost_address_is_replaced(check: RoutabilityCheck) -> None:
    world = mobile(parameters=IkeParameters(routability_check=check))
    before = {state.id.spi for state in world.moon.backend.states.values()}
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert_between(world, NEW)
    assert {state.id.spi for state in world.moon.backend.states.values()} == before
    for host in (world.moon, world.sun):
        assert [event.remote for event in host.recorder.of(IkeMoved)]
        assert host.recorder.of(ChildDown) == host.recorder.of(IkeDown) == []
    assert world.moon.recorder.said("old path is not available anymore, try to find another")
    assert world.moon.recorder.said("requesting address change using MOBIKE")
    asked = world.sun.recorder.said("checking that the peer can be reached at")
    assert asked == (check is not RoutabilityCheck.NEVER)
    finish(world)


def test_traffic_waits_for_the_peer_to_prove_where_it_is() -> None:
    world = mobile()
    world.moon.change_addresses(remove=(OLD,))
    world.step()
    sent_to = {s.id.destination for s in world.sun.backend.states.values() if not s.inbound}
    assert sent_to == {OLD}
    (ike,) = world.sun.sas
    assert ike.remote.host == NEW
    world.run()
    assert_between(world, NEW)


def test_who_says_to_be_elsewhere_and_is_not_gets_no_traffic() -> None:
    world = mobile()
    world.moon.change_addresses(remove=(OLD,))
    world.step()
    world.moon.change_addresses(remove=(NEW,))
    world.elapse(600, deliver=True)
    assert world.sun.states == []
    assert world.sun.recorder.of(IkeDown)


def test_a_cookie_that_comes_back_changed_ends_the_ike_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    world = mobile()
    monkeypatch.setattr(
        "charon_core.sa.tasks.mobike_serve.parse_cookie2", lambda _: b"something else"
    )
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert any("COOKIE2 is another one" in alert for alert in world.moon.recorder.alerts)
    assert world.moon.leaks() == {}


def test_addresses_come_and_go_many_times() -> None:
    world = mobile()
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    for there, gone in ((OLD, NEW), (OTHER, OLD), (NEW, OTHER)):
        world.moon.change_addresses(add=(there,), remove=(gone,))
        world.run()
        assert_between(world, there)
    finish(world)


def test_the_old_path_is_kept_while_it_is_there() -> None:
    world = mobile(moons=())
    world.moon.change_addresses(add=(NEW,))
    world.run()
    assert_between(world, OLD)
    world.sun.with_ike(lambda ike: check_addresses(ike, (NEW,)))
    world.moon.change_addresses(remove=(NEW,))
    world.run()
    world.sun.with_ike(lambda ike: check_addresses(ike, ()))
    finish(world)


def test_no_path_at_all_waits_for_one() -> None:
    world = mobile(moons=())
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert world.moon.recorder.said("MOBIKE update deferred")
    world.elapse(3600)
    world.moon.change_addresses(add=(OTHER,))
    world.run()
    assert_between(world, OTHER)
    world.moon.change_addresses(remove=(OTHER,))
    world.moon.change_addresses(add=(OTHER,))
    world.run()
    assert_between(world, OTHER)
    finish(world)


def test_the_responders_other_address_is_found_when_one_falls_silent() -> None:
    world = mobile(moons=(), suns=(SUN_TOO,), dpd_delay=10)
    del world.hosts[SUN]
    world.elapse(60)
    assert world.moon.recorder.said("no answer by path")
    assert_between(world, OLD, SUN_TOO)
    finish(world)


def test_the_responder_says_that_an_address_is_gone() -> None:
    world = mobile(moons=(), suns=(SUN_TOO,))
    world.sun.change_addresses(remove=(SUN,))
    world.run()
    assert_between(world, OLD, SUN_TOO)
    finish(world)


def test_the_responder_tells_what_comes_and_goes() -> None:
    world = mobile(moons=())
    world.sun.change_addresses(add=(SUN_TOO,))
    world.run()
    world.moon.with_ike(lambda ike: check_addresses(ike, (SUN_TOO,)))
    world.sun.change_addresses(remove=(SUN_TOO,))
    world.run()
    world.moon.with_ike(lambda ike: check_addresses(ike, ()))
    assert_between(world, OLD)


def test_a_request_under_way_goes_by_the_new_path() -> None:
    world = mobile()
    world.moon.rekey_child()
    world.drop()
    world.moon.change_addresses(remove=(OLD,))
    assert {packet.source.host for packet in world.in_flight} == {NEW}
    world.run()
    world.elapse(10)
    assert_between(world, NEW)
    assert len(world.moon.children) == 1
    finish(world)


def test_an_answer_that_is_lost_on_the_old_path_comes_by_the_new_one() -> None:
    world = mobile()
    world.moon.rekey_child()
    world.step()
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    world.elapse(10)
    assert_between(world, NEW)
    finish(world)


def test_peers_may_move_where_the_settings_allow_it() -> None:
    world = mobile(moons=(NEW, OTHER), parameters=IkeParameters(mobike_networks=(f"{OTHER}/32",)))
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert any("UNACCEPTABLE_ADDRESSES" in alert for alert in world.moon.recorder.alerts)
    assert_between(world, OTHER)
    finish(world)


def test_nowhere_else_is_allowed() -> None:
    world = mobile(parameters=IkeParameters(mobike_networks=("192.0.2.0/24",)))
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert world.moon.recorder.said("staying until addresses or routes change")
    assert world.sun.sas[0].remote.host == OLD
    world.moon.change_addresses(add=(OLD,))
    world.run()
    world.moon.change_addresses(remove=(NEW,))
    world.run()
    assert_between(world, OLD)


# -- crossings: each in every order of arrival, with and without a loss --


def cross(action: str, who: str, check: RoutabilityCheck) -> World:
    """Return a world in which moon moves while something else is under way."""
    world = mobile(parameters=IkeParameters(routability_check=check))
    host: Host = getattr(world, who)
    if action == "rekey-ike":
        host.with_ike(lambda ike: ike.rekey())
    elif action == "rekey-child":
        host.rekey_child()
    elif action == "delete-ike":
        host.delete_ike()
    elif action == "delete-child":
        host.delete_child()
    # What was sent before is still on its way: only the address to come back to is gone.
    lose_address(world)
    return world


CROSSINGS = [
    pytest.param(action, who, losses, check, id=f"{action}-{who}-{losses}-{check.value}")
    for action in ("none", "rekey-ike", "rekey-child", "delete-ike", "delete-child")
    for who in ("moon", "sun")
    for losses in (0, 1)
    for check in (RoutabilityCheck.BEFORE, RoutabilityCheck.NEVER)
]

MOST = 80
"""Orders of one scene that are played: some scenes have thousands."""


@pytest.mark.parametrize(("action", "who", "losses", "check"), CROSSINGS)
def test_moving_crosses_other_exchanges(
    action: str, who: str, losses: int, check: RoutabilityCheck
) -> None:
    for world in islice(orders(partial(cross, action, who, check), losses=losses), MOST):
        world.elapse(200)
        if action == "delete-child":
            for host in (world.moon, world.sun):
                assert host.children == []
                assert host.sas[0].state == "ESTABLISHED"
        elif action != "delete-ike":
            assert_between(world, NEW)
            assert len(world.moon.children) == len(world.sun.children) == 1
        if world.moon.states:
            world.moon.delete_ike()
            world.run()
        world.assert_nothing_left()


@pytest.mark.parametrize("losses", [0, 1])
def test_moving_again_before_the_first_move_is_answered(losses: int) -> None:
    def scene() -> World:
        world = mobile(moons=(NEW, OTHER))
        lose_address(world)
        world.moon.change_addresses(remove=(NEW,))
        return world

    for world in islice(orders(scene, losses=losses), MOST):
        world.elapse(200)
        assert_between(world, OTHER)
        finish(world)


def test_the_first_initiator_decides_after_the_responder_has_rekeyed() -> None:
    world = mobile()
    world.sun.with_ike(lambda ike: ike.rekey())
    world.run()
    assert world.sun.sas[0].is_initiator
    lose_address(world)
    world.run()
    assert_between(world, NEW)
    world.moon.with_ike(lambda ike: check_addresses(ike, ()))
    finish(world)


# -- what has to follow, and what fails on the way --


def test_virtual_addresses_and_routes_follow_to_another_interface() -> None:
    world = World()
    world.moon.change_addresses(add=(NEW,))
    world.moon.net.addresses[NEW] = "eth1"
    share_secret(world.moon)
    share_secret(world.sun)
    world.sun.attributes.memory.add("10.9.0.0/24")
    suns = connection(
        world,
        world.sun,
        pools=("10.9.0.0/24",),
        children=(child(local=("10.2.0.0/16",), remote=()),),
    )
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=suns.ike.proposals)
    world.sun.connections.add(replace(suns, ike=anywhere))
    world.moon.initiate(
        connection(
            world, world.moon, virtual_ips=("0.0.0.0",),
            children=(child(local=(), remote=("10.2.0.0/16",)),),
        )
    )  # fmt: skip
    world.run()
    assert list(world.moon.net.virtual) == [("10.9.0.1", "eth0")]
    lose_address(world)
    world.run()
    assert world.moon.net.virtual == {("10.9.0.1", "eth1"): 1}
    (route,) = world.moon.net.routes
    assert (route.interface, route.source) == ("eth1", "10.9.0.1")
    assert_between(world, NEW)
    # The same address by another way: routes follow, and nothing else changes.
    world.moon.net.addresses[NEW] = "eth2"
    world.moon.net.inject_roam(address_change=False)
    world.run()
    (route,) = world.moon.net.routes
    assert route.interface == "eth2"
    finish(world)


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("side", ["moon", "sun"])
@pytest.mark.parametrize("operation", ["update_sa", "add_policy"])
def test_a_kernel_that_cannot_move_sas_gets_new_ones(
    operation: str, side: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = mobile()
    host: Host = getattr(world, side)
    original = getattr(host.backend, operation)
    calls = count()

    def call(*arguments: object) -> object:
        if next(calls) == first:
            raise KernelError("try", "refused")
        return original(*arguments)

    monkeypatch.setattr(host.backend, operation, call)
    lose_address(world)
    world.run()
    monkeypatch.undo()
    world.elapse(30)
    assert_between(world, NEW)
    assert len(world.moon.children) == len(world.sun.children) == 1
    finish(world)


def test_without_mobike_an_ike_sa_whose_address_is_gone_is_set_up_anew() -> None:
    world = mobile(mobike=False, child_settings={"dpd_action": Action.START})
    old = world.moon.sas[0].initiator_spi
    world.moon.change_addresses(remove=(OLD,))
    assert world.moon.recorder.said("cannot move without MOBIKE")
    assert world.moon.sas[0].initiator_spi != old
