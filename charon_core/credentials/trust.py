"""Trust chains: from a peer's certificate to a trusted CA (RFC 5280 section 6)."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

from charon_core.config.identification import SCORE_PERFECT
from charon_core.credentials.certificates import format_time
from charon_core.credentials.extensions import ANY_EXTENDED_KEY_USAGE, KeyUsage
from charon_core.credentials.verdict import ProblemKind
from charon_core.crypto.errors import CryptoError, InvalidSignature, WeakKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from charon_core.config.identification import Identification
    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.verdict import Problems

MAX_CA_LEVELS: Final = 7
"""CA certificates in a chain, the trust anchor included."""

MAX_PRESENTED: Final = 16
"""Certificates of a peer that are looked at; the rest is ignored."""

MAX_SIGNATURE_CHECKS: Final = 24
"""Signatures that are verified for one authentication: the peer decides how many chains there
might be, and each check costs time."""

MAX_STEPS: Final = 256
"""Certificates that are stepped on in the search for one authentication: many copies of the same
CAs make many chains, even where no signature is left to verify."""

MAX_RELATIONS: Final = 1024
"""Verified (certificate, issuer) pairs that are remembered."""

ALLOW_SHA1_SIGNATURES: Final = False
"""SHA-1 signatures on certificates; collisions have been practical since 2017."""

# Purposes that make a certificate with a critical extended key usage fit for IKE (RFC 4945
# section 5.1.3.12, and what CAs really put into gateway and client certificates).
_IKE_PURPOSES: Final = frozenset(
    {
        ANY_EXTENDED_KEY_USAGE,
        "1.3.6.1.5.5.7.3.17",  # ipsecIKE
        "1.3.6.1.5.5.8.2.2",  # iKEIntermediate
        "1.3.6.1.5.5.7.3.5",  # ipsecEndSystem
        "1.3.6.1.5.5.7.3.6",  # ipsecTunnel
        "1.3.6.1.5.5.7.3.7",  # ipsecUser
        "1.3.6.1.5.5.7.3.1",  # serverAuth
        "1.3.6.1.5.5.7.3.2",  # clientAuth
    }
)
_SIGNING: Final = KeyUsage.DIGITAL_SIGNATURE | KeyUsage.NON_REPUDIATION

Chain = tuple["Certificate", ...]


class RelationCache:
    """Remembers which certificate was really signed by which key; bounded, shared by threads.

    Only good signatures are remembered: what is not there is checked.
    """

    def __init__(self, limit: int = MAX_RELATIONS) -> None:
        """Keep the `limit` relations that were used last."""
        self._limit = limit
        self._lock = Lock()  # guards the table
        self._known: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def knows(self, subject: Certificate, issuer: Certificate) -> bool:
        """Whether this pair has been verified before."""
        key = subject.digest, issuer.public_key.spki
        with self._lock:
            if key not in self._known:
                return False
            self._known.move_to_end(key)
            return True

    def remember(self, subject: Certificate, issuer: Certificate) -> None:
        """Keep a pair that has just been verified."""
        with self._lock:
            self._known[subject.digest, issuer.public_key.spki] = None
            while len(self._known) > self._limit:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all relations."""
        with self._lock:
            self._known.clear()


def check_signature(
    subject: Certificate, issuer: Certificate, *, allow_sha1: bool = ALLOW_SHA1_SIGNATURES
) -> None:
    """Return if `issuer` has signed `subject`.

    Raises:
        CryptoError: it has not, or with a key or an algorithm that is too weak.
        ValueError: the issuer's key cannot be used.
    """
    issuer.public_key.verify(
        subject.scheme(), subject.tbs, subject.signature, allow_sha1=allow_sha1
    )


def validity_problem(certificate: Certificate, now: float) -> str | None:
    """Return why a certificate is not valid now, or None."""
    if now < certificate.not_before:
        return (
            f"certificate {certificate} is not valid before "
            f"{format_time(certificate.not_before)}, now it is {format_time(now)}"
        )
    if now > certificate.not_after:
        return (
            f"certificate {certificate} has expired at {format_time(certificate.not_after)}, "
            f"now it is {format_time(now)}"
        )
    return None


def end_entity_problem(certificate: Certificate) -> str | None:
    """Return why a certificate may not authenticate an IKE peer, or None."""
    extensions = certificate.extensions
    if extensions.unknown_critical:
        return _not_understood(certificate)
    if extensions.key_usage is not None and not extensions.key_usage & _SIGNING:
        return (
            f"certificate {certificate} may not be used for signatures: its key usage has "
            "neither digitalSignature nor nonRepudiation"
        )
    purposes = extensions.extended_key_usage
    if "2.5.29.37" in extensions.critical and not _IKE_PURPOSES.intersection(purposes):
        return (
            f"certificate {certificate} may not be used for IKE: its critical extended key "
            f"usage only has {', '.join(purposes)}"
        )
    return None


def _not_understood(certificate: Certificate) -> str:
    names = ", ".join(certificate.extensions.unknown_critical)
    return f"certificate {certificate} has critical extensions that are not understood: {names}"


class ChainBuilder:
    """Looks for the chains of one authentication: depth first, within fixed bounds."""

    def __init__(
        self,
        anchors: Callable[[Identification], Iterable[Certificate]],
        intermediates: Callable[[Identification], Iterable[Certificate]],
        relations: RelationCache,
        now: float,
        problems: Problems,
    ) -> None:
        """Prepare the search.

        Args:
            anchors: Trusted CA certificates of a subject.
            intermediates: Other certificates of a subject, trusted by nobody yet.
            relations: Signatures that need not be verified again.
            now: The time, in seconds since 1970, at which everything must be valid.
            problems: Receives what stands in the way of a chain.
        """
        self._anchors = anchors
        self._intermediates = intermediates
        self._relations = relations
        self.now = now
        self._problems = problems
        self._checks_left = MAX_SIGNATURE_CHECKS
        self._steps_left = MAX_STEPS

    def chains(self, leaf: Certificate, presented: Sequence[Certificate]) -> Iterator[Chain]:
        """Yield the chains of a certificate, each from itself to a trust anchor.

        `presented` are certificates that the peer sent along; they help, but nobody trusts them.
        """
        problem = validity_problem(leaf, self.now)
        if problem:
            self._problems.add(ProblemKind.EXPIRED, problem)
            return
        yield from self._extend([leaf], list(presented)[:MAX_PRESENTED])

    def _extend(self, path: list[Certificate], presented: list[Certificate]) -> Iterator[Chain]:
        self._steps_left -= 1
        if self._steps_left < 0:
            return
        top = path[-1]
        if any(top == anchor for anchor in self._anchors(top.subject)):
            yield tuple(path)
            return
        if len(path) > MAX_CA_LEVELS:
            self._problems.add(
                ProblemKind.UNTRUSTED,
                f"the chain of certificate {path[0]} has more than {MAX_CA_LEVELS} CA levels",
            )
            return
        found = False
        for issuer, is_anchor in self._issuers(top, presented):
            if _occurs(issuer, path):
                continue
            found = True
            if not self._may_issue(issuer, path, is_anchor=is_anchor):
                continue
            if not self._has_signed(top, issuer):
                continue
            yield from self._extend([*path, issuer], presented)
        if not found:
            self._problems.add(ProblemKind.UNTRUSTED, _no_issuer(top))

    def _issuers(
        self, subject: Certificate, presented: list[Certificate]
    ) -> Iterator[tuple[Certificate, bool]]:
        """Yield certificates that may have signed this one, trust anchors first."""
        seen: set[bytes] = set()
        for is_anchor, source in (
            (True, self._anchors(subject.issuer)),
            (False, presented),
            (False, self._intermediates(subject.issuer)),
        ):
            for issuer in source:
                if issuer.subject.matches(subject.issuer) != SCORE_PERFECT:
                    continue
                wanted, has = subject.authority_key_id, issuer.subject_key_id
                if wanted and has and wanted != has:
                    continue
                if issuer.der not in seen:
                    seen.add(issuer.der)
                    yield issuer, is_anchor

    def _may_issue(self, issuer: Certificate, path: list[Certificate], *, is_anchor: bool) -> bool:
        """Whether the issuer is a CA that may have this path below it."""
        extensions = issuer.extensions
        kind, problem = ProblemKind.CONSTRAINT, None
        # Old roots have no basic constraints; to configure one as trusted makes it a CA.
        if not issuer.is_ca and (extensions.has_basic_constraints or not is_anchor):
            kind, problem = ProblemKind.UNTRUSTED, f"{issuer} is not a CA but issued {path[-1]}"
        elif extensions.unknown_critical:
            problem = _not_understood(issuer)
        elif extensions.key_usage is not None and not extensions.key_usage & KeyUsage.KEY_CERT_SIGN:
            problem = (
                f"CA certificate {issuer} may not sign certificates: "
                "its key usage lacks keyCertSign"
            )
        elif (limit := issuer.path_length) is not None:
            below = sum(not certificate.is_self_issued for certificate in path[1:])
            if below > limit:
                problem = (
                    f"CA certificate {issuer} allows {limit} CA levels below it, "
                    f"but there are {below}"
                )
        if problem is None:
            kind, problem = ProblemKind.EXPIRED, validity_problem(issuer, self.now)
        if problem is not None:
            self._problems.add(kind, problem)
        return problem is None

    def _has_signed(self, subject: Certificate, issuer: Certificate) -> bool:
        if self._relations.knows(subject, issuer):
            return True
        if self._checks_left <= 0:
            self._problems.add(
                ProblemKind.UNTRUSTED,
                f"gave up after {MAX_SIGNATURE_CHECKS} signatures: too many possible chains",
            )
            return False
        self._checks_left -= 1
        try:
            check_signature(subject, issuer)
        except WeakKey as error:
            text = f"CA certificate {issuer}: {error}"
            self._problems.add(ProblemKind.WEAK, text)
            return False
        except (InvalidSignature, CryptoError, ValueError) as error:
            text = f"certificate {subject} is not acceptably signed by {issuer}: {error}"
            self._problems.add(ProblemKind.UNTRUSTED, text)
            return False
        self._relations.remember(subject, issuer)
        return True


def _occurs(certificate: Certificate, path: list[Certificate]) -> bool:
    """Whether a CA is in the path already, be it in another (cross-signed) certificate."""
    return any(
        known.public_key == certificate.public_key
        and known.subject.matches(certificate.subject) == SCORE_PERFECT
        for known in path
    )


def _no_issuer(certificate: Certificate) -> str:
    if certificate.is_self_issued:
        return f"self-signed certificate {certificate} is not among the trusted CAs"
    return f"no trusted CA '{certificate.issuer}' found, which issued certificate {certificate}"
