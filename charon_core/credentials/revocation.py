"""Whether certificates are revoked, by the lists that lie here; nothing is fetched."""

from __future__ import annotations

from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

from charon_core.config.identification import SCORE_PERFECT
from charon_core.config.peer import RevocationPolicy
from charon_core.credentials.certificates import format_time
from charon_core.credentials.extensions import KeyUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.config.identification import Identification
    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl

_REMOVED: str = "removeFromCRL"


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

    Lists count if the issuer's key has signed them; a revocation counts even in an old list.

    Returns:
        The status, and for the log what it rests on.
    """
    status, detail = RevocationStatus.UNKNOWN, "no revocation list of its issuer"
    removed = False
    usable = [crl for crl in crls if _is_of(crl, issuer)]
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
            status, detail = RevocationStatus.GOOD, ""
    return status, detail


def _is_of(crl: Crl, issuer: Certificate) -> bool:
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


def problem(
    chain: tuple[Certificate, ...],
    crls: Callable[[Identification], Iterable[Crl]],
    policy: RevocationPolicy,
    now: float,
) -> str | None:
    """Return why a chain must not be trusted on account of revocation, or None.

    The trust anchor cannot be revoked but by removing it.
    """
    for certificate, issuer in pairwise(chain):
        status, detail = check(certificate, issuer, crls(issuer.subject), now)
        if status is RevocationStatus.REVOKED:
            return f"certificate {certificate} is {detail}"
        if status is RevocationStatus.GOOD or policy is RevocationPolicy.RELAXED:
            continue
        extensions = certificate.extensions
        published = extensions.crl_uris or extensions.ocsp_uris
        unknown = status is RevocationStatus.UNKNOWN
        if policy is RevocationPolicy.STRICT or published or not unknown:
            return (
                f"nothing tells that certificate {certificate} is not revoked: {detail} "
                f"(strictcrlpolicy={policy.value})"
            )
    return None
