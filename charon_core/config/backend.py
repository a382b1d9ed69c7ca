"""Where configurations come from: the backend contract and the manager that asks all of them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from charon_core.config.hosts import no_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from charon_core.config.identification import Identification
    from charon_core.config.ike import IkeConfig
    from charon_core.config.peer import PeerConfig

_Config = TypeVar("_Config")


class Backend(Protocol):
    """A source of configurations. Every call may come from any thread.

    Candidates may be a superset of what fits: the manager scores each one. They should come from
    an index, since the calls lie on the path of every handshake, and in the order of definition,
    since the earlier one wins where two fit equally well.
    """

    @property
    def name(self) -> str:
        """How log lines call this backend."""
        ...

    def ike_candidates(self, local_host: str, remote_host: str) -> Iterable[IkeConfig]:
        """Yield configurations that may fit the two addresses."""
        ...

    def peer_candidates(
        self, local_id: Identification | None, remote_id: Identification | None
    ) -> Iterable[PeerConfig]:
        """Yield configurations that may fit the identities; None stands for any."""
        ...

    def peer_by_name(self, name: str) -> PeerConfig | None:
        """Return the peer configuration of that name, or else the one with such a child."""
        ...

    def all_peers(self) -> Iterable[PeerConfig]:
        """Yield every peer configuration, in the order of their definition."""
        ...


@runtime_checkable
class AddressedBackend(Protocol):
    """A backend that can narrow its candidates by address and identity at once."""

    def peer_candidates_at(
        self,
        local_host: str,
        remote_host: str,
        local_id: Identification | None,
        remote_id: Identification | None,
    ) -> Iterable[PeerConfig]:
        """Yield configurations that may fit both the addresses and the identities."""
        ...


class _Ranked(NamedTuple):
    """A peer configuration with the scores by which it is ordered."""

    identities: int
    addresses: int
    peer: PeerConfig


class BackendManager:
    """Asks all backends and ranks what they offer; one that fails is reported and skipped."""

    def __init__(
        self,
        report: Callable[[str], object] = lambda _text: None,
        names: Callable[[str], Iterable[str]] = no_names,
    ) -> None:
        """Start without backends.

        Args:
            report: Is given one line of text for each failure of a backend.
            names: Known addresses of a host name; must not block.
        """
        self._report = report
        self._names = names
        self._lock = Lock()  # guards the replacement of the tuple, which readers use as it is
        self._backends: tuple[Backend, ...] = ()

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends, in the order in which they are asked."""
        return self._backends

    def add(self, backend: Backend) -> None:
        """Ask this backend, too, from now on; on equal scores earlier ones win."""
        with self._lock:
            if backend not in self._backends:
                self._backends = (*self._backends, backend)

    def remove(self, backend: Backend) -> None:
        """Do not ask this backend any more; unknown ones are ignored."""
        with self._lock:
            self._backends = tuple(known for known in self._backends if known is not backend)

    def find_ike_config(self, local_host: str, remote_host: str) -> IkeConfig | None:
        """Return the configuration that fits two addresses best, or None if none does."""
        return next(iter(self.find_ike_configs(local_host, remote_host)), None)

    def find_ike_configs(self, local_host: str, remote_host: str) -> list[IkeConfig]:
        """Return every configuration that fits two addresses, best first; the earlier wins ties."""
        scored = [
            (score, config)
            for backend in self._backends
            for config in self._guarded(
                backend, lambda b: b.ike_candidates(local_host, remote_host)
            )
            if (score := config.match(local_host, remote_host, self._names))
        ]
        scored.sort(key=lambda entry: -entry[0])
        return [config for _, config in scored]

    def find_peer_configs(
        self,
        local_host: str,
        remote_host: str,
        my_id: Identification | None,
        other_id: Identification | None,
    ) -> list[PeerConfig]:
        """Return every configuration that fits, best first.

        How well the identities of the first authentication rounds fit counts most, then the
        addresses (the remote one twice); what is still equal stays in the order of definition.

        Args:
            local_host: Our address.
            remote_host: The peer's address.
            my_id: Who the peer wants to talk to (IDr), None if it did not say.
            other_id: Who the peer claims to be, None for anybody.
        """
        ranked: list[_Ranked] = []
        for backend in self._backends:
            for peer in self._guarded(
                backend, lambda b: _candidates(b, local_host, remote_host, my_id, other_id)
            ):
                addresses = peer.ike.match(local_host, remote_host, self._names)
                mine = _identity_score(my_id, peer.local[0].identity) if addresses else 0
                theirs = _identity_score(other_id, peer.remote[0].identity) if mine else 0
                if theirs:
                    ranked.append(_Ranked(mine + theirs, addresses, peer))
        ranked.sort(key=lambda entry: entry[:2], reverse=True)
        return [entry.peer for entry in ranked]

    def peer_by_name(self, name: str) -> PeerConfig | None:
        """Return the first configuration of that name, or else one with a child of that name.

        A backend that knows a connection of the name is preferred to one that knows a child.
        """
        fallback: PeerConfig | None = None
        for backend in self._backends:
            for peer in self._guarded(backend, lambda b: _one(b.peer_by_name(name))):
                if peer.name == name:
                    return peer
                fallback = fallback or peer
        return fallback

    def all_peers(self) -> Iterator[PeerConfig]:
        """Yield every configuration of every backend."""
        for backend in self._backends:
            yield from self._guarded(backend, lambda b: b.all_peers())

    def _guarded(
        self, backend: Backend, ask: Callable[[Backend], Iterable[_Config]]
    ) -> Iterator[_Config]:
        """Yield what a backend offers until it fails; the others are asked all the same."""
        try:
            yield from ask(backend)
        except Exception as error:  # noqa: BLE001 - one plugin's fault must not stop the others
            kind = type(error).__name__
            self._report(f"configuration backend '{backend.name}' failed: {kind}: {error}")


def _candidates(
    backend: Backend,
    local_host: str,
    remote_host: str,
    my_id: Identification | None,
    other_id: Identification | None,
) -> Iterable[PeerConfig]:
    # Not isinstance(): that costs as much as the look-up itself where a protocol is asked for.
    if hasattr(backend, "peer_candidates_at"):
        addressed = cast("AddressedBackend", backend)
        return addressed.peer_candidates_at(local_host, remote_host, my_id, other_id)
    return backend.peer_candidates(my_id, other_id)


def _identity_score(claimed: Identification | None, configured: Identification) -> int:
    """Score an identity; one that nobody has claimed fits everything, but badly."""
    return 1 if claimed is None or claimed.is_any else claimed.matches(configured)


def _one(peer: PeerConfig | None) -> tuple[PeerConfig, ...]:
    return () if peer is None else (peer,)
