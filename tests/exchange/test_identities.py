"""Identities of every type, exact and by pattern, as both sides check them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass
from tests.exchange.pki import Authority
from tests.exchange.test_authentication import MOON, SUN, certified
from tests.exchange.world import Host, World, auth, connection, share_secret

NAMES = {
    "fqdn": "moon.example.org",
    "email": "moon@example.org",
    "keyid": "keyid:moon 7",
    "octets": "@#00ff10",
    "dn": "C=CH, O=Example, CN=moon",
    "ipv4": "10.99.0.1",
    "ipv6": "2001:db8::77",
    "general name": "xmppaddr:moon@example.org",
}
FITTING = {
    "fqdn": ["moon.example.org", "MOON.Example.ORG", "*.example.org", "*", "%any"],
    "email": ["moon@example.org", "Moon@Example.Org", "*@example.org", "%any"],
    "keyid": ["keyid:moon 7", "%any"],
    "octets": ["@#00ff10", "keyid:#00ff10", "%any"],
    "dn": [
        "C=CH, O=Example, CN=moon", "c=ch, o=example, cn=MOON", "C=CH, O=Example, CN=*",
        "C=CH, O=*, CN=*", "%any",
    ],
    "ipv4": ["10.99.0.1", "10.99.0.0/24", "10.99.0.1-10.99.0.9", "%any"],
    "ipv6": ["2001:db8::77", "2001:db8::/32", "%any"],
    "general name": ["xmppaddr:moon@example.org", "%any"],
}  # fmt: skip
OTHERS = {
    "fqdn": [
        "mars.example.org", "*.example.com", "*.moon.example.org", "moon@example.org", "keyid:*",
        "rfc822:moon.example.org", "moon.example.org.", "C=CH, CN=moon.example.org",
    ],
    "email": ["mars@example.org", "*@example.com", "fqdn:moon@example.org", "*.example.org"],
    "keyid": ["keyid:moon", "keyid:MOON 7", "keyid:*", "fqdn:moon 7"],
    "octets": ["@#00ff", "@#00ff1000"],
    "dn": [
        "C=CH, O=Example, CN=mars", "C=CH, CN=moon", "O=Example, C=CH, CN=moon",
        "C=CH, O=Example, CN=moon, CN=*", "C=DE, O=*, CN=*",
    ],
    "ipv4": ["10.99.0.2", "10.98.0.0/24", "10.99.0.2-10.99.0.9", "fqdn:10.99.0.1", "::/0"],
    "ipv6": ["2001:db8::78", "2001:db9::/32", "0.0.0.0/0"],
    "general name": ["xmppaddr:mars@example.org"],
}  # fmt: skip


def bring_up(world: World, peer) -> bool:
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert len(outcome) == 1
    return outcome[0]


def pairs(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(NAMES[kind], pattern) for kind, patterns in table.items() for pattern in patterns]


def secret_of_everybody(*hosts: Host) -> None:
    for host in hosts:
        share_secret(host, b"s", "%any")


@pytest.mark.parametrize(("name", "pattern"), pairs(FITTING))
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_who_fits_gets_in(name: str, pattern: str, role: str) -> None:
    world = World()
    secret_of_everybody(world.moon, world.sun)
    if role == "initiator":
        connection(world, world.sun, remote=auth(pattern))
        peer = connection(world, world.moon, local=auth(name))
    else:
        connection(world, world.sun, local=auth(name))
        peer = connection(world, world.moon, remote=auth(pattern))
    assert bring_up(world, peer), world.sun.recorder.alerts + world.moon.recorder.alerts
    known = world.sun if role == "initiator" else world.moon
    assert known.sas[0].remote_id == Identification.parse(name)


@pytest.mark.parametrize(("name", "pattern"), pairs(OTHERS))
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_who_does_not_fit_does_not_get_in(name: str, pattern: str, role: str) -> None:
    world = World()
    secret_of_everybody(world.moon, world.sun)
    if role == "initiator":
        connection(world, world.sun, remote=auth(pattern))
        peer = connection(world, world.moon, local=auth(name))
    else:
        connection(world, world.sun, local=auth(name))
        # No IDr is sent for a pattern: the responder says who it is, whatever is expected.
        peer = connection(world, world.moon, remote=auth(pattern, loose_identity=True))
    assert not bring_up(world, peer)
    world.elapse(31)
    world.assert_nothing_left()


@pytest.mark.parametrize("claimed", [MOON, "mars.example.org"])
def test_the_most_exact_connection_is_taken(claimed: str) -> None:
    world = World()
    secret_of_everybody(world.moon, world.sun)
    for pattern in ("%any", "*.example.org", MOON, "*"):
        connection(world, world.sun, name=pattern, remote=auth(pattern))
    assert bring_up(world, connection(world, world.moon, local=auth(claimed)))
    assert world.sun.sas[0].name == (MOON if claimed == MOON else "*.example.org")


def test_whom_the_initiator_wants_decides() -> None:
    world = World()
    secret_of_everybody(world.moon, world.sun)
    for name in ("venus.example.org", SUN):
        connection(world, world.sun, name=name, local=auth(name), remote=auth("%any"))
    assert bring_up(world, connection(world, world.moon, remote=auth(SUN)))
    assert world.sun.sas[0].name == SUN


# -- certificates as evidence -----------------------------------------------------------------


def two_authorities(world: World) -> tuple[Authority, Authority]:
    found = Authority("Sales"), Authority("Research")
    for authority in found:
        world.sun.secrets.add_trust_anchor(authority.trusted)
        world.moon.secrets.add_trust_anchor(authority.trusted)
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_the_ca_of_the_certificate_decides_between_connections(number: int) -> None:
    world = World()
    authorities = two_authorities(world)
    sun = certified(world.sun, authorities[0], SUN)
    for authority in authorities:
        subject = authority.trusted.subject
        remote = auth("%any", AuthClass.PUBKEY, ca=subject)
        connection(world, world.sun, name=str(subject), local=sun, remote=remote)
    moon = certified(world.moon, authorities[number], MOON)
    peer = connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY))
    assert bring_up(world, peer), world.sun.recorder.alerts
    assert world.sun.sas[0].name == str(authorities[number].trusted.subject)


def test_a_ca_that_no_connection_wants_is_refused() -> None:
    world = World()
    sales, research = two_authorities(world)
    sun = certified(world.sun, sales, SUN)
    remote = auth("%any", AuthClass.PUBKEY, ca=sales.trusted.subject)
    connection(world, world.sun, local=sun, remote=remote)
    moon = certified(world.moon, research, MOON)
    peer = connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY))
    assert not bring_up(world, peer)
    world.elapse(31)
    world.assert_nothing_left()


@pytest.mark.parametrize(("policies", "chosen"), [(("1.2.3",), "strict"), ((), "loose")])
def test_the_policies_of_the_certificate_decide_between_connections(
    policies: tuple[str, ...], chosen: str
) -> None:
    world = World()
    authority = Authority("Root")
    for host in (world.moon, world.sun):
        host.secrets.add_trust_anchor(authority.trusted)
    sun = certified(world.sun, authority, SUN)
    for name, demanded in (("strict", ("1.2.3",)), ("loose", ())):
        remote = auth(MOON, AuthClass.PUBKEY, cert_policies=demanded)
        connection(world, world.sun, name=name, local=sun, remote=remote)
    moon = certified(world.moon, authority, MOON, policies=policies)
    peer = connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY))
    assert bring_up(world, peer), world.sun.recorder.alerts
    assert world.sun.sas[0].name == chosen


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072"])
def test_the_strength_of_the_key_decides_between_connections(kind: str) -> None:
    world = World()
    authority = Authority("Root")
    for host in (world.moon, world.sun):
        host.secrets.add_trust_anchor(authority.trusted)
    sun = certified(world.sun, authority, SUN)
    for bits in (3072, 2048):
        remote = auth(MOON, AuthClass.PUBKEY, signature_constraints=(f"rsa-{bits}",))
        connection(world, world.sun, name=f"rsa{bits}", local=sun, remote=remote)
    moon = certified(world.moon, authority, MOON, kind)
    peer = connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY))
    # The root's key counts, too: it is an ECDSA key here, for which nothing is demanded.
    assert bring_up(world, peer), world.sun.recorder.alerts
    assert world.sun.sas[0].name == kind


def test_method_and_identity_decide_between_connections() -> None:
    """The same name by a certificate, by a secret and by nothing at all: three connections."""
    for how in (AuthClass.PSK, AuthClass.PUBKEY, AuthClass.NULL):
        world = World()
        authority = Authority("Root")
        for host in (world.moon, world.sun):
            host.secrets.add_trust_anchor(authority.trusted)
            share_secret(host)
        sun = certified(world.sun, authority, SUN)
        for kind in (AuthClass.NULL, AuthClass.PUBKEY, AuthClass.PSK):
            connection(world, world.sun, name=kind.name, local=sun, remote=auth("%any", kind))
        moon = replace(certified(world.moon, authority, MOON), auth_class=how)
        peer = connection(world, world.moon, local=moon, remote=auth(SUN, AuthClass.PUBKEY))
        assert bring_up(world, peer), world.sun.recorder.alerts
        assert world.sun.sas[0].name == how.name
