"""Virtual addresses and attributes for peers, from whoever provides them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from charon_core.attributes.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable


class AttributeProvider(Protocol):
    """A source of virtual addresses. Every call may come from any thread."""

    name: str

    def acquire(self, pool: str, identity: str, wanted: str | None) -> str | None:
        """Lease an address of a pool, or None: not my pool, or all are in use."""
        ...

    def release(self, pool: str, identity: str, address: str) -> bool:
        """End a lease; False: not mine."""
        ...


class MemoryPools:
    """Pools in memory, made when a connection names them first.

    Leases survive the connection that made the pool: it stays for as long as the daemon runs.
    """

    name = "memory"

    def __init__(self) -> None:
        # Guards the table, not the pools.
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}

    def add(self, text: str) -> Pool:
        """Return the pool of this text, made now if it is new.

        Raises:
            ValueError: The text describes no pool.
        """
        with self._lock:
            pool = self._pools.get(text)
            if pool is None:
                pool = self._pools[text] = Pool.parse(text)
            return pool

    def all(self) -> tuple[Pool, ...]:
        """Return all pools, oldest first."""
        with self._lock:
            return tuple(self._pools.values())

    def acquire(self, pool: str, identity: str, wanted: str | None) -> str | None:
        """Lease an address of a pool."""
        found = self._pools.get(pool)
        return None if found is None else found.acquire(identity, wanted)

    def release(self, pool: str, identity: str, address: str) -> bool:
        """End a lease."""
        found = self._pools.get(pool)
        return found is not None and found.release(identity, address)


class AttributeManager:
    """Asks the providers in the order in which they were added."""

    def __init__(self) -> None:
        self.memory = MemoryPools()
        """The pools of connections; always there."""
        # Replaced as a whole, never changed.
        self._providers: tuple[AttributeProvider, ...] = (self.memory,)

    def add_provider(self, provider: AttributeProvider) -> None:
        """Add a source of addresses."""
        self._providers = (*self._providers, provider)

    def remove_provider(self, provider: AttributeProvider) -> None:
        """Take a source back."""
        self._providers = tuple(known for known in self._providers if known is not provider)

    def acquire(
        self, pools: Iterable[str], identity: str, wanted: str | None
    ) -> tuple[str, str] | None:
        """Lease an address from the first of the pools that has one.

        Returns:
            The pool's name and the address, or None.
        """
        for pool in pools:
            for provider in self._providers:
                address = provider.acquire(pool, identity, wanted)
                if address is not None:
                    return pool, address
        return None

    def release(self, pool: str, identity: str, address: str) -> bool:
        """End a lease; False if nobody knows it."""
        return any(provider.release(pool, identity, address) for provider in self._providers)
