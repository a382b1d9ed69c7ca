"""Addresses as configurations write them: hosts, names, networks, ranges, and how one matches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SCORE_HOST: Final = 129
"""The pattern is exactly this address."""

SCORE_ANY: Final = 1
"""The pattern is any address, or a range that is no network."""

_ANY_FAMILIES: Final = {"%any": 0, "": 0, "%any4": 4, "0.0.0.0": 4, "%any6": 6, "::": 6}
_HOST_BITS: Final = {4: 32, 6: 128}

ResolvedNames = "Callable[[str], Iterable[str]]"


class HostKind(Enum):
    """What a written address stands for."""

    ANY = "any"
    HOST = "host"
    NAME = "name"
    NETWORK = "network"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One item of a list of addresses.

    Attributes:
        kind: What the item stands for.
        text: A host's canonical address, a name in lower case, else the item as written.
        family: 4 or 6; 0 for names and for ``%any``.
        low: First address as a number.
        high: Last address as a number.
        prefix: Prefix bits of a network.
    """

    kind: HostKind
    text: str
    family: int = 0
    low: int = 0
    high: int = 0
    prefix: int = 0

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Take an address, host name, ``%any``, ``%any4``, ``%any6``, network or range.

        Raises:
            ValueError: something with ``/`` that is no network, or characters of no host name.
        """
        text = text.strip()
        if (family := _ANY_FAMILIES.get(text)) is not None:
            return cls(HostKind.ANY, text, family)
        if "/" in text:
            network = ip_network(text, strict=False)
            low, high = int(network.network_address), int(network.broadcast_address)
            return cls(HostKind.NETWORK, text, network.version, low, high, network.prefixlen)
        try:
            address = ip_address(text)
        except ValueError:
            return cls._parse_range(text) or cls._name(text)
        number = int(address)
        bits = address.max_prefixlen
        return cls(HostKind.HOST, str(address), address.version, number, number, bits)

    @classmethod
    def _parse_range(cls, text: str) -> HostPattern | None:
        first, dash, last = text.partition("-")
        try:
            low, high = ip_address(first.strip()), ip_address(last.strip())
        except ValueError:
            return None
        if not dash or low.version != high.version or int(low) > int(high):
            message = f"'{text}' is not a range of addresses from low to high"
            raise ValueError(message)
        return cls(HostKind.RANGE, text, low.version, int(low), int(high))

    @classmethod
    def _name(cls, text: str) -> HostPattern:
        allowed = text.replace("-", "").replace("_", "").replace(".", "").removeprefix("%")
        # The last label of a host name is never a number (RFC 1123 section 2.1).
        if not allowed.isalnum() or ":" in text or text.rpartition(".")[2].isdigit():
            message = (
                f"'{text}' is not an address: expected an IP address, a host name, %any, "
                "a network (10.1.0.0/16) or a range (10.1.0.1-10.1.0.9)"
            )
            raise ValueError(message)
        return cls(HostKind.NAME, text.lower())

    def score(self, family: int, number: int) -> int:
        """Return how well an address fits: 129 exact, prefix bits + 1, 1 for any, 0 for not.

        Names are not looked up here and score 0.
        """
        kind = self.kind
        if kind is HostKind.ANY:
            return SCORE_ANY if self.family in {0, family} else 0
        if kind is HostKind.NAME or family != self.family or not self.low <= number <= self.high:
            return 0
        if kind is HostKind.HOST:
            return SCORE_HOST
        return self.prefix + 1 if kind is HostKind.NETWORK else SCORE_ANY


@lru_cache(maxsize=1024)
def parse_host(host: str) -> tuple[int, int]:
    """Return family and number of an address in text form; a zone (``%eth0``) plays no part.

    Raises:
        ValueError: not an address.
    """
    try:
        if ":" in host:
            return 6, int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]), "big")
        return 4, int.from_bytes(inet_pton(AF_INET, host), "big")
    except OSError:
        message = f"'{host}' is not an IP address"
        raise ValueError(message) from None


def no_names(_name: str) -> tuple[str, ...]:
    """Know no host name: for configurations that have none, and for tests."""
    return ()


class HostNames:
    """The addresses of host names, as last looked up.

    Lookups block, so they are made by `refresh`, which a job calls; the path of messages only
    reads what is known. Names whose lookup fails keep their last addresses.
    """

    def __init__(self, resolve: Callable[[str], Iterable[str]]) -> None:
        """`resolve` returns a name's addresses; it may block and may raise OSError."""
        self._resolve = resolve
        self._lock = Lock()  # guards the replacement of both tables, not their reading
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, frozenset[str]] = {}

    def __call__(self, name: str) -> tuple[str, ...]:
        """Return the known addresses of a name, none if it has not been looked up; never blocks."""
        return self._addresses.get(name.lower(), ())

    def names_of(self, address: str) -> frozenset[str]:
        """Return the names (lower case) that last resolved to an address; never blocks."""
        return self._names.get(address, frozenset())

    @property
    def known(self) -> tuple[str, ...]:
        """Every name that has been looked up."""
        return tuple(self._addresses)

    def refresh(self, name: str) -> tuple[str, ...]:
        """Look a name up and keep the answer; may block. Returns the addresses."""
        name = name.lower()
        try:
            found = tuple(dict.fromkeys(str(ip_address(host)) for host in self._resolve(name)))
        except (OSError, ValueError):
            found = ()
        with self._lock:
            if not found and name in self._addresses:
                return self._addresses[name]
            self._replace(name, found)
        return found

    def forget(self, name: str) -> None:
        """Drop what is known of a name."""
        with self._lock:
            self._replace(name.lower(), ())
            self._addresses.pop(name.lower(), None)

    def _replace(self, name: str, found: tuple[str, ...]) -> None:
        for address in self._addresses.get(name, ()):
            names = self._names.get(address, frozenset()) - {name}
            if names:
                self._names[address] = names
            else:
                self._names.pop(address, None)
        for address in found:
            self._names[address] = self._names.get(address, frozenset()) | {name}
        self._addresses[name] = found
