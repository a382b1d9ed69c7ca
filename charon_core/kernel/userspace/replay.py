"""Anti-replay window and extended sequence numbers (RFC 4303 section 3.4.3 and appendix A)."""

from __future__ import annotations

from typing import Final

_SPACE: Final = 1 << 32
_LOW: Final = _SPACE - 1
_UNWINDOWED_REACH: Final = 1 << 31
"""Without a window, how far back of the highest number an ESN is looked for."""


class ReplayWindow:
    """Which sequence numbers have come, of one inbound SA.

    A bitmap in one integer: bit 0 stands for the highest number that was authenticated, bit n for
    n below it. A number is looked up with `infer` and `is_fresh` before its packet is
    authenticated and entered with `accept` after it, so forged packets change nothing. A window
    of size 0 accepts everything.
    """

    __slots__ = ("_bitmap", "_extended", "_mask", "_reach", "highest", "size")

    def __init__(self, size: int, *, extended: bool, highest: int = 0) -> None:
        """Start a window.

        Args:
            size: Packets that may arrive late; 0 switches the protection off.
            extended: Whether sequence numbers have 64 bits, of which 32 travel (ESN).
            highest: The number after which to begin, for an SA that was handed over.
        """
        self.size = size
        self.highest = highest
        self._extended = extended
        self._mask = (1 << size) - 1
        self._bitmap = 0
        self._reach = min(size, _UNWINDOWED_REACH) or _UNWINDOWED_REACH

    def infer(self, low: int) -> int:
        """Return the whole sequence number of a packet that shows the lower 32 bits.

        RFC 4303 appendix A2.2: the one candidate that is not more than a window below the highest
        number seen. It is negative for a packet from before the start of the SA.
        """
        if not self._extended:
            return low
        top, reach = self.highest, self._reach
        top_low = top & _LOW
        high = top >> 32
        if top_low >= reach - 1:
            if low < top_low - reach + 1:
                high += 1
        elif low >= (top_low - reach + 1) & _LOW:
            high -= 1
        return (high << 32) | low

    def is_fresh(self, sequence: int) -> bool:
        """Tell whether a whole sequence number is neither too old nor a duplicate."""
        if not self.size:
            return sequence >= 0
        if sequence > self.highest:
            return True
        if sequence <= 0:
            return False
        behind = self.highest - sequence
        return behind < self.size and not self._bitmap >> behind & 1

    def accept(self, sequence: int) -> None:
        """Enter the number of an authenticated packet."""
        ahead = sequence - self.highest
        if ahead > 0:
            if ahead < self.size:
                self._bitmap = (self._bitmap << ahead | 1) & self._mask
            else:
                self._bitmap = 1
            self.highest = sequence
        elif -ahead < self.size:
            self._bitmap |= 1 << -ahead

    def accept_run(self, first: int, count: int) -> None:
        """Enter ``count`` consecutive numbers from ``first``, which is above the highest."""
        last = first + count - 1
        ahead = last - self.highest
        if ahead < self.size:
            self._bitmap = (self._bitmap << ahead | (1 << count) - 1) & self._mask
        else:
            self._bitmap = (1 << count) - 1 & self._mask
        self.highest = last
