"""Additional key exchanges of CREATE_CHILD_SA, in IKE_FOLLOWUP_KE (RFC 9370 2.2.4)."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import ChildDown, ChildRekeyed, IkeDown, IkeRekeyed
from charon_core.encoding.payloads import KeyExchange, Notify
from charon_core.encoding.registry import ExchangeType, KeyExchangeId, NotifyType
from charon_core.sa import task_manager
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.tasks.child_initiate import ChildInitiate
from tests.exchange.orders import orders
from tests.exchange.test_child_rekey import assert_one_child, assert_same_keys, rekeying
from tests.exchange.test_ike_rekey import assert_one_ike_sa, rekey, tunnelled

if TYPE_CHECKING:
    from tests.exchange.world import World

ESP = "aes128gcm16-x25519-ke1_mlkem768!"
TWO = "aes128gcm16-x25519-ke1_mlkem768-ke2_x448!"
IKE = "aes128gcm16-prfsha256-x25519-ke1_mlkem768!"
PATIENCE = IkeParameters().rekeyed_patience


def followed(world: World) -> int:
    return sum(packet.data[18] == ExchangeType.IKE_FOLLOWUP_KE for packet in world.sent)


@pytest.mark.parametrize("who", ["moon", "sun"])
@pytest.mark.parametrize(("esp", "number"), [(ESP, 1), (TWO, 2)])
def test_a_child_is_rekeyed_with_each_key_exchange(who: str, esp: str, number: int) -> None:
    world = rekeying(esp)
    world.sent.clear()
    outcome: list[bool] = []
    getattr(world, who).rekey_child(outcome)
    world.run()
    assert outcome == [True]
    assert followed(world) >= 2 * number
    assert_one_child(world)
    assert_same_keys(world)
    assert "KE1_ML_KEM_768" in world.moon.sas[0].children[0].proposal


def test_a_further_child_is_created_with_each_key_exchange() -> None:
    world = rekeying(TWO)
    world.watch = lambda: None
    outcome: list[bool] = []
    world.sun.initiate(world.sun.connections.get("net"), outcome=outcome)
    world.run()
    assert outcome == [True]
    assert len(world.moon.children) == len(world.sun.children) == 2
    assert_same_keys(world)


@pytest.mark.parametrize("who", ["moon", "sun"])
def test_an_ike_sa_is_rekeyed_with_each_key_exchange(who: str) -> None:
    world = tunnelled(ike=IKE)
    world.sent.clear()
    outcome: list[bool] = []
    rekey(getattr(world, who), outcome)
    world.run()
    assert outcome == [True]
    assert followed(world) >= 2
    assert_one_ike_sa(world)


def both_rekey_children(seed: int) -> World:
    world = rekeying(ESP, seed=seed)
    world.moon.rekey_child()
    world.sun.rekey_child()
    return world


@pytest.mark.parametrize("seed", [1, 2])
def test_both_rekey_a_child_at_once_in_many_orders(seed: int) -> None:
    for world in islice(orders(partial(both_rekey_children, seed)), 100):
        world.elapse(20)
        assert_one_child(world)
        assert_same_keys(world)
        for host in (world.moon, world.sun):
            assert host.recorder.of(ChildDown) == []
            assert len(host.recorder.of(ChildRekeyed)) >= 1


def test_each_message_of_a_rekeying_may_be_lost() -> None:
    def scene() -> World:
        world = rekeying(ESP)
        world.moon.rekey_child()
        return world

    for world in orders(scene, losses=1):
        assert_one_child(world)
        assert_same_keys(world)


def both_rekey_ike_sas(seed: int) -> World:
    world = tunnelled(seed, ike=IKE)
    rekey(world.moon)
    rekey(world.sun)
    return world


def test_both_rekey_the_ike_sa_at_once_in_many_orders() -> None:
    for world in islice(orders(partial(both_rekey_ike_sas, 1)), 60):
        world.elapse(PATIENCE + 20)
        assert_one_ike_sa(world)
        for host in (world.moon, world.sun):
            assert host.recorder.of(IkeDown) == host.recorder.of(ChildDown) == []
            assert len(host.recorder.of(IkeRekeyed)) >= 1


def test_other_exchanges_may_come_between() -> None:
    world = rekeying(ESP)
    world.moon.rekey_child()
    world.step()
    world.sun.with_ike(lambda ike: ike.rekey())
    world.run()
    world.elapse(30)
    assert_one_child(world)


def test_a_link_that_nobody_gave_is_refused_by_name() -> None:
    world = rekeying(ESP)

    class Stray(ChildInitiate):
        def build_request(self, out):
            self.ike.tasks.exchange = ExchangeType.IKE_FOLLOWUP_KE
            out.append(KeyExchange(method=KeyExchangeId.CURVE25519, data=bytes(31) + b"\x09"))
            out.append(Notify.of(NotifyType.ADDITIONAL_KEY_EXCHANGE, b"nonsense"))
            return super().build_request([]) and task_manager.Outcome.MORE

        def process_response(self, message):
            answers.append(message.notify(NotifyType.STATE_NOT_FOUND))
            return task_manager.Outcome.DONE

    answers: list[object] = []

    def ask(ike) -> None:
        ike.tasks._active = [Stray(ike, ike.children[0].config)]
        ike.tasks.exchange = ExchangeType.CREATE_CHILD_SA
        ike.tasks.initiate()

    world.watch = lambda: None
    world.moon.with_ike(ask)
    world.run()
    assert answers != [None]
    assert len(answers) == 1
    assert world.sun.states == ["ESTABLISHED"]


def test_what_is_begun_and_never_ended_holds_little() -> None:
    world = rekeying(ESP)
    world.watch = lambda: None
    for _ in range(12):
        world.moon.initiate(world.moon.connections.get("net"))
        world.step()  # the request; its answer never comes
        world.in_flight.clear()
        moon = next(iter(world.moon.manager._by_number.values())).ike
        moon.tasks._cancel_request()
        for task in moon.tasks.take_watches():
            task.abort()
        moon.tasks._request_id += 1
    sun = next(iter(world.sun.manager._by_number.values())).ike
    assert len(sun.tasks._follow_ups) == task_manager._MAX_FOLLOW_UPS
    assert len(world.sun.backend.reserved) == task_manager._MAX_FOLLOW_UPS
    world.sun.delete_ike()
    world.elapse(300)
    assert not world.sun.backend.reserved
    assert not world.sun.backend.states
