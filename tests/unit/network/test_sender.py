from __future__ import annotations

import errno
import threading

import pytest

from charon_core.bus import Bus, Level
from charon_core.network.packet import Endpoint, Packet
from charon_core.network.sender import Sender

HERE, PEER = Endpoint("192.0.2.9", 500), Endpoint("192.0.2.1", 500)


class FakeSockets:
    def __init__(self):
        self.on_writable = None
        self.sent = []
        self.keepalives = []
        self.watching = False
        self.room = 1 << 30
        self.error = None

    def send(self, packet):
        if self.error is not None:
            raise self.error
        if self.room <= 0:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.room -= 1
        self.sent.append(packet.data)

    def send_keepalive(self, source, destination):
        self.send(Packet(source, destination, b"\xff"))

    def watch_writable(self, *, wanted):
        self.watching = wanted


class Lines:
    name = "lines"

    def __init__(self):
        self.texts = []

    def level(self, group):
        return Level.CONTROL

    def log(self, record):
        self.texts.append(record.text)


@pytest.fixture
def sockets():
    return FakeSockets()


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def sender(sockets, lines):
    bus = Bus()
    bus.add_logger(lines)
    return Sender(sockets, bus, 3)


def packet(data=b"x"):
    return Packet(HERE, PEER, data)


def test_sends_at_once_and_tells_it(sender, sockets, lines):
    assert sender.send(packet(b"hello"))
    assert sockets.sent == [b"hello"]
    assert lines.texts == ["sending packet: from 192.0.2.9[500] to 192.0.2.1[500] (5 bytes)"]
    assert sender.counters.sent == 1


def test_quiet_leaves_no_line(sender, sockets, lines):
    sender.send(packet(), quiet=True)
    assert sockets.sent == [b"x"]
    assert lines.texts == []


def test_waits_in_order_while_there_is_no_room(sender, sockets):
    sockets.room = 1
    assert all(sender.send(packet(data)) for data in (b"1", b"2", b"3"))
    assert sockets.sent == [b"1"]
    assert sender.backlog == 2
    assert sockets.watching
    sockets.room = 1
    assert sender.send(packet(b"4")), "whoever waits goes first"
    assert sockets.sent == [b"1"]
    sockets.on_writable()
    assert sockets.sent == [b"1", b"2"]
    assert sockets.watching
    sockets.room = 9
    sockets.on_writable()
    assert sockets.sent == [b"1", b"2", b"3", b"4"]
    assert not sockets.watching
    assert sender.backlog == 0
    assert sender.send(packet(b"5"))
    assert sockets.sent[-1] == b"5"
    assert (sender.counters.sent, sender.counters.deferred) == (5, 3)


def test_drops_and_counts_what_exceeds_the_backlog(sender, sockets):
    sockets.room = 0
    assert [sender.send(packet()) for _ in range(5)] == [True, True, True, False, False]
    assert sender.counters.dropped == 2
    assert sender.backlog == 3


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError(errno.EMSGSIZE, "Message too long"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        PermissionError(errno.EPERM, "Operation not permitted"),
        OverflowError("port must be 0-65535"),
    ],
)
def test_an_error_is_logged_and_harmless(sender, sockets, lines, error):
    sockets.error = error
    assert not sender.send(packet())
    assert lines.texts[-1].startswith("cannot send from 192.0.2.9[500] to 192.0.2.1[500]: ")
    assert str(error) in lines.texts[-1]
    sockets.error = None
    assert sender.send(packet())
    assert sender.counters.failed == 1


def test_errors_do_not_flood_the_log(sender, sockets, lines):
    sockets.error = OSError(errno.ENETUNREACH, "Network is unreachable")
    for _ in range(500):
        sender.send(packet(), quiet=True)
    assert len(lines.texts) < 20
    assert sender.counters.failed == 500


def test_an_error_in_the_backlog_does_not_hold_up_the_rest(sender, sockets):
    sockets.room = 0
    for data in (b"1", b"2"):
        sender.send(packet(data))
    sockets.error = OSError(errno.EHOSTUNREACH, "No route to host")
    sockets.on_writable()
    assert sender.backlog == 0
    assert sender.counters.failed == 2
    assert not sockets.watching


def test_keepalives_go_out_or_are_forgotten(sender, sockets, lines):
    assert sender.send_keepalive(HERE, PEER)
    assert sockets.sent == [b"\xff"]
    sockets.room = 0
    assert not sender.send_keepalive(HERE, PEER)
    assert sender.backlog == 0
    sockets.error = OSError(errno.EHOSTUNREACH, "No route to host")
    assert not sender.send_keepalive(HERE, PEER)
    assert sender.counters.keepalives == 1
    assert sender.counters.failed == 1
    assert len(lines.texts) == 1


def test_many_threads_send_while_room_comes_and_goes(lines):
    class Stuttering(FakeSockets):
        calls = 0

        def send(self, packet):
            self.calls += 1
            if self.calls % 3 == 0:
                raise BlockingIOError
            self.sent.append(packet.data)

    sockets = Stuttering()
    sender = Sender(sockets, Bus(), 1 << 20)

    def work(number):
        for index in range(500):
            assert sender.send(packet(b"%d.%d" % (number, index)))
            if index % 10 == 0:
                sockets.on_writable()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while sender.backlog:
        sockets.on_writable()
    assert len(sockets.sent) == len(set(sockets.sent)) == 2000
