"""Whose keys are trusted, and with which key and certificates we prove ourselves."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from charon_core.config.identification import SCORE_PERFECT
from charon_core.credentials.certificates import Certificate, CertificateError
from charon_core.credentials.constraints import parse_constraints
from charon_core.credentials.keys import PublicKey
from charon_core.credentials.requirements import key_problem, meets_demands
from charon_core.credentials.revocation import RevocationCheck
from charon_core.credentials.trust import (
    MAX_CA_LEVELS,
    MAX_PRESENTED,
    ChainBuilder,
    RelationCache,
    check_signature,
    end_entity_problem,
    validity_problem,
)
from charon_core.credentials.verdict import ProblemKind, Problems, TrustedKey, Verdict
from charon_core.crypto.errors import CryptoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from charon_core.config.identification import Identification
    from charon_core.config.peer import AuthConfig
    from charon_core.credentials.keys import PrivateKey
    from charon_core.credentials.manager import CredentialManager
    from charon_core.credentials.trust import Chain

MAX_LEAVES: Final = 8
"""Certificates that are tried for one peer that did not send its own."""

MAX_PARSED: Final = 512
"""Certificates of configurations that are kept taken apart."""

MAX_SHOWN_NAMES: Final = 8
"""Names of a certificate that a message lists."""


class PeerTrust:
    """Decides which keys are a peer's, and finds our own; shared by threads.

    Attributes:
        relations: Signatures on certificates that need not be verified again.
    """

    __slots__ = ("_certificate", "_source", "relations")

    def __init__(self, source: CredentialManager) -> None:
        """Decide with the credentials of `source`."""
        self._source = source
        self.relations = RelationCache()
        # Configurations hold octets; what they say is needed several times in each handshake.
        self._certificate = lru_cache(MAX_PARSED)(Certificate)

    def trusted_keys(
        self,
        identity: Identification,
        presented: Sequence[Certificate],
        auth: AuthConfig,
        now: float,
        may_ask: Callable[[PublicKey], bool] = lambda _key: False,
    ) -> Verdict:
        """Find the keys that are trusted to be a peer's; see `CredentialManager.trusted_keys`."""
        problems = Problems()
        if not _is_expected(identity, auth, problems):
            return Verdict((), tuple(problems))
        keys = [*self._raw_keys(identity, auth, problems)]
        # One builder for all: what a peer can make us work is bounded for the authentication.
        builder = ChainBuilder(
            self._source.trust_anchors, self._source.certificates, self.relations, now, problems
        )
        for leaf in self._leaves(identity, presented, auth, problems):
            check = RevocationCheck(self._source, now, partial(may_ask, leaf.public_key))
            chain = self._trusted_chain(leaf, presented, auth, builder, problems, check=check)
            if chain is not None:
                keys.append(TrustedKey(leaf.public_key, chain))
        if not keys and not problems:
            problems.add(ProblemKind.UNTRUSTED, self._nothing_known(identity))
        return Verdict(tuple(keys), tuple(problems))

    def _nothing_known(self, identity: Identification) -> str:
        """Say why there is not even a certificate to look at."""
        here = f"no certificate and no public key of '{identity}' is here"
        if next(iter(self._source.trust_anchors()), None) is None:
            return (
                f"{here}: no CA is trusted (its certificate belongs into ipsec.d/cacerts), so the "
                "peer was asked for no certificate, and sent none; nor is one configured "
                "(rightcert, rightsigkey)"
            )
        return (
            f"{here}: the peer sent no certificate, and none is configured (rightcert, rightsigkey)"
        )

    def _raw_keys(
        self, identity: Identification, auth: AuthConfig, problems: Problems
    ) -> Iterator[TrustedKey]:
        """Yield the keys that are trusted without a certificate."""
        pinned = bool(auth.public_keys or auth.certificates)
        owner = auth.identity if _is_loose(auth) else identity
        keys = map(PublicKey, auth.public_keys) if pinned else self._source.public_keys(owner)
        constraints = parse_constraints(auth.signature_constraints)
        for key in keys:
            name = f"raw public key {key.keyid}"
            problem = key_problem(key, name, auth, constraints, own=True)
            if problem is not None:
                problems.add(ProblemKind.WEAK, problem)
            elif auth.ca is not None or auth.cert_policies:
                problems.add(
                    ProblemKind.CONSTRAINT,
                    f"{name} cannot be below the CA or have the policy that is demanded",
                )
            else:
                yield TrustedKey(key)

    def _leaves(
        self,
        identity: Identification,
        presented: Sequence[Certificate],
        auth: AuthConfig,
        problems: Problems,
    ) -> list[Certificate]:
        """Return the certificates that may be the peer's own."""
        if auth.certificates:
            candidates = self._pinned(presented, auth, problems)
        elif auth.public_keys:
            return []
        elif presented:
            candidates = list(presented)[:MAX_PRESENTED]
        else:
            candidates = list(self._source.certificates(identity))
        named = [leaf for leaf in dict.fromkeys(candidates) if _confirms(leaf, identity, auth)]
        if candidates and not named:
            problems.add(ProblemKind.IDENTITY, _not_named(candidates[0], identity, auth))
        return named[:MAX_LEAVES]

    def _pinned(
        self, presented: Sequence[Certificate], auth: AuthConfig, problems: Problems
    ) -> list[Certificate]:
        """Return the configured certificates; one that the peer presents itself comes first."""
        pinned = self._parse_all(auth.certificates)
        if presented and presented[0].der not in auth.certificates:
            problems.add(
                ProblemKind.CONSTRAINT,
                f"the peer sent certificate {presented[0]}, but the connection only accepts "
                f"{', '.join(map(str, pinned))}",
            )
        return sorted(pinned, key=lambda certificate: certificate not in presented)

    def _parse_all(self, certificates: Sequence[bytes]) -> list[Certificate]:
        parsed: list[Certificate] = []
        for data in certificates:
            # Whoever made the configuration has reported what cannot be read; the others count.
            with suppress(CertificateError):
                parsed.append(self._certificate(data))
        return parsed

    def _trusted_chain(
        self,
        leaf: Certificate,
        presented: Sequence[Certificate],
        auth: AuthConfig,
        builder: ChainBuilder,
        problems: Problems,
        *,
        check: RevocationCheck,
    ) -> Chain | None:
        """Return a chain of the certificate that meets every demand, or None."""
        unfit = end_entity_problem(leaf)
        if unfit is not None:
            problems.add(ProblemKind.CONSTRAINT, unfit)
            return None
        if leaf.der in auth.certificates and auth.ca is None:
            # Pinned by the connection: it needs no CA to vouch for it.
            expired = validity_problem(leaf, builder.now)
            if expired is not None:
                problems.add(ProblemKind.EXPIRED, expired)
            elif meets_demands((leaf,), auth, self._source.trust_anchors, problems):
                return (leaf,)
            return None
        for chain in builder.chains(leaf, presented):
            if not meets_demands(chain, auth, self._source.trust_anchors, problems):
                continue
            revoked = check.problem(chain, auth.revocation)
            if revoked is None:
                return chain
            problems.add(ProblemKind.REVOKED, revoked)
        return None

    def private_key_for(
        self, auth: AuthConfig
    ) -> tuple[PrivateKey, tuple[Certificate, ...]] | None:
        """Return our private key and the certificates to send; see `CredentialManager`."""
        configured = self._parse_all(auth.certificates)
        for certificate in configured:
            key = self._private_key(certificate.public_key)
            if key is not None:
                return key, self._to_send(certificate, configured)
        for spki in auth.public_keys:
            key = self._private_key(PublicKey(spki))
            if key is not None:
                return key, ()
        if auth.identity.is_any:
            return None
        for certificate in self._source.certificates(auth.identity):
            key = self._private_key(certificate.public_key)
            if key is not None:
                return key, self._to_send(certificate, configured)
        for raw in self._source.public_keys(auth.identity):
            key = self._private_key(raw)
            if key is not None:
                return key, ()
        return None

    def _private_key(self, key: PublicKey) -> PrivateKey | None:
        try:
            return next(iter(self._source.private_keys(key.fingerprint)), None)
        except ValueError:
            return None

    def _to_send(
        self, own: Certificate, configured: Sequence[Certificate]
    ) -> tuple[Certificate, ...]:
        """Return our certificate and those between it and a root, which is not sent."""
        chain = [own]
        while len(chain) <= MAX_CA_LEVELS:
            top = chain[-1]
            issuer = next(
                (
                    candidate
                    for candidate in self._issuers(top, configured)
                    if candidate not in chain and self._has_signed(top, candidate)
                ),
                None,
            )
            if top.is_self_issued or issuer is None or issuer.is_self_issued:
                break
            chain.append(issuer)
        return tuple(chain)

    def _issuers(
        self, subject: Certificate, configured: Sequence[Certificate]
    ) -> Iterator[Certificate]:
        yield from (
            candidate
            for candidate in configured
            if candidate.subject.matches(subject.issuer) == SCORE_PERFECT
        )
        yield from self._source.trust_anchors(subject.issuer)
        yield from self._source.certificates(subject.issuer)

    def _has_signed(self, subject: Certificate, issuer: Certificate) -> bool:
        if self.relations.knows(subject, issuer):
            return True
        try:
            check_signature(subject, issuer)
        except (CryptoError, ValueError):
            return False
        self.relations.remember(subject, issuer)
        return True


def _is_expected(identity: Identification, auth: AuthConfig, problems: Problems) -> bool:
    """Whether the claimed identity is one that the connection allows at all."""
    if identity.is_any:
        problems.add(ProblemKind.IDENTITY, "the peer has not said who it is")
    elif not auth.loose_identity and not identity.matches(auth.identity):
        problems.add(
            ProblemKind.IDENTITY,
            f"the peer claims to be '{identity}', but the connection expects '{auth.identity}'",
        )
    elif auth.groups:
        # Membership would come from attribute certificates, which nobody here can verify.
        problems.add(
            ProblemKind.CONSTRAINT,
            f"a public key does not prove that '{identity}' is in one of the groups "
            f"{', '.join(auth.groups)}",
        )
    else:
        return True
    return False


def _is_loose(auth: AuthConfig) -> bool:
    """Whether the key has to be that of whom we insist on, whatever name the peer claims."""
    return auth.loose_identity and not auth.identity.is_any


def _confirms(leaf: Certificate, identity: Identification, auth: AuthConfig) -> bool:
    """Whether a certificate names the peer: whom it claims to be, or whom we insist on."""
    if _is_loose(auth):
        return leaf.has_identity(auth.identity) > 0
    return leaf.confirms(identity)


def _not_named(leaf: Certificate, identity: Identification, auth: AuthConfig) -> str:
    wanted = auth.identity if auth.loose_identity else identity
    shown = ", ".join(f"'{name}'" for name in leaf.identities[:MAX_SHOWN_NAMES]) or "nobody"
    return (
        f"certificate {leaf} does not name '{wanted}' ({wanted.type_name}); it names {shown}: "
        "the identity must be the subject or one of the subjectAltNames"
    )
