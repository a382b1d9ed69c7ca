"""Where configurations come from: the backend contract and the manager that asks all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.config.identification import Identification
    from charon_core.config.ike import IkeConfig
    from charon_core.config.peer import PeerConfig


class Backend(Protocol):
    """A source of configurations. Every call may come from any thread.

    Candidates may be a superset of what fits: the manager scores each one. They should come from
    an index, since the calls lie on the path of every handshake.
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
