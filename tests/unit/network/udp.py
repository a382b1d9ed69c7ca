"""What the tests of the sockets share."""

from __future__ import annotations

import socket

import pytest

from charon_core.bus import Level
from charon_core.network.packet import Endpoint

SOON = 5.0
MESSAGE = b"0123456789abcdef" * 4
ESP = b"\xc0\x01\x02\x03" + bytes(range(60))
MARKER = bytes(4)
V4 = {"ipv6": False}


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


class Lines:
    name = "lines"

    def __init__(self):
        self.texts = []

    def level(self, group):
        return Level.CONTROL

    def log(self, record):
        self.texts.append(record.text)


def endpoint(udp):
    return Endpoint(*udp.getsockname()[:2])


def take(sockets, number=1):
    taken = []
    while len(taken) < number:
        packets = sockets.receive(SOON)
        assert packets, f"{len(taken)} of {number} came"
        taken += packets
    return taken
