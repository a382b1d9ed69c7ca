"""Last answers of IKE_SAs that are gone, for peers who have not heard them (RFC 7296 2.1)."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

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
    answer: tuple[bytes, ...]
    dscp: int
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

    def keep(
        self, spi: bytes, request: int, answer: tuple[bytes, ...], dscp: int, now: float
    ) -> None:
        """Remember the last answer of an IKE_SA that ends.

        Args:
            spi: Our SPI.
            request: Hash of the datagram that was answered.
            answer: The datagrams that were sent.
            dscp: With which differentiated services code point.
            now: Monotonic seconds.
        """
        with self._lock:
            while self._kept:
                oldest = next(iter(self._kept))
                if len(self._kept) < MAX_KEPT and self._kept[oldest].until > now:
                    break
                del self._kept[oldest]
            self._kept[spi] = _Farewell(request, answer, dscp, now + LIFETIME, [])

    def answer(self, spi: bytes, packet: Packet, now: float) -> tuple[Packet, ...]:
        """Return what to send if this very datagram was answered last, else nothing.

        It goes to where the datagram came from now (RFC 7296 2.11).
        """
        farewell = self._kept.get(spi)
        if farewell is None or farewell.until <= now or hash(packet.data) != farewell.request:
            return ()
        if len(farewell.repeats) >= MAX_REPEATS:
            return ()
        farewell.repeats.append(None)
        return tuple(
            Packet(packet.destination, packet.source, data, farewell.dscp)
            for data in farewell.answer
        )
