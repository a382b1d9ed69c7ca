"""Addresses of host names: looked up off the message path, remembered for it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Final

from charon_core.config.hosts import HostNames
from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.processing.job import Job
    from charon_core.processing.scheduler import Timer

REFRESH_INTERVAL: Final = 300.0
"""Seconds between two looks at what the names in use stand for."""


class Resolver:
    """Looks host names up, remembers the answers, and looks again from time to time.

    One for the whole daemon: who initiates, who adds a connection, and who matches a peer's
    address against the names of connections all know the same.
    """

    def __init__(
        self,
        submit: Callable[[Job], bool],
        schedule: Callable[[Job, float], Timer],
        resolve: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        """Start without any knowledge.

        Args:
            submit: Queues a job.
            schedule: Has a job run after so many seconds.
            resolve: Returns the addresses of a name, or raises OSError; the system's resolver.
        """
        self._submit = submit
        self._schedule = schedule
        self._names = HostNames(resolve or system_addresses)
        # Guards the two below.
        self._lock = threading.Lock()
        self._pending: set[str] = set()
        self._timer: Timer | None = None

    def look_up(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name (or the address itself), asking now; may take seconds.

        When the name cannot be resolved, what was known before counts.
        """
        if is_address(name):
            return (name,)
        addresses = self._names.refresh(name)
        with self._lock:
            if self._timer is None:
                self._start_timer()
        return addresses

    def known(self, name: str) -> tuple[str, ...]:
        """Return what is known now, at once, and have the name looked up for the next time."""
        if is_address(name):
            return (name,)
        with self._lock:
            ask = name not in self._pending
            self._pending.add(name)
        if ask and not self._submit(
            CallbackJob(f"look up {name}", lambda: self._refresh(name), Priority.LOW)
        ):
            with self._lock:
                self._pending.discard(name)
        return self._names(name)

    def names_of(self, address: str) -> Iterable[str]:
        """Return the names, in lower case, that last stood for an address; never waits."""
        return self._names.names_of(address)

    def _refresh(self, name: str) -> None:
        try:
            self.look_up(name)
        finally:
            with self._lock:
                self._pending.discard(name)

    def _start_timer(self) -> None:
        job = CallbackJob("look host names up again", self._refresh_all, Priority.LOW)
        self._timer = self._schedule(job, REFRESH_INTERVAL)

    def _refresh_all(self) -> None:
        try:
            for name in self._names.known:
                self._names.refresh(name)
        finally:
            with self._lock:
                self._start_timer()


def system_addresses(name: str) -> list[str]:
    """Return the addresses of a host name, as the system's resolver knows them.

    Raises:
        OSError: There are none.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    return [str(entry[4][0]).partition("%")[0] for entry in found]


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
