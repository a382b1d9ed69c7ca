"""What servers have told about certificates: verified, bounded, shared by threads."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl
    from charon_core.credentials.online.ocsp import OcspStatus

MAX_STATUSES: Final = 8192
"""Certificates of which the OCSP status is remembered."""

MAX_REFUSALS: Final = 8192
"""Certificates of which it is remembered that nobody told anything."""

MAX_LISTS: Final = 128
"""Revocation lists that are kept."""

MAX_LIST_OCTETS: Final = 64 << 20
"""Octets of all of them."""

_Key = TypeVar("_Key", bound="Hashable")
_Value = TypeVar("_Value")


class IssuerKey(NamedTuple):
    """One CA: its name and its key."""

    name: bytes
    spki: bytes

    @classmethod
    def of(cls, issuer: Certificate) -> IssuerKey:
        """Return the key of a CA certificate."""
        return cls(issuer.subject.data, issuer.public_key.spki)


class CertificateKey(NamedTuple):
    """One certificate, as revocation knows it: its issuer and its number."""

    issuer: IssuerKey
    serial: bytes

    @classmethod
    def of(cls, certificate: Certificate, issuer: Certificate) -> CertificateKey:
        """Return the key of a certificate."""
        return cls(IssuerKey.of(issuer), certificate.serial)


class Way(Enum):
    """A way in which revocation is learned; the value is how messages call its places."""

    OCSP = "OCSP responder"
    LIST = "CRL"


class Source(NamedTuple):
    """Where a revocation list comes from."""

    issuer: Certificate
    uri: str
    configured: bool


class FetchedList(NamedTuple):
    """A revocation list with its source; None where it comes from the disk."""

    crl: Crl
    source: Source | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """In one way nobody could tell about a certificate.

    Attributes:
        text: Why, with each URI.
        until: When it may be asked again, seconds since 1970.
        delay: How long that is.
    """

    text: str
    until: float
    delay: float


class Knowledge:
    """All that was learned and need not be asked again for a while."""

    def __init__(self) -> None:
        # Guards everything below.
        self._lock = Lock()
        self._statuses: OrderedDict[CertificateKey, OcspStatus] = OrderedDict()
        self._refusals: OrderedDict[tuple[CertificateKey, Way], Refusal] = OrderedDict()
        self._lists: OrderedDict[tuple[IssuerKey, bool], FetchedList] = OrderedDict()

    # -- OCSP ---------------------------------------------------------------------------------

    def status(self, key: CertificateKey) -> OcspStatus | None:
        """Return what OCSP said of a certificate; may be out of date."""
        with self._lock:
            return _used(self._statuses, key)

    def keep_status(self, key: CertificateKey, status: OcspStatus) -> bool:
        """Keep a verified answer; False for one that is older than what is known already.

        So nobody takes a revocation back by sending an old answer again.
        """
        with self._lock:
            known = self._statuses.get(key)
            if known is not None and known.this_update > status.this_update:
                return False
            for way in Way:
                self._refusals.pop((key, way), None)
            _keep(self._statuses, key, status, MAX_STATUSES)
            return True

    # -- lists --------------------------------------------------------------------------------

    def lists(self, issuer: IssuerKey) -> list[FetchedList]:
        """Return the lists of a CA, complete and delta."""
        with self._lock:
            found = [_used(self._lists, (issuer, is_delta)) for is_delta in (False, True)]
            return [entry for entry in found if entry is not None]

    def all_lists(self) -> list[FetchedList]:
        """Return every list."""
        with self._lock:
            return list(self._lists.values())

    def keep_list(self, issuer: IssuerKey, fetched: FetchedList) -> bool:
        """Keep a list whose signature is verified; False if a newer one is there."""
        key = issuer, fetched.crl.is_delta
        with self._lock:
            known = self._lists.get(key)
            if known is not None and known.crl.is_newer_than(fetched.crl):
                return False
            _keep(self._lists, key, fetched, MAX_LISTS)
            total = sum(len(entry.crl.der) for entry in self._lists.values())
            while total > MAX_LIST_OCTETS and len(self._lists) > 1:
                total -= len(self._lists.popitem(last=False)[1].crl.der)
            return True

    # -- nothing ------------------------------------------------------------------------------

    def refusal(self, key: CertificateKey, way: Way) -> Refusal | None:
        """Return why nobody could tell about a certificate the last time."""
        with self._lock:
            return self._refusals.get((key, way))

    def keep_refusal(
        self,
        key: tuple[CertificateKey, Way],
        text: str,
        now: float,
        *,
        retry: float,
        limit: float,
    ) -> None:
        """Remember that nobody could tell: each time in a row twice as long.

        Args:
            key: The certificate, and in which way it was asked.
            text: Why.
            now: Seconds since 1970.
            retry: For how long the first time, in seconds.
            limit: For how long at the most.
        """
        with self._lock:
            former = self._refusals.get(key)
            delay = min(retry if former is None else max(retry, former.delay * 2), limit)
            _keep(self._refusals, key, Refusal(text, now + delay, delay), MAX_REFUSALS)

    def forget_refusal(self, key: CertificateKey, way: Way) -> None:
        """Somebody has told."""
        with self._lock:
            self._refusals.pop((key, way), None)

    # -- forgetting ---------------------------------------------------------------------------

    def flush(self, *, statuses: bool = False, lists: bool = False) -> None:
        """Forget answers of OCSP, or lists; and in any case what nobody could tell."""
        with self._lock:
            self._refusals.clear()
            if statuses:
                self._statuses.clear()
            if lists:
                self._lists.clear()


def _used(table: OrderedDict[_Key, _Value], key: _Key) -> _Value | None:
    if key not in table:
        return None
    table.move_to_end(key)
    return table[key]


def _keep(table: OrderedDict[_Key, _Value], key: _Key, value: _Value, limit: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > limit:
        table.popitem(last=False)
