"""Attacks by peers that hold true keys, and by strangers between them: nobody gets in or breaks it.

Each test is one trick; messages are sealed with the keys of the side that misbehaves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import IkeUp
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass, UniquePolicy
from charon_core.encoding.message import Message, seal_message
from charon_core.encoding.payloads import Delete, KeyExchange, Notify
from charon_core.encoding.registry import ExchangeType, HashId, NotifyType, ProtocolId
from charon_core.network.packet import Endpoint, Packet
from charon_core.sa.authenticators import identities, verification
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.tasks.child_respond import ChildRespond
from charon_core.sa.tries import give_up
from tests.exchange.world import (
    World,
    auth,
    child,
    connection,
    share_secret,
    tunnel,
)

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa

STRONG = "aes256gcm16-prfsha384-ecp384!"
WEAK = "aes128-sha256-modp2048!"


def attempt(world: World, peer) -> bool:
    """Whether moon gets in with its connection, even if only as sun sees it."""
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    return outcome == [True] or bool(world.sun.recorder.of(IkeUp))


# -- identities and secrets -------------------------------------------------------------------


def test_the_secret_of_one_peer_does_not_prove_another() -> None:
    """One matching side selects a secret for signing; it must not be enough for verifying."""
    world = World()
    share_secret(world.sun, b"of alice", "sun.example.org", "alice.example.org")
    share_secret(world.sun, b"of bob", "sun.example.org", "bob.example.org")
    connection(world, world.sun, remote=auth("alice.example.org"))
    share_secret(world.moon, b"of bob", "sun.example.org")
    bob = connection(world, world.moon, local=auth("alice.example.org"))
    assert not attempt(world, bob)
    world.assert_nothing_left()


def test_a_peer_whose_secret_was_removed_cannot_be_played_by_others() -> None:
    world = World()
    share_secret(world.sun, b"of bob", "sun.example.org", "bob.example.org")
    connection(world, world.sun, remote=auth("alice.example.org"))
    share_secret(world.moon, b"of bob", "sun.example.org")
    assert not attempt(world, connection(world, world.moon, local=auth("alice.example.org")))
    assert world.sun.recorder.said("no shared key found for 'sun.example.org'")


def test_the_secret_of_everybody_does_not_prove_who_has_one_of_their_own() -> None:
    world = World()
    share_secret(world.sun, b"of alice", "alice.example.org")
    share_secret(world.sun, b"of all", "%any")
    connection(world, world.sun, remote=auth("alice.example.org"))
    share_secret(world.moon, b"of all", "%any")
    assert not attempt(world, connection(world, world.moon, local=auth("alice.example.org")))


PATTERNS = [
    "*", "*.example.org", "*@example.org", "%any", "fqdn:%any", "fqdn:*", "keyid:*", "keyid:%any",
    "rfc822:*", "{201}:*", "0.0.0.0/0", "0.0.0.0-255.255.255.255", "CN=*", "C=CH, CN=*",
]  # fmt: skip


@pytest.mark.parametrize("claimed", [text for text in PATTERNS if text not in {"*", "%any"}])
@pytest.mark.parametrize(
    "expected", ["moon.example.org", "moon@example.org", "C=CH, CN=moon", "10.99.0.1", "keyid:moon"]
)
def test_a_pattern_as_an_identity_matches_nothing_but_itself(claimed: str, expected: str) -> None:
    """Wildcards count in configurations alone; a peer that sends one claims that very name."""
    sent, configured = Identification.parse(claimed), Identification.parse(expected)
    assert Identification.from_wire(sent.id_type, sent.data).matches(configured) == 0


@pytest.mark.parametrize(
    "claimed", ["fqdn:*", "fqdn:*.example.org", "fqdn:%any", "CN=*", "10.99.0.0/24"]
)
@pytest.mark.parametrize("expected", ["moon.example.org", "10.99.0.1"])
def test_a_pattern_as_an_identity_lets_nobody_in(
    claimed: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    share_secret(world.sun, b"of moon", "sun.example.org", expected)
    share_secret(world.moon, b"of moon", "sun.example.org")
    connection(world, world.sun, remote=auth(expected))
    mallory = connection(world, world.moon, local=auth("moon.example.org"))
    claim(monkeypatch, Identification.parse(claimed))
    assert not attempt(world, mallory)
    assert world.sun.recorder.said("no matching peer config found") or any(
        "no matching peer config" in alert for alert in world.sun.recorder.alerts
    )


def claim(monkeypatch: pytest.MonkeyPatch, identity: Identification) -> None:
    """Have the initiator claim an identity that no configuration could give it."""
    original = identities.own_identity

    def own_identity(ike: IkeSa, *arguments: object) -> Identification:
        return identity if ike.is_initiator else original(ike, *arguments)

    monkeypatch.setattr(identities, "own_identity", own_identity)


@pytest.mark.parametrize(
    "demand",
    [
        {"ca": Identification.parse("CN=root")},
        {"certificates": (b"pinned",)},
        {"public_keys": (b"pinned",)},
        {"cert_policies": ("1.2.3",)},
        {"groups": ("sales",)},
    ],
    ids=str,
)
def test_a_secret_does_not_meet_demands_on_certificates(demand: dict[str, object]) -> None:
    """With `rightauth=any` a peer could choose the method that nobody has restricted."""
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    free = auth("moon.example.org", AuthClass.ANY, **demand)
    connection(world, world.sun, remote=free)
    assert not attempt(world, connection(world, world.moon))


def test_any_method_without_demands_takes_a_secret() -> None:
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, remote=auth("moon.example.org", AuthClass.ANY))
    assert attempt(world, connection(world, world.moon))


# -- which connection it is -------------------------------------------------------------------


def test_weak_algorithms_of_another_connection_do_not_open_a_strong_one() -> None:
    """The proposal is selected by addresses alone; the connection found later has to accept it."""
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, name="other", ike=WEAK, remote=auth("mars.example.org"))
    connection(world, world.sun, name="strict", ike=STRONG)
    assert not attempt(world, connection(world, world.moon, ike=WEAK))
    assert world.sun.recorder.said("does not accept the IKE proposal IKE:AES_CBC_128")
    world.assert_nothing_left()


def test_the_configuration_of_the_found_connection_is_the_one_in_use() -> None:
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, name="other", remote=auth("mars.example.org"))
    used: list[object] = []
    strict = connection(world, world.sun, name="strict", ike_settings={"dscp": 46})
    assert attempt(world, connection(world, world.moon))
    world.sun.with_ike(
        lambda ike: used.append((ike.peer_config, ike.ike_config)),
    )
    assert used == [(strict, strict.ike)]


@pytest.mark.parametrize("connections", [2, 50])
def test_work_for_a_wrong_proof_does_not_grow_with_the_connections(
    connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[object] = []
    original = verification.verify

    def verify(ike: IkeSa, *arguments: object) -> None:
        if not ike.is_initiator:
            verified.append(ike)
        original(ike, *arguments)

    monkeypatch.setattr(verification, "verify", verify)
    world = World()
    share_secret(world.moon, b"wrong")
    share_secret(world.sun)
    for number in range(connections):
        connection(world, world.sun, name=f"c{number}", children=(child(f"n{number}"),))
    assert not attempt(world, connection(world, world.moon))
    assert len(verified) == 1


# -- CHILD_SAs --------------------------------------------------------------------------------


def networks(count: int, first: int) -> tuple[str, ...]:
    """Return networks that do not overlap, and that cannot be merged."""
    return tuple(f"{first}.{number}.0.0/24" for number in range(count))


ANYTHING = child(local=("0.0.0.0/0",), remote=("0.0.0.0/0",))


def test_selectors_of_each_side_do_not_multiply_without_bound() -> None:
    """128 selectors on each side would be 49152 policies in the kernel of an open gateway."""
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, children=(ANYTHING,))
    many = child(local=networks(128, 10), remote=networks(128, 20))
    assert attempt(world, connection(world, world.moon, children=(many,)))
    assert world.sun.recorder.said("16384 pairs of traffic selectors are too many")
    assert not world.sun.backend.policies
    assert not world.sun.backend.reserved


def test_an_answer_with_too_many_selectors_is_not_installed() -> None:
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, children=(child(local=networks(99, 20), remote=networks(99, 10)),))
    outcome: list[bool] = []
    limited = world.moon.env.parameters
    object.__setattr__(world.sun.env, "parameters", replace(limited, max_selector_pairs=1 << 20))
    world.moon.initiate(connection(world, world.moon, children=(ANYTHING,)), outcome=outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.recorder.said("peer chooses too many traffic selectors")
    assert world.moon.backend.is_empty
    assert world.sun.backend.is_empty, "sun was not told that its CHILD_SA is not wanted"


def test_children_of_an_ike_sa_share_the_bound() -> None:
    world = World(parameters=IkeParameters(max_selector_pairs=2))
    peer = tunnel(world)
    assert attempt(world, peer)
    for _ in range(3):
        world.moon.initiate(peer)
        world.run()
    assert [len(host.sas[0].children) for host in (world.moon, world.sun)] == [2, 2]
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_a_responder_that_never_likes_the_key_exchange_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    pfs = child(esp="aes128gcm16-x25519-ecp256!")
    peer = tunnel(world, children=(pfs, replace(pfs, name="second")))
    assert attempt(world, peer)
    other = {31: 19, 19: 31}

    def fickle(task: ChildRespond, offer: Message, _proposal: object) -> bool:
        sent = offer.first(KeyExchange)
        assert sent is not None
        task._refuse(NotifyType.INVALID_KE_PAYLOAD, other[sent.method].to_bytes(2, "big"))
        return False

    monkeypatch.setattr(ChildRespond, "_respond_key_exchange", fickle)
    outcome: list[bool] = []
    world.moon.initiate(peer, "second", outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.states == ["ESTABLISHED"]
    assert not world.moon.backend.reserved


def test_a_peer_deletes_its_own_children_only() -> None:
    """SPIs are looked up in the IKE_SA that the message came by, never among those of others."""
    world = World()
    never = {"unique": UniquePolicy.NEVER}
    first, second = tunnel(world, **never), connection(world, world.moon, name="two", **never)
    assert attempt(world, first)
    world.moon.initiate(second)
    world.run()
    victim, _ = (entry.ike for entry in world.moon.manager._by_number.values())
    spis = tuple(
        spi.to_bytes(4, "big")
        for ike in world.sun.sas
        for found in ike.children
        for spi in (found.spi_in, found.spi_out)
    )
    _, attacker = sorted(world.moon.sas, key=lambda ike: ike.unique_id)
    deletes(world, attacker.unique_id, spis)
    counts = sorted(len(ike.children) for ike in world.sun.sas)
    assert counts == [0, 1]
    assert victim.children


def deletes(world: World, number: int, spis: tuple[bytes, ...], repeat: int = 1) -> None:
    """Have moon delete SPIs by the IKE_SA with this number."""
    with world.moon.manager.working_on(world.moon.manager.checkout_by_number(number)) as ike:
        assert ike is not None
        message = Message(
            ike.initiator_spi, ike.responder_spi, ExchangeType.INFORMATIONAL, True, False, 2,
            (Delete(protocol=ProtocolId.ESP, spis=spis),) * repeat,
        )  # fmt: skip
        data = seal_message(message, ike.keying.outbound)
    world.deliver(Packet(Endpoint("10.99.0.1", 500), Endpoint("10.99.0.2", 500), data))


def test_deleting_thousands_of_unknown_spis_is_one_alert() -> None:
    world = World()
    assert attempt(world, tunnel(world))
    before = len(world.sun.recorder.alerts)
    spis = tuple(number.to_bytes(4, "big") for number in range(1, 1001))
    deletes(world, 1, spis, repeat=10)
    (alert,) = world.sun.recorder.alerts[before:]
    assert "and 992 more" in alert
    assert world.sun.states == ["ESTABLISHED"]


# -- memory -----------------------------------------------------------------------------------


def test_what_a_stranger_announces_is_not_kept() -> None:
    world = World()
    world.moon.initiate(tunnel(world))
    packet = world.drop()
    message = Message.parse(packet.data)
    hashes = b"".join(number.to_bytes(2, "big") for number in range(4000))
    announced = Notify.of(NotifyType.SIGNATURE_HASH_ALGORITHMS, hashes)
    payloads = (*message.payloads, announced)
    world.deliver(replace(packet, data=replace(message, payloads=payloads).encode()))
    (entry,) = world.sun.manager._by_spi.values()
    assert set(entry.ike.handshake.peer_hashes) <= set(map(int, HashId))


def test_an_established_ike_sa_forgets_its_handshake() -> None:
    world = World()
    assert attempt(world, tunnel(world))
    for host in (world.moon, world.sun):
        (entry,) = host.manager._by_spi.values()
        with pytest.raises(RuntimeError, match="left its handshake behind"):
            _ = entry.ike.handshake


def test_a_response_without_an_spi_ends_the_try() -> None:
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(tunnel(world), outcome=outcome)
    world.step()
    packet = world.drop()
    world.deliver(replace(packet, data=packet.data[:8] + bytes(8) + packet.data[16:]))
    assert outcome == [False]
    assert world.moon.recorder.said("without giving it an SPI")


@pytest.mark.parametrize("repeats", [1, 8, 100])
def test_repeated_init_requests_are_not_answered_for_ever(repeats: int) -> None:
    """Their source may be the address of a victim, and our answer is the larger one."""
    world = World()
    world.moon.initiate(tunnel(world))
    packet = world.drop()
    for _ in range(1 + repeats):
        world.deliver(packet)
    assert len(world.in_flight) == 1 + min(repeats, 8)


def test_a_responder_that_falls_silent_keeps_no_spi_of_ours() -> None:
    """A forged IKE_SA_INIT response does as well: each try reserves an SPI for its CHILD_SA."""
    world = World()
    world.moon.initiate(tunnel(world, keyingtries=3))
    for _ in range(3):
        world.step()
        world.step()
        world.in_flight.clear()
        assert len(world.moon.backend.reserved) == 1
        world.moon.with_ike(give_up)
    assert world.moon.leaks() == {}
