from __future__ import annotations

import socket

import pytest

from charon_core.bus import Bus
from charon_core.network.socket import IkeSockets, SocketConfig
from tests.unit.network.udp import SOON, V4, Lines


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def make(lines):
    made = []

    def make(*, opened=True, **options) -> IkeSockets:
        options = {"port": 0, "nat_port": 0} | options
        bus = Bus()
        bus.add_logger(lines)
        sockets = IkeSockets(SocketConfig(**options), bus)
        made.append(sockets)
        if opened:
            sockets.open()
        return sockets

    yield make
    for sockets in made:
        sockets.close()


@pytest.fixture
def sockets(make):
    return make(**V4)


@pytest.fixture
def peer():
    """A plain UDP socket on 127.0.0.5."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.5", 0))
        udp.settimeout(SOON)
        yield udp
