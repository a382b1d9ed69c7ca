"""Proposals that a kernel cannot install are neither offered nor chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from charon_core.encoding.registry import EncryptionId, IntegrityId
from charon_core.kernel.esp_algorithms import EspAlgorithms
from tests.exchange.world import World, child, connection, share_secret

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig

POOR = EspAlgorithms(
    frozenset({EncryptionId.AES_CBC}),
    frozenset({IntegrityId.HMAC_SHA1_96, IntegrityId.HMAC_SHA2_256_128}),
)
HERE, THERE = ("10.1.0.0/16",), ("10.2.0.0/16",)
LACKS = "kernel backend 'null' has no 3DES_CBC"


def peers(world: World, esp: str, *poor: str) -> PeerConfig:
    """Make a connection of two CHILD_SAs; hosts that are named have few algorithms."""
    for name in ("moon", "sun"):
        host = getattr(world, name)
        share_secret(host)
        if name in poor:
            host.backend.algorithms = POOR
    pairs = (HERE, THERE), (("10.11.0.0/16",), ("10.12.0.0/16",))
    names = ("net", "other")
    connection(
        world,
        world.sun,
        children=tuple(
            child(name, local=there, remote=here, esp=esp)
            for name, (here, there) in zip(names, pairs, strict=True)
        ),
    )
    return connection(
        world,
        world.moon,
        children=tuple(
            child(name, local=here, remote=there, esp=esp)
            for name, (here, there) in zip(names, pairs, strict=True)
        ),
    )


@pytest.mark.parametrize("poor", [(), ("moon",), ("sun",), ("moon", "sun")])
def test_the_first_proposal_that_both_can_install_is_taken(poor: tuple[str, ...]) -> None:
    world = World()
    peer = peers(world, "3des-sha1,aes128-sha256!", *poor)
    # By IKE_AUTH, then by CREATE_CHILD_SA.
    for name in ("net", "other"):
        outcome: list[bool] = []
        world.moon.initiate(peer, name, outcome)
        world.run()
        assert outcome == [True], world.moon.recorder.lines
    expected = EncryptionId.AES_CBC if poor else EncryptionId.TRIPLE_DES
    states = [*world.moon.backend.states.values(), *world.sun.backend.states.values()]
    assert len(states) == 8
    assert {state.encryption for state in states} == {expected}
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_the_responder_says_what_its_kernel_lacks() -> None:
    world = World()
    peer = peers(world, "3des-sha1!", "sun")
    outcome: list[bool] = []
    world.moon.initiate(peer, "net", outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.recorder.said("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built")
    assert any(LACKS in alert for alert in world.sun.recorder.alerts)


def test_the_initiator_says_what_its_kernel_lacks() -> None:
    world = World()
    peer = peers(world, "3des-sha1!", "moon")
    outcome: list[bool] = []
    world.moon.initiate(peer, "net", outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.recorder.said(f"none of its proposals can be installed, {LACKS}")
