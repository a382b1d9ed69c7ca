"""Certificates that peers send as a hash and a URL (RFC 7296 section 3.6)."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha1
from hmac import compare_digest
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config import der
from charon_core.credentials.certificates import Certificate, CertificateError
from charon_core.credentials.online.request import FetchError, FetchRequest
from charon_core.credentials.x509 import Fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.credentials.online.desk import Desk
    from charon_core.credentials.online.fetcher import Fetcher

HASH_LENGTH: Final = 20

MAX_CERTIFICATE: Final = 64 << 10
"""Octets of one certificate."""

MAX_BUNDLE: Final = 256 << 10
"""Octets of a bundle."""

MAX_IN_BUNDLE: Final = 16
"""Certificates and lists of a bundle."""

MAX_FOUND: Final = 512
"""Certificates and bundles that are kept; the ones that were used last."""

MAX_FAILED: Final = 2048
"""Hashes with URLs that are remembered for having led to nothing."""

CERTIFICATE_TYPE: Final = "application/pkix-cert"

_CERTIFICATE: Final = 0xA0
_LIST: Final = 0xA1


class Reference(NamedTuple):
    """What a peer sends instead of a certificate."""

    digest: bytes
    """SHA-1 of what is at the URL."""
    url: str
    is_bundle: bool

    @classmethod
    def read(cls, data: bytes, *, is_bundle: bool) -> Reference:
        """Take the data of a CERT payload.

        Raises:
            ValueError: It holds no hash and URL.
        """
        digest, url = data[:HASH_LENGTH], data[HASH_LENGTH:]
        if len(digest) != HASH_LENGTH or not url.isascii() or not url:
            message = f"{len(data)} octets that are no SHA-1 hash and URL"
            raise ValueError(message)
        return cls(digest, url.decode("ascii"), is_bundle)


class CertificateLookup:
    """Fetches what peers refer to, and keeps it by its hash; shared by threads.

    Who sends a reference has proved nothing yet: whether it is followed at all is for the settings
    to say.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        desk: Desk,
        *,
        clock: Callable[[], float],
        report: Callable[[str], object],
        retry: float,
    ) -> None:
        """Begin without anything.

        Args:
            fetcher: Fetches.
            desk: Runs what blocks.
            clock: Seconds.
            report: Takes lines for the log.
            retry: Seconds until a reference that led to nothing is followed again.
        """
        self.fetcher = fetcher
        self.desk = desk
        self.report = report
        self._clock = clock
        self._retry = retry
        # Guards the two below.
        self._lock = Lock()
        self._found: OrderedDict[bytes, tuple[Certificate, ...]] = OrderedDict()
        self._failed: OrderedDict[Reference, float] = OrderedDict()

    def find(self, reference: Reference) -> tuple[Certificate, ...] | None:
        """Return what was fetched for a hash, None if it is not here."""
        with self._lock:
            found = self._found.get(reference.digest)
            if found is not None:
                self._found.move_to_end(reference.digest)
            return found

    def errand(self, reference: Reference) -> LookupErrand | None:
        """Return what has to be done to have it, None if that failed a moment ago."""
        with self._lock:
            until = self._failed.get(reference, 0.0)
        return None if self._clock() < until else LookupErrand(self, reference)

    def keep(self, reference: Reference, certificates: tuple[Certificate, ...]) -> None:
        """Keep what has the right hash."""
        with self._lock:
            self._failed.pop(reference, None)
            self._found[reference.digest] = certificates
            while len(self._found) > MAX_FOUND:
                self._found.popitem(last=False)

    def fail(self, reference: Reference) -> None:
        """Leave a reference alone for a while."""
        with self._lock:
            self._failed[reference] = self._clock() + self._retry
            while len(self._failed) > MAX_FAILED:
                self._failed.popitem(last=False)


class LookupErrand:
    """Fetches what one reference refers to; an `Errand`."""

    def __init__(self, lookup: CertificateLookup, reference: Reference) -> None:
        self._lookup = lookup
        self._reference = reference

    def __str__(self) -> str:
        return f"certificate at '{self._reference.url}'"

    def begin(self, on_done: Callable[[], object]) -> None:
        """Have it fetched; see `Errand`."""
        if not self._lookup.desk.ask(self._reference, str(self), self.fetch, on_done):
            self._lookup.fail(self._reference)
            on_done()

    def fetch(self) -> None:
        """Fetch it; blocks, on a worker that holds nothing."""
        lookup, reference = self._lookup, self._reference
        lookup.report(f"fetching certificate from '{reference.url}'")
        size = MAX_BUNDLE if reference.is_bundle else MAX_CERTIFICATE
        request = FetchRequest(reference.url, accept=CERTIFICATE_TYPE, max_size=size)
        try:
            data = lookup.fetcher.fetch(request)
            # Before it is parsed: what does not fit was not made by who the peer trusts.
            if not compare_digest(sha1(data, usedforsecurity=False).digest(), reference.digest):
                message = "what is there does not have the hash that the peer sent"
                raise CertificateError(message)
            read = read_bundle if reference.is_bundle else _read_one
            lookup.keep(reference, read(data))
        except (FetchError, CertificateError) as error:
            lookup.report(f"no certificate from '{reference.url}': {error}")
            lookup.fail(reference)


def _read_one(data: bytes) -> tuple[Certificate, ...]:
    return (Certificate(data),)


def read_bundle(data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates of a DER CertBundle; its revocation lists are passed over.

    Raises:
        CertificateError: It is none, or has none.
    """
    found: list[Certificate] = []
    try:
        entries = Fields(data, *der.whole(data, der.SEQUENCE))
        count = 0
        while tag := entries.next_tag():
            count += 1
            if count > MAX_IN_BUNDLE or tag not in {_CERTIFICATE, _LIST}:
                message = f"a bundle of more than {MAX_IN_BUNDLE} entries, or of something else"
                raise CertificateError(message)
            content = entries.content(tag)
            der.whole(content, der.SEQUENCE)
            if tag == _CERTIFICATE:
                found.append(Certificate(content))
    except der.DerError as error:
        message = f"not a bundle of certificates: {error}"
        raise CertificateError(message) from None
    if not found:
        message = "a bundle without certificates"
        raise CertificateError(message)
    return tuple(found)
