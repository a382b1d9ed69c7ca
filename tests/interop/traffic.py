"""What goes through a tunnel, and what is seen of it on the cable."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.interop.network import Host

UDP = 17

_ETH_P_ALL = 3
_IPV4 = 0x0800
_IPV6 = 0x86DD
_IPV6_FRAGMENT = 44
#: Hop-by-hop options and ICMPv6: what hosts tell their neighbours.
_NEIGHBOURHOOD = (0, 58)
_NON_ESP_MARKER = bytes(4)
_PATIENCE = 15.0


def family_of(address: str) -> int:
    """Return the address family of an address."""
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


def echo_tcp(client: tuple[Host, str], server: tuple[Host, str], octets: int) -> None:
    """Send random octets over TCP and have them sent back; all must return as they were.

    Args:
        client: Host and address of the side that connects.
        server: Host and address of the side that listens.
        octets: How many to send each way.

    Raises:
        AssertionError: They came back altered, not all or not in time.
    """
    (near, near_address), (far, far_address) = client, server
    family = family_of(far_address)
    content = os.urandom(octets)
    with (
        closing(far.socket(family, socket.SOCK_STREAM)) as listener,
        closing(near.socket(family, socket.SOCK_STREAM)) as connection,
    ):
        for one in (listener, connection):
            one.settimeout(_PATIENCE)
        listener.bind((far_address, 0))
        listener.listen()
        connection.bind((near_address, 0))
        echo = threading.Thread(target=_echo, args=(listener,))
        echo.start()
        try:
            connection.connect(listener.getsockname()[:2])
            sender = threading.Thread(target=_send_all, args=(connection, content))
            sender.start()
            returned = _receive_all(connection)
            sender.join()
        finally:
            # An echo that nobody came to ends when its listener does.
            listener.shutdown(socket.SHUT_RDWR)
            echo.join()
    assert len(returned) == octets, f"{len(returned)} of {octets} octets came back"
    assert returned == content, "other octets came back than were sent"


def _echo(listener: socket.socket) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with closing(connection):
        connection.settimeout(_PATIENCE)
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            return


def _send_all(connection: socket.socket, content: bytes) -> None:
    try:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the receiving side reports what is missing


def _receive_all(connection: socket.socket) -> bytes:
    received = bytearray()
    try:
        while data := connection.recv(65536):
            received += data
    except TimeoutError:
        pass
    return bytes(received)


class Frame(NamedTuple):
    """What an eavesdropper notes of one IP packet."""

    protocol: int
    ports: frozenset[int]
    octets: int
    is_fragment: bool
    is_ike: bool


class Sniffer:
    """Listens on an interface of a host while it is a context, and for some time afterwards.

    Attributes:
        frames: what it saw.
    """

    def __init__(self, host: Host, interface: str, *, seconds: float = 0.05) -> None:
        # What was just sent is with the listeners before the sender's call returns; what was
        # just received may take a moment.
        self._seconds = seconds
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._interface = interface
        self.frames: list[Frame] = []

    def __enter__(self) -> Sniffer:
        self._socket.bind((self._interface, _ETH_P_ALL))
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + self._seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                data, (_, protocol, *_rest) = self._socket.recvfrom(65536)
                frame = _dissect(protocol, data)
                if frame is not None:
                    self.frames.append(frame)
        self._socket.close()

    def of_tunnel(self) -> list[Frame]:
        """Return the frames without those of neighbour and group discovery."""
        return [frame for frame in self.frames if frame.protocol not in _NEIGHBOURHOOD]


def _dissect(protocol: int, data: bytes) -> Frame | None:
    if protocol == _IPV4:
        start = (data[0] & 0x0F) * 4
        next_header = data[9]
        is_fragment = struct.unpack_from("!H", data, 6)[0] & 0x3FFF != 0
    elif protocol == _IPV6:
        start = 40
        next_header = data[6]
        is_fragment = next_header == _IPV6_FRAGMENT
    else:
        return None
    ports: frozenset[int] = frozenset()
    is_ike = False
    if next_header == UDP and not is_fragment:
        ports = frozenset(struct.unpack_from("!HH", data, start))
        is_ike = 500 in ports or data[start + 8 : start + 12] == _NON_ESP_MARKER
    return Frame(next_header, ports, len(data), is_fragment, is_ike)
