"""All servers of the world, as a test has them answer; and workers that run when it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.credentials.online.desk import Desk
from charon_core.credentials.online.fetcher import Fetcher
from charon_core.credentials.online.lookup import CertificateLookup
from charon_core.credentials.online.request import (
    Failure,
    FetchError,
    FetchRequest,
)
from charon_core.credentials.online.service import RevocationOptions, RevocationService
from tests.unit.credentials.pki import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.credentials.manager import CredentialManager
    from charon_core.processing.job import Job

Answer = bytes | FetchError


class Fixed:
    """Random octets that are always the same."""

    def bytes(self, n: int) -> bytes:
        return bytes(range(n))


class Servers:
    """Answers requests from a table; what is not in it does not exist.

    `clock` says how late it is, in seconds since 1970; it is the monotonic clock, too.
    """

    def __init__(
        self,
        clock: Callable[[], float] = lambda: NOW,
        *,
        options: RevocationOptions | None = None,
        at_once: int = 2,
    ) -> None:
        self.clock = clock
        self.options = options or RevocationOptions()
        self.at_once = at_once
        self.answers: dict[str, Answer | Callable[[FetchRequest], Answer]] = {}
        self.requests: list[FetchRequest] = []
        self.jobs: list[Job] = []
        self.lines: list[str] = []

    def attach(self, credentials: CredentialManager) -> None:
        """Have a daemon ask these servers."""
        credentials._make_online = lambda: self.service(credentials)

    def service(self, credentials: CredentialManager) -> RevocationService:
        limits = self.options.limits
        schemes = {"http": self._fetch, "file": self._fetch}
        return RevocationService(
            self.options,
            Fetcher(limits, schemes, self.clock),
            Desk(self._submit, self.at_once, self.lines.append),
            uris=credentials.authority_uris,
            wall_clock=self.clock,
            random=Fixed(),
            report=self.lines.append,
            certificates=CertificateLookup(
                Fetcher(limits, schemes, self.clock),
                Desk(self._submit, self.at_once, self.lines.append, waiting=8),
                clock=self.clock,
                report=self.lines.append,
                retry=limits.retry,
            ),
        )

    @property
    def asked(self) -> list[str]:
        """The URIs that were asked, in order."""
        return [request.uri for request in self.requests]

    def work(self) -> int:
        """Run the queued jobs, and those that they queue; returns their number."""
        count = 0
        while self.jobs:
            self.jobs.pop(0).execute()
            count += 1
        return count

    def _submit(self, job: Job) -> bool:
        self.jobs.append(job)
        return True

    def _fetch(self, request: FetchRequest, _deadline: float) -> bytes:
        self.requests.append(request)
        answer = self.answers.get(request.uri, FetchError(Failure.TIMEOUT, "no answer in time"))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, FetchError):
            raise answer
        return answer


DEAD = FetchError(Failure.TIMEOUT, "no answer in time")
