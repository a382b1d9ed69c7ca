"""The way back to a client: one that reads slowly, later or never, and one that is asked."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from charon_plugins.stroke.server import channel, courier, listener
from charon_plugins.stroke.server.channel import Channel
from charon_plugins.stroke.server.listener import Listener
from charon_plugins.stroke.wire.bodies import Name
from charon_plugins.stroke.wire.message import Message, encode
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    theirs.settimeout(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_client_that_never_reads_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    reply = Channel(pair[0], write_patience=0.1)
    begin = time.monotonic()
    assert not reply.write("x" * 1_000_000)
    assert time.monotonic() - begin < 5
    assert reply.is_lost
    assert not reply.write("y")


def test_patience_is_for_the_whole_request(pair: tuple[socket.socket, socket.socket]) -> None:
    """A client that reads a little now and then does not get new patience each time."""
    reply = Channel(pair[0], write_patience=0.3)
    stop = threading.Event()

    def sip() -> None:
        while not stop.wait(0.02):
            pair[1].recv(1)

    reader = threading.Thread(target=sip)
    reader.start()
    begin = time.monotonic()
    assert not reply.write("x" * 10_000_000)
    assert time.monotonic() - begin < 5
    stop.set()
    reader.join()


def test_slow_client_gets_everything(pair: tuple[socket.socket, socket.socket]) -> None:
    got = bytearray()

    def read() -> None:
        while chunk := pair[1].recv(1000):
            got.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    reply = Channel(pair[0], write_patience=10)
    assert reply.write_lines(f"line {number}" for number in range(20_000))
    reply.close()
    reader.join()
    assert got.decode().splitlines() == [f"line {number}" for number in range(20_000)]


# -- clients that read later --

STATUS = Message(MessageType.STATUS, Name())
LONG = "".join(f"line {number}\n" for number in range(50_000))


def test_a_client_that_does_not_read_keeps_no_worker_waiting(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    handed: list[tuple[socket.socket, bytes]] = []
    reply = Channel(pair[0], deliver=lambda *rest: handed.append(rest), write_patience=0.0)
    assert reply.write(LONG)
    reply.close()
    ((connection, rest),) = handed
    assert connection is pair[0]
    got = bytearray()
    pair[1].setblocking(False)
    while len(got) < len(LONG) - len(rest):
        got += pair[1].recv(65536)
    assert (got + rest).decode() == LONG
    assert not reply.write("x")


def test_what_is_kept_for_a_client_is_bounded(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "MAX_UNREAD", 100_000)
    handed: list[object] = []
    reply = Channel(pair[0], deliver=lambda *rest: handed.append(rest), write_patience=0.05)
    assert reply.write("x" * 90_000)
    assert not reply.write("x" * 90_000)
    reply.close()
    assert handed == []
    assert pair[0].fileno() == -1


class Deliveries:
    """A listener whose requests all get the same long reply, turned by hand."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.path = path
        self.listener = Listener(path, self._reply, self.lines.append, clock=lambda: self.now)
        self.listener.open()

    def _reply(self, _: bytes, connection: socket.socket) -> None:
        reply = Channel(connection, deliver=self.listener.deliver)
        reply.write(LONG)
        reply.close()

    def ask(self) -> socket.socket:
        """Connect and ask; the reply is on its way then, and nothing of it read."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.path))
        client.sendall(encode(STATUS))
        client.setblocking(False)
        before = len(self.listener._courier)
        while len(self.listener._courier) == before:
            self.listener.turn()
        return client

    def read(self, client: socket.socket) -> str:
        got = bytearray()
        while True:
            try:
                chunk = client.recv(65536)
            except BlockingIOError:
                self.listener.turn()
                continue
            if not chunk:
                client.close()
                return got.decode()
            got += chunk


@pytest.fixture
def deliveries(tmp_path: Path) -> Iterator[Deliveries]:
    made = Deliveries(tmp_path / "ctl")
    yield made
    made.listener.close()


def test_the_rest_of_a_reply_comes_when_the_client_reads(deliveries: Deliveries) -> None:
    clients = [deliveries.ask() for _ in range(5)]
    for client in clients:
        assert deliveries.read(client) == LONG
    assert len(deliveries.listener._courier) == 0
    assert deliveries.lines == []


def test_clients_that_go_without_reading_leave_nothing(deliveries: Deliveries) -> None:
    client = deliveries.ask()
    client.close()
    deliveries.listener.turn()
    assert len(deliveries.listener._courier) == 0


@pytest.mark.parametrize(("limit", "value"), [("MAX_DELIVERIES", 2), ("MAX_OCTETS", 700_000)])
def test_the_oldest_of_many_that_do_not_read_is_dropped(
    deliveries: Deliveries, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, limit, value)
    clients = [deliveries.ask()]
    for _ in range(2):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(deliveries.path))
        client.sendall(encode(STATUS))
        client.setblocking(False)
        clients.append(client)
    while not deliveries.lines:
        deliveries.listener.turn()
    assert "too many clients do not read" in deliveries.lines[0]
    assert deliveries.read(clients[-1]) == LONG
    assert len(deliveries.read(clients[0])) < len(LONG)
    clients[1].close()


def test_nobody_is_delivered_to_for_ever(deliveries: Deliveries) -> None:
    client = deliveries.ask()
    deliveries.now += courier.PATIENCE
    deliveries.listener.turn()
    assert "has read nothing" in deliveries.lines[0]
    assert len(deliveries.read(client)) < len(LONG)


def test_deliveries_end_with_the_daemon(deliveries: Deliveries) -> None:
    client = deliveries.ask()
    deliveries.listener.close()
    ours, theirs = socket.socketpair()
    deliveries.listener.deliver(ours, b"too late")
    assert theirs.recv(1) == b""
    theirs.close()
    client.close()


def test_nul_is_never_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    reply = Channel(pair[0])
    reply.write_line("a\0b")
    assert pair[1].recv(10) == b"ab\n"


def test_client_that_closed_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    reply = Channel(pair[0])
    assert not reply.is_lost
    pair[1].close()
    assert reply.is_lost
    assert not reply.write("x")


def test_client_that_only_ends_its_own_side_still_gets_the_reply(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    reply = Channel(pair[0])
    pair[1].shutdown(socket.SHUT_WR)
    assert not reply.is_lost
    assert reply.write_line("x")
    assert pair[1].recv(10) == b"x\n"


def test_prompt(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"geh")
    pair[1].sendall(b"eim\nrest")
    reply = Channel(pair[0])
    assert reply.ask("Key is encrypted.\n", "Passphrase") == "geheim"
    assert pair[1].recv(1000) == b"Key is encrypted.\nPassphrase:\n"


@pytest.mark.parametrize("answer", [b"", b"x" * 256, b"no newline"])
def test_prompt_without_an_answer(pair: tuple[socket.socket, socket.socket], answer: bytes) -> None:
    pair[1].sendall(answer)
    pair[1].shutdown(socket.SHUT_WR)
    assert Channel(pair[0], prompt_patience=5).ask("", "Password") is None


def test_prompt_is_not_waited_for_for_ever(pair: tuple[socket.socket, socket.socket]) -> None:
    assert Channel(pair[0], prompt_patience=0.05).ask("", "Password") is None


def test_patience_of_the_channel_is_bounded() -> None:
    assert 0 < channel.WRITE_PATIENCE <= 60
    assert 0 < listener.READ_PATIENCE <= 60
