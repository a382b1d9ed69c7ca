"""Connections kept in memory: a backend whose look-ups do not slow down with their number."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from charon_core.config.address_index import AddressIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from charon_core.config.child import ChildConfig
    from charon_core.config.identification import Identification
    from charon_core.config.ike import IkeConfig
    from charon_core.config.peer import PeerConfig

_Value = TypeVar("_Value")


def _no_names_of(_address: str) -> frozenset[str]:
    return frozenset()


class _IkeGroup:
    """Connections alike in addresses and proposals: the earliest of them stands for all."""

    __slots__ = ("key", "members")

    def __init__(self, key: int) -> None:
        self.key = key
        self.members: dict[int, IkeConfig] = {}


class ConnectionTable:
    """An indexed `Backend` in memory; several connections may have the same name.

    Each connection has a number that rises with its definition; every index keeps its
    connections ordered by it, so that the earliest is found first.
    """

    def __init__(
        self,
        name: str = "memory",
        names_of: Callable[[str], Iterable[str]] = _no_names_of,
    ) -> None:
        """Start empty.

        Args:
            name: How log lines call this backend.
            names_of: Host names (lower case) that an address is known to have; must not block.
        """
        self._name = name
        self._names_of = names_of
        self._lock = Lock()  # guards everything below
        self._numbers = count()
        self._peers: dict[int, PeerConfig] = {}
        self._by_name: dict[Hashable, dict[int, None]] = {}
        self._by_child: dict[Hashable, dict[int, None]] = {}
        self._by_content: dict[Hashable, dict[int, None]] = {}
        self._by_identity: dict[Hashable, dict[int, None]] = {}
        self._patterns: dict[int, Identification] = {}
        self._anybody: dict[int, None] = {}
        self._anybody_at: AddressIndex[int] = AddressIndex()
        self._ike_groups: dict[Hashable, _IkeGroup] = {}
        self._ike_index: AddressIndex[_IkeGroup] = AddressIndex()

    @property
    def name(self) -> str:
        """How log lines call this backend."""
        return self._name

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, peer: PeerConfig) -> None:
        """Add a connection behind the others."""
        with self._lock:
            self._insert(next(self._numbers), peer)

    def remove(self, name: str) -> list[PeerConfig]:
        """Remove every connection of that name and return them."""
        with self._lock:
            return [self._delete(key) for key in list(self._by_name.get(name, ()))]

    def discard(self, peer: PeerConfig) -> bool:
        """Remove this one connection; False if it is not there."""
        with self._lock:
            key = self._key_of(peer)
            if key is not None:
                self._delete(key)
            return key is not None

    def replace(self, old: PeerConfig, new: PeerConfig) -> bool:
        """Put a changed connection in the place of the old one; False if that is not there."""
        with self._lock:
            key = self._key_of(old)
            if key is not None:
                self._delete(key)
                self._insert(key, new)
            return key is not None

    def attach_child(self, peer: PeerConfig, child: ChildConfig) -> PeerConfig | None:
        """Give a connection one more child; return what it is now, None if it is not there."""
        with self._lock:
            key = self._key_of(peer)
            if key is None:
                return None
            grown = replace(peer, children=(*peer.children, child))
            self._peers[key] = grown
            _file(self._by_child.setdefault(child.name, {}), key, None)
            return grown

    def get(self, name: str) -> PeerConfig | None:
        """Return the first connection of that name."""
        with self._lock:
            return self._first(self._by_name.get(name))

    def twin_of(self, peer: PeerConfig) -> PeerConfig | None:
        """Return the first connection that is equal but for names and children.

        A CHILD_SA of such a connection can be set up inside the IKE_SA of the other.
        """
        with self._lock:
            return self._first(self._by_content.get(peer.content_key))

    def with_child(self, child_name: str) -> list[PeerConfig]:
        """Return every connection that has a child of that name."""
        with self._lock:
            return [self._peers[key] for key in self._by_child.get(child_name, ())]

    def ike_candidates(self, local_host: str, remote_host: str) -> list[IkeConfig]:
        """Return the configurations that the peer's address fits.

        Of those that are alike in addresses and proposals only the first is returned: the others
        score the same, and accept the same.
        """
        del local_host  # the manager scores it; one peer rarely talks to several of our addresses
        with self._lock:
            groups = self._ike_index.find(remote_host, self._names_of).values()
            firsts = sorted((next(iter(group.members)), group.key) for group in groups)
            members = {group.key: group.members for group in groups}
            return [members[group][first] for first, group in firsts]

    def peer_candidates(
        self, local_id: Identification | None, remote_id: Identification | None
    ) -> list[PeerConfig]:
        """Return the connections whose remote identity fits, and all that take anybody."""
        del local_id
        with self._lock:
            if remote_id is None or remote_id.is_any:
                return list(self._peers.values())
            return self._collect(self._fitting(remote_id).union(self._anybody))

    def peer_candidates_at(
        self,
        local_host: str,
        remote_host: str,
        local_id: Identification | None,
        remote_id: Identification | None,
    ) -> list[PeerConfig]:
        """Return the connections that fit by identity, or that take anybody at this address."""
        del local_host, local_id
        with self._lock:
            if remote_id is None or remote_id.is_any:
                return list(self._peers.values())
            here = self._anybody_at.find(remote_host, self._names_of)
            return self._collect(self._fitting(remote_id).union(here))

    def peer_by_name(self, name: str) -> PeerConfig | None:
        """Return the first connection of that name, or else the first with such a child."""
        with self._lock:
            return self._first(self._by_name.get(name)) or self._first(self._by_child.get(name))

    def all_peers(self) -> list[PeerConfig]:
        """Return every connection, in the order of definition."""
        with self._lock:
            return list(self._peers.values())

    def _first(self, keys: dict[int, None] | None) -> PeerConfig | None:
        return self._peers[next(iter(keys))] if keys else None

    def _key_of(self, peer: PeerConfig) -> int | None:
        keys = self._by_name.get(peer.name, ())
        return next((key for key in keys if self._peers[key] == peer), None)

    def _fitting(self, remote_id: Identification) -> set[int]:
        """Return the keys of connections that name this identity, exactly or by a pattern."""
        keys = set(self._by_identity.get(remote_id.match_key, ()))
        keys.update(key for key, pattern in self._patterns.items() if remote_id.matches(pattern))
        return keys

    def _collect(self, keys: set[int]) -> list[PeerConfig]:
        return [self._peers[key] for key in sorted(keys)]

    def _insert(self, key: int, peer: PeerConfig) -> None:
        _file(self._peers, key, peer)
        for index, value in self._plain_indexes(peer):
            _file(index.setdefault(value, {}), key, None)
        remote = peer.remote[0].identity
        if remote.is_any:
            self._anybody[key] = None
            self._anybody_at.put(peer.ike.remote_patterns, key, key)
        elif remote.is_pattern:
            self._patterns[key] = remote
        group_key = _group_key(peer.ike)
        group = self._ike_groups.get(group_key)
        if group is None:
            group = self._ike_groups[group_key] = _IkeGroup(next(self._numbers))
            self._ike_index.put(peer.ike.remote_patterns, group.key, group)
        _file(group.members, key, peer.ike)

    def _delete(self, key: int) -> PeerConfig:
        peer = self._peers.pop(key)
        for index, value in self._plain_indexes(peer):
            keys = index[value]
            del keys[key]
            if not keys:
                del index[value]
        self._patterns.pop(key, None)
        if key in self._anybody:
            del self._anybody[key]
            self._anybody_at.drop(peer.ike.remote_patterns, key)
        group_key = _group_key(peer.ike)
        group = self._ike_groups[group_key]
        del group.members[key]
        if not group.members:
            del self._ike_groups[group_key]
            self._ike_index.drop(peer.ike.remote_patterns, group.key)
        return peer

    def _plain_indexes(
        self, peer: PeerConfig
    ) -> list[tuple[dict[Hashable, dict[int, None]], Hashable]]:
        """Return each plain index with the value under which this connection is filed."""
        entries: list[tuple[dict[Hashable, dict[int, None]], Hashable]] = [
            (self._by_name, peer.name),
            (self._by_content, peer.content_key),
        ]
        names = dict.fromkeys(child.name for child in peer.children)
        entries.extend((self._by_child, name) for name in names)
        remote = peer.remote[0].identity
        if not remote.is_pattern:
            entries.append((self._by_identity, remote.match_key))
        return entries


def _group_key(ike: IkeConfig) -> Hashable:
    return ike.local_patterns, ike.remote_patterns, ike.version, ike.proposals


def _file(place: dict[int, _Value], key: int, value: _Value) -> None:
    """Put a value under its key and keep the keys rising; only replacing needs a new order."""
    last = next(reversed(place), -1)
    place[key] = value
    if key < last:
        ordered = sorted(place.items())
        place.clear()
        place.update(ordered)
