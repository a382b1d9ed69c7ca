"""The control socket: who may connect, what is read and written, and for how long."""

from __future__ import annotations

import os
import socket
import stat
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charon_core.bus.listener import Level
from charon_plugins.stroke.server import listener
from charon_plugins.stroke.server.channel import Channel
from charon_plugins.stroke.server.dispatcher import Dispatcher
from charon_plugins.stroke.server.listener import Listener, SocketInUseError
from charon_plugins.stroke.wire.bodies import AddConn, End, MemUsage, Name
from charon_plugins.stroke.wire.fields import FIXED_LENGTH
from charon_plugins.stroke.wire.message import Message, encode
from charon_plugins.stroke.wire.types import MessageType
from tests.plugins.stroke.fakes import World, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from charon_core.processing.job import Job

STATUS = Message(MessageType.STATUS, Name())
NO_SAS = "Security Associations (0 up, 0 connecting):\n  none\n"


def test_one_connection_is_one_request(world: World) -> None:
    assert world.ask(STATUS) == NO_SAS
    assert world.ask(STATUS) == NO_SAS


def test_socket_is_for_owner_and_group_only(world: World) -> None:
    mode = os.lstat(world.socket).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o770


def test_socket_is_removed_at_the_end(world: World, tmp_path: Path) -> None:
    assert world.paths.control_socket.exists()
    world.plugin.charon_destroy()
    assert not world.paths.control_socket.exists()


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(world.socket)
    world.start()
    assert world.ask(STATUS) == NO_SAS
    world.stop()


def test_living_socket_is_left_alone(world: World) -> None:
    second = Listener(world.paths.control_socket, lambda *_: None, lambda _: None)
    with pytest.raises(SocketInUseError, match="another daemon answers"):
        second.open()
    second.close()
    assert world.ask(STATUS) == NO_SAS


def test_other_files_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "ctl").write_text("precious")
    second = Listener(tmp_path / "ctl", lambda *_: None, lambda _: None)
    with pytest.raises(FileExistsError):
        second.open()
    second.close()
    assert (tmp_path / "ctl").read_text() == "precious"


def test_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    first = Listener(tmp_path / "ctl", lambda *_: None, lambda _: None)
    first.open()
    (tmp_path / "ctl").unlink()
    second = Listener(tmp_path / "ctl", lambda *_: None, lambda _: None)
    second.open()
    first.close()
    assert (tmp_path / "ctl").exists()
    second.close()


def test_least_length_is_that_of_the_codec() -> None:
    assert listener.FIXED_LENGTH == FIXED_LENGTH


@pytest.mark.parametrize("length", [0, 1, 2, 16, 657])
def test_too_short_request_is_dropped_without_a_word(world: World, length: int) -> None:
    assert world.ask_raw(struct.pack("<H", length) + bytes(700)) == ""
    assert world.bus.said(f"request of {length} octets is too short")
    assert world.ask(STATUS) == NO_SAS


@pytest.mark.parametrize("kind", [-1, 23, 2**31 - 1])
def test_unknown_type_is_told_to_the_client(world: World, kind: int) -> None:
    text = f"unknown type {kind}: this command is not implemented\n"
    assert world.ask(Message(kind, None)) == text
    assert world.ask(Message(kind, None, -1)) == ""
    assert world.bus.said(f"unknown type {kind}: this command is not implemented")


@pytest.mark.parametrize("kind", [MessageType.EXPORT, MessageType.LIST])
def test_command_that_is_not_implemented_is_told_to_the_client(
    world: World, kind: MessageType
) -> None:
    from charon_plugins.stroke.wire.bodies import BODIES

    text = f"{kind.label}: this command is not implemented\n"
    assert world.ask(Message(kind, BODIES[kind]())) == text
    assert world.ask(Message(kind, BODIES[kind](), -1)) == ""
    assert world.bus.said(f"{kind.label}: this command is not implemented")


def test_request_may_come_octet_by_octet(world: World) -> None:
    with world.connect() as client:
        for octet in encode(STATUS):
            client.send(bytes([octet]))
        assert client.recv(65536).decode() == NO_SAS


def test_what_follows_a_request_is_ignored(world: World) -> None:
    assert world.ask_raw(encode(STATUS) + b"more") in (NO_SAS, "")
    assert world.ask(STATUS) == NO_SAS


def test_clients_that_leave_at_any_point_do_no_harm(world: World) -> None:
    request = encode(STATUS)
    for length in (0, 1, 2, 100, len(request) - 1, len(request)):
        with world.connect() as client:
            client.sendall(request[:length])
    assert world.ask(STATUS) == NO_SAS


def test_silent_clients_neither_block_nor_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "READ_PATIENCE", 0.2)
    world = World(tmp_path)
    world.start()
    silent = [world.connect() for _ in range(12)]
    silent[0].sendall(b"\x92")
    assert world.ask(STATUS) == NO_SAS
    for client in silent:
        assert client.recv(1) == b""
        client.close()
    assert world.bus.said("no complete request within")
    world.stop()


def test_more_silent_clients_than_places_do_not_lock_out_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAX_PENDING", 3)
    world = World(tmp_path)
    world.start()
    silent = [world.connect() for _ in range(8)]
    assert world.ask(STATUS) == NO_SAS
    assert silent[0].recv(1) == b""
    for client in silent:
        client.close()
    world.stop()


class Recorder:
    """A handler whose requests end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def waits(self, message: Message) -> bool:
        return message.type == MessageType.INITIATE

    def handle(self, message: Message, _: Channel) -> None:
        self.begun.append(message.label)


class Crowd:
    """Clients of a dispatcher; all leave at the end of a test."""

    def __init__(self) -> None:
        self.clients: list[socket.socket] = []

    def submit(self, dispatcher: Dispatcher, kinds: str) -> None:
        for kind in kinds:
            self.clients.append(submit(dispatcher, kind))


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    yield made
    for client in made.clients:
        client.close()


def submit(dispatcher: Dispatcher, kind: str) -> socket.socket:
    body: Any = Name("x") if kind == "i" else MemUsage()
    number = MessageType.INITIATE if kind == "i" else MessageType.MEMUSAGE
    ours, theirs = socket.socketpair()
    dispatcher.submit(Message(number, body), Channel(ours))
    return theirs


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize(
    ("kinds", "queued"),
    [
        ("mmmmmm", ["memusage"] * 4),
        ("iiiiii", ["initiate"] * 3),
        ("iiiiim", ["initiate"] * 3 + ["memusage"]),
        ("mmmii", ["memusage"] * 3 + ["initiate"]),
    ],
)
def test_places_are_shared(crowd: Crowd, kinds: str, queued: list[str]) -> None:
    jobs: list[Job] = []
    handler = Recorder()
    dispatcher = Dispatcher(
        handler, lambda job: jobs.append(job) is None, lambda _: None, max_concurrent=4
    )
    crowd.submit(dispatcher, kinds)
    assert [str(job).removeprefix("stroke ") for job in jobs] == queued
    for job in jobs:
        job.execute()
    assert len(jobs) == len(kinds)
    assert len(handler.begun) == len(kinds)


def test_single_place_serves_both_kinds(crowd: Crowd) -> None:
    jobs: list[Job] = []
    dispatcher = Dispatcher(
        Recorder(), lambda job: jobs.append(job) is None, lambda _: None, max_concurrent=1
    )
    crowd.submit(dispatcher, "im")
    assert len(jobs) == 1
    jobs[0].execute()
    assert len(jobs) == 2
    jobs[1].execute()


def test_handler_that_raises_lets_client_and_place_go(crowd: Crowd) -> None:
    jobs: list[Job] = []

    class Failing(Recorder):
        def handle(self, message: Message, channel: Channel) -> None:
            raise RuntimeError("fault")

    dispatcher = Dispatcher(
        Failing(), lambda job: jobs.append(job) is None, lambda _: None, max_concurrent=1
    )
    crowd.submit(dispatcher, "mm")
    with pytest.raises(RuntimeError):
        jobs[0].execute()
    assert crowd.clients[0].recv(100).startswith(b"failed by a fault of the daemon's own")
    assert len(jobs) == 2
    with pytest.raises(RuntimeError):
        jobs[1].execute()


def test_clients_are_turned_away_when_workers_take_no_jobs(crowd: Crowd) -> None:
    lines: list[str] = []
    dispatcher = Dispatcher(Recorder(), lambda _: False, lines.append, max_concurrent=4)
    crowd.submit(dispatcher, "mm")
    assert lines == ["stroke memusage refused: the workers take no more jobs"] * 2


def test_waiting_requests_are_bounded(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charon_plugins.stroke.server.dispatcher.MAX_WAITING", 2)
    lines: list[str] = []
    jobs: list[Job] = []
    dispatcher = Dispatcher(
        Recorder(), lambda job: jobs.append(job) is None, lines.append, max_concurrent=1
    )
    crowd.submit(dispatcher, "mmmm")
    assert len(lines) == 1
    dispatcher.close()
    crowd.submit(dispatcher, "m")
    assert len(lines) == 2
    jobs[0].execute()
    assert len(jobs) == 1


def test_everything_is_answered_while_many_wait_for_peers(tmp_path: Path) -> None:
    world = World(tmp_path, {"max_concurrent": 2})
    world.start()
    add(world, "home")
    world.controller.is_held = True
    waiting = [world.connect() for _ in range(12)]
    for client in waiting:
        client.sendall(encode(Message(MessageType.INITIATE, Name("home"))))
    assert world.ask(STATUS) == NO_SAS
    assert until(lambda: len(world.controller.held) == 12)
    held, world.controller.held = world.controller.held, []
    world.controller.is_held = False
    up = world.ask(Message(MessageType.INITIATE, Name("home")))
    assert up == "connection 'home' established successfully\n"
    assert world.ask(Message(MessageType.TERMINATE, Name("[1]"))) == (
        "IKE_SA [1] closed successfully\n"
    )
    for end in held:
        end()
    for client in waiting:
        assert b"established successfully" in client.recv(1000)
        client.close()
    world.stop()


def test_who_waits_for_peers_are_so_many_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charon_plugins.stroke.server.dispatcher.MAX_ERRANDS", 2)
    world = World(tmp_path)
    world.start()
    add(world, "home")
    world.controller.is_held = True
    waiting = [world.connect() for _ in range(2)]
    for client in waiting:
        client.sendall(encode(Message(MessageType.INITIATE, Name("home"))))
    assert until(lambda: len(world.controller.held) == 2)
    assert world.ask(Message(MessageType.INITIATE, Name("home"))) == (
        "refused: too many clients wait for peers already\n"
    )
    assert world.ask(STATUS) == NO_SAS
    world.controller.release()
    for client in waiting:
        client.close()
    world.stop()


def test_request_whose_client_has_gone_is_dropped_while_it_waits_for_its_turn(crowd: Crowd) -> None:
    jobs: list[Job] = []
    lines: list[str] = []
    handler = Recorder()
    dispatcher = Dispatcher(
        handler, lambda job: jobs.append(job) is None, lines.append, max_concurrent=1
    )
    crowd.submit(dispatcher, "mim")
    crowd.clients[1].close()
    jobs[0].execute()
    assert [str(job) for job in jobs] == ["stroke memusage"] * 2
    jobs[1].execute()
    assert handler.begun == ["memusage"] * 2
    assert lines == ["stroke initiate dropped: its client waits no longer"]


def test_a_full_queue_is_rid_of_those_who_have_gone_first(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charon_plugins.stroke.server.dispatcher.MAX_WAITING", 2)
    lines: list[str] = []
    jobs: list[Job] = []
    dispatcher = Dispatcher(
        Recorder(), lambda job: jobs.append(job) is None, lines.append, max_concurrent=1
    )
    crowd.submit(dispatcher, "mmm")
    for client in crowd.clients[1:]:
        client.close()
    crowd.submit(dispatcher, "i")
    assert lines == []
    jobs[0].execute()
    assert str(jobs[1]) == "stroke initiate"
    jobs[1].execute()


def add(world: World, name: str) -> None:
    end = End(ikeport=500, to_port=65535, auth="psk")
    body = AddConn(name=name, version=2, mode=2, me=end, other=end)
    assert world.ask(Message(MessageType.ADD_CONN, body, -1)) == ""


def test_stop_lets_waiting_clients_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    add(world, "home")
    world.controller.is_held = True
    world.controller.records = [record("too late")]
    with world.connect() as client:
        client.sendall(encode(Message(MessageType.INITIATE, Name("home"))))
        assert until(lambda: len(world.controller.held) == 1)
        world.plugin.charon_destroy()
        assert client.recv(100) == b""
        world.controller.release()
    world.stop()


def test_hostile_verbosity_is_harmless(world: World) -> None:
    add(world, "home")
    world.controller.records = [record("line", Level.AUDIT)]
    for verbosity in (2**31 - 1, 5, 4, 0):
        reply = world.ask(Message(MessageType.INITIATE, Name("home"), verbosity))
        assert reply.startswith("line\n")
    assert world.ask(Message(MessageType.INITIATE, Name("home"), -(2**31))) == ""


@given(
    st.integers(-1, 24),
    st.integers(-(2**31), 2**31 - 1),
    st.binary(min_size=640, max_size=640)
    | st.integers(0, 700).map(lambda slot: struct.pack("<Q", slot) * 80),
    st.binary(max_size=60),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_request_harms_the_daemon(
    world: World, kind: int, verbosity: int, body: bytes, strings: bytes
) -> None:
    header = struct.pack("<H2xii4x", FIXED_LENGTH + len(strings), kind, verbosity)
    world.ask_raw(header + body + bytes(2) + strings)
    assert world.failures == []
    assert world.ask(STATUS).endswith("  none\n")
