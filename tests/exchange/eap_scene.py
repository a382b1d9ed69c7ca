"""Connections with EAP: carol by the method of the tests, sun by a certificate or by EAP, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass, AuthConfig
from charon_core.eap.packet import EapCode, EapPacket
from charon_core.encoding.payloads import Eap
from tests.eap_method import offer
from tests.exchange.pki import Authority
from tests.exchange.test_authentication import certified
from tests.exchange.world import World, auth, connection

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from charon_core.eap.registry import EapType

CAROL, DAVE = "carol@example.org", "dave@example.org"
MOON, SUN = "moon.example.org", "sun.example.org"
PASSWORDS = {CAROL.encode(): b"tulip", DAVE.encode(): b"rose"}
SUCCESS = Eap(EapPacket(EapCode.SUCCESS, 7).encode())


def eap(identity: str, kind: EapType | None = None, **settings: object) -> AuthConfig:
    method = tuple(kind) if kind is not None else None
    return auth(identity, AuthClass.EAP, eap_method=method, **settings)


def methods(world: World, *kinds: EapType, passwords: dict[bytes, bytes] | None = None) -> None:
    for host in (world.moon, world.sun):
        offer(host.env.eap, passwords or PASSWORDS, *kinds)


def certificates(world: World) -> AuthConfig:
    """Give sun a certificate that moon trusts; returns how sun proves itself."""
    authority = Authority("Root")
    world.moon.secrets.add_trust_anchor(authority.trusted)
    return certified(world.sun, authority, SUN)


def road_warrior(
    world: World, kind: EapType | None, *, asks: str | None = None, **mine: object
) -> PeerConfig:
    """Carol proves herself by EAP, sun by its certificate."""
    sun = certificates(world)
    wanted = None if asks is None else Identification.parse(asks)
    connection(world, world.sun, local=sun, remote=eap("%any", kind, eap_identity=wanted))
    return connection(
        world, world.moon, local=eap(CAROL, kind, **mine), remote=auth(SUN, AuthClass.PUBKEY)
    )


def eap_only(world: World, kind: EapType | None) -> PeerConfig:
    """Both prove themselves by EAP."""
    connection(world, world.sun, local=eap(SUN, kind), remote=eap("%any", kind))
    return connection(world, world.moon, local=eap(CAROL, kind), remote=eap(SUN, kind))


def eap_packet(change):
    """Change the EAP packet of a message."""

    def changed(payloads):
        return [
            Eap(change(EapPacket.parse(p.data)).encode()) if isinstance(p, Eap) else p
            for p in payloads
        ]

    return changed
