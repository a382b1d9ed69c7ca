"""Attacks by peers that hold true keys, and by strangers between them: nobody gets in or breaks it.

Each test is one trick; messages are sealed with the keys of the side that misbehaves.
"""

from __future__ import annotations

import pytest

from charon_core.config.identification import Identification
from charon_core.sa.tasks.ike_auth import IkeAuth
from tests.exchange.world import (
    World,
    auth,
    connection,
    share_secret,
)


def attempt(world: World, peer) -> bool:
    """Whether moon gets in with its connection."""
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    return outcome == [True]


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
