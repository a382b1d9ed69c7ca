"""A pool of virtual addresses in memory, whose leases stick to identities."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE: Final = 1 << 31
"""Addresses that a pool may have; a larger range is used up to this one."""


class Lease(NamedTuple):
    """An address and who has it, or had it last."""

    address: str
    identity: str
    online: bool


class Pool:
    """Addresses from `first` on, given out to identities.

    An identity gets back the address that it had before; then addresses that nobody ever had are
    given out; then those that are offline, the longest first.
    """

    def __init__(self, name: str, first: IPv4Address | IPv6Address, size: int) -> None:
        """Make a pool.

        Raises:
            ValueError: The size is negative.
        """
        if size < 0:
            raise ValueError(f"pool '{name}' has a size of {size}, expected 0 or more")
        self.name = name
        self.size = min(size, MAX_SIZE)
        self._first = first
        # Guards everything below.
        self._lock = threading.Lock()
        self._unused = 0
        self._online: dict[str, dict[int, int]] = {}
        self._offline: dict[int, str] = {}
        self._last: dict[str, int] = {}

    @classmethod
    def parse(cls, text: str) -> Pool:
        """Make a pool of `10.9.0.0/24`, `10.9.0.5/24` or `10.9.0.1-10.9.0.9`.

        A network whose address is given as such serves all but the first address and, with
        IPv4, the last one; an address inside a network begins there.

        Raises:
            ValueError: The text is none of these.
        """
        try:
            if "-" in text:
                first, _, last = text.partition("-")
                begin, end = ip_address(first.strip()), ip_address(last.strip())
                if begin.version != end.version or int(end) < int(begin):
                    raise ValueError("the range is empty")
                return cls(text, begin, int(end) - int(begin) + 1)
            network = ip_network(text, strict=False)
            begin = ip_address(text.partition("/")[0])
        except ValueError as error:
            raise ValueError(
                f"'{text}' is not a pool, expected network/bits or from-to: {error}"
            ) from None
        size = network.num_addresses - (int(begin) - int(network.network_address))
        if network.num_addresses > 2:
            size -= 1 if begin.version == 4 else 0
            if begin == network.network_address:
                begin, size = begin + 1, size - 1
        return cls(text, begin, size)

    def acquire(self, identity: str, wanted: str | None = None) -> str | None:
        """Lease an address.

        Args:
            identity: Who asks.
            wanted: The address that it would like to have; it may get another one.

        Returns:
            The address, or None if all are in use.
        """
        with self._lock:
            offset = self._choose(identity, self._offset(wanted))
            if offset is None:
                return None
            leases = self._online.setdefault(identity, {})
            leases[offset] = leases.get(offset, 0) + 1
            return str(self._first + offset)

    def release(self, identity: str, address: str) -> bool:
        """End a lease; it stays reserved for the identity as long as the pool allows.

        Returns:
            Whether there was such a lease.
        """
        with self._lock:
            offset = self._offset(address)
            leases = self._online.get(identity)
            if offset is None or leases is None or offset not in leases:
                return False
            leases[offset] -= 1
            if not leases[offset]:
                del leases[offset]
                if not leases:
                    del self._online[identity]
                self._offline[offset] = identity
                self._last[identity] = offset
            return True

    @property
    def online(self) -> int:
        """Addresses in use."""
        with self._lock:
            return sum(map(len, self._online.values()))

    @property
    def offline(self) -> int:
        """Addresses that nobody uses now, but somebody has used."""
        return len(self._offline)

    def leases(self) -> Iterator[Lease]:
        """Yield all leases by address."""
        with self._lock:
            found = [
                (offset, identity, True)
                for identity, offsets in self._online.items()
                for offset in offsets
            ] + [(offset, identity, False) for offset, identity in self._offline.items()]
        for offset, identity, online in sorted(found):
            yield Lease(str(self._first + offset), identity, online)

    def _offset(self, address: str | None) -> int | None:
        if address is None:
            return None
        try:
            value = ip_address(address)
        except ValueError:
            return None
        offset = int(value) - int(self._first)
        fits = value.version == self._first.version and 0 <= offset < self.size
        return offset if fits else None

    def _choose(self, identity: str, wanted: int | None) -> int | None:
        """Take an address out of where it is; the lock is held."""
        for offset in (wanted, self._last.get(identity)):
            if offset is not None and self._offline.get(offset) == identity:
                del self._offline[offset]
                return offset
        if self._unused < self.size:
            self._unused += 1
            return self._unused - 1
        for offset in self._offline:
            former = self._offline.pop(offset)
            if self._last.get(former) == offset:
                del self._last[former]
            return offset
        return None
