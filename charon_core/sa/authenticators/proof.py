"""What an authenticator works on and what it reports (RFC 7296 2.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charon_core.config.identification import Identification
    from charon_core.sa.ike_sa import IkeSa


class AuthenticationError(Exception):
    """A side cannot be authenticated; the text says why, for the local log only."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One side's claim, and what it has to sign."""

    ike: IkeSa
    identity: Identification
    """Who is to be authenticated."""
    other: Identification
    """Who wants to know it; ANY where that is not known."""
    octets: bytes
    """What the AUTH payload covers (RFC 7296 2.15). Holds no keys."""


def own_proof(ike: IkeSa, identity: Identification, other: Identification) -> Proof:
    """Return what we have to sign to prove our identity."""
    if ike.keying is None:
        raise RuntimeError(f"IKE_SA {ike} has no keys to authenticate with")
    handshake = ike.handshake
    octets = ike.keying.signed_octets(
        initiator=ike.is_initiator,
        message=handshake.own_message,
        nonce=handshake.peer_nonce,
        identity=identity_body(identity),
        int_auth=handshake.int_auth(we_initiated=ike.is_initiator),
    )
    return Proof(ike, identity, other, octets)


def peer_proof(ike: IkeSa, identity: Identification, other: Identification) -> Proof:
    """Return what the peer has to have signed to prove its identity."""
    if ike.keying is None:
        raise RuntimeError(f"IKE_SA {ike} has no keys to authenticate with")
    handshake = ike.handshake
    octets = ike.keying.signed_octets(
        initiator=not ike.is_initiator,
        message=handshake.peer_message,
        nonce=handshake.own_nonce,
        identity=_body_as_it_came(handshake.peer_id_body, identity),
        int_auth=handshake.int_auth(we_initiated=ike.is_initiator),
    )
    return Proof(ike, identity, other, octets)


def _body_as_it_came(body: bytes, identity: Identification) -> bytes:
    """Return the peer's ID payload with its reserved octets, which AUTH covers (RFC 7296 2.15)."""
    if body[:1] == bytes((identity.id_type,)) and body[4:] == identity.data:
        return body
    return identity_body(identity)


def identity_body(identity: Identification) -> bytes:
    """Return the body of the ID payload: type, three reserved octets, data (RFC 7296 3.5)."""
    return bytes((identity.id_type, 0, 0, 0)) + identity.data
