"""Which key exchange method to begin with, and whether another one may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.crypto.key_exchange import is_supported
from charon_core.encoding.registry import TransformType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.config.proposal import Proposal
    from charon_core.encoding.payloads import Notify


def preferred_method(proposals: Iterable[Proposal]) -> int:
    """Return the first method of the proposals that can be had here, or 0."""
    return next(
        (
            transform.id
            for proposal in proposals
            for transform in proposal.of(TransformType.KE)
            if is_supported(transform.id)
        ),
        0,
    )


def demanded_method(demand: Notify, proposals: Iterable[Proposal], sent: int) -> tuple[int, bool]:
    """Return the method that INVALID_KE_PAYLOAD asks for, and whether it makes sense.

    It does if we offered it, can do it, and did not just send it (RFC 7296 1.2, 2.7).
    """
    method = int.from_bytes(demand.data, "big") if len(demand.data) == 2 else 0
    offered = any(
        transform.id == method
        for proposal in proposals
        for transform in proposal.of(TransformType.KE)
    )
    return method, offered and method not in {0, sent} and is_supported(method)
