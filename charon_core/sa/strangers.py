"""What peers that have not proved who they are occupy, in all and by address."""

from __future__ import annotations

import threading
from collections import deque
from socket import AF_INET6, inet_pton
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURE_MEMORY: Final = 4.0
"""Seconds for which a try that came to nothing counts as if it still went on: less than a peer
waits before it sends a request again."""

MAX_FAILURES: Final = 16384
"""Failures that are remembered; the oldest give way."""

_PREFIX_OCTETS: Final = 8
"""Whoever has an IPv6 address has the 2^64 of its subnet (RFC 4291 section 2.5.4)."""

Origin = str | bytes


class _Tally:
    """A number for each origin, and their sum."""

    __slots__ = ("by_origin", "total")

    def __init__(self) -> None:
        self.by_origin: dict[Origin, int] = {}
        self.total = 0

    def add(self, origin: Origin) -> None:
        self.total += 1
        self.by_origin[origin] = self.by_origin.get(origin, 0) + 1

    def take(self, origin: Origin) -> None:
        """Take one off again, if there is one."""
        number = self.by_origin.get(origin, 0)
        if not number:
            return
        self.total -= 1
        if number > 1:
            self.by_origin[origin] = number - 1
        else:
            del self.by_origin[origin]


class Strangers:
    """Counts requests for new IKE_SAs that wait for a worker, half-open IKE_SAs, recent failures.

    All three have to count where cookies and blocks are decided: requests that are refused at once
    never make a half-open IKE_SA, and cost as much; and many fit between the arrival of the first
    and the moment when it is half-open. Thread-safe.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with nobody.

        Args:
            clock: Monotonic seconds.
        """
        self._clock = clock
        # Guards everything below.
        self._lock = threading.Lock()
        self._waiting = _Tally()
        self._half_open = _Tally()
        self._failed = _Tally()
        self._failures: deque[tuple[float, Origin]] = deque()

    def arrive(self, host: str) -> None:
        """Count a request that waits for a worker from now on."""
        with self._lock:
            self._waiting.add(origin_of(host))

    def begin(self, host: str) -> None:
        """A worker has the request, or nobody ever will; one that was not counted is ignored."""
        with self._lock:
            self._waiting.take(origin_of(host))

    def occupy(self, host: str) -> None:
        """Count a half-open IKE_SA."""
        with self._lock:
            self._half_open.add(origin_of(host))

    def release(self, host: str, *, failed: bool) -> None:
        """An IKE_SA is not half-open any more.

        Args:
            host: The peer, as it was when the IKE_SA was counted.
            failed: It ended unauthenticated.
        """
        origin = origin_of(host)
        with self._lock:
            self._half_open.take(origin)
            if failed:
                self._failed.add(origin)
                self._failures.append((self._clock() + FAILURE_MEMORY, origin))
                if len(self._failures) > MAX_FAILURES:
                    self._failed.take(self._failures.popleft()[1])

    def half_open(self, address: str | None = None) -> int:
        """Return the number of half-open IKE_SAs alone, in total or with an address."""
        if address is None:
            return self._half_open.total
        return self._half_open.by_origin.get(origin_of(address), 0)

    def count(self, address: str | None = None) -> int:
        """Return all that strangers occupy, in total or from an address and its neighbours."""
        with self._lock:
            self._forget_failures()
            tallies = (self._waiting, self._half_open, self._failed)
            if address is None:
                return sum([tally.total for tally in tallies])
            origin = origin_of(address)
            return sum([tally.by_origin.get(origin, 0) for tally in tallies])

    def _forget_failures(self) -> None:
        """Drop the failures that are long past (lock held)."""
        failures = self._failures
        if failures:
            now = self._clock()
            while failures and failures[0][0] <= now:
                self._failed.take(failures.popleft()[1])


def origin_of(host: str) -> Origin:
    """Return what limits by address count by: the address, or its subnet where it is IPv6."""
    if ":" not in host:
        return host
    return inet_pton(AF_INET6, host.partition("%")[0])[:_PREFIX_OCTETS]
