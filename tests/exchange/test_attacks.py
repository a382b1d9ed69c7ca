"""Attacks by peers that hold true keys, and by strangers between them: nobody gets in or breaks it.

Each test is one trick; messages are sealed with the keys of the side that misbehaves.
"""

from __future__ import annotations

import pytest

from charon_core.bus.events import IkeUp
from charon_core.config.identification import Identification
from charon_core.sa.tasks.ike_auth import IkeAuth
from tests.exchange.world import (
    World,
    auth,
    child,
    connection,
    share_secret,
)

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
    original = IkeAuth._own_identity

    def own_identity(task: IkeAuth, *arguments: object) -> Identification:
        return identity if task.ike.is_initiator else original(task, *arguments)

    monkeypatch.setattr(IkeAuth, "_own_identity", own_identity)


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
    original = IkeAuth._verify

    def verify(task: IkeAuth, *arguments: object) -> None:
        if not task.ike.is_initiator:
            verified.append(task)
        original(task, *arguments)

    monkeypatch.setattr(IkeAuth, "_verify", verify)
    world = World()
    share_secret(world.moon, b"wrong")
    share_secret(world.sun)
    for number in range(connections):
        connection(world, world.sun, name=f"c{number}", children=(child(f"n{number}"),))
    assert not attempt(world, connection(world, world.moon))
    assert len(verified) == 1
