"""What an IKE_SA knows of the addresses of both sides, where both can MOBIKE (RFC 4555)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from charon_core.kernel.interface import Way
    from charon_core.network.packet import Endpoint
    from charon_core.sa.ike_sa import IkeSa


class Path(NamedTuple):
    """A way between the two sides."""

    local: Endpoint
    remote: Endpoint

    def __str__(self) -> str:
        return f"{self.local} - {self.remote}"


class ChildPath(NamedTuple):
    """Where CHILD_SAs are, and whether their ESP is in UDP."""

    local: Endpoint
    remote: Endpoint
    encapsulated: bool


class Mobility:
    """The state of MOBIKE in one IKE_SA, or in several that replace each other.

    IKE_SAs that take each other's place by rekeying share one: where the peer is does not depend
    on which of them it was told in.
    """

    __slots__ = (
        "arrival",
        "current",
        "generation",
        "heir",
        "is_stale",
        "known",
        "mapping",
        "nats",
        "paths",
        "peer_addresses",
        "refused",
        "settled",
        "told",
        "way",
    )

    def __init__(
        self, path: Path, peer_addresses: tuple[str, ...], told: tuple[str, ...] | None
    ) -> None:
        """Begin with what IKE_AUTH has brought.

        Args:
            path: The path that is in use.
            peer_addresses: Further addresses of the peer.
            told: Further addresses of ours that the peer was told; None if it has to be told.
        """
        self.peer_addresses = peer_addresses
        self.told = told
        self.arrival = path
        """By which path the message at work came: for tasks, which see messages alone."""
        self.current: Path | None = None
        """The path that was taken last; None for the one that the IKE_SA began with."""
        self.nats = Trait.NONE
        """Which NATs are on it."""
        self.known: Path | None = path
        """The path that the peer is known to use, too; None while that is not certain."""
        self.generation = 0
        """Counts the changes of path: an answer that is older than the last one counts no more."""
        self.paths: tuple[Path, ...] = ()
        """The paths that requests are sent by to find one that works; empty: none is looked for."""
        self.refused: frozenset[Path] = frozenset()
        """Paths that the peer does not accept; forgotten when our addresses change."""
        self.settled: ChildPath | None = None
        """Where CHILD_SAs stay until the peer has proved to be where it says; None: they follow."""
        self.is_stale = False
        """There is no path at all: the next change of addresses may bring one."""
        self.mapping: tuple[bytes, bytes] | None = None
        """What the peer sees of us: the IKE_SA's SPI that the hash is made with, and the hash."""
        self.way: Way | None = None
        """By which interface and gateway the peer was reached last, as far as that was looked at"""
        self.heir = 0
        """Number of the IKE_SA that has taken this one's place: what comes late is for that."""

    def leave_behind(self, heir: int) -> Mobility:
        """Return what stays in an IKE_SA that is replaced."""
        stub = Mobility(self.arrival, self.peer_addresses, self.told)
        stub.generation = self.generation
        stub.heir = heir
        return stub


NATS = Trait.NAT_HERE | Trait.NAT_THERE


def hand_on(old: IkeSa, new: IkeSa) -> None:
    """Let the IKE_SA that takes over know where the peer is, whichever of them was told."""
    mobility = old.mobility
    if mobility is None or mobility.heir:
        return
    new.mobility = mobility
    old.mobility = mobility.leave_behind(new.unique_id)
    if mobility.current is not None:
        new.local, new.remote = mobility.current
        new.traits = (new.traits & ~NATS) | mobility.nats
