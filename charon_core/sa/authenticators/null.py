"""NULL authentication (RFC 7619): AUTH proves that the message is the peer's, not who that is."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from charon_core.config.identification import NULL
from charon_core.encoding.payloads import Authentication
from charon_core.encoding.registry import AuthMethod
from charon_core.sa.authenticators.proof import AuthenticationError

if TYPE_CHECKING:
    from charon_core.sa.authenticators.proof import Proof


def sign(proof: Proof) -> Authentication:
    """Make our AUTH payload: SK_pi or SK_pr stand in for a secret (RFC 7619 2.1)."""
    return Authentication(AuthMethod.NULL_AUTHENTICATION, _auth_data(proof))


def verify(proof: Proof, auth: Authentication) -> None:
    """Check the peer's AUTH payload; that it holds says nothing about who the peer is.

    Raises:
        AuthenticationError: The peer claims to be somebody, or somebody else has made it.
    """
    if proof.identity.id_type != NULL:
        raise AuthenticationError(
            f"with NULL authentication the peer claims to be '{proof.identity}', which it cannot "
            "prove; it has to send ID_NULL (RFC 7619 2.2)"
        )
    if not compare_digest(_auth_data(proof), auth.data):
        raise AuthenticationError("the AUTH payload does not belong to this IKE_SA")


def _auth_data(proof: Proof) -> bytes:
    return proof.keying.eap_auth(None, proof.octets, initiator=proof.by_initiator)
