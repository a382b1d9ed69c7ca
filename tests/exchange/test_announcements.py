"""Announced authentication methods (RFC 9593): what is said, and what comes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.config.peer import AuthClass
from charon_core.crypto.signature_schemes import SignatureScheme, encode_algorithm
from charon_core.encoding.message import Message, open_message
from charon_core.encoding.notify_data import (
    AuthAnnouncement,
    encode_auth_methods,
    parse_auth_methods,
)
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import AuthMethod, NotifyType
from charon_core.sa.parameters import IkeParameters
from tests.exchange.test_authentication import MOON, SUN, certificate_tunnel
from tests.exchange.tricks import without_notify
from tests.exchange.world import World, auth, tunnel


def announced(message: Message) -> list[AuthAnnouncement]:
    notify = message.notify(NotifyType.SUPPORTED_AUTH_METHODS)
    return list(parse_auth_methods(notify.data)) if notify is not None else []


def first_request(world: World) -> Message:
    (entry,) = world.moon.manager._by_spi.values()
    return open_message(world.in_flight[0].data, entry.ike.keying.outbound)


def test_a_responder_announces_what_it_can_verify() -> None:
    world = World()
    world.moon.initiate(tunnel(world))
    world.step()
    methods = announced(Message.parse(world.in_flight[0].data))
    assert {one.method for one in methods} == {1, 2, 9, 10, 11, 14}
    assert AuthAnnouncement(AuthMethod.SHARED_KEY_MIC) in methods
    ed25519 = encode_algorithm(SignatureScheme.ED25519)
    assert AuthAnnouncement(AuthMethod.DIGITAL_SIGNATURE, 0, ed25519) in methods
    assert len(world.in_flight[0].data) < 600
    world.run()
    assert world.moon.states == ["ESTABLISHED"]


def test_a_responder_says_nothing_if_it_shall_not() -> None:
    world = World(parameters=IkeParameters(announce_auth_methods=False))
    world.moon.initiate(tunnel(world))
    world.step()
    assert not announced(Message.parse(world.in_flight[0].data))


@pytest.mark.parametrize(
    ("remote", "methods"),
    [
        (auth(SUN), {2}),
        (auth(SUN, AuthClass.PUBKEY), {1, 9, 10, 11, 14}),
        (auth(SUN, AuthClass.ANY), {1, 2, 9, 10, 11, 14}),
        (auth(SUN, AuthClass.NULL), {13}),
    ],
)
def test_an_initiator_announces_what_the_connection_demands(remote, methods: set[int]) -> None:
    world = World()
    peer = replace(tunnel(world), remote=(remote,))
    world.moon.initiate(peer)
    world.step()
    world.step()
    assert {one.method for one in announced(first_request(world))} == methods


def test_constraints_are_announced() -> None:
    world = World()
    constraint = auth(SUN, AuthClass.PUBKEY, signature_constraints=("ike:rsa/pss-sha512-ed25519",))
    world.moon.initiate(replace(tunnel(world), remote=(constraint,)))
    world.step()
    world.step()
    wanted = {encode_algorithm(s) for s in (
        SignatureScheme.RSA_PSS_SHA2_512, SignatureScheme.ED25519,
    )}  # fmt: skip
    assert {one.algorithm for one in announced(first_request(world))} == wanted


def test_the_responder_signs_as_the_initiator_wants_it() -> None:
    """Without the announcement it would sign by PKCS #1, and be refused."""
    world = World()
    peer = certificate_tunnel(world, "rsa2048", "rsa2048")
    constraint = auth(SUN, AuthClass.PUBKEY, signature_constraints=("ike:rsa/pss-sha512",))
    outcome: list[bool] = []
    world.moon.initiate(replace(peer, remote=(constraint,)), outcome=outcome)
    world.run()
    assert outcome == [True], world.moon.recorder.alerts
    assert world.moon.recorder.said("with RSA_EMSA_PSS_SHA2_512 successful")


def with_methods(world: World, *methods: AuthAnnouncement, data: bytes | None = None) -> None:
    """Have the responder announce something else; AUTH is not made yet by anybody."""
    packet = world.in_flight[0]
    message = Message.parse(packet.data)
    kept = tuple(without_notify(NotifyType.SUPPORTED_AUTH_METHODS)(message.payloads))
    octets = encode_auth_methods(methods) if data is None else data
    payloads = (*kept, Notify.of(NotifyType.SUPPORTED_AUTH_METHODS, octets))
    changed = replace(message, payloads=payloads).encode()
    world.in_flight[0] = replace(packet, data=changed)
    (entry,) = world.sun.manager._by_spi.values()
    entry.ike.handshake.own_message = changed


def test_a_method_that_is_not_announced_is_remarked_on_and_used() -> None:
    world = World()
    world.moon.initiate(tunnel(world))
    world.step()
    with_methods(world, AuthAnnouncement(AuthMethod.RSA_DIGITAL_SIGNATURE, 0))
    world.run()
    assert world.moon.recorder.said("takes authentication methods 1, ours is 2")
    assert world.moon.states == ["ESTABLISHED"]


def test_unknown_methods_and_algorithms_are_passed_over() -> None:
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(certificate_tunnel(world), outcome=outcome)
    world.step()
    with_methods(
        world,
        AuthAnnouncement(201),
        AuthAnnouncement(202, 3, b"anything"),
        AuthAnnouncement(AuthMethod.DIGITAL_SIGNATURE, 0, b"\x30\x03abc"),
    )
    world.run()
    assert outcome == [True]


@pytest.mark.parametrize("data", [b"\0", b"\1", b"\2", b"\5\1", b"\2\1\0"])
def test_a_malformed_announcement_ends_the_try(data: bytes) -> None:
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(tunnel(world), outcome=outcome)
    world.step()
    with_methods(world, data=data)
    world.run()
    assert outcome in ([False], [])
    assert world.moon.states in ([], ["CONNECTING"])
    assert MOON
