"""Authentication by a shared secret (RFC 7296 2.15)."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from charon_core.credentials.sets import SecretKind
from charon_core.encoding.payloads import Authentication
from charon_core.encoding.registry import AuthMethod
from charon_core.sa.authenticators.proof import AuthenticationError

if TYPE_CHECKING:
    from charon_core.credentials.sets import SharedSecret
    from charon_core.sa.authenticators.proof import Proof


def sign(proof: Proof) -> Authentication:
    """Make our AUTH payload.

    Raises:
        AuthenticationError: There is no usable secret for the two identities.
    """
    ike = proof.ike
    secret = ike.env.credentials.shared_secret(SecretKind.IKE, proof.identity, proof.other)
    if secret is None:
        raise AuthenticationError(_none_found(proof.identity, proof.other))
    return Authentication(method=AuthMethod.SHARED_KEY_MIC, data=_auth_data(proof, secret))


def verify(proof: Proof, auth: Authentication) -> None:
    """Check the peer's AUTH payload against each secret that would prove who it is.

    Raises:
        AuthenticationError: There is no secret, or none of them fits.
    """
    secrets = proof.ike.env.credentials.proving_secrets(SecretKind.IKE, proof.other, proof.identity)
    if not secrets:
        raise AuthenticationError(_none_found(proof.other, proof.identity))
    for secret in secrets:
        if compare_digest(_auth_data(proof, secret), auth.data):
            return
    plural = "secret" if len(secrets) == 1 else "secrets"
    raise AuthenticationError(
        f"tried {len(secrets)} shared {plural} for '{proof.other}' - '{proof.identity}', "
        "but the peer's proof fits none: the secrets at both ends differ"
    )


def _none_found(me: object, other: object) -> str:
    return (
        f"no shared key found for '{me}' - '{other}': add a PSK whose selectors name them (one "
        "that names somebody else proves nothing), or compare the identities at both ends"
    )


def _auth_data(proof: Proof, secret: SharedSecret) -> bytes:
    try:
        return proof.keying.psk_auth(secret.secret.reveal(), proof.octets)
    except ValueError as error:
        raise AuthenticationError(str(error)) from None
