"""A token bucket: how often something may be done that a peer provokes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """Lets so many a second pass, and as many at once; counts what it holds back.

    Not thread-safe beyond that: threads that race may let one more pass.
    """

    __slots__ = ("_burst", "_clock", "_last", "_rate", "_tokens", "suppressed")

    def __init__(
        self, rate: float, burst: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with a full bucket.

        Args:
            rate: How many a second pass in the long run.
            burst: How many pass at once after a pause.
            clock: Monotonic seconds.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._last = clock()
        self.suppressed = 0
        """How many were held back since `take_suppressed` was called last."""

    def allow(self) -> bool:
        """Take a token if there is one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1.0:
            self.suppressed += 1
            return False
        self._tokens -= 1.0
        return True

    def take_suppressed(self) -> str:
        """Return ``" (7 more before)"`` or "", and count from 0 again."""
        number, self.suppressed = self.suppressed, 0
        return f" ({number} more before)" if number else ""
