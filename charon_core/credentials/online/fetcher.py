"""Fetches what a URI names: one fetch a URI at a time, and dead servers are left alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from charon_core.credentials.online.request import (
    Failure,
    FetchError,
    FetchLimits,
    FetchRequest,
    SchemeFetcher,
    split_uri,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_FAILURES: Final = 512
"""URIs that failed and are remembered; the oldest give way."""

_BUILT_IN: Final = frozenset({"http", "https", "file"})
_OF_THE_SERVER: Final = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT, Failure.FORBIDDEN})
"""Failures that are the same whatever is posted."""

_Key = tuple[str, bytes | None, bool]
"""URI, what is posted, whether the URI is configured: then more is allowed."""

_ANYTHING: Final = b""
"""In the place of what is posted: the failure does not depend on that."""


class _Flight:
    """A fetch under way; all who want the same wait for its end."""

    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result = b""
        self.error: FetchError | None = None


@dataclass(slots=True)
class _Penalty:
    """What a failure costs its URI."""

    until: float
    delay: float
    error: FetchError


class Fetcher:
    """Fetches; shared by threads. `fetch` blocks: it is for workers that hold nothing.

    How many fetch at once is bounded by who calls (`Desk`).
    """

    def __init__(
        self,
        limits: FetchLimits,
        schemes: Mapping[str, SchemeFetcher],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without any memory.

        Args:
            limits: What a fetch may cost.
            schemes: Who fetches by which scheme; may change at any time.
            clock: Monotonic seconds.
        """
        self._limits = limits
        self._schemes = schemes
        self._clock = clock
        # Guards the two below.
        self._lock = threading.Lock()
        self._flights: dict[_Key, _Flight] = {}
        self._penalties: OrderedDict[_Key, _Penalty] = OrderedDict()

    def fetch(self, request: FetchRequest, patience: float | None = None) -> bytes:
        """Return what is there.

        Args:
            request: What to fetch.
            patience: Seconds that it may take at the most, if less than the limits say.

        Raises:
            FetchError: It is not to be had: now, or a moment ago.
        """
        handler = self._handler(request)
        size = min(request.max_size or self._limits.max_size, self._limits.max_size)
        request = replace(request, max_size=size)
        key = request.uri, request.body, request.configured
        deadline = self._clock() + min(patience or self._limits.timeout, self._limits.timeout)
        with self._lock:
            self._refuse_hopeless(key)
            flight = self._flights.get(key)
            is_first = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if is_first:
            self._fly(flight, key, handler, request, deadline)
        elif not flight.done.wait(max(0.0, deadline - self._clock())):
            raise FetchError(Failure.TIMEOUT, "another fetch of the same takes too long")
        if flight.error is not None:
            raise flight.error
        return flight.result

    def forget_failures(self) -> None:
        """Ask every server again."""
        with self._lock:
            self._penalties.clear()

    def _handler(self, request: FetchRequest) -> SchemeFetcher:
        scheme = split_uri(request.uri).scheme
        handler = self._schemes.get(scheme)
        if handler is None:
            raise FetchError(
                Failure.UNSUPPORTED,
                f"'{scheme}:' is not supported; publish it by http, or install a plugin for it",
            )
        # What plugins fetch, they allow.
        if not request.configured and scheme in _BUILT_IN - self._limits.schemes:
            raise FetchError(
                Failure.FORBIDDEN,
                f"certificates must not lead to '{scheme}:' (see revocation.schemes)",
            )
        return handler

    def _fly(
        self,
        flight: _Flight,
        key: _Key,
        handler: SchemeFetcher,
        request: FetchRequest,
        deadline: float,
    ) -> None:
        try:
            flight.result = handler(request, deadline)
            if len(flight.result) > request.max_size:
                flight.error = FetchError(Failure.TOO_LARGE, "the answer is too large")
        except FetchError as error:
            flight.error = error
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not leave others waiting
            text = f"the fetcher failed: {type(error).__name__}"
            flight.error = FetchError(Failure.UNREACHABLE, text)
        finally:
            if flight.error is None and not flight.result:
                flight.error = FetchError(Failure.BAD_ANSWER, "nothing came")
            with self._lock:
                self._flights.pop(key, None)
                self._note(key, flight.error)
            flight.done.set()

    def _refuse_hopeless(self, key: _Key) -> None:
        """Raise what went wrong the last time, if that is not long ago (lock held)."""
        for known in {key, _server_of(key)}:
            penalty = self._penalties.get(known)
            if penalty is not None and self._clock() < penalty.until:
                left = penalty.until - self._clock()
                text = f"{penalty.error} (not asked again for {left:.0f} s)"
                raise FetchError(penalty.error.failure, text)

    def _note(self, key: _Key, error: FetchError | None) -> None:
        """Remember a failure, or forget the former ones (lock held)."""
        server = _server_of(key)
        if error is None:
            self._penalties.pop(key, None)
            self._penalties.pop(server, None)
            return
        if error.failure in _OF_THE_SERVER:
            key = server
        former = self._penalties.pop(key, None)
        delay = self._limits.retry if former is None else former.delay * 2
        delay = min(delay, self._limits.retry_limit)
        self._penalties[key] = _Penalty(self._clock() + delay, delay, error)
        while len(self._penalties) > MAX_FAILURES:
            self._penalties.popitem(last=False)


def _server_of(key: _Key) -> _Key:
    """Return the key of failures that do not depend on what is posted."""
    return key[0], _ANYTHING, key[2]
