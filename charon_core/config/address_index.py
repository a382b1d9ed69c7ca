"""An index from address patterns to whatever is configured under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from charon_core.config.hosts import HostKind, parse_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.config.hosts import HostPattern

_Item = TypeVar("_Item")


class AddressIndex(Generic[_Item]):
    """Items under the address patterns by which they are found; not locked.

    Hosts and names are found by one look-up, networks by one for each prefix length in use.
    Only ranges, which are rare, are gone through.
    """

    __slots__ = ("_any", "_hosts", "_names", "_networks", "_ranges")

    def __init__(self) -> None:
        self._hosts: dict[tuple[int, int], dict[int, _Item]] = {}
        self._names: dict[str, dict[int, _Item]] = {}
        self._networks: dict[tuple[int, int], dict[int, dict[int, _Item]]] = {}
        self._ranges: dict[HostPattern, dict[int, _Item]] = {}
        self._any: dict[int, dict[int, _Item]] = {}

    def put(self, patterns: Iterable[HostPattern], key: int, item: _Item) -> None:
        """File an item, under a key that orders the results; replaces an item with that key."""
        for pattern in patterns:
            self._place(pattern)[key] = item

    def drop(self, patterns: Iterable[HostPattern], key: int) -> None:
        """Take out what was filed under a key; empty places vanish with it."""
        for pattern in patterns:
            place = self._place(pattern)
            place.pop(key, None)
            if not place:
                self._clear(pattern)

    def find(self, host: str, names_of: Callable[[str], Iterable[str]]) -> dict[int, _Item]:
        """Return the items of every pattern that a host may fit, by their keys.

        Raises:
            ValueError: `host` is not an address.
        """
        family, number = parse_host(host)
        found: dict[int, _Item] = {}
        found.update(self._hosts.get((family, number), ()))
        for name in names_of(host):
            found.update(self._names.get(name, ()))
        width = 32 if family == 4 else 128
        for (network_family, prefix), networks in self._networks.items():
            if network_family == family:
                found.update(networks.get(number >> (width - prefix), ()))
        for pattern, items in self._ranges.items():
            if pattern.family == family and pattern.low <= number <= pattern.high:
                found.update(items)
        found.update(self._any.get(0, ()))
        found.update(self._any.get(family, ()))
        return found

    def _place(self, pattern: HostPattern) -> dict[int, _Item]:
        kind = pattern.kind
        if kind is HostKind.HOST:
            return self._hosts.setdefault((pattern.family, pattern.low), {})
        if kind is HostKind.NAME:
            return self._names.setdefault(pattern.text, {})
        if kind is HostKind.ANY:
            return self._any.setdefault(pattern.family, {})
        if kind is HostKind.RANGE:
            return self._ranges.setdefault(pattern, {})
        networks = self._networks.setdefault((pattern.family, pattern.prefix), {})
        return networks.setdefault(_network_number(pattern), {})

    def _clear(self, pattern: HostPattern) -> None:
        kind = pattern.kind
        if kind is HostKind.HOST:
            del self._hosts[pattern.family, pattern.low]
        elif kind is HostKind.NAME:
            del self._names[pattern.text]
        elif kind is HostKind.ANY:
            del self._any[pattern.family]
        elif kind is HostKind.RANGE:
            del self._ranges[pattern]
        else:
            networks = self._networks[pattern.family, pattern.prefix]
            del networks[_network_number(pattern)]
            if not networks:
                del self._networks[pattern.family, pattern.prefix]


def _network_number(pattern: HostPattern) -> int:
    return pattern.low >> ((32 if pattern.family == 4 else 128) - pattern.prefix)
