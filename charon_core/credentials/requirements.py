"""What a connection and the CAs of a chain demand of it, beyond its signatures being good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.credentials.constraints import parse_constraints
from charon_core.credentials.extensions import ANY_POLICY
from charon_core.credentials.name_constraints import violation
from charon_core.credentials.verdict import ProblemKind
from charon_core.crypto.errors import CryptoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.config.identification import Identification
    from charon_core.config.peer import AuthConfig
    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.constraints import SignatureConstraints
    from charon_core.credentials.keys import PublicKey
    from charon_core.credentials.trust import Chain
    from charon_core.credentials.verdict import Problems


def key_problem(
    key: PublicKey, owner: str, auth: AuthConfig, constraints: SignatureConstraints, *, own: bool
) -> str | None:
    """Return why a key is too weak or of the wrong kind, or None.

    Args:
        key: The key.
        owner: What to call it in messages.
        auth: The connection's demands.
        constraints: `auth.signature_constraints`, taken apart.
        own: It is the peer's own key, not that of a CA.
    """
    try:
        key.require_strong()
        kind, bits = key.type, key.bits
    except (CryptoError, ValueError) as error:
        return f"{owner}: {error}"
    if own and constraints.key_types and kind not in constraints.key_types:
        allowed = ", ".join(sorted(expected.value for expected in constraints.key_types))
        return f"{owner} has an {kind.value} key, but the connection only accepts {allowed}"
    least = max(constraints.min_bits.get(kind, 0), auth.min_key_bits)
    if bits < least:
        return (
            f"{owner} has an {kind.value} key of {bits} bits, "
            f"but the connection demands {least} bits or more"
        )
    return None


def meets_demands(
    chain: Chain,
    auth: AuthConfig,
    anchors: Callable[[Identification], Iterable[Certificate]],
    problems: Problems,
) -> bool:
    """Check everything that a whole chain can be checked for; False with a problem added.

    Args:
        chain: From the peer's certificate to a trust anchor, or the pinned certificate alone.
        auth: The connection's demands.
        anchors: Trust anchors of a subject.
        problems: Receives what is not met.
    """
    for kind, problem in (
        (ProblemKind.WEAK, _strength(chain, auth)),
        (ProblemKind.CONSTRAINT, _names(chain)),
        (ProblemKind.CONSTRAINT, _required_ca(chain, auth, anchors)),
        (ProblemKind.CONSTRAINT, _policies(chain, auth)),
    ):
        if problem is not None:
            problems.add(kind, problem)
            return False
    return True


def _strength(chain: Chain, auth: AuthConfig) -> str | None:
    constraints = parse_constraints(auth.signature_constraints)
    for certificate in chain:
        owner = f"certificate {certificate}"
        own = certificate is chain[0]
        problem = key_problem(certificate.public_key, owner, auth, constraints, own=own)
        if problem is not None:
            return problem
    allowed = constraints.chain_schemes
    if allowed is None:
        return None
    # The anchor is trusted for being configured; its own signature proves nothing.
    for certificate in chain[:-1]:
        scheme = certificate.scheme()
        if scheme not in allowed:
            expected = ", ".join(sorted(other.keyword for other in allowed)) or "none"
            return (
                f"certificate {certificate} is signed with {scheme.keyword}, "
                f"but the connection only accepts {expected}"
            )
    return None


def _names(chain: Chain) -> str | None:
    """Check the name constraints of each CA against every certificate below it."""
    for level, authority in enumerate(chain):
        constraints = authority.extensions.name_constraints
        if constraints is None or not level:
            continue
        for certificate in chain[:level]:
            problem = violation(certificate, constraints)
            if problem is not None:
                return (
                    f"certificate {certificate} breaks the name constraints of CA {authority}: "
                    f"{problem}"
                )
    return None


def _required_ca(
    chain: Chain, auth: AuthConfig, anchors: Callable[[Identification], Iterable[Certificate]]
) -> str | None:
    """Check that the CA that the connection demands is one of the chain.

    Another CA may have issued an intermediate of the same name: a name that a trust anchor has
    only counts with the anchor's key.
    """
    if auth.ca is None:
        return None
    for authority in chain[1:]:
        if not authority.subject.matches(auth.ca):
            continue
        keys = [anchor.public_key for anchor in anchors(authority.subject)]
        if not keys or authority.public_key in keys:
            return None
    authorities = ", ".join(map(str, chain[1:])) or "itself alone"
    return (
        f"certificate {chain[0]} is not below the CA '{auth.ca}' that the connection demands, "
        f"but below {authorities}"
    )


def _policies(chain: Chain, auth: AuthConfig) -> str | None:
    """Check that each demanded policy holds all the way down (RFC 5280 section 6.1)."""
    for policy in auth.cert_policies:
        if policy not in (chain[0].extensions.policies or ()):
            return f"certificate {chain[0]} lacks the policy {policy} that the connection demands"
        for authority in chain[1:-1]:
            if not _passes_on(authority, policy):
                return f"CA certificate {authority} does not pass the policy {policy} on"
    return None


def _passes_on(authority: Certificate, policy: str) -> bool:
    policies = authority.extensions.policies or ()
    return policy in policies or ANY_POLICY in policies
