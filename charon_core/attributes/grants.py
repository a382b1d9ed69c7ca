"""A pool without addresses of its own: peers get what they ask for (`rightsourceip=%config`)."""

from __future__ import annotations

import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from charon_core.attributes.pool import Lease, Search

if TYPE_CHECKING:
    from collections.abc import Iterator


class Grants:
    """Grants any address that no other identity uses now.

    Whether an address may be a virtual one at all is the affair of whoever asks.
    """

    size: Final = 0
    """It has no addresses that could be counted; status output leaves it out."""
    offline: Final = 0
    """Nothing is reserved for who comes back."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Guards the table: who has an address, and how many times.
        self._lock = threading.Lock()
        self._users: dict[str, tuple[str, int]] = {}

    def acquire(
        self, identity: str, wanted: str | None = None, search: Search | None = None
    ) -> str | None:
        """Lease the address that is asked for; None if it is in use, or none is named."""
        if wanted is None or search not in {None, Search.FREE}:
            return None
        try:
            address = ip_address(wanted)
        except ValueError:
            return None
        if address.is_unspecified:
            return None
        host = str(address)
        with self._lock:
            owner, count = self._users.get(host, (identity, 0))
            if owner != identity:
                return None
            self._users[host] = (identity, count + 1)
        return host

    def release(self, identity: str, address: str) -> bool:
        """End a lease; False if there is none."""
        with self._lock:
            owner, count = self._users.get(address, ("", 0))
            if not count or owner != identity:
                return False
            if count == 1:
                del self._users[address]
            else:
                self._users[address] = (owner, count - 1)
            return True

    @property
    def online(self) -> int:
        """Addresses in use."""
        return len(self._users)

    def leases(self) -> Iterator[Lease]:
        """Yield all leases by address."""
        with self._lock:
            found = [(host, owner) for host, (owner, _) in self._users.items()]
        for host, owner in sorted(found):
            yield Lease(host, owner, online=True)
