"""The pools that connections name, in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from charon_core.attributes.grants import Grants
from charon_core.attributes.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.attributes.pool import Search
    from charon_core.encoding.payloads import ConfigurationAttribute


class MemoryPools:
    """Pools in memory, made when a connection names them first.

    Leases survive the connection that made the pool: it stays for as long as the daemon runs.
    Two texts for the same addresses name one pool, or an address could be leased twice.
    """

    name = "memory"

    def __init__(self) -> None:
        # Guards the table, not the pools.
        self._lock = threading.Lock()
        self._pools: dict[str, Pool | Grants] = {}

    def add(self, text: str) -> Pool:
        """Return the pool of this text, made now if it is new.

        Raises:
            ValueError: The text describes no pool.
        """
        with self._lock:
            pool = self._pools.get(text)
            if isinstance(pool, Pool):
                return pool
            pool = Pool.parse(text)
            for known in self._pools.values():
                if isinstance(known, Pool) and (known.first, known.size) == (pool.first, pool.size):
                    pool = known
                    break
            self._pools[text] = pool
            return pool

    def add_grants(self, name: str) -> Grants:
        """Return the pool of this name that grants what peers ask for, made now if it is new."""
        with self._lock:
            pool = self._pools.get(name)
            if not isinstance(pool, Grants):
                pool = self._pools[name] = Grants(name)
            return pool

    def overlapping(self, pool: Pool) -> tuple[str, ...]:
        """Return the names of other pools that have addresses in common with this one."""
        return tuple(
            known.name
            for known in self.all()
            if known is not pool and isinstance(known, Pool) and known.overlaps(pool)
        )

    def all(self) -> tuple[Pool | Grants, ...]:
        """Return all pools, oldest first."""
        with self._lock:
            return tuple(dict.fromkeys(self._pools.values()))

    def find(self, name: str) -> Pool | Grants | None:
        """Return the pool of this name, or None."""
        return self._pools.get(name)

    def acquire(
        self, pool: str, identity: str, wanted: str | None, search: Search | None = None
    ) -> str | None:
        """Lease an address of a pool."""
        found = self._pools.get(pool)
        return None if found is None else found.acquire(identity, wanted, search)

    def release(self, pool: str, identity: str, address: str) -> bool:
        """End a lease."""
        found = self._pools.get(pool)
        return found is not None and found.release(identity, address)

    def attributes(
        self,
        pools: Iterable[str],  # noqa: ARG002 - addresses are all that it has
        identity: str,  # noqa: ARG002
    ) -> Iterable[ConfigurationAttribute]:
        """Have nothing but addresses."""
        return ()
