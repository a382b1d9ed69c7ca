"""Authentication by signatures (RFC 7296 2.15, RFC 4754, RFC 7427, RFC 8420)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.crypto.errors import CryptoError
from charon_core.crypto.signature_schemes import KeyType, SignatureScheme
from charon_core.encoding.payloads import Authentication
from charon_core.sa.authenticators.proof import AuthenticationError
from charon_core.sa.postponed import may_wait
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charon_core.config.peer import AuthConfig
    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.keys import PublicKey
    from charon_core.sa.authenticators.proof import Proof


def sign(proof: Proof, auth: AuthConfig) -> tuple[Authentication, str]:
    """Make our AUTH payload; returns it with the name of the scheme.

    Raises:
        AuthenticationError: There is no usable private key, or no scheme that both sides have.
    """
    from charon_core.credentials.constraints import signing_schemes
    from charon_core.crypto.signatures import choose_scheme, sign_auth

    ike = proof.ike
    found = ike.env.credentials.private_key_for(auth)
    if found is None:
        raise AuthenticationError(
            f"no private key found for '{proof.identity}': ipsec.secrets needs the key that "
            "belongs to the certificate or raw key of the connection"
        )
    key, _chain = found
    hashes = ike.handshake.peer_hashes if Trait.SIGNATURE_AUTH in ike.traits else ()
    try:
        scheme = choose_scheme(key.key, hashes, allowed=signing_schemes(auth.signature_constraints))
        method, data = sign_auth(key.key, scheme, proof.octets)
    except CryptoError as error:
        raise AuthenticationError(f"signing as '{proof.identity}' failed: {error}") from None
    return Authentication(method=method, data=data), scheme_name(scheme)


def scheme_name(scheme: SignatureScheme) -> str:
    """Return the name of a scheme as the field's log lines have it."""
    if scheme.key_type is KeyType.RSA:
        encoding = "RSA_EMSA_PSS" if scheme.value.is_pss else "RSA_EMSA_PKCS1"
        return f"{encoding}_{scheme.hash.name}"
    if scheme.key_type is KeyType.ECDSA:
        digits = scheme.hash.name.removeprefix("SHA2_")
        return f"ECDSA-{digits}" if scheme.is_classic else f"ECDSA_WITH_SHA{digits}_DER"
    return scheme.name


class _Signature:
    """The peer's AUTH payload, verified once by each key that comes up."""

    __slots__ = ("_auth", "_expected", "_problems", "_proof", "scheme")

    def __init__(self, proof: Proof, auth: Authentication, expected: AuthConfig) -> None:
        self._proof = proof
        self._auth = auth
        self._expected = expected
        self._problems: dict[PublicKey, str | None] = {}
        self.scheme = ""
        """Name of the scheme, once a key has verified it."""

    def problem(self, key: PublicKey) -> str | None:
        """Return why this key does not verify the signature, or None."""
        if key not in self._problems:
            self._problems[key] = self._verify(key)
        return self._problems[key]

    def _verify(self, key: PublicKey) -> str | None:
        from charon_core.credentials.constraints import check_auth_scheme
        from charon_core.crypto.signatures import verify_auth

        auth = self._auth
        try:
            scheme = verify_auth(key.key, auth.method, auth.data, self._proof.octets)
            check_auth_scheme(scheme, self._expected.signature_constraints)
        except (CryptoError, ValueError) as error:
            return str(error)
        self.scheme = scheme_name(scheme)
        return None


def verify(
    proof: Proof, auth: Authentication, expected: AuthConfig, presented: Sequence[Certificate]
) -> str:
    """Check the peer's AUTH payload; returns the name of the scheme it was made with.

    Each trusted key of the peer is tried, best first. Servers are asked about the revocation of a
    certificate only when the signature by its key is good: certificates are public, and who merely
    shows somebody else's must not be able to have us fetch anything.

    Raises:
        AuthenticationError: No key of the peer is trusted, or none of them verifies.
        NotYet: Servers have to be asked first.
    """
    ike = proof.ike
    signature = _Signature(proof, auth, expected)
    verdict = ike.env.credentials.trusted_keys(
        proof.identity,
        presented,
        expected,
        ike.env.wall_clock(),
        lambda key: may_wait(ike) and signature.problem(key) is None,
    )
    problems: list[str] = list(verdict.reasons)
    for trusted in verdict.keys:
        problem = signature.problem(trusted.public_key)
        if problem is None:
            return signature.scheme
        problems.append(f"with {trusted}: {problem}")
    reason = "; ".join(problems) or (
        f"no trusted public key found for '{proof.identity}': its certificate was not sent and "
        "is not configured (rightcert, rightsigkey)"
    )
    raise AuthenticationError(reason)
