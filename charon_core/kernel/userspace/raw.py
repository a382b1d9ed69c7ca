"""Plain ESP (IP protocol 50) by raw sockets, for peers that know no NAT traversal.

The kernel neither cuts nor joins trains here, so each packet is a system call of its own, which
costs 1.5 times as much as ESP in UDP.
"""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.kernel.userspace.transport import MAX_PAYLOAD, MAX_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.types import Buffer
    from charon_core.kernel.userspace.waiter import Reader
    from charon_core.network.packet import Endpoint

RECEIVE_BUFFER: Final = 4 << 20
SEND_BUFFER: Final = 2 << 20

_SO_MARK: Final = 36
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_IP_PKTINFO: Final = 8
_PKTINFO4: Final = Struct("=i4s4s")
_PKTINFO6: Final = Struct("=16si")
_SOURCES_LIMIT: Final = 256
_PACKETS_PER_TURN: Final = 256
_PACKET_LIMIT: Final = 0x10000


class _Sockets(NamedTuple):
    ipv4: socket.socket
    ipv6: socket.socket | None

    def close(self) -> None:
        self.ipv4.close()
        if self.ipv6 is not None:
            self.ipv6.close()


def _open(mark: int) -> _Sockets:
    """Open the sockets of both families, or that of IPv4 where there is no IPv6.

    Raises:
        OSError: We may not (CAP_NET_RAW, CAP_NET_ADMIN).
    """
    ipv6: socket.socket | None = None
    ipv4 = _open_family(socket.AF_INET, mark)
    with contextlib.suppress(OSError):
        ipv6 = _open_family(socket.AF_INET6, mark)
    return _Sockets(ipv4, ipv6)


def _open_family(family: socket.AddressFamily, mark: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ESP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        for option, size in ((_SO_SNDBUFFORCE, SEND_BUFFER), (_SO_RCVBUFFORCE, RECEIVE_BUFFER)):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, size)
    except BaseException:
        sock.close()
        raise
    return sock


class RawEsp:
    """Sends and receives plain ESP; receiving is for one thread."""

    def __init__(self, mark: int, deliver: Callable[[Buffer, int], None]) -> None:
        """Open the sockets.

        Args:
            mark: What keeps the packets out of charon's routing table.
            deliver: Called with packets of one size, the last of which may be shorter, and that
                size; 0 for a single one.

        Raises:
            OSError: We may not.
        """
        self._deliver = deliver
        self._sockets = _open(mark)
        self._controls: dict[str, list[tuple[int, int, bytes]]] = {}
        self._buffer = bytearray(_PACKET_LIMIT)

    @property
    def readers(self) -> list[Reader]:
        """The descriptors to wait for, each with what is to be called then."""
        return [
            (sock.fileno(), partial(self._drain, sock))
            for sock in self._sockets
            if sock is not None
        ]

    def send_esp(
        self, buffer: Buffer, segment_size: int, source: Endpoint, destination: Endpoint
    ) -> None:
        """Send packets one by one.

        Raises:
            OSError: Not all of them were sent.
        """
        sock = self._sockets.ipv6 if ":" in destination.host else self._sockets.ipv4
        if sock is None:
            raise OSError("there is no IPv6")
        control = self._control(source.host)
        address = (destination.host, 0)
        size = segment_size or len(buffer)
        view = memoryview(buffer)
        for start in range(0, len(view), size):
            sock.sendmsg([view[start : start + size]], control, 0, address)

    def _control(self, source: str) -> list[tuple[int, int, bytes]]:
        """Return the control message that sets the source address."""
        control = self._controls.get(source)
        if control is None:
            if len(self._controls) >= _SOURCES_LIMIT:
                self._controls.clear()
            if ":" in source:
                packed = socket.inet_pton(socket.AF_INET6, source)
                data = _PKTINFO6.pack(packed, 0)
                control = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, data)]
            else:
                packed = socket.inet_pton(socket.AF_INET, source)
                data = _PKTINFO4.pack(0, packed, bytes(4))
                control = [(socket.IPPROTO_IP, _IP_PKTINFO, data)]
            self._controls[source] = control
        return control

    def _drain(self, sock: socket.socket, _events: int) -> None:
        """Hand on what is there, in trains of one size."""
        # IPv4 raw sockets give the IP header, too.
        with_header = sock.family == socket.AF_INET
        train: list[bytes] = []
        size = octets = 0
        for _ in range(_PACKETS_PER_TURN):
            packet = self._take(sock, with_header=with_header)
            if packet is None:
                break
            length = len(packet)
            if train and (
                length > size or len(train) >= MAX_SEGMENTS or octets + length > MAX_PAYLOAD
            ):
                self._hand_on(train, size)
                train, octets = [], 0
            if not train:
                size = length
            train.append(packet)
            octets += length
            if length < size:
                self._hand_on(train, size)
                train, octets = [], 0
        self._hand_on(train, size)

    def _take(self, sock: socket.socket, *, with_header: bool) -> bytes | None:
        """Return the next ESP packet, None if there is none."""
        try:
            length = sock.recv_into(self._buffer)
        except OSError:
            return None
        start = (self._buffer[0] & 15) * 4 if with_header else 0
        return bytes(memoryview(self._buffer)[start:length])

    def _hand_on(self, train: list[bytes], size: int) -> None:
        if len(train) == 1:
            self._deliver(train[0], 0)
        elif train:
            self._deliver(b"".join(train), size)

    def close(self) -> None:
        """Close the sockets."""
        self._sockets.close()
