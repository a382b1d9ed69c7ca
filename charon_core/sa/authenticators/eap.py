"""AUTH payloads by the key of an EAP method, and the plans of EAP conversations (RFC 7296 2.16)."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from charon_core.config.peer import AuthClass
from charon_core.eap.peer import EapPeer, PeerPlan
from charon_core.eap.registry import EapRole, EapType
from charon_core.eap.server import ServerPlan
from charon_core.encoding.payloads import Authentication
from charon_core.encoding.registry import AuthMethod
from charon_core.sa.authenticators.identities import eap_name
from charon_core.sa.authenticators.proof import AuthenticationError

if TYPE_CHECKING:
    from charon_core.config.identification import Identification
    from charon_core.config.peer import AuthConfig, PeerConfig
    from charon_core.sa.authenticators.proof import Proof
    from charon_core.sa.ike_sa import IkeSa


def sign(proof: Proof, msk: bytes | None) -> Authentication:
    """Make our AUTH payload by the key of the method, or by SK_pi or SK_pr if it makes none."""
    return Authentication(AuthMethod.SHARED_KEY_MIC, _auth_data(proof, msk))


def verify(proof: Proof, msk: bytes | None, auth: Authentication) -> None:
    """Check the peer's AUTH payload.

    Raises:
        AuthenticationError: It was not made with the key of the method.
    """
    if auth.method != AuthMethod.SHARED_KEY_MIC:
        raise AuthenticationError(
            f"after EAP, AUTH has to be of method {AuthMethod.SHARED_KEY_MIC.value}, "
            f"got {auth.method}"
        )
    if not compare_digest(_auth_data(proof, msk), auth.data):
        raise AuthenticationError(
            "AUTH was not made with the key of the EAP method: somebody else is in between, or "
            "the peer's method makes another key"
        )


def _auth_data(proof: Proof, msk: bytes | None) -> bytes:
    try:
        return proof.keying.eap_auth(msk, proof.octets, initiator=proof.by_initiator)
    except ValueError as error:
        raise AuthenticationError(str(error)) from None


def peer_conversation(
    ike: IkeSa, auth: AuthConfig, identity: Identification, expected: AuthConfig
) -> EapPeer:
    """Return our side of the conversation in which we prove who we are.

    Args:
        ike: The IKE_SA.
        auth: Our round.
        identity: Who we say we are in it.
        expected: Who the responder has to be.
    """
    server = auth.aaa_identity or expected.identity
    own = auth.eap_identity
    if own is None or own.is_any:
        own = identity
    return EapPeer(
        ike.env.eap,
        PeerPlan(
            server=eap_name(None if server.is_pattern else server),
            peer=eap_name(own),
            method=_kind(auth),
        ),
    )


def server_plan(
    ike: IkeSa, expected: AuthConfig, peer: Identification, *, mutual: bool
) -> ServerPlan:
    """Return what EAP has to prove of the initiator.

    Args:
        ike: The IKE_SA.
        expected: The initiator's round.
        peer: Who it is: inside of EAP if that is known, else its IKE identity.
        mutual: Whether it has to prove us, too.
    """
    return ServerPlan(
        server=eap_name(expected.aaa_identity or ike.local_id),
        peer=eap_name(peer),
        method=_kind(expected),
        mutual=mutual,
    )


def obstacle(ike: IkeSa, config: PeerConfig) -> str:
    """Return what a configuration asks of EAP that this daemon does not have; empty if nothing."""
    role = EapRole.PEER if ike.is_initiator else EapRole.SERVER
    proving, other = (config.local, config.remote)
    if not ike.is_initiator:
        proving, other = other, proving
    available = frozenset(ike.env.eap.types(role))
    for auth in proving:
        if auth.auth_class is not AuthClass.EAP:
            continue
        kind = _kind(auth)
        if (kind is not None and kind not in available) or not available:
            return f"needs {auth}, and no plugin for that is loaded"
    has_eap = any(auth.auth_class is AuthClass.EAP for auth in proving)
    if any(auth.auth_class is AuthClass.EAP for auth in other) and not has_eap:
        return (
            "has EAP for the responder alone; it can only prove the responder while it proves the "
            "initiator (RFC 5998): give both sides EAP, or the responder a certificate"
        )
    return ""


def _kind(auth: AuthConfig) -> EapType | None:
    return EapType(*auth.eap_method) if auth.eap_method is not None else None
