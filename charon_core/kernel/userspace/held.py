"""Packets that wait for the SA which they have asked for: a few, for a short time."""

from __future__ import annotations

from collections import deque
from typing import Final

HELD_PER_REQID: Final = 8
"""The first packets of a conversation are worth keeping; a sender repeats the later ones."""

HELD_LIMIT: Final = 512
"""Packets of all reqids together: as many strangers can make us keep, no more."""

PATIENCE: Final = 20.0
"""Seconds after which nobody waits for a packet any more."""


class HeldPackets:
    """Inner packets by the reqid of the policy that they met. The caller has a lock."""

    def __init__(self) -> None:
        self._packets: dict[int, deque[tuple[float, bytes]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def hold(self, reqid: int, packet: bytes, now: float) -> bool:
        """Keep a packet; False if there are enough already."""
        waiting = self._packets.get(reqid)
        if waiting is not None and len(waiting) >= HELD_PER_REQID:
            self._expire(waiting, now)
            if len(waiting) >= HELD_PER_REQID:
                return False
        if self._count >= HELD_LIMIT:
            self._expire_all(now)
            if self._count >= HELD_LIMIT:
                return False
        self._packets.setdefault(reqid, deque()).append((now, packet))
        self._count += 1
        return True

    def take(self, now: float) -> list[tuple[int, float, bytes]]:
        """Take out all that are not too old: each with its reqid and since when it waits."""
        self._expire_all(now)
        taken = [
            (reqid, since, packet)
            for reqid, waiting in self._packets.items()
            for since, packet in waiting
        ]
        self._packets.clear()
        self._count = 0
        return taken

    def put_back(self, reqid: int, since: float, packet: bytes) -> None:
        """Keep one that was taken out for longer."""
        self._packets.setdefault(reqid, deque()).append((since, packet))
        self._count += 1

    def clear(self) -> None:
        """Let all of them go."""
        self._packets.clear()
        self._count = 0

    def _expire(self, waiting: deque[tuple[float, bytes]], now: float) -> None:
        while waiting and now - waiting[0][0] > PATIENCE:
            waiting.popleft()
            self._count -= 1

    def _expire_all(self, now: float) -> None:
        for reqid, waiting in list(self._packets.items()):
            self._expire(waiting, now)
            if not waiting:
                del self._packets[reqid]
