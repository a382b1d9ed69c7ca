"""A pool of virtual addresses in memory, whose leases stick to identities."""

from __future__ import annotations

import threading
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE: Final = 1 << 31
"""Addresses that a pool may have; a larger range is used up to this one."""


class Search(Enum):
    """Where an address is looked for. All pools are asked for one before the next one's turn."""

    FORMER = "former"
    """What the identity had before."""
    FREE = "free"
    """What nobody ever had."""
    RECYCLED = "recycled"
    """What others had and do not use now, the longest first."""


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
        self.first = first
        # Guards everything below.
        self._lock = threading.Lock()
        self._unused = 0
        # What was wished for by name, beyond _unused.
        self._ahead: set[int] = set()
        self._online: dict[str, dict[int, int]] = {}
        self._owners: dict[int, str] = {}
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

    def overlaps(self, other: Pool) -> bool:
        """Whether both serve an address, which then could have two users at once."""
        if self.first.version != other.first.version:
            return False
        begin = max(int(self.first), int(other.first))
        return begin < min(int(self.first) + self.size, int(other.first) + other.size)

    def acquire(
        self, identity: str, wanted: str | None = None, search: Search | None = None
    ) -> str | None:
        """Lease an address.

        Args:
            identity: Who asks.
            wanted: The address that it would like to have; it may get another one. `0.0.0.0` and
                `::` stand for any one of their family, None for any at all.
            search: Where to look; None for everywhere, in order.

        Returns:
            The address; None if all are in use, or the pool is of another family.
        """
        if wanted is not None and _family(wanted) != self.first.version:
            return None
        with self._lock:
            searches = tuple(Search) if search is None else (search,)
            for where in searches:
                offset = self._choose(where, identity, self._offset(wanted))
                if offset is not None:
                    leases = self._online.setdefault(identity, {})
                    leases[offset] = leases.get(offset, 0) + 1
                    self._owners[offset] = identity
                    return str(self.first + offset)
        return None

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
                del leases[offset], self._owners[offset]
                if not leases:
                    del self._online[identity]
                self._offline[offset] = identity
                self._last[identity] = offset
            return True

    @property
    def online(self) -> int:
        """Addresses in use."""
        with self._lock:
            return len(self._owners)

    @property
    def offline(self) -> int:
        """Addresses that nobody uses now, but somebody has used."""
        return len(self._offline)

    def leases(self) -> Iterator[Lease]:
        """Yield all leases by address."""
        with self._lock:
            found = [(offset, identity, True) for offset, identity in self._owners.items()]
            found += [(offset, identity, False) for offset, identity in self._offline.items()]
        for offset, identity, online in sorted(found):
            yield Lease(str(self.first + offset), identity, online)

    def _offset(self, address: str | None) -> int | None:
        if address is None:
            return None
        try:
            value = ip_address(address)
        except ValueError:
            return None
        offset = int(value) - int(self.first)
        fits = value.version == self.first.version and 0 <= offset < self.size
        return offset if fits else None

    def _choose(self, where: Search, identity: str, wanted: int | None) -> int | None:
        """Take an address out of where it is; the lock is held."""
        if where is Search.FORMER:
            return self._former(identity, wanted)
        if where is Search.FREE:
            return self._free(wanted)
        for offset in self._offline:
            self._forget(offset)
            return offset
        return None

    def _former(self, identity: str, wanted: int | None) -> int | None:
        for offset in (wanted, self._last.get(identity)):
            if offset is not None and self._offline.get(offset) == identity:
                del self._offline[offset]
                return offset
        # Who authenticates anew before it gives up its old IKE_SA asks for what it has.
        if wanted is not None and self._owners.get(wanted) == identity:
            return wanted
        return None

    def _free(self, wanted: int | None) -> int | None:
        if wanted is not None and wanted >= self._unused and wanted not in self._ahead:
            self._ahead.add(wanted)
            return wanted
        while self._unused in self._ahead:
            self._ahead.remove(self._unused)
            self._unused += 1
        if self._unused >= self.size:
            return None
        self._unused += 1
        return self._unused - 1

    def _forget(self, offset: int) -> None:
        former = self._offline.pop(offset)
        if self._last.get(former) == offset:
            del self._last[former]


def _family(address: str) -> int:
    return 6 if ":" in address else 4
