"""Which algorithms a kernel backend can install, and what that leaves of proposals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from charon_core.config.proposal import ENCR, INTEG, Proposal
from charon_core.encoding.registry import ProtocolId

if TYPE_CHECKING:
    from charon_core.config.proposal import Transform

Proposals = tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class EspAlgorithms:
    """What a backend has for ESP.

    Attributes:
        ciphers: Transform IDs of type ENCR.
        integrities: Transform IDs of type INTEG.
    """

    ciphers: frozenset[int]
    integrities: frozenset[int]

    def lacks(self, transform: Transform) -> bool:
        """Whether the backend cannot install an SA with this algorithm."""
        if transform.type == ENCR:
            return transform.id not in self.ciphers
        return (
            transform.type == INTEG
            and not transform.is_none
            and transform.id not in self.integrities
        )

    def missing(self, proposals: Proposals) -> list[str]:
        """Return the names of the algorithms of proposals that the backend lacks."""
        names = (
            str(transform)
            for proposal in proposals
            if proposal.protocol == ProtocolId.ESP
            for transform in proposal.transforms
            if self.lacks(transform)
        )
        return list(dict.fromkeys(names))

    def installable(self, proposals: Proposals) -> Proposals:
        """Return what can be installed; a proposal without a choice of one type is left out."""
        return _installable(self, proposals)


@lru_cache(maxsize=256)
def _installable(algorithms: EspAlgorithms, proposals: Proposals) -> Proposals:
    """Work it out once for the many CHILD_SAs that have the same proposals."""
    if not algorithms.missing(proposals):
        return proposals
    found = []
    for proposal in proposals:
        if proposal.protocol == ProtocolId.ESP:
            kept = tuple(t for t in proposal.transforms if not algorithms.lacks(t))
            if {t.type for t in kept} != {t.type for t in proposal.transforms}:
                continue
            found.append(Proposal(proposal.protocol, kept))
        else:
            found.append(proposal)
    return tuple(dict.fromkeys(found))
