"""Post-quantum preshared keys (RFC 8784): used, not used, required, and tampered with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import IkeUp
from charon_core.config.peer import AuthClass, ppk_identity
from charon_core.credentials.sets import SecretKind, SharedSecret
from charon_core.crypto.secret import Secret
from charon_core.encoding.message import Message
from charon_core.encoding.notify_data import PpkIdentity
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType, PpkIdType
from tests.eap_method import MUTUAL
from tests.exchange.eap_scene import eap_only, methods, road_warrior
from tests.exchange.orders import orders
from tests.exchange.test_authentication import certificate_tunnel
from tests.exchange.test_rounds import MOON, SUN, VENUS, rounds, secrets
from tests.exchange.tricks import plus, twist, without_notify
from tests.exchange.world import Host, World, auth, connection, share_secret

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig

NAME = ppk_identity("gates@example.org")
KEY = b"thirty-two octets of good entropy"


def give_key(host: Host, secret: bytes = KEY, name: str = "gates@example.org") -> None:
    host.secrets.add_secret(SharedSecret(SecretKind.PPK, Secret(secret), (ppk_identity(name),)))


def with_ppk(world: World, peer: PeerConfig, *, required: bool = False, **theirs) -> PeerConfig:
    """Give both ends' connections a key, and return moon's."""
    (sun,) = world.sun.connections.all_peers()
    settings = {"ppk_id": NAME, "ppk_required": required, **theirs}
    world.sun.connections.replace(sun, replace(sun, **settings))
    mine = replace(peer, ppk_id=NAME, ppk_required=required)
    world.moon.connections.replace(peer, mine)
    return mine


def psk_tunnel(world: World) -> PeerConfig:
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun)
    return connection(world, world.moon)


def bring_up(world: World, peer: PeerConfig) -> bool:
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert len(outcome) == 1
    return outcome[0]


def used(world: World) -> list[bool]:
    return [
        host.recorder.said("using PPK for PPK_ID 'gates@example.org'")
        for host in (world.moon, world.sun)
    ]


def refused(world: World) -> None:
    assert not world.moon.recorder.of(IkeUp)
    world.elapse(31)
    world.assert_nothing_left()


KINDS = {
    "secret": psk_tunnel,
    "certificate": certificate_tunnel,
    "ed25519": lambda world: certificate_tunnel(world, "ed25519", "ed25519"),
    "EAP": lambda world: (methods(world, MUTUAL), road_warrior(world, MUTUAL))[1],
    "EAP only": lambda world: (methods(world, MUTUAL), eap_only(world, MUTUAL))[1],
    "rounds": lambda world: two_rounds(world),  # noqa: PLW0108 - it stands below
}


def two_rounds(world: World) -> PeerConfig:
    secrets(world)
    moon, sun = rounds(2, MOON, "alice@example.org"), rounds(2, SUN, VENUS)
    connection(world, world.sun, local=sun, remote=moon)
    return connection(world, world.moon, local=moon, remote=sun)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("required", [False, True])
def test_a_key_that_both_have_is_used(kind: str, required: bool) -> None:
    world = World()
    peer = with_ppk(world, KINDS[kind](world), required=required)
    for host in (world.moon, world.sun):
        give_key(host)
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts
    assert used(world) == [True, True]
    world.assert_traffic_flows()
    for host in (world.moon, world.sun):
        assert KEY.decode() not in "\n".join(host.recorder.lines)
    # Children and successors are made of the new SK_d.
    world.moon.with_ike(lambda ike: ike.rekey())
    world.run()
    world.moon.rekey_child()
    world.run()
    world.assert_traffic_flows()


@pytest.mark.parametrize("kind", ["secret", "EAP", "rounds"])
def test_each_loss(kind: str) -> None:
    def scene() -> World:
        world = World()
        peer = with_ppk(world, KINDS[kind](world))
        for host in (world.moon, world.sun):
            give_key(host)
        world.moon.initiate(peer)
        return world

    for world in orders(scene, losses=1):
        assert world.moon.states == world.sun.states == ["ESTABLISHED"]
        assert used(world) == [True, True]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("who", ["moon", "sun", "sun has another"])
@pytest.mark.parametrize("required", [False, True])
def test_a_key_that_one_has_alone(kind: str, who: str, required: bool) -> None:
    world = World()
    peer = with_ppk(world, KINDS[kind](world), required=required)
    give_key(world.sun if who == "sun" else world.moon)
    if who == "sun has another":
        give_key(world.sun, name="others@example.org")
    assert bring_up(world, peer) is not required, world.sun.recorder.alerts
    assert used(world) == [False, False]
    if required:
        refused(world)
    else:
        world.assert_traffic_flows()


@pytest.mark.parametrize("required", [False, True])
def test_different_keys_of_one_name_do_not_meet(required: bool) -> None:
    """The name is no proof: NO_PPK_AUTH is for a peer that does not know the name at all."""
    world = World()
    peer = with_ppk(world, psk_tunnel(world), required=required)
    give_key(world.moon)
    give_key(world.sun, b"another one")
    assert not bring_up(world, peer)
    refused(world)


def test_an_empty_key_is_not_used() -> None:
    world = World()
    peer = with_ppk(world, psk_tunnel(world))
    for host in (world.moon, world.sun):
        give_key(host, b"")
    assert not bring_up(world, peer)
    refused(world)


def test_any_known_key_does_where_the_responder_names_none() -> None:
    world = World()
    peer = with_ppk(world, psk_tunnel(world), ppk_id=None)
    for host in (world.moon, world.sun):
        give_key(host)
    assert bring_up(world, peer)
    assert used(world) == [True, True]


def test_the_key_of_another_connection_does_not_do() -> None:
    world = World()
    other = ppk_identity("others@example.org")
    peer = with_ppk(world, psk_tunnel(world), required=True, ppk_id=other)
    for host in (world.moon, world.sun):
        give_key(host)
    give_key(world.sun, name="others@example.org")
    assert not bring_up(world, peer)
    refused(world)


def test_a_peer_without_the_extension_gets_in_where_it_is_not_required() -> None:
    world = World()
    peer = psk_tunnel(world)
    mine = replace(peer, ppk_id=NAME)
    give_key(world.moon)
    assert bring_up(world, mine)


def test_required_without_a_name_cannot_be_initiated() -> None:
    world = World()
    peer = psk_tunnel(world)
    assert not bring_up(world, replace(peer, ppk_required=True))
    assert any("set ppk_id" in alert for alert in world.moon.recorder.alerts)


def test_the_keys_decide_between_connections() -> None:
    """The first connection has another key, and does without only if the peer may, too."""
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    for name in ("a", "b"):
        connection(
            world, world.sun, name=name, ppk_required=True,
            ppk_id=ppk_identity(f"{name}@example.org"),
        )  # fmt: skip
        give_key(world.sun, KEY, f"{name}@example.org")
    give_key(world.moon, KEY, "b@example.org")
    peer = connection(world, world.moon, ppk_id=ppk_identity("b@example.org"), ppk_required=True)
    assert bring_up(world, peer), world.sun.recorder.alerts
    assert world.sun.sas[0].name == "b"


# -- somebody in between or with true keys ----------------------------------------------------


def ready(world: World, *, required: bool = False) -> PeerConfig:
    peer = with_ppk(world, psk_tunnel(world), required=required)
    for host in (world.moon, world.sun):
        give_key(host)
    return peer


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("required", [False, True])
def test_stripping_the_announcement_is_noticed(step: int, required: bool) -> None:
    """IKE_SA_INIT is covered by AUTH: somebody who strips USE_PPK gets no downgrade."""
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(ready(world, required=required), outcome=outcome)
    for _ in range(step):
        world.step()
    packet = world.in_flight[0]
    message = Message.parse(packet.data)
    payloads = tuple(without_notify(NotifyType.USE_PPK)(message.payloads))
    world.in_flight[0] = replace(packet, data=replace(message, payloads=payloads).encode())
    world.run()
    assert outcome == [False]
    refused(world)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("kind", [NotifyType.PPK_IDENTITY, NotifyType.NO_PPK_AUTH])
def test_a_request_without_a_part_of_it(kind: NotifyType, required: bool) -> None:
    world = World()
    world.moon.initiate(ready(world, required=required))
    world.step()
    world.step()
    twist(world, without_notify(kind))
    world.run()
    expected = kind is NotifyType.NO_PPK_AUTH
    assert (world.moon.states == ["ESTABLISHED"]) == expected
    if not expected:
        refused(world)


def test_a_response_that_denies_the_use_is_refused() -> None:
    world = World()
    world.moon.initiate(ready(world))
    for _ in range(3):
        world.step()
    twist(world, without_notify(NotifyType.PPK_IDENTITY))
    world.run()
    assert not world.moon.recorder.of(IkeUp)
    world.elapse(31)
    world.assert_nothing_left()


def test_a_response_that_claims_a_use_is_refused() -> None:
    world = World()
    world.moon.initiate(psk_tunnel(world))
    for _ in range(3):
        world.step()
    twist(world, plus(Notify.of(NotifyType.PPK_IDENTITY)))
    world.run()
    assert any("not named" in alert for alert in world.moon.recorder.alerts)
    world.elapse(31)
    world.assert_nothing_left()


@pytest.mark.parametrize(
    "added",
    [
        Notify.of(NotifyType.NO_PPK_AUTH, bytes(32)),
        Notify.of(NotifyType.PPK_IDENTITY, PpkIdentity(PpkIdType.PPK_ID_FIXED, NAME.data).encode()),
        Notify.of(NotifyType.PPK_IDENTITY),
    ],
)
def test_what_was_not_announced_is_refused(added: Notify) -> None:
    world = World()
    give_key(world.sun)
    world.moon.initiate(psk_tunnel(world))
    world.step()
    world.step()
    twist(world, plus(added))
    world.run()
    assert not world.sun.recorder.of(IkeUp)
    refused(world)


def test_a_key_named_with_a_later_round_is_refused() -> None:
    world = World()
    peer = with_ppk(world, two_rounds(world))
    for host in (world.moon, world.sun):
        give_key(host)
    world.moon.initiate(peer)
    for _ in range(4):
        world.step()
    named = PpkIdentity(PpkIdType.PPK_ID_FIXED, NAME.data)
    twist(world, plus(Notify.of(NotifyType.PPK_IDENTITY, named.encode())))
    world.run()
    assert any("again" in alert for alert in world.sun.recorder.alerts)
    refused(world)


def test_an_unknown_kind_of_name_is_a_key_that_is_not_known() -> None:
    world = World()
    world.moon.initiate(ready(world))
    world.step()
    world.step()
    other = Notify.of(NotifyType.PPK_IDENTITY, PpkIdentity(99, NAME.data).encode())
    twist(world, lambda p: (*without_notify(NotifyType.PPK_IDENTITY)(p), other))
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert used(world) == [False, False]


def test_auth_class_of_the_keys_is_not_mixed_up() -> None:
    """A PPK is no pre-shared key of an IKE_SA, and the other way round."""
    world = World()
    for host in (world.moon, world.sun):
        give_key(host)
    connection(world, world.sun, remote=auth(MOON, AuthClass.PSK))
    assert not bring_up(world, connection(world, world.moon))
