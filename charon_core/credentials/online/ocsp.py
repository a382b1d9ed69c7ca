"""What an OCSP response proves about a certificate (RFC 6960 section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from charon_core.config.identification import SCORE_PERFECT
from charon_core.credentials.certificates import Certificate, CertificateError, format_time
from charon_core.credentials.extensions import KeyUsage
from charon_core.credentials.online.ocsp_message import OcspError, decode_response
from charon_core.credentials.trust import check_signature, validity_problem
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.signature_schemes import decode_algorithm

if TYPE_CHECKING:
    from charon_core.credentials.online.ocsp_message import BasicResponse, CertId, SingleResponse

TOLERANCE: Final = 300.0
"""Seconds that clocks may differ."""

MAX_AGE: Final = 3600.0
"""Seconds that a response counts which does not say when the next one is due."""

SHORTEST_VALIDITY: Final = 60.0
"""Seconds for which a good response is relied on in any case, so that one handshake can use it."""

LONGEST_VALIDITY: Final = 7 * 86400.0
"""Seconds for which a good response is relied on at the most, however far its end is."""

_OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"


@dataclass(frozen=True, slots=True)
class OcspStatus:
    """What is proved about a certificate.

    Attributes:
        is_revoked: It is; else it is good.
        detail: When and why it was revoked, for the log.
        this_update: When that was known to be right, seconds since 1970.
        fresh_until: From when on it has to be asked for again, seconds since 1970.
    """

    is_revoked: bool
    detail: str
    this_update: float
    fresh_until: float


def verify_response(
    data: bytes, asked: CertId, issuer: Certificate, now: float, nonce: bytes = b""
) -> OcspStatus:
    """Return what a response proves.

    Args:
        data: The DER response.
        asked: The certificate in question.
        issuer: Who issued the certificate in question, and is trusted.
        now: Seconds since 1970.
        nonce: Sent with the request; a response that carries one has to carry the same.

    Raises:
        OcspError: It proves nothing; the text says why.
    """
    response = decode_response(data)
    if response.nonce is not None and nonce and not compare_digest(response.nonce, nonce):
        message = "its nonce is not the one that was sent: the response is a replay"
        raise OcspError(message)
    _check_signature(response, issuer, now)
    return _judge(_choose(response, asked), now)


def _check_signature(response: BasicResponse, issuer: Certificate, now: float) -> None:
    responder = _responder(response, issuer, now)
    try:
        scheme = decode_algorithm(response.algorithm)
        responder.public_key.verify(scheme, response.tbs, response.signature)
    except (CryptoError, ValueError) as error:
        message = f"its signature by {responder} is not acceptable: {error}"
        raise OcspError(message) from None


def _responder(response: BasicResponse, issuer: Certificate, now: float) -> Certificate:
    """Return the certificate of who signed: the issuer, or one whom it has charged with it."""
    if _is_named(response, issuer):
        return issuer
    refused = ""
    for data in response.certificates:
        try:
            candidate = Certificate(data)
        except CertificateError:
            continue
        if not _is_named(response, candidate):
            continue
        problem = _delegation_problem(candidate, issuer, now)
        if problem is None:
            return candidate
        refused = f": {problem}"
    message = f"it is not signed by {issuer}, nor by whom that CA charged with it{refused}"
    raise OcspError(message)


def _is_named(response: BasicResponse, candidate: Certificate) -> bool:
    if response.responder_name:
        return candidate.subject.data == response.responder_name
    return bytes.fromhex(candidate.public_key.fingerprint) == response.responder_key


def _delegation_problem(candidate: Certificate, issuer: Certificate, now: float) -> str | None:
    """Return why a certificate does not charge its owner with the issuer's responses, or None.

    It has to be issued by that very CA (RFC 6960 section 4.2.2.2), so no chain is built; whether it
    is revoked itself is not asked: that would have no end.
    """
    extensions = candidate.extensions
    if _OCSP_SIGNING not in extensions.extended_key_usage:
        return f"certificate {candidate} lacks the extended key usage OCSPSigning"
    if candidate.issuer.matches(issuer.subject) != SCORE_PERFECT:
        return f"certificate {candidate} is of another CA"
    if extensions.unknown_critical:
        return f"certificate {candidate} has critical extensions that are not understood"
    usage = extensions.key_usage
    if usage is not None and not usage & (KeyUsage.DIGITAL_SIGNATURE | KeyUsage.NON_REPUDIATION):
        return f"certificate {candidate} may not be used for signatures"
    problem = validity_problem(candidate, now)
    if problem is not None:
        return problem
    try:
        check_signature(candidate, issuer)
    except (CryptoError, ValueError) as error:
        return f"certificate {candidate} is not acceptably signed by {issuer}: {error}"
    return None


def _choose(response: BasicResponse, asked: CertId) -> SingleResponse:
    """Return what is said about the certificate; where that is contradictory, the worst."""
    found = [single for single in response.singles if single.cert_id == asked]
    if not found:
        message = "it tells about other certificates"
        raise OcspError(message)
    order = ("revoked", "unknown", "good")
    return min(found, key=lambda single: order.index(single.status))


def _judge(single: SingleResponse, now: float) -> OcspStatus:
    if single.this_update > now + TOLERANCE:
        message = f"it is of the future: {format_time(single.this_update)}, now it is "
        raise OcspError(message + format_time(now))
    due = single.next_update
    if single.status == "revoked":
        # However old: what is revoked stays so, but for a hold that a newer response takes back.
        detail = f"revoked at {format_time(single.revoked_at)}, reason {single.reason}, by OCSP"
        return OcspStatus(True, detail, single.this_update, _fresh_until(due, now))
    if due is not None and due + TOLERANCE < now:
        message = f"a newer response was due at {format_time(due)}"
        raise OcspError(message)
    if due is None and single.this_update + MAX_AGE < now:
        message = f"it is of {format_time(single.this_update)} and does not say how long it counts"
        raise OcspError(message)
    if single.status != "good":
        message = "the responder does not know the certificate"
        raise OcspError(message)
    return OcspStatus(False, "", single.this_update, _fresh_until(due, now))


def _fresh_until(due: float | None, now: float) -> float:
    wanted = now if due is None else due
    return min(max(wanted, now + SHORTEST_VALIDITY), now + LONGEST_VALIDITY)
