"""Quick crash detection (RFC 6290): a peer that starts anew proves what it has lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.config.child import Action
from charon_core.encoding.header import Header
from charon_core.encoding.message import Message
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.network.packet import Endpoint, Packet
from charon_core.sa.crash_detection import ANSWERS_BURST, CrashTokens
from tests.exchange.test_ike_rekey import spis
from tests.exchange.test_uniqueness import lose
from tests.exchange.test_upkeep import ask
from tests.exchange.world import Host, World, child, connection, share_secret


def detecting(action: Action = Action.NONE) -> World:
    world = World(detects_crashes=True)
    share_secret(world.moon)
    share_secret(world.sun)
    here, there = ("10.1.0.0/16",), ("10.2.0.0/16",)
    connection(world, world.sun, children=(child(local=there, remote=here, dpd_action=action),))
    peer = connection(
        world, world.moon, children=(child(local=here, remote=there, dpd_action=action),)
    )
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    return world


def sides(world: World, who: str) -> tuple[Host, Host]:
    return (world.moon, world.sun) if who == "moon" else (world.sun, world.moon)


@pytest.mark.parametrize("who", ["moon", "sun"])
@pytest.mark.parametrize("rekeyed", ["not", "by moon", "by sun"])
def test_a_peer_that_was_started_anew_is_noticed_at_the_next_message(
    who: str, rekeyed: str
) -> None:
    world = detecting()
    if rekeyed != "not":
        getattr(world, rekeyed.removeprefix("by ")).with_ike(lambda ike: ike.rekey())
        world.run()
    survivor, lost = sides(world, who)
    lose(lost)
    survivor.with_ike(ask)
    world.run()
    assert survivor.states == []
    assert any("lost IKE_SA" in text for text in survivor.recorder.alerts)
    assert not survivor.backend.states


def test_what_is_to_be_restarted_is() -> None:
    world = detecting(Action.START)
    before = spis(world.moon)
    lose(world.sun)
    world.moon.with_ike(ask)
    world.run()
    assert spis(world.moon) == spis(world.sun) != before
    assert len(world.moon.children) == len(world.sun.children) == 1


@pytest.mark.parametrize("token", [bytes(32), b"", bytes(16), bytes(200)])
def test_who_does_not_know_the_token_ends_nothing(token: bytes) -> None:
    world = detecting()
    ((spi_i, spi_r),) = spis(world.moon)
    notifies = (
        Notify.of(NotifyType.INVALID_IKE_SPI),
        Notify.of(NotifyType.QUICK_CRASH_DETECTION, token),
    )
    for is_response in (True, False):
        message = Message(spi_i, spi_r, ExchangeType.INFORMATIONAL, False, is_response, 2, notifies)
        source, destination = Endpoint(world.sun.address, 500), Endpoint(world.moon.address, 500)
        world.moon.receive(Packet(source, destination, message.encode()))
        cut = Message(spi_i, spi_r, ExchangeType.INFORMATIONAL, False, is_response, 2, notifies[:1])
        world.moon.receive(Packet(source, destination, cut.encode()))
    assert world.moon.states == ["ESTABLISHED"]


def test_a_token_is_of_one_ike_sa_alone() -> None:
    world = detecting()
    world.moon.with_ike(ask)
    request = world.in_flight.pop()
    header = Header.parse(request.data)
    tokens = world.sun.env.crash_tokens
    assert tokens is not None
    other = tokens.answer(request, header._replace(responder_spi=b"somebody"))
    assert other is not None
    ((spi_i, spi_r),) = spis(world.moon)
    forged = Message.parse(other.data)
    world.moon.receive(
        replace(other, data=replace(forged, initiator_spi=spi_i, responder_spi=spi_r).encode())
    )
    assert world.moon.states == ["ESTABLISHED"]


def test_only_what_can_have_been_ours_is_answered_and_only_so_often() -> None:
    tokens = CrashTokens(bytes(range(32)))
    packet = Packet(Endpoint("10.0.0.1", 500), Endpoint("10.0.0.2", 500), b"")
    request = Header(b"initiato", b"responde", 46, (2, 0), 37, True, False, 7, 28)
    answer = tokens.answer(packet, request)
    assert answer is not None
    assert (answer.source, answer.destination) == (packet.destination, packet.source)
    said = Message.parse(answer.data)
    assert (said.message_id, said.exchange, said.is_response, said.is_initiator) == (
        7, 37, True, False,
    )  # fmt: skip
    for changes in (
        {"is_response": True},
        {"exchange": int(ExchangeType.IKE_SA_INIT)},
        {"responder_spi": bytes(8)},
    ):
        assert tokens.answer(packet, request._replace(**changes)) is None
    answers = [tokens.answer(packet, request) for _ in range(int(3 * ANSWERS_BURST))]
    assert sum(found is not None for found in answers) < 2 * ANSWERS_BURST
    assert "initiato" not in repr(tokens)


def test_a_secret_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="expected 32"):
        CrashTokens(b"short")
