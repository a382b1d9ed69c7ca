"""One inquiry: is this certificate revoked? OCSP responders are asked first, then lists fetched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.credentials.certificates import format_time
from charon_core.credentials.crls import Crl, CrlError, load_crls
from charon_core.credentials.online.knowledge import (
    CertificateKey,
    FetchedList,
    IssuerKey,
    Source,
    Way,
)
from charon_core.credentials.online.ocsp import OcspStatus, verify_response
from charon_core.credentials.online.ocsp_message import (
    MAX_RESPONSE,
    NONCE_LENGTH,
    REQUEST_TYPE,
    RESPONSE_TYPE,
    CertId,
    OcspError,
    encode_request,
)
from charon_core.credentials.online.request import FetchError, FetchRequest
from charon_core.credentials.revocation import RevocationStatus, check, is_list_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.online.service import RevocationService

BUSY_RETRY: Final = 1.0
"""Seconds until it is asked again what was turned away since too much is asked already."""

CRL_TYPE: Final = "application/pkix-crl"


class Place(NamedTuple):
    """A URI, and whether it comes from our configuration."""

    uri: str
    configured: bool


class Inquiry:
    """Asks about one certificate of a chain that is trusted but for this; an `Errand`.

    The result goes into the service's knowledge: an OCSP status, a list, or a refusal that says
    what went wrong at each place.
    """

    def __init__(
        self,
        service: RevocationService,
        certificate: Certificate,
        issuer: Certificate,
        ocsp: tuple[Place, ...],
        lists: tuple[Place, ...],
    ) -> None:
        """Prepare.

        Args:
            service: Has the fetcher, and gets the result.
            certificate: Who is asked about.
            issuer: The CA certificate above it, which is trusted.
            ocsp: OCSP responders, the best first.
            lists: Where to fetch lists if these tell nothing; may be none.
        """
        self._service = service
        self._certificate = certificate
        self._issuer = issuer
        self._ocsp = ocsp
        self._lists = lists
        self._key = CertificateKey.of(certificate, issuer)
        self._ends = 0.0

    def __str__(self) -> str:
        return f"revocation status of certificate {self._certificate}"

    def begin(self, on_done: Callable[[], object]) -> None:
        """Have it asked; see `Errand`."""
        service = self._service
        # Who wants more of one certificate must not be served by an inquiry that asks for less.
        key = self._key, bool(self._ocsp), bool(self._lists)
        if not service.desk.ask(key, str(self), self.ask, on_done):
            for way, places in ((Way.OCSP, self._ocsp), (Way.LIST, self._lists)):
                if places:
                    self._refuse(way, "too many servers are being asked already", BUSY_RETRY)
            on_done()

    def ask(self) -> None:
        """Ask all places until one tells; blocks, on a worker that holds nothing."""
        service = self._service
        self._ends = time.monotonic() + service.options.total_timeout
        if self._ocsp and self._learn(Way.OCSP, self._ask_responders):
            return
        if self._lists:
            self._learn(Way.LIST, self._fetch_lists)

    def _learn(self, way: Way, ask: Callable[[list[str]], bool]) -> bool:
        service = self._service
        reasons: list[str] = []
        if ask(reasons):
            service.knowledge.forget_refusal(self._key, way)
            return True
        text = "; ".join(reasons)
        service.report(f"{way.value}s do not tell about certificate {self._certificate}: {text}")
        self._refuse(way, text, service.options.limits.retry)
        return False

    def _refuse(self, way: Way, text: str, retry: float) -> None:
        service = self._service
        service.knowledge.keep_refusal(
            (self._key, way), text, service.wall_clock(),
            retry=retry, limit=max(retry, service.options.limits.retry_limit),
        )  # fmt: skip

    # -- OCSP ---------------------------------------------------------------------------------

    def _ask_responders(self, reasons: list[str]) -> bool:
        for place in self._ocsp:
            try:
                status = self._ask_responder(place)
            except (FetchError, OcspError) as error:
                reasons.append(f"'{place.uri}': {error}")
                continue
            if self._service.knowledge.keep_status(self._key, status):
                word = status.detail or "good"
                self._service.report(f"certificate {self._certificate} is {word} ('{place.uri}')")
                return True
            reasons.append(f"'{place.uri}': sends an older answer than before")
        return False

    def _ask_responder(self, place: Place) -> OcspStatus:
        service = self._service
        service.report(f"asking OCSP responder '{place.uri}' about {self._certificate}")
        nonce = service.random.bytes(NONCE_LENGTH) if service.options.ocsp_nonce else b""
        asked = CertId.of(self._certificate, self._issuer)
        request = FetchRequest(
            place.uri,
            encode_request(asked, nonce),
            content_type=REQUEST_TYPE,
            accept=RESPONSE_TYPE,
            max_size=MAX_RESPONSE,
            configured=place.configured,
        )
        data = service.fetcher.fetch(request, self._left())
        return verify_response(data, asked, self._issuer, service.wall_clock(), nonce)

    # -- lists --------------------------------------------------------------------------------

    def _fetch_lists(self, reasons: list[str]) -> bool:
        self._service.load_cached(self._issuer)
        for place in self._lists:
            # Another inquiry may have fetched it while this one waited for its turn.
            if self._is_listed():
                return True
            try:
                self._service.fetch_list(
                    Source(self._issuer, place.uri, place.configured), self._left()
                )
            except (FetchError, CrlError) as error:
                reasons.append(f"'{place.uri}': {error}")
        return self._is_listed()

    def _is_listed(self) -> bool:
        service = self._service
        lists = [entry.crl for entry in service.knowledge.lists(IssuerKey.of(self._issuer))]
        status, _ = check(self._certificate, self._issuer, lists, service.wall_clock())
        return status in {RevocationStatus.GOOD, RevocationStatus.REVOKED}

    def _left(self) -> float:
        return max(0.001, self._ends - time.monotonic())


def read_list(data: bytes, source: Source, now: float) -> FetchedList:
    """Take a revocation list that was fetched; it has to be the CA's, and signed by it.

    Raises:
        CrlError: It is not, or has expired; the text says why.
    """
    problems: list[str] = []
    for crl in load_crls(data):
        problem = list_problem(crl, source.issuer, now)
        if problem is None:
            return FetchedList(crl, source)
        problems.append(problem)
    message = "; ".join(dict.fromkeys(problems))
    raise CrlError(message)


def list_problem(crl: Crl, issuer: Certificate, now: float) -> str | None:
    """Return why a list says nothing about certificates of this CA now, or None."""
    if crl.unusable:
        return crl.unusable
    if not is_list_of(crl, issuer):
        return f"it is of '{crl.issuer}', or not signed by {issuer}"
    if crl.next_update is None:
        return "it does not say when the next one is due"
    if now > crl.next_update:
        return f"it has expired: the next one was due at {format_time(crl.next_update)}"
    return None
