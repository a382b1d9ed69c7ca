"""Whether certificates are revoked: by lists that lie here, and by what servers have told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from charon_core.config.identification import SCORE_PERFECT
from charon_core.config.peer import RevocationPolicy
from charon_core.credentials.certificates import format_time
from charon_core.credentials.extensions import KeyUsage
from charon_core.processing.errand import NotYet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl
    from charon_core.credentials.manager import CredentialManager
    from charon_core.credentials.online.service import RevocationService

_REMOVED: Final = "removeFromCRL"


class RevocationStatus(Enum):
    """What is known about one certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    STALE = "stale"
    """Only lists are here that should have been replaced by newer ones."""
    UNKNOWN = "unknown"
    """No usable list of the issuer is here."""


def check(
    certificate: Certificate, issuer: Certificate, crls: Iterable[Crl], now: float
) -> tuple[RevocationStatus, str]:
    """Look a certificate up in the lists of its issuer.

    Lists count if the issuer's key has signed them; a revocation counts even in a list that has
    expired, unless a newer complete one, which has not, does not have it any more.

    Returns:
        The status, and for the log what it rests on.
    """
    status, detail = RevocationStatus.UNKNOWN, "no revocation list of its issuer"
    removed = False
    usable = [crl for crl in crls if is_list_of(crl, issuer)]
    # Delta lists first: they are newer, and may take an entry of the complete list back.
    for crl in sorted(usable, key=lambda crl: (not crl.is_delta, -crl.this_update)):
        entry = crl.find(certificate.serial)
        if entry is not None and entry.reason == _REMOVED:
            removed = True
        elif entry is not None and not (removed and not crl.is_delta):
            return (
                RevocationStatus.REVOKED,
                f"revoked at {format_time(entry.time)}, reason {entry.reason}",
            )
        if crl.is_delta:
            continue
        if crl.next_update is not None and now > crl.next_update:
            if status is RevocationStatus.UNKNOWN:
                due = format_time(crl.next_update)
                status, detail = RevocationStatus.STALE, f"its revocation list was due at {due}"
        else:
            return RevocationStatus.GOOD, ""
    return status, detail


def is_list_of(crl: Crl, issuer: Certificate) -> bool:
    """Whether a list is one that this CA may sign, and that it has really signed."""
    usage = issuer.extensions.key_usage
    if crl.unusable or (usage is not None and not usage & KeyUsage.CRL_SIGN):
        return False
    wanted, has = crl.authority_key_id, issuer.subject_key_id
    if wanted and has and wanted != has:
        return False
    return crl.issuer.matches(issuer.subject) == SCORE_PERFECT and crl.is_signed_by(
        issuer.public_key
    )


@dataclass(frozen=True, slots=True)
class RevocationCheck:
    """Checks chains that are trusted but for this.

    Attributes:
        source: Has the lists that lie here, and what servers have told.
        now: Seconds since 1970.
        may_ask: Whether servers may be asked on behalf of this peer, and whether it can wait.
    """

    source: CredentialManager
    now: float
    may_ask: Callable[[], bool] = lambda: False

    def problem(self, chain: tuple[Certificate, ...], policy: RevocationPolicy) -> str | None:
        """Return why a chain must not be trusted on account of revocation, or None.

        From the root to the peer's own certificate: so what a certificate names is asked only once
        it is known that none above it is revoked. The trust anchor cannot be revoked but by
        removing it.

        Raises:
            NotYet: Somebody has to be asked first.
        """
        for certificate, issuer in reversed(list(pairwise(chain))):
            status, detail = self._status(certificate, issuer)
            if status is RevocationStatus.REVOKED:
                return f"certificate {certificate} is {detail}"
            if status is RevocationStatus.GOOD or policy is RevocationPolicy.RELAXED:
                continue
            unknown = status is RevocationStatus.UNKNOWN
            if policy is RevocationPolicy.STRICT or not unknown or self._is_published(
                certificate, issuer
            ):  # fmt: skip
                return (
                    f"nothing tells that certificate {certificate} is not revoked: {detail} "
                    f"(strictcrlpolicy={policy.value}); see that one of these places can be "
                    "reached, or put the CA's revocation list into ipsec.d/crls"
                )
        return None

    def _status(
        self, certificate: Certificate, issuer: Certificate
    ) -> tuple[RevocationStatus, str]:
        online = self._online(certificate, issuer)
        lists = [*self.source.crls(issuer.subject)]
        if online is None:
            return check(certificate, issuer, lists, self.now)
        status, detail = check(certificate, issuer, lists + online.lists(issuer), self.now)
        if status is RevocationStatus.REVOKED:
            return status, detail
        said = online.status(certificate, issuer)
        if said is not None:
            known = RevocationStatus.REVOKED if said.is_revoked else RevocationStatus.GOOD
            return known, said.detail
        inquiry = online.inquiry(certificate, issuer, listed=status is RevocationStatus.GOOD)
        if inquiry is not None and self.may_ask():
            raise NotYet(inquiry)
        if status is not RevocationStatus.GOOD:
            why = online.why_unknown(certificate, issuer)
            detail = f"{detail}; {why}" if why else detail
        return status, detail

    def _online(self, certificate: Certificate, issuer: Certificate) -> RevocationService | None:
        """Return what knows more than the lists here; nothing is loaded where nobody does."""
        if self._is_published(certificate, issuer):
            return self.source.online
        return self.source.online_in_use

    def _is_published(self, certificate: Certificate, issuer: Certificate) -> bool:
        extensions = certificate.extensions
        if extensions.crl_uris or extensions.ocsp_uris:
            return True
        return any(True for _ in self.source.authority_uris(issuer))
