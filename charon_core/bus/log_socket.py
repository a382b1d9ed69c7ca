"""A Unix datagram socket towards a log service, which may be slow, absent or restarted."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_INTERVAL = 1.0
"""Seconds between tries to connect."""

_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE})


class LogSocket:
    """Sends datagrams and never waits: what does not go out at once is lost and counted."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember the path; connects with the first datagram.

        Args:
            path: The service's socket.
            clock: Monotonic seconds.
        """
        self.path = path
        self._clock = clock
        # Guards the below; held for calls that do not block.
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._retry_at = 0.0
        self._failing = False
        self._lost = 0

    @property
    def lost(self) -> int:
        """Datagrams lost since one went out last."""
        return self._lost

    def send(self, data: bytes, on_recovery: Callable[[int], bytes]) -> str | None:
        """Send a datagram or lose it.

        Args:
            data: The datagram.
            on_recovery: Makes a datagram that tells how many were lost, sent before the first one
                that goes out again.

        Returns:
            What is to be reported in a line: the service failed, or is back. None usually.
        """
        with self._lock:
            try:
                if self._lost and self._connected():
                    self._sending(on_recovery(self._lost))
                    self._lost = 0
                if not self._connected():
                    self._lost += 1
                    return None
                self._sending(data)
            except OSError as error:
                return self._failed(error)
            if self._failing:
                self._failing = False
                return f"log service {self.path} is back"
            return None

    def close(self) -> None:
        """Close the socket; sending opens it again."""
        with self._lock:
            self._close()

    def _connected(self) -> bool:
        if self._socket is not None:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_INTERVAL
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connecting.setblocking(False)
            connecting.connect(self.path)
        except OSError:
            connecting.close()
            raise
        self._socket = connecting
        return True

    def _sending(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.send(data)

    def _failed(self, error: OSError) -> str | None:
        self._lost += 1
        if error.errno in _FULL:
            return None
        self._close()
        if self._failing:
            return None
        self._failing = True
        return (
            f"log service {self.path} cannot be reached: {error.strerror or error}; lines are lost"
        )

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
