"""Whether the peer's proof of one round holds, and is the one that a configuration asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.config.peer import AuthClass
from charon_core.encoding.registry import AuthMethod
from charon_core.sa.authenticators import null, psk, pubkey
from charon_core.sa.authenticators.proof import AuthenticationError, peer_proof

if TYPE_CHECKING:
    from charon_core.config.identification import Identification
    from charon_core.config.peer import AuthConfig
    from charon_core.credentials.certificates import Certificate
    from charon_core.encoding.payloads import Authentication
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.keying import IkeKeying


@dataclass(frozen=True, slots=True)
class Claim:
    """What the peer says in one round.

    Attributes:
        identity: Who it is.
        auth: Its proof; None where EAP is to prove it.
        certificates: Those that came along, its own first.
    """

    identity: Identification
    auth: Authentication | None
    certificates: tuple[Certificate, ...] = ()


def verify(
    ike: IkeSa,
    claim: Claim,
    expected: AuthConfig,
    own: Identification,
    keying: IkeKeying | None = None,
) -> None:
    """Verify a proof that needs no EAP.

    Args:
        ike: The IKE_SA.
        claim: What the peer says.
        expected: What it has to prove.
        own: Who we are.
        keying: The keys to do it with, if they are not those of the IKE_SA.

    Raises:
        AuthenticationError: It proves nothing, or not what the configuration asks for.
    """
    auth, identity = claim.auth, claim.identity
    if auth is None:
        raise AuthenticationError("the peer sends no AUTH payload")
    proof = peer_proof(ike, identity, own, keying)
    used = _CLASSES.get(auth.method, AuthClass.PUBKEY)
    # Where the identity may differ, a certificate has to confirm the configured one; a secret
    # confirms none.
    is_loose = expected.loose_identity and used is AuthClass.PUBKEY
    if not is_loose:
        check_identity(identity, expected)
    allowed = _ANY if expected.auth_class is AuthClass.ANY else {expected.auth_class}
    if used not in allowed:
        raise AuthenticationError(
            f"the peer uses {used.value} authentication, expected is "
            f"{expected.auth_class.value} authentication; compare leftauth and rightauth"
        )
    if used is not AuthClass.PUBKEY:
        check_groups(expected, "a shared secret" if used is AuthClass.PSK else "NULL")
    if used is AuthClass.PSK and expected.auth_class is AuthClass.ANY:
        _check_no_key_demanded(expected)
    if used is AuthClass.PSK:
        psk.verify(proof, auth)
        how = "pre-shared key"
    elif used is AuthClass.NULL:
        null.verify(proof, auth)
        how = "NULL"
    else:
        how = pubkey.verify(proof, auth, expected, claim.certificates)
    ike.log(Group.IKE, Level.CONTROL, "authentication of '%s' with %s successful", identity, how)


_CLASSES = {
    int(AuthMethod.SHARED_KEY_MIC): AuthClass.PSK,
    int(AuthMethod.NULL_AUTHENTICATION): AuthClass.NULL,
}
_ANY = frozenset({AuthClass.PSK, AuthClass.PUBKEY})
"""What `any` stands for: EAP and NULL have to be asked for by name."""


def check_identity(identity: Identification, expected: AuthConfig) -> None:
    """Refuse a peer who is not the one that a round is for.

    Raises:
        AuthenticationError: It is not.
    """
    if not identity.matches(expected.identity):
        raise AuthenticationError(
            f"it says it is '{identity}', expected is '{expected.identity}'; correct rightid, "
            "or the identity of the peer"
        )


def check_groups(expected: AuthConfig, means: str) -> None:
    """Refuse means that prove no membership where there are groups that the peer has to be in.

    Raises:
        AuthenticationError: There are.
    """
    if expected.groups:
        raise AuthenticationError(
            f"it has to be in one of the groups {', '.join(expected.groups)}, which {means} "
            "cannot prove; remove rightgroups"
        )


def _check_no_key_demanded(expected: AuthConfig) -> None:
    """Refuse a secret where any method is allowed, but with demands that only a key can meet.

    Raises:
        AuthenticationError: There are such demands.
    """
    demands = {
        "rightcert": expected.certificates,
        "rightsigkey": expected.public_keys,
        "rightca": expected.ca,
        "rightcertpolicy": expected.cert_policies,
    }
    names = [name for name, demand in demands.items() if demand]
    if names:
        raise AuthenticationError(
            f"the peer uses a shared secret, which cannot meet {', '.join(names)}; set "
            "rightauth=psk and remove them, or have the peer use its key"
        )
