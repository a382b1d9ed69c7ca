"""Which peers have an IKE_SA: by the identities of both sides, whatever the connection."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charon_core.config.identification import Identification

    Ends = tuple[Identification, Identification]
    """Our identity and the peer's."""


@dataclass(frozen=True, slots=True)
class Member:
    """An IKE_SA that is up.

    Attributes:
        unique_id: Its number.
        established_at: On the monotonic clock.
        we_initiated: Whether it was our initiative.
        spis: Both SPIs, the initiator's first: what both sides call it.
    """

    unique_id: int
    established_at: float
    we_initiated: bool
    spis: bytes


class PeerIndex:
    """The IKE_SAs that are up, by the identities of both sides. Thread-safe."""

    def __init__(self) -> None:
        # Guards the table.
        self._lock = threading.Lock()
        self._members: dict[Ends, tuple[Member, ...]] = {}

    def claim(self, ends: Ends, member: Member) -> tuple[Member, ...]:
        """Add an IKE_SA, and return the others between the same two, oldest first."""
        with self._lock:
            others = self._members.get(ends, ())
            self._members[ends] = (*others, member)
            return others

    def release(self, ends: Ends, unique_id: int) -> None:
        """Forget an IKE_SA, if it is known."""
        with self._lock:
            left = tuple(m for m in self._members.get(ends, ()) if m.unique_id != unique_id)
            if left:
                self._members[ends] = left
            else:
                self._members.pop(ends, None)

    def knows(self, ends: Ends) -> bool:
        """Whether an IKE_SA between these two is up."""
        return ends in self._members

    def __len__(self) -> int:
        """Return how many pairs of identities have an IKE_SA."""
        return len(self._members)
