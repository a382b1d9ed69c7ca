"""A last answer that gets lost is given again, though the IKE_SA is gone (RFC 7296 2.1)."""

from __future__ import annotations

import pytest

from charon_core.network.packet import Endpoint, Packet
from charon_core.sa import farewells
from charon_core.sa.farewells import Farewells
from tests.exchange.world import World, connection, establish, share_secret


@pytest.mark.parametrize("deleter", ["moon", "sun"])
def test_lost_answer_to_a_delete_is_repeated(deleter: str) -> None:
    world = World()
    establish(world)
    host = world.moon if deleter == "moon" else world.sun
    host.delete_ike()
    world.step()
    world.drop()
    assert host.states == ["DELETING"]
    world.elapse(5)
    assert host.states == []
    world.assert_nothing_left()


def test_lost_refusal_is_repeated() -> None:
    world = World()
    share_secret(world.moon, b"one secret")
    share_secret(world.sun, b"another one")
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    for _ in range(3):
        world.step()
    world.drop()
    assert outcome == []
    world.elapse(5)
    assert outcome == [False]
    assert world.moon.recorder.said("received AUTHENTICATION_FAILED")


US, PEER = Endpoint("10.0.0.1", 500), Endpoint("10.0.0.2", 500)


def asked(data: bytes) -> Packet:
    return Packet(PEER, US, data)


REQUEST = asked(b"request")
ANSWER = (Packet(US, PEER, b"answer"),)


def test_only_the_very_request_is_answered_again_and_not_for_ever() -> None:
    kept = Farewells()
    kept.keep(b"12345678", hash(b"request"), (b"answer",), 0, 0.0)
    assert kept.answer(b"12345678", asked(b"another"), 1.0) == ()
    assert kept.answer(b"87654321", REQUEST, 1.0) == ()
    for _ in range(farewells.MAX_REPEATS):
        assert kept.answer(b"12345678", REQUEST, 1.0) == ANSWER
    assert kept.answer(b"12345678", REQUEST, 1.0) == ()


def test_answers_are_forgotten_after_their_time() -> None:
    kept = Farewells()
    kept.keep(b"12345678", hash(b"request"), (b"answer",), 0, 0.0)
    assert kept.answer(b"12345678", REQUEST, farewells.LIFETIME) == ()


def test_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewells, "MAX_KEPT", 2)
    kept = Farewells()
    for number in range(3):
        kept.keep(bytes([number]) * 8, hash(b"request"), (b"answer",), 0, float(number))
    assert kept.answer(bytes(8), REQUEST, 3.0) == ()
    assert kept.answer(b"\x01" * 8, REQUEST, 3.0) == ANSWER
    assert kept.answer(b"\x02" * 8, REQUEST, 3.0) == ANSWER
