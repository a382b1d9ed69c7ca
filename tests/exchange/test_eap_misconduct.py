"""EAP in IKE_AUTH with peers that do not keep to the order: nobody gets in, nothing is left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import IkeUp
from charon_core.eap.packet import EapCode, EapPacket
from charon_core.encoding.payloads import Authentication, Eap, IdentificationInitiator
from charon_core.encoding.registry import AuthMethod
from tests.eap_method import BARE, MUTUAL
from tests.exchange.eap_scene import (
    DAVE,
    SUCCESS,
    eap_only,
    eap_packet,
    methods,
    road_warrior,
)
from tests.exchange.outcomes import begin, bring_up, refused
from tests.exchange.tricks import twist, without
from tests.exchange.world import World

if TYPE_CHECKING:
    from charon_core.eap.registry import EapType


@pytest.mark.parametrize("step", [3, 5])
def test_an_early_success_of_the_server_is_refused(step: int) -> None:
    """CVE-2021-45079: the server says Success in the place of its first or last request."""
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), step)
    twist(world, lambda payloads: (*without(Eap)(payloads), SUCCESS))
    world.run()
    assert any("before its method" in alert for alert in world.moon.recorder.alerts)
    refused(world)


def test_an_early_success_of_an_eap_only_server_is_refused() -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, eap_only(world, MUTUAL), 3)
    twist(world, lambda payloads: (*without(Eap)(payloads), SUCCESS))
    world.run()
    refused(world)


@pytest.mark.parametrize("code", [EapCode.SUCCESS, EapCode.FAILURE])
@pytest.mark.parametrize("step", [4, 6])
def test_a_server_believes_no_success_of_its_peer(code: EapCode, step: int) -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), step)
    twist(world, lambda _: (Eap(EapPacket(code, 7).encode()),))
    world.run()
    assert any("expected is a response" in alert for alert in world.sun.recorder.alerts)
    refused(world)


@pytest.mark.parametrize("step", [4, 6])
def test_auth_before_the_end_of_eap_is_refused(step: int) -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), step)
    twist(world, lambda _: (Authentication(AuthMethod.SHARED_KEY_MIC, bytes(32)),))
    world.run()
    assert any("not in order" in alert for alert in world.sun.recorder.alerts)
    refused(world)


@pytest.mark.parametrize("instead", ["nothing", "another identity", "EAP"])
def test_success_without_the_final_auth_opens_nothing(instead: str) -> None:
    world = World()
    methods(world, BARE)
    begin(world, road_warrior(world, BARE), 6)
    payloads = {
        "nothing": (),
        "another identity": (IdentificationInitiator(2, DAVE.encode()),),
        "EAP": (SUCCESS,),
    }[instead]
    twist(world, lambda _: payloads)
    assert not world.sun.backend.states
    world.run()
    assert any("not in order" in alert for alert in world.sun.recorder.alerts)
    refused(world)


@pytest.mark.parametrize("kind", [MUTUAL, BARE])
def test_a_wrong_final_auth_opens_nothing(kind: EapType) -> None:
    world = World()
    methods(world, kind)
    begin(world, road_warrior(world, kind), 6 if kind is BARE else 8)
    twist(world, lambda _: (Authentication(AuthMethod.SHARED_KEY_MIC, bytes(32)),))
    world.run()
    assert any("not made with the key" in alert for alert in world.sun.recorder.alerts)
    refused(world)


@pytest.mark.parametrize("what", ["no AUTH", "wrong AUTH", "EAP"])
def test_a_responder_without_the_key_of_eap_is_refused(what: str) -> None:
    """Somebody between who passes EAP on has no MSK."""
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), 9)
    wrong = Authentication(AuthMethod.SHARED_KEY_MIC, bytes(32))
    added = {"no AUTH": (), "wrong AUTH": (wrong,), "EAP": (SUCCESS,)}[what]
    twist(world, lambda payloads: (*without(Authentication)(payloads), *added))
    world.run()
    assert not world.moon.recorder.of(IkeUp)
    assert not world.moon.backend.states
    world.elapse(31)
    world.assert_nothing_left()


def test_a_responder_without_a_certificate_is_refused() -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), 3)
    twist(world, without(Authentication))
    world.run()
    assert any("needs IDr and AUTH" in alert for alert in world.moon.recorder.alerts)
    refused(world)


@pytest.mark.parametrize("length", range(4))
def test_a_malformed_packet_ends_it(length: int) -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), 4)

    def cut(payloads):
        found = next(p for p in payloads if isinstance(p, Eap)).data[: 5 + length]
        return [Eap(found[:2] + len(found).to_bytes(2, "big") + found[4:])]

    twist(world, cut)
    world.run()
    refused(world)


def test_a_response_to_another_request_is_refused() -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), 4)
    twist(world, eap_packet(lambda found: replace(found, identifier=found.identifier ^ 1)))
    world.run()
    assert any("identifier" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_method_that_breaks_takes_nothing_with_it() -> None:
    world = World()
    methods(world, MUTUAL)
    from tests import eap_method

    with pytest.MonkeyPatch.context() as patch:

        def broken(self, packet):
            raise RuntimeError("the password is tulip")

        patch.setattr(eap_method.Server, "process", broken)
        assert not bring_up(world, road_warrior(world, MUTUAL))
    assert any("RuntimeError" in alert for alert in world.sun.recorder.alerts)
    assert not any("tulip" in line for line in world.sun.recorder.lines)
    refused(world)
