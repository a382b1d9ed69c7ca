"""Answers whether certificates are revoked from what was learned, and says what there is to ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from charon_core.credentials.crls import CrlError
from charon_core.credentials.online.inquiry import CRL_TYPE, Inquiry, Place, list_problem, read_list
from charon_core.credentials.online.knowledge import (
    CertificateKey,
    FetchedList,
    IssuerKey,
    Knowledge,
    Source,
    Way,
)
from charon_core.credentials.online.request import FetchError, FetchLimits, FetchRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl
    from charon_core.credentials.online.desk import Desk
    from charon_core.credentials.online.disk import DiskCache
    from charon_core.credentials.online.fetcher import Fetcher
    from charon_core.credentials.online.lookup import CertificateLookup
    from charon_core.credentials.online.ocsp import OcspStatus
    from charon_core.credentials.sets import AuthorityUris
    from charon_core.crypto.random import RandomSource

MAX_PLACES: Final = 4
"""Places of each kind that are asked about one certificate."""


@dataclass(frozen=True, slots=True)
class RevocationOptions:
    """What the settings say; times in seconds.

    Attributes:
        limits: What a fetch may cost and where it may lead.
        total_timeout: For all places that are asked about one certificate.
        ocsp_nonce: Send a nonce in OCSP requests.
        refresh: Lists are fetched anew so long before they expire; 0: when they are needed.
    """

    limits: FetchLimits = field(default_factory=FetchLimits)
    total_timeout: float = 8.0
    ocsp_nonce: bool = True
    refresh: float = 0.0


class RevocationService:
    """Revocation by servers; shared by threads, and none of its answers waits for anybody.

    Attributes:
        fetcher: Fetches; blocks.
        desk: Runs what blocks.
        knowledge: What was learned.
        disk: Where lists are cached, or None.
        certificates: Fetches certificates that peers refer to.
    """

    def __init__(
        self,
        options: RevocationOptions,
        fetcher: Fetcher,
        desk: Desk,
        *,
        uris: Callable[[Certificate], Iterable[AuthorityUris]],
        wall_clock: Callable[[], float],
        random: RandomSource,
        report: Callable[[str], object],
        disk: DiskCache | None = None,
        caches: Callable[[], bool] = lambda: True,
        certificates: CertificateLookup,
    ) -> None:
        """Begin without knowledge.

        Args:
            options: The settings.
            fetcher: Fetches.
            desk: Runs what blocks.
            uris: Places that our configuration names for a CA.
            wall_clock: Seconds since 1970.
            random: For nonces.
            report: Takes lines for the log.
            disk: Where lists are cached.
            caches: Whether lists are cached there at present.
            certificates: Fetches what peers refer to. With a fetcher and a desk of its own: who
                has proved nothing must not keep others from theirs, nor bring servers into
                disrepute.
        """
        self.options = options
        self.fetcher = fetcher
        self.desk = desk
        self.knowledge = Knowledge()
        self.disk = disk
        self.wall_clock = wall_clock
        self.random = random
        self.report = report
        self._uris = uris
        self._caches = caches
        self.certificates = certificates

    # -- what is known ------------------------------------------------------------------------

    def status(self, certificate: Certificate, issuer: Certificate) -> OcspStatus | None:
        """Return what OCSP said of a certificate: a revocation, or what is still fresh."""
        status = self.knowledge.status(CertificateKey.of(certificate, issuer))
        if status is None or status.is_revoked or self.wall_clock() < status.fresh_until:
            return status
        return None

    def lists(self, issuer: Certificate) -> list[Crl]:
        """Return the lists of a CA that were fetched."""
        return [entry.crl for entry in self.knowledge.lists(IssuerKey.of(issuer))]

    def inquiry(
        self, certificate: Certificate, issuer: Certificate, *, listed: bool
    ) -> Inquiry | None:
        """Return what there is to ask about a certificate; None if it was asked a moment ago.

        The issuer has to be trusted: the URIs of a certificate count once its signature is good.

        Args:
            certificate: The certificate.
            issuer: The CA certificate above it.
            listed: A list that has not expired says that it is good: no other one is wanted.
        """
        ocsp, lists = self._places(certificate, issuer)
        key = CertificateKey.of(certificate, issuer)
        if self._is_refused(key, Way.OCSP):
            ocsp = ()
        if listed or self._is_refused(key, Way.LIST):
            lists = ()
        return Inquiry(self, certificate, issuer, ocsp, lists) if ocsp or lists else None

    def _is_refused(self, key: CertificateKey, way: Way) -> bool:
        refusal = self.knowledge.refusal(key, way)
        return refusal is not None and self.wall_clock() < refusal.until

    def why_unknown(self, certificate: Certificate, issuer: Certificate) -> str:
        """Return what went wrong when it was asked, empty if it was not."""
        key = CertificateKey.of(certificate, issuer)
        refusals = [(way, self.knowledge.refusal(key, way)) for way in Way]
        return "; ".join(f"{way.value} {refusal.text}" for way, refusal in refusals if refusal)

    def _places(
        self, certificate: Certificate, issuer: Certificate
    ) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
        """Return the OCSP responders and the places of lists: the configured ones first."""
        configured = tuple(self._uris(issuer))
        extensions = certificate.extensions
        ocsp = [Place(uri, True) for entry in configured for uri in entry.ocsp]
        ocsp += [Place(uri, False) for uri in extensions.ocsp_uris]
        lists = [Place(uri, True) for entry in configured for uri in entry.crl]
        lists += [Place(uri, False) for uri in extensions.crl_uris]
        return _few(ocsp), _few(lists)

    # -- lists: these block -------------------------------------------------------------------

    def fetch_list(self, source: Source, patience: float | None = None) -> None:
        """Fetch a list and keep it.

        Raises:
            FetchError: It is not to be had.
            CrlError: It is not the CA's, or has expired.
        """
        self.report(f"fetching CRL from '{source.uri}'")
        request = FetchRequest(source.uri, accept=CRL_TYPE, configured=source.configured)
        data = self.fetcher.fetch(request, patience)
        fetched = read_list(data, source, self.wall_clock())
        if not self.knowledge.keep_list(IssuerKey.of(source.issuer), fetched):
            message = "it is older than the one that is here"
            raise CrlError(message)
        if self.disk is not None and self._caches():
            self.disk.save(source.issuer, fetched.crl)

    def load_cached(self, issuer: Certificate) -> None:
        """Take the lists of a CA from the disk, unless there are any already."""
        key = IssuerKey.of(issuer)
        if self.disk is None or not self._caches() or self.knowledge.lists(key):
            return
        for crl in self.disk.load(issuer):
            problem = list_problem(crl, issuer, self.wall_clock())
            if problem is None:
                self.knowledge.keep_list(key, FetchedList(crl, None))
            else:
                self.report(f"cached CRL of '{issuer.subject}' is not used: {problem}")

    def refresh_lists(self) -> None:
        """Have lists fetched anew that expire soon; never waits."""
        soon = self.wall_clock() + self.options.refresh
        for entry in self.knowledge.all_lists():
            source, due = entry.source, entry.crl.next_update
            if source is not None and due is not None and due <= soon:
                name = f"newer CRL from '{source.uri}'"
                self.desk.ask(("refresh", source.uri), name, _Refresh(self, source), _nothing)

    def flush(self, *, statuses: bool = False, lists: bool = False) -> None:
        """Forget answers of OCSP, or lists in memory, and which servers are dead."""
        self.knowledge.flush(statuses=statuses, lists=lists)
        self.fetcher.forget_failures()


class _Refresh:
    """Fetches one list anew."""

    def __init__(self, service: RevocationService, source: Source) -> None:
        self._service = service
        self._source = source

    def __call__(self) -> None:
        try:
            self._service.fetch_list(self._source)
        except (FetchError, CrlError) as error:
            self._service.report(f"CRL '{self._source.uri}' stays as it is: {error}")


def _few(places: list[Place]) -> tuple[Place, ...]:
    by_uri: dict[str, Place] = {}
    for place in places:
        by_uri.setdefault(place.uri, place)
    return tuple(by_uri.values())[:MAX_PLACES]


def _nothing() -> None:
    """Nobody waits for it."""
