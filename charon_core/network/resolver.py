"""Addresses of host names: looked up off the message path, remembered for it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Final

from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.processing.job import Job

_MAX_NAMES: Final = 10_000
"""Names that are remembered; beyond, the oldest is forgotten."""


class Resolver:
    """Looks host names up with the system's resolver and remembers the last answer."""

    def __init__(self, submit: Callable[[Job], bool]) -> None:
        """Start without any knowledge.

        Args:
            submit: Queues a job.
        """
        self._submit = submit
        # Guards the two below.
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, ...]] = {}
        self._pending: set[str] = set()

    def look_up(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name (or the address itself), asking now; may take seconds.

        When the name cannot be resolved, what was known before counts.
        """
        if is_address(name):
            return (name,)
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except OSError:
            return self._remembered(name)
        addresses = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        with self._lock:
            self._known.pop(name, None)
            self._known[name] = addresses
            while len(self._known) > _MAX_NAMES:
                del self._known[next(iter(self._known))]
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
        return self._remembered(name)

    def _remembered(self, name: str) -> tuple[str, ...]:
        with self._lock:
            return self._known.get(name, ())

    def _refresh(self, name: str) -> None:
        try:
            self.look_up(name)
        finally:
            with self._lock:
                self._pending.discard(name)


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
