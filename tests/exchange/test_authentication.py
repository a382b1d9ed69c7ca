"""IKE_AUTH: secrets, certificates, raw keys; who is let in and who is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass, AuthConfig, SendCert
from charon_core.credentials.keys import PublicKey
from charon_core.encoding.cursor import Cursor
from charon_core.encoding.message import Message, open_message, seal_message
from charon_core.encoding.payloads import Authentication, Certificate, CertificateRequest
from charon_core.encoding.payloads import identification as wire
from charon_core.encoding.registry import AuthMethod
from charon_core.sa.authenticators import proof
from tests.exchange.pki import DAY, NOW, Authority, key, spki
from tests.exchange.world import Host, World, auth, connection, share_secret, tunnel

if TYPE_CHECKING:
    from charon_core.network.packet import Packet

MOON, SUN = "moon.example.org", "sun.example.org"


# -- shared secrets ---------------------------------------------------------------------------


def test_different_secrets_do_not_meet() -> None:
    world = World()
    share_secret(world.moon, b"one secret")
    share_secret(world.sun, b"another one")
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("secrets at both ends differ" in text for text in world.sun.recorder.alerts)
    assert any("AUTHENTICATION_FAILED" in text for text in world.moon.recorder.alerts)
    world.assert_nothing_left()


def test_no_secret_in_any_log_line() -> None:
    world = World()
    secret = b"never to be seen"
    for host in (world.moon, world.sun):
        share_secret(host, secret)
        host.recorder.level = lambda group: 3
        host.bus.reconfigure()
    connection(world, world.sun)
    world.moon.initiate(connection(world, world.moon))
    world.run()
    said = "\n".join(world.moon.recorder.lines + world.sun.recorder.lines)
    assert "established" in said
    assert secret.decode() not in said
    assert secret.hex() not in said


@pytest.mark.parametrize("side", ["moon", "sun"])
def test_missing_secret_fails_early_and_alone(side: str) -> None:
    world = World()
    share_secret(world.sun if side == "moon" else world.moon)
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    world.run()
    assert outcome == [False]
    host = world.moon if side == "moon" else world.sun
    assert any("no shared key found" in text for text in host.recorder.alerts)
    world.elapse(31)
    world.assert_nothing_left()


def test_empty_secret_lets_nobody_in() -> None:
    world = World()
    share_secret(world.moon, b"")
    share_secret(world.sun, b"")
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    world.run()
    assert outcome == [False]
    world.elapse(31)
    world.assert_nothing_left()


def test_right_secret_of_several_is_found() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    share_secret(world.sun, b"another one")
    connection(world, world.sun)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    world.run()
    # sun signs with the secret that was defined last, which moon does not have.
    assert outcome == [False]
    assert world.sun.recorder.said("authentication of 'moon.example.org' with pre-shared key")


def test_wrong_initiator_identity_is_refused() -> None:
    world = World()
    share_secret(world.moon, b"s", "mars.example.org", SUN)
    share_secret(world.sun, b"s", "mars.example.org", SUN)
    connection(world, world.sun)
    peer = connection(world, world.moon, local=auth("mars.example.org"))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("mars.example.org" in text for text in world.sun.recorder.alerts)
    world.assert_nothing_left()


def test_wrong_responder_identity_is_refused() -> None:
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host, b"s", MOON, SUN, "mars.example.org")
    connection(world, world.sun, local=auth("mars.example.org"))
    peer = connection(world, world.moon, remote=auth("*.example.com"))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("expected is '*.example.com'" in text for text in world.moon.recorder.alerts)
    # sun believed that the IKE_SA was up; moon's last words tell it that it is not.
    world.assert_nothing_left()


def test_a_loose_identity_does_not_make_every_secret_good() -> None:
    """`rightid=%...` accepts another identity only where a certificate confirms the right one."""
    world = World()
    for host in (world.moon, world.sun):
        share_secret(host, b"s", MOON, "mars.example.org")
    connection(world, world.sun, local=auth("mars.example.org"))
    peer = connection(world, world.moon, remote=auth(SUN, loose_identity=True))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    world.assert_nothing_left()


@pytest.mark.parametrize(("name", "accepted"), [(SUN, True), ("mars.example.org", False)])
def test_a_loose_identity_has_to_be_confirmed_by_the_certificate(name: str, accepted: bool) -> None:
    world = World()
    peer = certificate_tunnel(world)
    authority = Authority("Root")
    other = certified(world.sun, authority, name, "ed25519")
    world.sun.connections.remove("net")
    claims = replace(other, identity=Identification.parse("C=CH, CN=" + name))
    connection(world, world.sun, local=claims, remote=auth(MOON, AuthClass.PUBKEY))
    world.moon.connections.remove("net")
    loose = auth(SUN, AuthClass.PUBKEY, loose_identity=True)
    outcome: list[bool] = []
    world.moon.initiate(replace(peer, remote=(loose,)), outcome=outcome)
    world.run()
    assert outcome == [accepted], world.moon.recorder.alerts


def test_a_shared_secret_proves_no_membership_in_groups() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, remote=auth(MOON, groups=("staff",)))
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("rightgroups" in text for text in world.sun.recorder.alerts)
    world.assert_nothing_left()


# -- certificates -----------------------------------------------------------------------------


def certified(
    host: Host, authority: Authority, name: str, kind: str = "ecdsa256", **issue: object
) -> AuthConfig:
    """Give a host a certificate and trust in its issuer; returns how it authenticates itself."""
    certificate, private = authority.issue(name, kind, **issue)
    host.secrets.add_certificate(certificate)
    host.secrets.add_private_key(private)
    return auth(name, AuthClass.PUBKEY, certificates=(certificate.der,))


def certificate_tunnel(
    world: World,
    moon_kind: str = "ecdsa256",
    sun_kind: str = "ecdsa256",
    *,
    moon_issue: dict[str, object] | None = None,
    **settings: object,
):
    authority = Authority("Root")
    for host in (world.moon, world.sun):
        host.secrets.add_trust_anchor(authority.trusted)
    moon = certified(world.moon, authority, MOON, moon_kind, **(moon_issue or {}))
    sun = certified(world.sun, authority, SUN, sun_kind)
    connection(world, world.sun, local=sun, remote=auth(MOON, AuthClass.PUBKEY), **settings)
    return connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY), **settings)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("rsa2048", "RSA_EMSA_PKCS1_SHA2_256"),
        ("rsa3072", "RSA_EMSA_PKCS1_SHA2_256"),
        ("ecdsa256", "ECDSA_WITH_SHA256_DER"),
        ("ecdsa384", "ECDSA_WITH_SHA384_DER"),
        ("ecdsa521", "ECDSA_WITH_SHA512_DER"),
        ("ed25519", "ED25519"),
        ("ed448", "ED448"),
    ],
)
def test_certificates_of_every_kind(kind: str, name: str) -> None:
    world = World()
    peer = certificate_tunnel(world, kind, kind)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True], world.sun.recorder.alerts + world.moon.recorder.alerts
    assert world.sun.recorder.said(f"'{MOON}' with {name} successful")
    assert world.moon.recorder.said(f"'{SUN}' with {name} successful")


def test_expired_certificate_is_refused_with_its_dates() -> None:
    world = World()
    peer = certificate_tunnel(world, moon_issue={"begins": NOW - 10 * DAY, "ends": NOW - DAY})
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("expired" in text for text in world.sun.recorder.alerts)
    world.assert_nothing_left()


def test_certificate_of_an_unknown_ca_is_refused() -> None:
    world = World()
    peer = certificate_tunnel(world)
    stranger = Authority("Stranger")
    own = certified(world.moon, stranger, MOON, "ed25519")
    world.moon.connections.remove("net")
    peer = replace(peer, local=(own,), send_cert=SendCert.ALWAYS)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("Stranger" in text for text in world.sun.recorder.alerts)


def test_responder_is_told_that_it_is_refused() -> None:
    """It counts the IKE_SA as established by then; its operator must see more than a delete."""
    world = World()
    authority = Authority("Root")
    world.sun.secrets.add_trust_anchor(authority.trusted)
    moon = certified(world.moon, authority, MOON)
    sun = certified(world.sun, authority, SUN)
    connection(world, world.sun, local=sun, remote=auth(MOON, AuthClass.PUBKEY))
    peer = connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("it does not accept who we are" in text for text in world.sun.recorder.alerts)
    assert not world.sun.recorder.said("received DELETE")
    world.assert_nothing_left()


def test_certificate_of_somebody_else_is_refused() -> None:
    """Hardening class 8: the identity has to be in the certificate."""
    world = World()
    peer = certificate_tunnel(world)
    authority = Authority("Root")
    mars = certified(world.moon, authority, "mars.example.org", "ed25519")
    world.moon.connections.remove("net")
    peer = replace(peer, local=(replace(mars, identity=Identification.parse(MOON)),))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert world.sun.states == []


def test_certificate_is_sent_when_asked_for_only() -> None:
    world = World()
    peer = certificate_tunnel(world)
    world.moon.initiate(peer)
    world.step()
    response = Message.parse(world.in_flight[0].data)
    assert response.first(CertificateRequest) is not None
    world.run()
    assert world.moon.recorder.said("sending certificate")
    assert world.sun.recorder.said("received end entity cert")


def test_large_certificates_travel_in_fragments() -> None:
    world = World()
    peer = certificate_tunnel(world, moon_issue={"padding": 4096})
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True]
    fragments = [p for p in world.sent if p.data[16] == 53]
    assert len(fragments) >= 4
    assert all(len(p.data) <= 1280 for p in fragments)


@pytest.mark.parametrize("order", ["reversed", "doubled", "first lost"])
def test_fragments_in_any_order(order: str) -> None:
    world = World()
    peer = certificate_tunnel(world, moon_issue={"padding": 4096})
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.step()
    world.step()
    if order == "reversed":
        world.in_flight.reverse()
    elif order == "doubled":
        world.in_flight[:] = [p for packet in world.in_flight for p in (packet, packet)]
    else:
        world.drop()
    world.run()
    world.elapse(5)
    assert outcome == [True]
    assert world.sun.states == ["ESTABLISHED"]


def test_no_fragments_where_they_are_not_wanted() -> None:
    from charon_core.config.ike import Fragmentation

    world = World()
    peer = certificate_tunnel(
        world,
        moon_issue={"padding": 4096},
        ike_settings={"fragmentation": Fragmentation.NO},
    )
    world.moon.initiate(peer)
    world.run()
    assert world.sun.states == ["ESTABLISHED"]
    assert not [p for p in world.sent if p.data[16] == 53]


@pytest.mark.parametrize("kind", ["rsa2048", "ecdsa256", "ed25519"])
def test_raw_public_keys(kind: str) -> None:
    world = World()
    moon_key, sun_key = key(kind, "raw moon"), key(kind, "raw sun")
    from charon_core.credentials.keys import PrivateKey

    world.moon.secrets.add_private_key(PrivateKey(moon_key))
    world.sun.secrets.add_private_key(PrivateKey(sun_key))
    moon = auth(MOON, AuthClass.PUBKEY, public_keys=(spki(moon_key),))
    sun = auth(SUN, AuthClass.PUBKEY, public_keys=(spki(sun_key),))
    connection(world, world.sun, local=sun, remote=moon)
    peer = connection(world, world.moon, local=moon, remote=sun)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True], world.sun.recorder.alerts + world.moon.recorder.alerts
    assert PublicKey(spki(moon_key)).bits


@pytest.mark.parametrize(
    ("mine", "theirs"), [(AuthClass.PSK, AuthClass.PUBKEY), (AuthClass.PUBKEY, AuthClass.PSK)]
)
def test_other_authentication_than_agreed_is_refused(mine: AuthClass, theirs: AuthClass) -> None:
    world = World()
    peer = certificate_tunnel(world)
    share_secret(world.moon)
    share_secret(world.sun)
    for host in (world.moon, world.sun):
        host.connections.remove("net")
    peer = replace(peer, local=(replace(peer.local[0], auth_class=mine),))
    connection(world, world.sun, local=auth(SUN, AuthClass.PSK), remote=auth(MOON, theirs))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert any("expected is" in text for text in world.sun.recorder.alerts)


# -- tampering --------------------------------------------------------------------------------


def reseal(world: World, packet: Packet, host: Host, change) -> Packet:
    """Change a protected message as only somebody with the keys of `host` could."""
    (entry,) = host.manager._by_spi.values()
    keying = entry.ike.keying
    message = open_message(packet.data, keying.outbound)
    return replace(packet, data=seal_message(change(message), keying.outbound))


@pytest.mark.parametrize("method", [m.value for m in AuthMethod] + [0, 200])
def test_each_auth_method_with_a_wrong_proof(method: int) -> None:
    world = World()
    peer = certificate_tunnel(world)
    share_secret(world.moon)
    share_secret(world.sun)
    world.moon.initiate(peer)
    world.step()
    world.step()

    def forge(message: Message) -> Message:
        payloads = tuple(
            Authentication(method, bytes(64)) if isinstance(p, Authentication) else p
            for p in message.payloads
        )
        return replace(message, payloads=payloads)

    world.deliver(reseal(world, world.drop(), world.moon, forge))
    assert world.sun.states == []
    assert not world.sun.backend.states


def test_message_without_auth_payload_lets_nobody_in() -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    world.step()
    world.step()

    def strip(message: Message) -> Message:
        return replace(
            message,
            payloads=tuple(p for p in message.payloads if not isinstance(p, Authentication)),
        )

    world.deliver(reseal(world, world.drop(), world.moon, strip))
    assert world.sun.states == []
    assert any("asks for EAP" in text for text in world.sun.recorder.alerts)


def test_unreadable_certificate_is_passed_over() -> None:
    world = World()
    peer = certificate_tunnel(world)
    world.moon.initiate(peer)
    world.step()
    world.step()

    def garble(message: Message) -> Message:
        payloads = tuple(
            Certificate(p.encoding, b"\x30\x03abc") if isinstance(p, Certificate) else p
            for p in message.payloads
        )
        return replace(message, payloads=payloads)

    world.deliver(reseal(world, world.drop(), world.moon, garble))
    assert world.sun.recorder.said("ignoring unreadable certificate")


@pytest.mark.parametrize("index", [2, 3])
def test_flipping_any_octet_is_noticed(index: int) -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    for _ in range(index):
        world.step()
    packet = world.drop()
    for at in range(len(packet.data)):
        changed = bytearray(packet.data)
        changed[at] ^= 0x40
        if changed[24:28] != packet.data[24:28]:
            continue
        world.deliver(replace(packet, data=bytes(changed)))
        receiver = world.sun if index == 2 else world.moon
        assert receiver.states in ([], ["CONNECTING"], ["CONNECTING", "CONNECTING"]), at
    world.in_flight.clear()
    world.deliver(packet)
    world.run()
    assert world.moon.states == ["ESTABLISHED"]


@pytest.mark.parametrize("who", ["psk", "certificates"])
def test_reserved_octets_of_identities_are_covered_as_they_came(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """They are ignored (RFC 7296 3.5), but they are part of what AUTH covers (2.15)."""

    def body_of(payload: wire.Identification) -> bytes:
        return bytes((payload.id_type, 1, 2, 3)) + payload.data

    covered = []

    def own_body(identity: Identification) -> bytes:
        covered.append(identity)
        return bytes((identity.id_type, 1, 2, 3)) + identity.data

    monkeypatch.setattr(wire.Identification, "encode_body", body_of)
    monkeypatch.setattr(proof, "identity_body", own_body)
    world = World()
    peer = tunnel(world) if who == "psk" else certificate_tunnel(world)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True]
    # Each computed its own, and took the other's from the message.
    assert {str(identity) for identity in covered} == {MOON, SUN}
    assert len(covered) == 2


def test_reserved_octets_survive_parsing() -> None:
    payload = wire.IdentificationInitiator(2, b"moon", b"\x01\x02\x03")
    body = payload.encode_body()
    assert body == b"\x02\x01\x02\x03moon"
    assert wire.IdentificationInitiator.parse_body(Cursor(body, "IDi")).reserved == b"\x01\x02\x03"
    identity = Identification.from_wire(2, b"moon")
    assert proof._body_as_it_came(body, identity) == body
    # Of somebody else, or none at all: what we would send.
    assert proof._body_as_it_came(b"\x02\x01\x02\x03sun", identity) == b"\x02\0\0\0moon"
    assert proof._body_as_it_came(b"", identity) == b"\x02\0\0\0moon"
