"""EAP in IKE_AUTH (RFC 7296 2.16, RFC 5998), with a method of the tests' own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import IkeUp
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass, UniquePolicy
from charon_core.eap.packet import NAK, NOTIFICATION, EapPacket
from charon_core.encoding.payloads import Eap, Notify
from charon_core.encoding.registry import NotifyType
from tests.eap_method import BARE, KEYED, KEYLESS_MUTUAL, LONG, MUTUAL, VENDOR, offer
from tests.exchange.eap_scene import (
    CAROL,
    DAVE,
    MOON,
    PASSWORDS,
    SUN,
    certificates,
    eap,
    eap_only,
    eap_packet,
    methods,
    road_warrior,
)
from tests.exchange.orders import orders
from tests.exchange.outcomes import begin, bring_up, refused
from tests.exchange.tricks import plus, twist, without_notify
from tests.exchange.world import World, auth, connection, share_secret

if TYPE_CHECKING:
    from charon_core.eap.registry import EapType


@pytest.mark.parametrize("kind", [MUTUAL, KEYED, BARE, VENDOR])
@pytest.mark.parametrize("asks", [None, "%any", "*@example.org", CAROL])
def test_a_road_warrior_gets_in(kind: EapType, asks: str | None) -> None:
    world = World()
    methods(world, kind)
    peer = road_warrior(world, kind, asks=asks)
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts
    world.assert_traffic_flows()
    assert world.sun.sas[0].remote_eap_id == Identification.parse(CAROL)
    assert world.sun.recorder.said("MSK established")
    assert world.sun.recorder.said("no MSK established") == (kind is BARE)
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


@pytest.mark.parametrize("kind", [MUTUAL, BARE])
def test_each_loss(kind: EapType) -> None:
    def scene() -> World:
        world = World()
        methods(world, kind)
        world.moon.initiate(road_warrior(world, kind, asks="%any"))
        return world

    for world in orders(scene, losses=1):
        assert world.moon.states == world.sun.states == ["ESTABLISHED"]
        world.assert_traffic_flows()


def test_no_password_in_any_log_line() -> None:
    world = World()
    methods(world, MUTUAL)
    for host in (world.moon, world.sun):
        host.recorder.level = lambda group: 3
        host.bus.reconfigure()
    assert bring_up(world, road_warrior(world, MUTUAL))
    said = "\n".join(world.moon.recorder.lines + world.sun.recorder.lines)
    assert "tulip" not in said


def test_a_wrong_password_is_refused() -> None:
    world = World()
    offer(world.moon.env.eap, {CAROL.encode(): b"guessed"}, MUTUAL)
    offer(world.sun.env.eap, PASSWORDS, MUTUAL)
    assert not bring_up(world, road_warrior(world, MUTUAL))
    assert any("EAP Failure" in alert for alert in world.moon.recorder.alerts)
    assert any("does not prove the peer" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_server_that_does_not_know_the_password_is_refused() -> None:
    world = World()
    offer(world.moon.env.eap, PASSWORDS, MUTUAL)
    offer(world.sun.env.eap, {CAROL.encode(): b"guessed"}, MUTUAL)
    assert not bring_up(world, road_warrior(world, MUTUAL))
    refused(world)


def test_without_the_method_nothing_begins() -> None:
    world = World()
    offer(world.sun.env.eap, PASSWORDS, MUTUAL)
    assert not bring_up(world, road_warrior(world, MUTUAL))
    assert any("no plugin for that is loaded" in alert for alert in world.moon.recorder.alerts)


def test_a_responder_without_the_method_refuses() -> None:
    world = World()
    offer(world.moon.env.eap, PASSWORDS, MUTUAL)
    assert not bring_up(world, road_warrior(world, MUTUAL))
    assert any("no plugin for that is loaded" in alert for alert in world.sun.recorder.alerts)
    refused(world)


# -- identities -------------------------------------------------------------------------------


def test_an_eap_identity_of_its_own() -> None:
    world = World()
    methods(world, MUTUAL)
    dave = Identification.parse(DAVE)
    peer = road_warrior(world, MUTUAL, asks="%any", eap_identity=dave)
    assert bring_up(world, peer), world.sun.recorder.alerts
    assert world.sun.sas[0].remote_eap_id == dave
    assert world.sun.sas[0].remote_id == Identification.parse(CAROL)


def test_an_eap_identity_that_is_not_allowed_is_refused() -> None:
    world = World()
    methods(world, MUTUAL)
    peer = road_warrior(world, MUTUAL, asks=CAROL, eap_identity=Identification.parse(DAVE))
    assert not bring_up(world, peer)
    assert world.sun.recorder.said("expected is 'carol@example.org'")
    refused(world)


@pytest.mark.parametrize("said", [CAROL, DAVE])
def test_the_eap_identity_decides_between_connections(said: str) -> None:
    world = World()
    methods(world, MUTUAL)
    sun = certificates(world)
    for name, who in (("carol", CAROL), ("dave", DAVE)):
        remote = eap("%any", MUTUAL, eap_identity=Identification.parse(who))
        connection(world, world.sun, name=name, local=sun, remote=remote)
    local = eap(MOON, MUTUAL, eap_identity=Identification.parse(said))
    peer = connection(world, world.moon, local=local, remote=auth(SUN, AuthClass.PUBKEY))
    assert bring_up(world, peer), world.sun.recorder.lines[-8:]
    assert world.sun.sas[0].name == said.partition("@")[0]


@pytest.mark.parametrize("said", ["*@example.org", "%any", "*"])
def test_a_pattern_as_an_eap_identity_is_a_name_like_any_other(said: str) -> None:
    world = World()
    methods(world, MUTUAL, passwords={said.encode(): b"x", **PASSWORDS})
    mallory = Identification(Identification.parse(CAROL).id_type, said.encode())
    peer = road_warrior(world, MUTUAL, asks=CAROL, eap_identity=mallory)
    assert not bring_up(world, peer)
    refused(world)


def test_an_empty_eap_identity_stands_for_the_ike_identity() -> None:
    world = World()
    methods(world, MUTUAL)
    peer = road_warrior(world, MUTUAL, asks="%any")
    begin(world, peer, 4)

    def empty(payloads):
        found = EapPacket.parse(next(p for p in payloads if isinstance(p, Eap)).data)
        return [Eap(replace(found, data=b"").encode())]

    twist(world, empty)
    world.run()
    assert world.sun.sas[0].remote_eap_id == Identification.parse(CAROL)


def test_without_a_plugin_for_identities_nobody_is_asked() -> None:
    world = World()
    for host in (world.moon, world.sun):
        offer(host.env.eap, PASSWORDS, MUTUAL, identity=False)
    assert not bring_up(world, road_warrior(world, MUTUAL, asks="%any"))
    assert any("load eap_identity" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_who_was_not_asked_is_whom_the_ike_identity_names() -> None:
    """A connection for carol is no way out for dave, whom another one has not asked."""
    world = World()
    methods(world, MUTUAL)
    sun = certificates(world)
    share_secret(world.sun)
    carol = Identification.parse(CAROL)
    more = (eap("%any", MUTUAL), auth(MOON))
    connection(world, world.sun, name="two rounds", local=sun, remote=more)
    remote = eap("%any", MUTUAL, eap_identity=carol)
    connection(world, world.sun, name="of carol", local=sun, remote=remote)
    peer = connection(
        world, world.moon, local=eap(DAVE, MUTUAL), remote=auth(SUN, AuthClass.PUBKEY)
    )
    assert not bring_up(world, peer)
    assert any("its EAP identity is 'dave@example.org'" in a for a in world.sun.recorder.alerts)
    refused(world)


def test_a_connection_that_has_us_send_a_certificate_is_no_way_out_of_eap_only() -> None:
    world = World()
    methods(world, MUTUAL)
    sun = replace(certificates(world), identity=Identification.parse(SUN))
    share_secret(world.sun)
    dave = Identification.parse(DAVE)
    first = eap("%any", MUTUAL, eap_identity=Identification.parse(CAROL))
    connection(world, world.sun, name="only", local=eap(SUN, MUTUAL), remote=first)
    second = eap("%any", MUTUAL, eap_identity=dave)
    connection(world, world.sun, name="certificate", local=sun, remote=second)
    peer = connection(
        world, world.moon, local=eap(CAROL, MUTUAL, eap_identity=dave), remote=eap(SUN, MUTUAL)
    )
    assert not bring_up(world, peer)
    assert world.sun.recorder.said("otherwise than we have done")
    refused(world)


def test_uniqueness_goes_by_who_is_proved() -> None:
    """Dave says that he is carol outside of EAP: that must not take her IKE_SA down."""
    world = World()
    methods(world, MUTUAL)
    peer = replace(road_warrior(world, MUTUAL, asks="%any"), unique=UniquePolicy.NEVER)
    assert bring_up(world, peer)
    mallory = replace(peer.local[0], eap_identity=Identification.parse(DAVE))
    assert bring_up(world, replace(peer, name="mallory", local=(mallory,)))
    world.sun.do_jobs()
    world.run()
    assert world.sun.states == ["ESTABLISHED", "ESTABLISHED"]
    # And carol herself takes her own old one's place, whatever she is called outside.
    again = eap(MOON, MUTUAL, eap_identity=Identification.parse(CAROL))
    assert bring_up(world, replace(peer, name="again", local=(again,)))
    world.sun.do_jobs()
    world.run()
    assert len(world.sun.states) == 2


# -- agreeing on a method ---------------------------------------------------------------------


def test_the_peer_chooses_among_the_methods_of_the_server() -> None:
    world = World()
    offer(world.sun.env.eap, PASSWORDS, BARE, KEYED, MUTUAL)
    offer(world.moon.env.eap, PASSWORDS, MUTUAL)
    assert bring_up(world, road_warrior(world, None)), world.sun.recorder.alerts
    assert world.sun.recorder.said("EAP method EAP_200 succeeded")


def test_a_method_that_the_connection_does_not_allow_is_not_offered() -> None:
    world = World()
    methods(world, BARE, MUTUAL)
    peer = road_warrior(world, MUTUAL)
    local = (eap(CAROL, BARE),)
    assert not bring_up(world, replace(peer, local=local))
    assert any("no other method" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_vendors_method_is_found_by_an_expanded_nak() -> None:
    world = World()
    offer(world.sun.env.eap, PASSWORDS, MUTUAL, VENDOR)
    offer(world.moon.env.eap, PASSWORDS, VENDOR)
    assert bring_up(world, road_warrior(world, None)), world.sun.recorder.alerts
    assert world.sun.recorder.said("EAP method EAP_1-4711 succeeded")


def test_a_nak_after_the_method_has_begun_is_refused() -> None:
    world = World()
    methods(world, MUTUAL, KEYED)
    begin(world, road_warrior(world, None), 6)
    nak = lambda found: replace(found, kind=NAK, data=bytes((KEYED.type,)))  # noqa: E731
    twist(world, eap_packet(nak))
    world.run()
    assert any("after it has accepted it" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_notification_is_answered_and_logged() -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, road_warrior(world, MUTUAL), 3)

    def notify(found):
        return replace(found, kind=NOTIFICATION, data=b"be welcome")

    twist(world, eap_packet(notify))
    world.step()
    assert world.moon.recorder.said("server says: be welcome")


# -- bounds -----------------------------------------------------------------------------------


def test_a_conversation_has_an_end() -> None:
    world = World()
    methods(world, LONG)
    world.moon.initiate(road_warrior(world, LONG))
    world.run(limit=400)
    assert any("no end after 64 requests" in alert for alert in world.sun.recorder.alerts)
    refused(world)


# -- the server alone by EAP ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MUTUAL, VENDOR, None])
def test_eap_only(kind: EapType | None) -> None:
    world = World()
    methods(world, *([kind] if kind else [BARE, KEYED, MUTUAL]))
    assert bring_up(world, eap_only(world, kind)), (
        world.sun.recorder.alerts + world.moon.recorder.alerts
    )
    world.assert_traffic_flows()
    assert world.moon.recorder.said("authentication of 'sun.example.org' with EAP successful")


def test_each_loss_of_eap_only() -> None:
    def scene() -> World:
        world = World()
        methods(world, MUTUAL)
        world.moon.initiate(eap_only(world, MUTUAL))
        return world

    for world in orders(scene, losses=1):
        assert world.moon.states == world.sun.states == ["ESTABLISHED"]


@pytest.mark.parametrize("kind", [KEYED, BARE, KEYLESS_MUTUAL])
def test_eap_only_needs_a_mutual_method_with_a_key(kind: EapType) -> None:
    world = World()
    methods(world, kind)
    assert not bring_up(world, eap_only(world, kind))
    refused(world)


@pytest.mark.parametrize("kind", [KEYED, BARE, KEYLESS_MUTUAL])
def test_an_initiator_insists_on_a_mutual_method(kind: EapType) -> None:
    """A server that is content with less must not be believed."""
    from charon_core.sa.authenticators import eap as plans

    world = World()
    methods(world, kind)
    original = plans.server_plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            plans, "server_plan", lambda *a, **k: replace(original(*a, **k), mutual=False)
        )
        assert not bring_up(world, eap_only(world, kind))
    assert not world.moon.recorder.of(IkeUp)
    assert not world.sun.recorder.of(IkeUp)


def test_eap_only_without_announcement_is_refused() -> None:
    world = World()
    methods(world, MUTUAL)
    begin(world, eap_only(world, MUTUAL), 2)
    twist(world, without_notify(NotifyType.EAP_ONLY_AUTHENTICATION))
    world.run()
    assert any("EAP_ONLY" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_an_initiator_that_wants_a_certificate_takes_no_eap_only() -> None:
    world = World()
    methods(world, MUTUAL)
    peer = eap_only(world, MUTUAL)
    strict = replace(peer, remote=(auth(SUN, AuthClass.PUBKEY),))
    outcome: list[bool] = []
    world.moon.initiate(strict, outcome=outcome)
    for _ in range(2):
        world.step()
    twist(world, plus(Notify.of(NotifyType.EAP_ONLY_AUTHENTICATION)))
    world.run()
    assert outcome == [False]
    refused(world)


def test_an_initiator_that_does_eap_only_takes_no_secret() -> None:
    """Expected is EAP: whoever has some shared secret must not do."""
    world = World()
    methods(world, MUTUAL)
    for host in (world.moon, world.sun):
        share_secret(host, b"s", CAROL, SUN)
    peer = eap_only(world, MUTUAL)
    world.sun.connections.remove("net")
    connection(world, world.sun, local=auth(SUN), remote=eap("%any", MUTUAL))
    assert not bring_up(world, peer)
    assert any("expected is EAP" in alert for alert in world.moon.recorder.alerts)
    refused(world)


def test_eap_for_the_responder_alone_cannot_be() -> None:
    world = World()
    methods(world, MUTUAL)
    share_secret(world.moon)
    connection(world, world.sun)
    peer = connection(world, world.moon, remote=eap(SUN, MUTUAL))
    assert not bring_up(world, peer)
    assert any("for the responder alone" in alert for alert in world.moon.recorder.alerts)


# -- rounds with EAP --------------------------------------------------------------------------


@pytest.mark.parametrize("eap_first", [False, True])
def test_a_secret_of_the_machine_and_eap_of_its_user(eap_first: bool) -> None:
    def scene() -> World:
        world = World()
        methods(world, MUTUAL)
        for host in (world.moon, world.sun):
            share_secret(host, b"s", MOON, SUN)
        user, machine = eap(CAROL, MUTUAL), auth(MOON)
        mine = (user, machine) if eap_first else (machine, user)
        connection(world, world.sun, remote=mine)
        world.moon.initiate(connection(world, world.moon, local=mine))
        return world

    for world in orders(scene, losses=1):
        assert world.moon.states == world.sun.states == ["ESTABLISHED"], world.sun.recorder.alerts
        assert world.sun.sas[0].remote_eap_id == Identification.parse(CAROL)
        world.assert_traffic_flows()


def test_two_rounds_of_eap() -> None:
    world = World()
    methods(world, MUTUAL, BARE)
    sun = certificates(world)
    mine = (eap(CAROL, MUTUAL), eap(DAVE, BARE))
    connection(world, world.sun, local=sun, remote=mine)
    peer = connection(world, world.moon, local=mine, remote=auth(SUN, AuthClass.PUBKEY))
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts


def test_eap_only_and_a_second_round_of_the_responder() -> None:
    world = World()
    methods(world, MUTUAL)
    for host in (world.moon, world.sun):
        share_secret(host, b"s", CAROL, "venus.example.org")
    theirs = (eap(SUN, MUTUAL), auth("venus.example.org"))
    connection(world, world.sun, local=theirs, remote=eap("%any", MUTUAL))
    peer = connection(world, world.moon, local=eap(CAROL, MUTUAL), remote=theirs)
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts
