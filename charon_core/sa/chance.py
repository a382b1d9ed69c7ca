"""Random parts of times: so that not everybody does everything at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.crypto.random import RandomSource

_STEPS: Final = 0xFFFF


def random_share(random: RandomSource) -> float:
    """Return a random number in 0.0 .. 1.0."""
    return int.from_bytes(random.bytes(2), "big") / _STEPS


def early(limit: float, jitter: float, share: float) -> float:
    """Take a share of the jitter off a limit; one that is set (not 0) does not become 0.

    Args:
        limit: When something is due: seconds, octets or packets; 0 for never.
        jitter: How much earlier it may be due.
        share: What part of the jitter counts, 0.0 .. 1.0.
    """
    return max(1.0, limit - jitter * share) if limit else 0.0
