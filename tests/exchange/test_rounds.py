"""Several authentication rounds (RFC 4739): who proves what, in which order, and who does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import IkeUp
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass, AuthConfig, UniquePolicy
from charon_core.encoding.message import Message, seal_message
from charon_core.encoding.payloads import (
    Authentication,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    Notify,
)
from charon_core.encoding.registry import ExchangeType, NotifyType
from tests.exchange.orders import orders
from tests.exchange.outcomes import begin, bring_up, refused
from tests.exchange.pki import Authority
from tests.exchange.test_authentication import certified
from tests.exchange.tricks import plus, twist, without, without_notify
from tests.exchange.world import World, auth, connection, share_secret

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig

MOON, SUN = "moon.example.org", "sun.example.org"
ALICE, BOB = "alice@example.org", "bob@example.org"
VENUS = "venus.example.org"

FOLLOWS = Notify.of(NotifyType.ANOTHER_AUTH_FOLLOWS)


def secrets(world: World) -> None:
    for host in (world.moon, world.sun):
        share_secret(host, b"of the machines", MOON, SUN)
        share_secret(host, b"of alice", ALICE, SUN)
        share_secret(host, b"of bob", BOB, SUN)
        share_secret(host, b"of venus", VENUS, MOON)
        share_secret(host, b"of venus", VENUS, ALICE)


def rounds(count: int, first: str, second: str) -> tuple[AuthConfig, ...]:
    return (auth(first), auth(second))[:count]


def configured(world: World, mine: int, theirs: int) -> PeerConfig:
    """Moon proves itself in so many rounds, and sun in so many."""
    secrets(world)
    moon, sun = rounds(mine, MOON, ALICE), rounds(theirs, SUN, VENUS)
    connection(world, world.sun, local=sun, remote=moon)
    return connection(world, world.moon, local=moon, remote=sun)


@pytest.mark.parametrize("mine", [1, 2])
@pytest.mark.parametrize("theirs", [1, 2])
def test_each_number_of_rounds(mine: int, theirs: int) -> None:
    world = World()
    assert bring_up(world, configured(world, mine, theirs)), world.sun.recorder.alerts
    # The first CHILD_SA comes with the last IKE_AUTH: one exchange for each pair of rounds.
    assert len(world.sent) == 2 + 2 * max(mine, theirs)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    world.assert_traffic_flows()
    assert world.sun.recorder.said("authentication of 'alice@example.org' with") == (mine == 2)
    assert world.moon.recorder.said("authentication of 'venus.example.org' with") == (theirs == 2)
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_a_certificate_of_the_machine_and_a_secret_of_its_user() -> None:
    world = World()
    authority = Authority("Root")
    for host in (world.moon, world.sun):
        host.secrets.add_trust_anchor(authority.trusted)
        share_secret(host, b"of alice", ALICE, SUN)
    moon = certified(world.moon, authority, MOON)
    sun = certified(world.sun, authority, SUN)
    machine = auth(MOON, AuthClass.PUBKEY)
    connection(world, world.sun, local=sun, remote=(machine, auth(ALICE)))
    peer = connection(
        world, world.moon, local=(moon, auth(ALICE)), remote=auth(SUN, AuthClass.PUBKEY)
    )
    assert bring_up(world, peer), world.sun.recorder.alerts


@pytest.mark.parametrize(("mine", "theirs"), [(2, 1), (1, 2), (2, 2)])
def test_each_loss(mine: int, theirs: int) -> None:
    def scene() -> World:
        world = World()
        world.moon.initiate(configured(world, mine, theirs))
        return world

    for world in orders(scene, losses=1):
        assert world.moon.states == world.sun.states == ["ESTABLISHED"]
        world.assert_traffic_flows()


def test_the_lifetime_comes_with_the_last_message() -> None:
    world = World()
    peer = configured(world, 2, 2)
    world.sun.connections.remove("net")
    connection(
        world, world.sun, local=rounds(2, SUN, VENUS), remote=rounds(2, MOON, ALICE),
        reauth_time=3600.0,
    )  # fmt: skip
    assert bring_up(world, peer)
    seen: list[float | None] = []
    world.moon.with_ike(lambda ike: seen.append(ike.reauth_at))
    assert seen[0] is not None


def test_initial_contact_of_the_first_message_counts() -> None:
    world = World()
    peer = replace(configured(world, 2, 1), unique=UniquePolicy.NO)
    assert bring_up(world, peer)
    with world.moon.manager.working_on(world.moon.manager.checkout_by_number(1)) as ike:
        assert ike is not None
        ike.set_state(type(ike.state).DESTROYING)
    assert bring_up(world, peer)
    world.sun.do_jobs()
    assert world.sun.states == ["ESTABLISHED"], "the one that moon has lost is destroyed"


# -- who does not prove enough, or too much ---------------------------------------------------


@pytest.mark.parametrize(("proves", "wanted"), [(1, 2), (2, 1)])
def test_the_initiators_number_of_rounds_has_to_be_right(proves: int, wanted: int) -> None:
    world = World()
    secrets(world)
    connection(world, world.sun, remote=rounds(wanted, MOON, ALICE))
    peer = connection(world, world.moon, local=rounds(proves, MOON, ALICE))
    assert not bring_up(world, peer)
    assert any("rightauth2" in a or "expected are 2" in a for a in world.sun.recorder.alerts)
    refused(world)


@pytest.mark.parametrize(("proves", "wanted"), [(1, 2), (2, 1)])
def test_the_responders_number_of_rounds_has_to_be_right(proves: int, wanted: int) -> None:
    world = World()
    secrets(world)
    connection(world, world.sun, local=rounds(proves, SUN, VENUS))
    peer = connection(world, world.moon, remote=rounds(wanted, SUN, VENUS))
    assert not bring_up(world, peer)
    assert any("rightauth2" in alert for alert in world.moon.recorder.alerts)
    world.elapse(31)
    world.assert_nothing_left()


def test_a_wrong_second_proof_fails_all() -> None:
    world = World()
    peer = configured(world, 2, 1)
    world.moon.secrets.replace_secrets(())
    share_secret(world.moon, b"of the machines", MOON, SUN)
    share_secret(world.moon, b"guessed", ALICE, SUN)
    assert not bring_up(world, peer)
    assert any("secrets at both ends differ" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_second_identity_that_is_not_configured_is_refused() -> None:
    """Bob's own secret is good, but not after the first round of alice's connection."""
    world = World()
    peer = configured(world, 2, 1)
    bob = replace(peer, local=(auth(MOON), auth(BOB)))
    assert not bring_up(world, bob)
    assert any("bob@example.org" in alert for alert in world.sun.recorder.alerts)
    refused(world)


# -- which connection it is -------------------------------------------------------------------


def test_the_second_round_decides_between_connections() -> None:
    world = World()
    secrets(world)
    for name, user in (("alice", ALICE), ("bob", BOB)):
        connection(world, world.sun, name=name, remote=(auth(MOON), auth(user)))
    peer = connection(world, world.moon, local=(auth(MOON), auth(BOB)))
    assert bring_up(world, peer), world.sun.recorder.alerts
    assert world.sun.sas[0].name == "bob"
    assert world.sun.recorder.said("switching to connection 'bob'")


def test_rounds_of_two_connections_do_not_add_up() -> None:
    """The second round of one connection does not follow on the first of another."""
    world = World()
    secrets(world)
    for host in (world.moon, world.sun):
        share_secret(host, b"of mars", "mars.example.org", SUN)
    connection(world, world.sun, name="a", remote=(auth(MOON), auth(ALICE)))
    connection(world, world.sun, name="b", remote=(auth("mars.example.org"), auth(BOB)))
    peer = connection(world, world.moon, local=(auth(MOON), auth(BOB)))
    assert not bring_up(world, peer)
    refused(world)


def test_a_connection_that_has_us_prove_otherwise_is_no_way_out() -> None:
    world = World()
    secrets(world)
    connection(world, world.sun, name="alice", remote=(auth(MOON), auth(ALICE)))
    connection(
        world, world.sun, name="bob", local=auth(VENUS), remote=(auth(MOON), auth(BOB))
    )  # fmt: skip
    peer = connection(world, world.moon, local=(auth(MOON), auth(BOB)), remote=auth("%any"))
    assert not bring_up(world, peer)
    assert any("otherwise than we have done" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_work_for_wrong_second_proofs_does_not_grow_with_the_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from charon_core.sa.authenticators import verification

    verified: list[object] = []
    original = verification.verify

    def verify(ike, *arguments: object) -> None:
        if not ike.is_initiator:
            verified.append(ike)
        original(ike, *arguments)

    monkeypatch.setattr(verification, "verify", verify)
    world = World()
    secrets(world)
    for number in range(20):
        connection(world, world.sun, name=f"c{number}", remote=(auth(MOON), auth(ALICE)))
    peer = connection(world, world.moon, local=(auth(MOON), auth(BOB)))
    assert not bring_up(world, peer)
    assert len(verified) == 2


# -- who does not keep to the order -----------------------------------------------------------


def test_no_second_round_without_announcement_of_the_responder() -> None:
    world = World()
    peer = configured(world, 2, 1)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.step()
    packet = world.in_flight[0]
    message = Message.parse(packet.data)
    payloads = without_notify(NotifyType.MULTIPLE_AUTH_SUPPORTED)(message.payloads)
    world.in_flight[0] = replace(packet, data=replace(message, payloads=tuple(payloads)).encode())
    world.run()
    assert outcome == [False]
    assert any("announce RFC 4739" in alert for alert in world.moon.recorder.alerts)


def test_another_round_without_announcement_of_the_initiator_is_refused() -> None:
    world = World()
    begin(world, configured(world, 2, 1), 2)
    twist(world, without_notify(NotifyType.MULTIPLE_AUTH_SUPPORTED))
    world.run()
    assert any("MULTIPLE_AUTH_SUPPORTED" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_an_initiator_that_skips_its_second_round_is_refused() -> None:
    world = World()
    begin(world, configured(world, 2, 1), 4)
    twist(world, without(IdentificationInitiator, Authentication))
    world.run()
    assert any("not in order" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_an_initiator_that_denies_its_second_round_is_refused() -> None:
    world = World()
    begin(world, configured(world, 2, 1), 2)
    twist(world, without_notify(NotifyType.ANOTHER_AUTH_FOLLOWS))
    world.run()
    assert any("ends after 1" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_an_initiator_that_repeats_its_first_round_is_refused() -> None:
    world = World()
    peer = configured(world, 2, 1)
    begin(world, replace(peer, local=(auth(MOON), auth(MOON))), 4)
    world.run()
    assert any("expected is 'alice@example.org'" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_rounds_in_the_wrong_order_are_refused() -> None:
    world = World()
    peer = configured(world, 2, 1)
    assert not bring_up(world, replace(peer, local=(auth(ALICE), auth(MOON))))
    refused(world)


def test_a_third_round_is_refused() -> None:
    world = World()
    begin(world, configured(world, 2, 1), 4)
    twist(world, plus(FOLLOWS))
    world.run()
    assert any("announces another" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_eap_in_the_place_of_a_round_is_refused() -> None:
    world = World()
    begin(world, configured(world, 2, 1), 4)
    success = Eap(bytes((3, 1, 0, 4)))
    twist(world, lambda payloads: (*without(Authentication)(payloads), success))
    world.run()
    refused(world)


@pytest.mark.parametrize("what", ["no AUTH", "no IDr", "nothing"])
def test_a_responder_that_skips_its_second_round_is_refused(what: str) -> None:
    world = World()
    begin(world, configured(world, 1, 2), 5)
    gone = {"no AUTH": (Authentication,), "no IDr": (IdentificationResponder,)}.get(
        what, (Authentication, IdentificationResponder)
    )
    twist(world, without(*gone))
    world.run()
    assert not world.moon.recorder.of(IkeUp)
    world.elapse(31)
    world.assert_nothing_left()


def test_a_responder_that_denies_its_second_round_is_refused() -> None:
    world = World()
    begin(world, configured(world, 1, 2), 3)
    twist(world, without_notify(NotifyType.ANOTHER_AUTH_FOLLOWS))
    world.run()
    assert any("ends after 1" in alert for alert in world.moon.recorder.alerts)
    world.elapse(31)
    world.assert_nothing_left()


def test_a_responder_that_never_ends_is_left() -> None:
    world = World()
    begin(world, configured(world, 1, 2), 5)
    twist(world, plus(FOLLOWS))
    world.run()
    assert not world.moon.recorder.of(IkeUp)
    world.elapse(31)
    world.assert_nothing_left()


def test_half_proved_peers_get_nothing_else() -> None:
    """CREATE_CHILD_SA and INFORMATIONAL between two rounds are the right message too early."""
    world = World()
    begin(world, configured(world, 2, 1), 4)
    packet = world.drop()
    (entry,) = world.moon.manager._by_spi.values()
    ike = entry.ike
    for exchange in (ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL):
        message = Message(
            ike.initiator_spi, ike.responder_spi, exchange, True, False, 2, (),
        )  # fmt: skip
        data = seal_message(message, ike.keying.outbound)
        world.deliver(replace(packet, data=data))
        assert not world.in_flight
    assert world.sun.states == ["CONNECTING"]
    world.deliver(packet)
    world.run()
    assert world.sun.states == ["ESTABLISHED"]


def test_children_are_installed_after_the_last_round_only() -> None:
    world = World()
    begin(world, configured(world, 2, 2), 4)
    assert not world.sun.backend.states
    assert not world.moon.backend.states
    assert not world.sun.recorder.of(IkeUp)


def test_identities_of_the_ike_sa_are_those_of_the_first_round() -> None:
    world = World()
    assert bring_up(world, configured(world, 2, 2))
    for host, local, remote in ((world.moon, MOON, SUN), (world.sun, SUN, MOON)):
        assert host.sas[0].local_id == Identification.parse(local)
        assert host.sas[0].remote_id == Identification.parse(remote)
