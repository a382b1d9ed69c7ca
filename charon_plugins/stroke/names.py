"""Host names of connections: looked up when a connection comes, and again from time to time."""

from __future__ import annotations

import socket
from threading import Lock
from typing import TYPE_CHECKING, Final

from charon_core.config.hosts import HostNames
from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.processing.job import Job
    from charon_core.processing.scheduler import Timer

#: Seconds between two looks at what the names stand for.
REFRESH_INTERVAL: Final = 300.0


class NameKeeper:
    """Knows which addresses the names stand for that connections use.

    Looking up blocks, so it happens on worker threads: while a connection is added, and in a job
    that comes again as long as there are names.
    """

    def __init__(
        self,
        schedule: Callable[[Job, float], Timer],
        resolve: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        """Prepare.

        Args:
            schedule: has a job run after so many seconds.
            resolve: addresses of a name; by default the system's resolver.
        """
        self._schedule = schedule
        self._names = HostNames(resolve or system_addresses)
        # Guards the two below.
        self._lock = Lock()
        self._timer: Timer | None = None
        self._is_closed = False

    def look_up(self, name: str) -> tuple[str, ...]:
        """Addresses of a name, asked for now; the name is remembered."""
        addresses = self._names.refresh(name)
        with self._lock:
            if self._timer is None:
                self._start_timer()
        return addresses

    def names_of(self, address: str) -> Iterable[str]:
        """Names that last stood for an address; never blocks."""
        return self._names.names_of(address)

    def close(self) -> None:
        """Look nothing up any more."""
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()

    def _start_timer(self) -> None:
        if not self._is_closed:
            job = CallbackJob("stroke: look host names up", self._refresh, Priority.LOW)
            self._timer = self._schedule(job, REFRESH_INTERVAL)

    def _refresh(self) -> None:
        for name in self._names.known:
            self._names.refresh(name)
        with self._lock:
            self._start_timer()


def system_addresses(name: str) -> list[str]:
    """Addresses of a host name.

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    return [str(entry[4][0]).partition("%")[0] for entry in found]
