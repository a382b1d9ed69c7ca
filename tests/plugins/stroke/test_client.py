"""The client: command line to message, reply to output, prompts, exit codes."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charon_plugins.stroke.client import cli
from charon_plugins.stroke.client.commands import COMMANDS, CommandError, find
from charon_plugins.stroke.client.connection import StrokeError, request, socket_path
from charon_plugins.stroke.wire import bodies
from charon_plugins.stroke.wire.bodies import Name
from charon_plugins.stroke.wire.message import Message, encode
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parents[2] / "data" / "vectors" / "stroke"
CLI_VECTORS = [
    "add-conn-cli",
    "initiate",
    "list-certs-utc",
    "loglevel",
    "rereadsecrets",
    "status",
    "terminate",
    "terminate-srcip",
    "user-creds",
]


@pytest.mark.parametrize("name", CLI_VECTORS)
def test_captured_command_line_gives_the_captured_message(name: str) -> None:
    words = shlex.split(json.loads((VECTORS / f"{name}.json").read_text())["command"])[1:]
    utc = "--utc" in words
    command, *arguments = [word for word in words if word != "--utc"]
    expected = bytes.fromhex((VECTORS / f"{name}.hex").read_text())
    assert encode(find(command).message(command, arguments, utc=utc)) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("up-nb a", Message(MessageType.INITIATE, Name("a"), -1)),
        ("down-nb a", Message(MessageType.TERMINATE, Name("a"), -1)),
        ("up a b", Message(MessageType.INITIATE, Name("a"))),
        ("del a", Message(MessageType.DEL_CONN, Name("a"))),
        ("status a", Message(MessageType.STATUS, Name("a"))),
        ("statusallnb", Message(MessageType.STATUS_ALL_NOBLK, Name())),
        ("down-srcip a", Message(MessageType.TERMINATE_SRCIP, bodies.TerminateSrcip("a"))),
        ("loglevel any -1", Message(MessageType.LOGLEVEL, bodies.Loglevel("any", -1))),
        ("rereadall", Message(MessageType.REREAD, bodies.Reread(0x3F))),
        ("purgeike", Message(MessageType.PURGE, bodies.Purge(8))),
        ("listall", Message(MessageType.LIST, bodies.List(0xFFF))),
        ("listocsp", Message(MessageType.LIST, bodies.List(0x200))),
        ("exportconnchain a", Message(MessageType.EXPORT, bodies.Export(4, "a"))),
        ("leases p a", Message(MessageType.LEASES, bodies.Leases("p", "a"))),
        ("memusage", Message(MessageType.MEMUSAGE, bodies.MemUsage())),
        ("user-creds a b", Message(MessageType.USER_CREDS, bodies.UserCreds("a", "b"))),
        ("resetcounters", Message(MessageType.COUNTERS, bodies.Counters(1))),
        ("listcounters all", Message(MessageType.COUNTERS, bodies.Counters(0, "all"))),
    ],
)
def test_command(line: str, message: Message) -> None:
    name, *arguments = line.split()
    assert find(name).message(name, arguments) == message


def test_every_message_type_that_the_native_client_sends_has_a_command() -> None:
    arguments = ["1"] * 7
    kinds = {command.message(name, arguments).type for name, command in COMMANDS.items()}
    assert kinds == set(MessageType) - {
        MessageType.ADD_CA,
        MessageType.DEL_CA,
        MessageType.CONFIG,
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("up", "needs more arguments: NAME"),
        ("add a b", "MY_ADDR"),
        ("user-creds a", "USERNAME"),
        ("loglevel ike", "LEVEL"),
        ("loglevel ike 9", "from -1 to 4"),
        ("loglevel ike x", "from -1 to 4"),
        ("statsu", "did you mean 'status'"),
    ],
)
def test_wrong_command_line(line: str, complaint: str) -> None:
    name, *arguments = line.split()
    with pytest.raises(CommandError, match=complaint):
        find(name).message(name, arguments)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Start a daemon that handles one connection; returns the path of its socket."""
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:

        def start(handle: Callable[[socket.socket], None]) -> str:
            path = str(tmp_path / "ctl")
            listener.bind(path)
            listener.listen(1)

            def serve_one() -> None:
                client, _ = listener.accept()
                with client:
                    handle(client)

            threads.append(threading.Thread(target=serve_one))
            threads[0].start()
            return path

        yield start
        for thread in threads:
            thread.join(5)


def test_reply_is_passed_on_until_the_daemon_closes(
    serve: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    seen = []

    def handle(client: socket.socket) -> None:
        seen.append(client.recv(1000))
        client.sendall(b"one\ntwo\n")

    output = bytearray()
    request("unix://" + serve(handle), b"question", output.extend)
    assert seen == [b"question"]
    assert output == b"one\ntwo\n"


def test_prompt_is_answered(serve: Callable[[Callable[[socket.socket], None]], str]) -> None:
    answers = []

    def handle(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(b"Private key 'x' is encrypted.\nPassphrase:\n")
        answers.append(client.recv(1000))
        client.sendall(b"thanks\n")

    output = bytearray()
    request(serve(handle), b"q", output.extend, ask=lambda: "geheim")
    assert answers == [b"geheim\n"]
    assert output == b"Private key 'x' is encrypted.\nPassphrase: thanks\n"


@pytest.mark.parametrize("answer", ["a\nb", "x" * 255])
def test_answers_that_do_not_fit_are_refused(
    serve: Callable[[Callable[[socket.socket], None]], str], answer: str
) -> None:
    def handle(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(b"PIN:\n")

    with pytest.raises(StrokeError, match="254 octets"):
        request(serve(handle), b"q", lambda _: None, ask=lambda: answer)


def test_silent_daemon_is_given_up(
    serve: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    done = threading.Event()

    def handle(_: socket.socket) -> None:
        done.wait(5)

    path = serve(handle)
    with pytest.raises(StrokeError, match="no answer"):
        request(path, b"q", lambda _: None, timeout=0.05)
    done.set()


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(StrokeError, match="is the daemon running"):
        request(str(tmp_path / "ctl"), b"q", lambda _: None)


def test_only_unix_sockets() -> None:
    assert socket_path("unix:///run/x") == "/run/x"
    with pytest.raises(StrokeError, match="unix:///path"):
        socket_path("tcp://localhost:4502")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["charon-stroke", *arguments])
    try:
        cli.main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def test_exit_code_is_0_whenever_there_was_a_reply(
    serve: Callable[[Callable[[socket.socket], None]], str],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    def handle(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(b"establishing connection 'a' failed\n")

    assert run(monkeypatch, "--socket", serve(handle), "up", "a") == 0
    assert capfdbinary.readouterr().out == b"establishing connection 'a' failed\n"


@pytest.mark.parametrize(
    "arguments", [(), ("bogus",), ("up",), ("--bogus", "status"), ("loglevel", "ike", "-1")]
)
def test_usage_errors_exit_with_255(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 255


def test_no_daemon_exits_with_255(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, "--root", str(tmp_path), "status") == 255
    assert run(monkeypatch, "--root", str(tmp_path), "--", "loglevel", "any", "-1") == 255


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("listgroups",)])
def test_help_exits_with_0(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    assert run(monkeypatch, *arguments) == 0
    assert "rereadsecrets" in capsys.readouterr().out


def test_socket_of_the_daemons_settings(
    serve: Callable[[Callable[[socket.socket], None]], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    def handle(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(b"here\n")

    serve(handle)
    (tmp_path / "etc" / "charon").mkdir(parents=True)
    (tmp_path / "etc/charon/charon.toml").write_text('[paths]\ncontrol_socket = "/ctl"\n')
    assert run(monkeypatch, "--root", str(tmp_path), "status") == 0
    assert capfdbinary.readouterr().out == b"here\n"


def test_version() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "charon_plugins.stroke.client.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"charon-stroke \d+\.\d+\S*\n", result.stdout)
