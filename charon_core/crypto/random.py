"""Where random octets come from; injected, so that tests can replay what was drawn."""

from __future__ import annotations

import os
from typing import Protocol


class RandomSource(Protocol):
    """A source of octets for nonces, SPIs, IVs and cookies."""

    def bytes(self, n: int) -> bytes:
        """Return `n` octets that nobody can predict."""
        ...


class SystemRandom:
    """The operating system's generator (getrandom(2))."""

    __slots__ = ()

    def bytes(self, n: int) -> bytes:
        """Return `n` octets from the operating system.

        Raises:
            ValueError: `n` is negative.
        """
        return os.urandom(n)


SYSTEM_RANDOM: RandomSource = SystemRandom()
"""The stateless default for components that are not given a source of their own."""
