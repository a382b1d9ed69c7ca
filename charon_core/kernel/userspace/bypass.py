"""Packets that a PASS policy lets go: out again as they are, past the device.

A route tells packets apart by their destination alone, a policy by more. So some that are to pass
do come into the device, and raw sockets send them on.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.kernel.userspace.types import Buffer

SEND_BUFFER: Final = 2 << 20

_SO_MARK: Final = 36
_SO_SNDBUFFORCE: Final = 32
_DESTINATIONS: Final = {4: slice(16, 20), 6: slice(24, 40)}


class Bypass:
    """Sends complete IP packets, header included, that do not see charon's routing table."""

    def __init__(self, mark: int) -> None:
        """Open the sockets of both families, or that of IPv4 where there is no IPv6.

        Raises:
            OSError: We may not (CAP_NET_RAW, CAP_NET_ADMIN).
        """
        self._sockets: dict[int, socket.socket] = {4: _open(socket.AF_INET, mark)}
        with contextlib.suppress(OSError):
            self._sockets[6] = _open(socket.AF_INET6, mark)

    def send(self, packet: Buffer) -> None:
        """Send one IP packet to its destination.

        Raises:
            OSError: It was not sent.
        """
        version = packet[0] >> 4
        sock = self._sockets.get(version)
        if sock is None:
            raise OSError(f"there is no IPv{version}")
        address = socket.inet_ntop(sock.family, bytes(packet[_DESTINATIONS[version]]))
        sock.sendto(packet, (address, 0))

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            sock.close()


def _open(family: socket.AddressFamily, mark: int) -> socket.socket:
    # With this protocol the header is ours (raw(7), ipv6(7)).
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
    except BaseException:
        sock.close()
        raise
    return sock
