"""Last answers of IKE_SAs that are gone, for peers who have not heard them (RFC 7296 2.1)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from charon_core.network.packet import Packet

LIFETIME: Final = 120.0
"""Seconds for which an answer is kept: the greater part of a peer's retransmissions."""

MAX_KEPT: Final = 4096
"""Answers that are kept; the oldest give way."""

MAX_REPEATS: Final = 8
"""How often one answer is given again."""


class _Farewell(NamedTuple):
    request: int
    """Hash of the datagram that was answered."""
    answer: tuple[Packet, ...]
    until: float
    repeats: list[None]
    """One entry for each time that it was given again."""


class Farewells:
    """What was answered last, by our SPI.

    A peer that deletes an IKE_SA, or is refused, and does not hear the answer, asks again: without
    this it would do so in vain until it gives up. Thread-safe.
    """

    def __init__(self) -> None:
        """Begin with none."""
        # Guards the table.
        self._lock = threading.Lock()
        self._kept: dict[bytes, _Farewell] = {}

    def keep(self, spi: bytes, request: int, answer: tuple[Packet, ...], now: float) -> None:
        """Remember the last answer of an IKE_SA that ends.

        Args:
            spi: Our SPI.
            request: Hash of the datagram that was answered.
            answer: What was sent.
            now: Monotonic seconds.
        """
        with self._lock:
            while self._kept:
                oldest = next(iter(self._kept))
                if len(self._kept) < MAX_KEPT and self._kept[oldest].until > now:
                    break
                del self._kept[oldest]
            self._kept[spi] = _Farewell(request, answer, now + LIFETIME, [])

    def answer(self, spi: bytes, datagram: bytes, now: float) -> tuple[Packet, ...]:
        """Return what to send if this very datagram was answered last, else nothing."""
        farewell = self._kept.get(spi)
        if farewell is None or farewell.until <= now or hash(datagram) != farewell.request:
            return ()
        if len(farewell.repeats) >= MAX_REPEATS:
            return ()
        farewell.repeats.append(None)
        return farewell.answer
