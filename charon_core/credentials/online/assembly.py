"""Puts together what asks servers about certificates, once a daemon first needs it."""

from __future__ import annotations

import time
from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.credentials.online.addresses import NameLookup
from charon_core.credentials.online.desk import Desk
from charon_core.credentials.online.disk import DiskCache
from charon_core.credentials.online.fetcher import Fetcher
from charon_core.credentials.online.files import fetch_file
from charon_core.credentials.online.http import HttpFetcher
from charon_core.credentials.online.lookup import CertificateLookup
from charon_core.credentials.online.request import AddressPolicy, FetchLimits
from charon_core.credentials.online.service import RevocationOptions, RevocationService
from charon_core.crypto.random import SystemRandom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from charon_core.credentials.manager import CredentialManager
    from charon_core.credentials.online.request import SchemeFetcher
    from charon_core.processing.job import Job
    from charon_core.settings.revocation import RevocationSettings

PLACES_IN_TIME: Final = 2
"""How many places in a row may time out for one certificate."""

MAX_STRANGERS: Final = 64
"""References of peers that wait for their turn."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a daemon gives.

    Attributes:
        submit: Queues a job.
        threads: Workers that jobs have.
        crl_cache: Folder for lists.
        report: Takes lines for the log.
    """

    submit: Callable[[Job], bool]
    threads: int
    crl_cache: Path
    report: Callable[[str], object]


def assemble(
    settings: RevocationSettings, credentials: CredentialManager, daemon: Surroundings
) -> RevocationService:
    """Return a service as the settings want it."""
    limits = FetchLimits(
        timeout=settings.timeout,
        connect_timeout=settings.connect_timeout,
        max_size=settings.max_size,
        addresses=AddressPolicy(settings.addresses),
        schemes=frozenset(settings.schemes),
        retry=settings.retry,
    )
    http = HttpFetcher(limits, NameLookup(daemon.submit))
    schemes: dict[str, SchemeFetcher] = {"http": http, "https": http, "file": fetch_file}
    workers = min(settings.max_fetches, max(1, daemon.threads // 2))
    options = RevocationOptions(
        limits=limits,
        total_timeout=PLACES_IN_TIME * settings.timeout,
        ocsp_nonce=settings.ocsp_nonce,
        refresh=settings.refresh,
    )
    return RevocationService(
        options,
        Fetcher(limits, ChainMap(schemes, credentials.fetchers)),
        Desk(daemon.submit, workers, daemon.report),
        uris=credentials.authority_uris,
        wall_clock=time.time,
        random=SystemRandom(),
        report=daemon.report,
        disk=DiskCache(daemon.crl_cache, settings.max_size, daemon.report),
        caches=lambda: credentials.caches_lists,
        certificates=_for_strangers(settings, limits, max(1, workers // 2), daemon),
    )


def _for_strangers(
    settings: RevocationSettings, limits: FetchLimits, workers: int, daemon: Surroundings
) -> CertificateLookup:
    """Return what follows references of peers: apart from all that serves the others."""
    http = HttpFetcher(limits, NameLookup(daemon.submit, at_once=workers))
    return CertificateLookup(
        Fetcher(limits, {"http": http, "https": http}),
        Desk(daemon.submit, workers, daemon.report, waiting=MAX_STRANGERS),
        clock=time.time,
        report=daemon.report,
        retry=settings.retry,
    )
