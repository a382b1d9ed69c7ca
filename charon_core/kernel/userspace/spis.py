"""Allocation of inbound SPIs within this process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

    from charon_core.kernel.interface import RandomBytes

_ATTEMPTS: Final = 64


class SpiAllocator:
    """Draws SPIs at random and keeps them reserved until they are used or given back."""

    def __init__(self, random: RandomBytes, minimum: int, maximum: int) -> None:
        self._random = random
        self._minimum = minimum
        self._count = maximum - minimum + 1
        # Guards _reserved.
        self._lock = threading.Lock()
        self._reserved: set[int] = set()

    def allocate(self, used: Container[int]) -> int | None:
        """Return an SPI that is neither reserved nor in ``used``; None if none was found."""
        with self._lock:
            for _ in range(_ATTEMPTS):
                drawn = int.from_bytes(self._random.bytes(8), "big")
                spi = self._minimum + drawn % self._count
                if spi not in self._reserved and spi not in used:
                    self._reserved.add(spi)
                    return spi
        return None

    def release(self, spi: int) -> bool:
        """End the reservation of an SPI; False if there was none."""
        with self._lock:
            if spi in self._reserved:
                self._reserved.discard(spi)
                return True
        return False

    def clear(self) -> None:
        """End all reservations."""
        with self._lock:
            self._reserved.clear()
