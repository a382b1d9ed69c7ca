"""NULL authentication (RFC 7619): only where it is asked for, and never in the place of a proof."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.bus.events import IkeUp
from charon_core.config.identification import NULL, Identification
from charon_core.config.ike import IkeConfig
from charon_core.config.peer import AuthClass, UniquePolicy
from charon_core.encoding.payloads import Authentication, IdentificationInitiator
from charon_core.encoding.registry import AuthMethod
from tests.exchange.pki import Authority
from tests.exchange.test_authentication import certified
from tests.exchange.tricks import twist
from tests.exchange.world import World, auth, connection, share_secret

MOON, SUN = "moon.example.org", "sun.example.org"
NOBODY = Identification(NULL, b"")


def anonymous(**settings: object):
    return auth("%any", AuthClass.NULL, **settings)


def bring_up(world: World, peer) -> bool:
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert len(outcome) == 1
    return outcome[0]


def refused(world: World) -> None:
    assert not world.moon.recorder.of(IkeUp)
    assert not world.sun.recorder.of(IkeUp)
    world.elapse(31)
    world.assert_nothing_left()


def test_nobody_meets_nobody() -> None:
    world = World()
    connection(world, world.sun, local=anonymous(), remote=anonymous())
    peer = connection(world, world.moon, local=anonymous(), remote=anonymous())
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts
    world.assert_traffic_flows()
    assert world.sun.sas[0].remote_id == NOBODY
    assert world.sun.recorder.said("authentication of 'ID_NULL' with NULL successful")
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_an_anonymous_client_of_a_server_with_a_certificate() -> None:
    world = World()
    authority = Authority("Root")
    world.moon.secrets.add_trust_anchor(authority.trusted)
    sun = certified(world.sun, authority, SUN)
    connection(world, world.sun, local=sun, remote=anonymous())
    peer = connection(world, world.moon, local=anonymous(), remote=auth(SUN, AuthClass.PUBKEY))
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts


def test_uniqueness_does_not_apply() -> None:
    world = World()
    settings = {"local": anonymous(), "remote": anonymous(), "unique": UniquePolicy.REPLACE}
    connection(world, world.sun, **settings)
    for name in ("a", "b"):
        assert bring_up(world, connection(world, world.moon, name=name, **settings))
    assert world.sun.states == ["ESTABLISHED", "ESTABLISHED"]
    assert len(world.sun.env.peers) == 0


@pytest.mark.parametrize("kind", [AuthClass.ANY, AuthClass.PSK, AuthClass.PUBKEY])
def test_nothing_else_takes_it(kind: AuthClass) -> None:
    """`any` is any proof, and this is none."""
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, remote=auth("%any", kind))
    peer = connection(world, world.moon, local=anonymous())
    assert not bring_up(world, peer)
    assert any("uses NULL authentication" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_an_initiator_takes_it_only_where_it_is_asked_for() -> None:
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, local=anonymous())
    peer = connection(world, world.moon, remote=auth("%any", AuthClass.ANY))
    assert not bring_up(world, peer)
    assert any("uses NULL authentication" in alert for alert in world.moon.recorder.alerts)
    world.elapse(31)
    world.assert_nothing_left()


def test_who_claims_a_name_has_to_prove_it() -> None:
    world = World()
    connection(world, world.sun, local=anonymous(), remote=anonymous())
    world.moon.initiate(connection(world, world.moon, local=anonymous(), remote=anonymous()))
    world.step()
    world.step()
    named = IdentificationInitiator(2, MOON.encode())
    twist(
        world,
        lambda p: [named if isinstance(one, IdentificationInitiator) else one for one in p],
    )
    world.run()
    assert any("cannot prove" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_peer_with_a_connection_of_its_own_cannot_be_made_anonymous() -> None:
    """Somebody in between has moon's gateway believe that moon does not want to say who it is."""
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host)
    connection(world, world.sun, name="moon")
    here = IkeConfig(
        name="open", local=(world.sun.address,), remote=("%any",),
        proposals=world.sun.connections.all_peers()[0].ike.proposals,
    )  # fmt: skip
    known = world.sun.connections.all_peers()[0]
    world.sun.connections.add(
        replace(known, name="open", ike=here, local=(anonymous(),), remote=(anonymous(),))
    )
    peer = connection(world, world.moon, local=anonymous(), remote=anonymous())
    assert not bring_up(world, peer)
    assert any("connection 'moon' is for" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_a_peer_without_a_connection_of_its_own_may_be_anonymous() -> None:
    world = World()
    peer = connection(world, world.moon, local=anonymous(), remote=anonymous())
    sun = connection(world, world.sun, local=anonymous(), remote=anonymous())
    world.sun.connections.replace(sun, replace(sun, ike=replace(sun.ike, remote=("%any",))))
    assert bring_up(world, peer)


@pytest.mark.parametrize("data", [bytes(32), bytes(1)])
def test_a_wrong_proof_is_refused(data: bytes) -> None:
    world = World()
    connection(world, world.sun, local=anonymous(), remote=anonymous())
    world.moon.initiate(connection(world, world.moon, local=anonymous(), remote=anonymous()))
    world.step()
    world.step()
    wrong = Authentication(AuthMethod.NULL_AUTHENTICATION, data)
    twist(world, lambda p: [wrong if isinstance(one, Authentication) else one for one in p])
    world.run()
    assert any("does not belong" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_groups_are_not_proved_by_nothing() -> None:
    world = World()
    connection(world, world.sun, local=anonymous(), remote=anonymous(groups=("staff",)))
    peer = connection(world, world.moon, local=anonymous(), remote=anonymous())
    assert not bring_up(world, peer)
    refused(world)
