"""MOBIKE with peers that do what they must not, and what malformed notifies do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.sa.tasks.task import Outcome, Task
from tests.exchange.mobile_scene import (
    NEW,
    OLD,
    SUN_TOO,
    assert_between,
    lose_address,
    mobile,
)

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa
    from tests.exchange.world import Host, World


class Request(Task):
    """Sends what a test wants to."""

    def __init__(self, ike: IkeSa, *payloads: Notify) -> None:
        super().__init__(ike)
        self.payloads = payloads
        self.answer: list[Notify] = []

    def build_request(self, out: list[object]) -> Outcome:
        out += self.payloads
        return Outcome.MORE

    def process_response(self, message: object) -> Outcome:
        self.answer = message.all(Notify)
        return Outcome.DONE


def ask(world: World, host: Host, monkeypatch: pytest.MonkeyPatch, *payloads: Notify) -> list[int]:
    """Have a host send a request with these payloads; return what notifies come back."""
    order = ((Request, ExchangeType.INFORMATIONAL),)
    monkeypatch.setattr("charon_core.sa.task_manager.ESTABLISHED_ORDER", order)
    sent: list[Request] = []

    def begin(ike: IkeSa) -> None:
        sent.append(Request(ike, *payloads))
        ike.tasks.queue(sent[0])
        ike.tasks.initiate()

    host.with_ike(begin)
    world.run()
    monkeypatch.undo()
    return [notify.notify_type for notify in sent[0].answer]


def test_the_responder_may_not_move_us(monkeypatch: pytest.MonkeyPatch) -> None:
    world = mobile(suns=(SUN_TOO,))
    update = Notify.of(NotifyType.UPDATE_SA_ADDRESSES)
    assert ask(world, world.sun, monkeypatch, update) == []
    assert world.moon.recorder.said("as initiator we decide on the addresses")
    assert_between(world, OLD)


@pytest.mark.parametrize("length", [8, 64])
def test_cookies_come_back_from_everybody(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = mobile(mobike=False)
    cookie = Notify.of(NotifyType.COOKIE2, bytes(length))
    for host in (world.moon, world.sun):
        assert ask(world, host, monkeypatch, cookie) == [NotifyType.COOKIE2]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (NotifyType.COOKIE2, bytes(7)),
        (NotifyType.COOKIE2, bytes(65)),
        (NotifyType.ADDITIONAL_IP4_ADDRESS, bytes(5)),
        (NotifyType.ADDITIONAL_IP6_ADDRESS, bytes(4)),
    ],
)
def test_malformed_notifies_end_the_ike_sa(
    kind: NotifyType, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = mobile()
    assert ask(world, world.moon, monkeypatch, Notify.of(kind, data)) == [NotifyType.INVALID_SYNTAX]
    assert world.sun.states == []


def test_lists_are_bounded_and_senseless_addresses_never_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = mobile()
    listed = [
        Notify.of(NotifyType.ADDITIONAL_IP4_ADDRESS, bytes((224, 0, 0, n))) for n in range(50)
    ]
    ask(world, world.sun, monkeypatch, *listed)
    world.moon.with_ike(check_bounded)
    lose_address(world)
    world.run()
    assert_between(world, NEW)


def check_bounded(ike: IkeSa) -> None:
    assert ike.mobility is not None
    assert len(ike.mobility.peer_addresses) == 32
