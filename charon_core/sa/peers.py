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
        self._members: dict[Ends, dict[int, Member]] = {}

    def claim(self, ends: Ends, member: Member) -> None:
        """Add an IKE_SA; the cost does not grow with those that there are."""
        with self._lock:
            self._members.setdefault(ends, {})[member.unique_id] = member

    def others(self, ends: Ends, unique_id: int) -> list[Member]:
        """Return the IKE_SAs between two that were added before this one, oldest first."""
        found = []
        with self._lock:
            for number, member in self._members.get(ends, {}).items():
                if number == unique_id:
                    break
                found.append(member)
        return found

    def release(self, ends: Ends, unique_id: int) -> None:
        """Forget an IKE_SA, if it is known."""
        with self._lock:
            members = self._members.get(ends)
            if members is not None:
                members.pop(unique_id, None)
                if not members:
                    del self._members[ends]

    def knows(self, ends: Ends) -> bool:
        """Whether an IKE_SA between these two is up."""
        return ends in self._members

    def __len__(self) -> int:
        """Return how many pairs of identities have an IKE_SA."""
        return len(self._members)
