"""The starter's loop: what is sent when, and how the daemon is kept alive."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from charon_plugins.stroke.client.connection import StrokeError
from charon_plugins.stroke.starter import launch
from charon_plugins.stroke.starter.convert import Configuration, convert
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.environment import Places, daemon_arguments
from charon_plugins.stroke.starter.plan import Request, keep_skipped, reload_plan, update_plan
from charon_plugins.stroke.starter.process import PidFile, find_program, running_pid
from charon_plugins.stroke.starter.supervisor import READY_PATIENCE, RESTART_DELAY, Supervisor
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Iterable

OLD = """
ca one
	cacert=a.pem
	auto=add
ca two
	cacert=b.pem
	auto=add
conn a
	right=1.1.1.1
	auto=add
conn b
	right=1.1.1.2
	auto=route
conn c
	right=1.1.1.3
	auto=start
conn d
	right=1.1.1.4
	auto=add
"""
NEW = """
ca one
	cacert=a.pem
	auto=add
ca two
	cacert=c.pem
	auto=add
conn a
	right=1.1.1.1
	auto=start
conn b
	right=1.1.1.22
	auto=route
conn c
	right=1.1.1.3
	auto=start
conn e
	right=1.1.1.5
	auto=route
"""


def configuration(text: str) -> Configuration:
    return convert(load(Path("/conf"), lambda _: text))


def described(requests: Iterable[Request]) -> list[str]:
    return [str(request) for request in requests]


def test_update_sends_the_difference_only() -> None:
    assert described(update_plan(configuration(OLD), configuration(NEW))) == [
        "del_conn a",
        "unroute b",
        "del_conn b",
        "del_conn d",
        "del_ca two",
        "add_ca two",
        "add_conn a",
        "initiate a",
        "add_conn b",
        "route b",
        "add_conn e",
        "route e",
    ]


def test_update_with_the_same_file_sends_nothing() -> None:
    assert update_plan(configuration(OLD), configuration("config setup\n" + OLD)) == []


def test_reload_sends_everything_anew() -> None:
    assert described(reload_plan(configuration(NEW), configuration(NEW)))[:9] == [
        "del_conn a",
        "unroute b",
        "del_conn b",
        "del_conn c",
        "unroute e",
        "del_conn e",
        "del_ca one",
        "del_ca two",
        "add_ca one",
    ]


def test_a_mistake_does_not_take_away_what_worked() -> None:
    old = configuration(OLD)
    broken = configuration(OLD.replace("right=1.1.1.4", "mobike=YES"))
    assert described(update_plan(old, broken)) == ["del_conn d"]
    assert described(update_plan(old, keep_skipped(old, broken))) == []


class FakeProcess:
    pid = 4711

    def __init__(self) -> None:
        self.code: int | None = None
        self.stops: list[float] = []

    def poll(self) -> int | None:
        return self.code

    def stop(self, patience: float = 8.0) -> int:
        self.stops.append(patience)
        self.code = 0
        return 0


class FakeWorld:
    """Plays a list of events: (seconds that pass, signal or None, what else happens)."""

    def __init__(self, text: str = OLD) -> None:
        self.text = text
        self.now = 0.0
        self.ready = True
        self.processes: list[FakeProcess] = []
        self.sent: list[str] = []
        self.fails: set[str] = set()
        self.lines: list[str] = []
        self.script: list[object] = []

    def load(self) -> Configuration:
        return configuration(self.text)

    def spawn(self, _: Configuration) -> FakeProcess:
        self.processes.append(FakeProcess())
        return self.processes[-1]

    def collect(self) -> None:
        self.lines.append("collected")

    def is_ready(self) -> bool:
        return self.ready

    def send(self, request: Request) -> None:
        if str(request) in self.fails:
            raise StrokeError("no answer")
        self.sent.append(str(request))

    def wait(self, seconds: float | None) -> Iterable[int]:
        if seconds is not None and seconds <= 0.02:
            self.now += seconds
            return ()
        if not self.script:
            return (signal.SIGTERM,)
        event = self.script.pop(0)
        if callable(event):
            event()
            return (signal.SIGCHLD,)
        if event is None:
            self.now += seconds or 0.0
            return ()
        return (int(event),)  # type: ignore[call-overload, no-any-return]

    def log(self, text: str) -> None:
        self.lines.append(text)

    def run(self, *script: object, update_interval: float | None = None, **rest: Any) -> int:
        self.script = list(script)
        supervisor = Supervisor(
            self, clock=lambda: self.now, update_interval=update_interval, **rest
        )
        return supervisor.run(self.load())


START = [
    "add_ca one",
    "add_ca two",
    "add_conn a",
    "add_conn b",
    "route b",
    "add_conn c",
    "initiate c",
    "add_conn d",
]


def test_starts_sends_everything_and_stops() -> None:
    world = FakeWorld()
    assert world.run() == 0
    assert world.sent == START
    assert world.processes[0].stops == [8.0]


def test_hangup_sends_what_changed() -> None:
    world = FakeWorld()

    def edit() -> None:
        world.text = NEW
        world.sent.clear()

    world.run(edit, signal.SIGHUP)
    assert world.sent == described(update_plan(configuration(OLD), configuration(NEW)))


def test_hangup_with_a_broken_file_keeps_everything() -> None:
    world = FakeWorld()

    def edit() -> None:
        world.text = "conn a\nbroken"
        world.sent.clear()

    world.run(edit, signal.SIGHUP)
    assert world.sent == []
    assert any("/conf:2:1" in line for line in world.lines)


def test_user_signal_sends_everything_anew() -> None:
    world = FakeWorld()
    world.run(world.sent.clear, signal.SIGUSR1)
    assert world.sent == described(reload_plan(configuration(OLD), configuration(OLD)))


def test_daemon_that_ends_is_started_again_and_configured_again() -> None:
    world = FakeWorld()

    def crash() -> None:
        world.processes[-1].code = -11
        world.sent.clear()

    world.run(crash, None)
    assert len(world.processes) == 2
    assert world.sent == START
    assert world.now >= RESTART_DELAY
    assert any("signal 11" in line for line in world.lines)


@pytest.mark.parametrize("code", [64, 65, 66])
def test_fatal_exit_codes_end_the_starter(code: int) -> None:
    world = FakeWorld()

    def fail() -> None:
        world.processes[-1].code = code

    assert world.run(fail, None, None) == 1
    assert len(world.processes) == 1


@pytest.mark.parametrize("code", [0, 1, 67, 68])
def test_other_exit_codes_do_not(code: int) -> None:
    world = FakeWorld()

    def fail() -> None:
        world.processes[-1].code = code

    assert world.run(fail, None) == 0
    assert len(world.processes) == 2


def test_daemon_that_never_gets_ready_is_ended_and_tried_again() -> None:
    world = FakeWorld()
    world.ready = False

    def get_ready() -> None:
        world.ready = True

    world.run(get_ready, None)
    assert world.processes[0].stops == [0.4]
    assert len(world.processes) == 2
    assert world.sent == START
    assert world.now >= READY_PATIENCE


@pytest.mark.parametrize("code", [1, 67, 69, -9])
def test_a_first_start_that_fails_is_the_end_where_somebody_waits_for_it(code: int) -> None:
    world = FakeWorld()
    world.ready = False
    started: list[bool] = []
    spawn = world.spawn

    def fail(configuration: Configuration) -> FakeProcess:
        process = spawn(configuration)
        process.code = code
        return process

    world.spawn = fail  # type: ignore[method-assign]
    assert world.run(on_started=lambda: started.append(True)) == 1
    assert len(world.processes) == 1
    assert world.lines[-2:] == [
        "collected", f"the daemon ended with {f'exit code {code}' if code > 0 else 'signal 9'}"
    ]  # fmt: skip
    assert started == []


def test_somebody_who_waits_is_told_when_everything_is_sent() -> None:
    world = FakeWorld()
    seen: list[list[str]] = []

    def crash() -> None:
        world.processes[-1].code = 1

    world.run(crash, None, on_started=lambda: seen.append(list(world.sent)))
    assert seen == [START]
    assert len(world.processes) == 2


def test_somebody_who_waits_is_told_that_the_daemon_does_not_get_ready() -> None:
    world = FakeWorld()
    world.ready = False
    assert world.run(None, on_started=lambda: None) == 1
    assert "the daemon is not ready after 10 s, ending it" in world.lines


def test_what_could_not_be_sent_is_sent_by_the_next_update() -> None:
    world = FakeWorld()
    world.fails = {"add_conn c"}

    def recover() -> None:
        world.fails = set()
        world.sent.clear()

    world.run(recover, signal.SIGHUP)
    assert world.sent == ["add_conn c", "initiate c", "add_conn d"]


def test_a_section_too_long_for_a_message_is_left_out_alone() -> None:
    world = FakeWorld(OLD)
    long = 'leftid="' + "x" * 70000 + '"'
    world.text = OLD.replace("right=1.1.1.3", long)

    def send(request: Request) -> None:
        request.encode()
        world.sent.append(str(request))

    world.send = send  # type: ignore[method-assign]
    world.run()
    assert world.sent == [item for item in START if not item.endswith(" c")]


def test_regular_update() -> None:
    world = FakeWorld()

    def edit() -> None:
        world.text = NEW
        world.sent.clear()

    world.run(edit, None, update_interval=60.0)
    assert "add_conn e" in world.sent


def test_daemon_arguments() -> None:
    places = Places("/x/charon", ("--root", "/r"), *[Path("/p")] * 5)
    conf = configuration('config setup\n\tcharondebug="ike 2, knl -1"\n')
    assert daemon_arguments(places, conf, use_syslog=True) == [
        "/x/charon",
        "--root",
        "/r",
        "--use-syslog",
        "--debug-ike",
        "2",
        "--debug-knl",
        "-1",
    ]
    assert "--use-syslog" not in daemon_arguments(places, conf, use_syslog=False)


def test_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "starter.pid"
    pid_file = PidFile(path)
    assert pid_file.other() is None
    pid_file.write()
    assert int(path.read_text()) == os.getpid()
    assert pid_file.other() is None
    path.write_text("1\n")
    assert pid_file.other() == 1
    pid_file.remove()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "99999999", "9" * 30])
def test_pid_files_that_name_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert running_pid(tmp_path / "pid") is None


def test_find_program(tmp_path: Path) -> None:
    assert find_program("/bin/sh") == "/bin/sh"
    assert find_program(str(tmp_path / "none")) is None
    assert find_program("no-such-daemon") is None


STAND_IN = """#!{python} -S
import os, signal, socket, struct, sys
root = sys.argv[sys.argv.index("--root") + 1]
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGINT, lambda *_: None)
listener = socket.socket(socket.AF_UNIX)
listener.bind(root + "/var/run/charon.ctl")
listener.listen(5)
open(root + "/var/run/stand-in.pid", "w").close()
while True:
    client, _ = listener.accept()
    data = client.recv(65536)
    kind = struct.unpack_from("<i", data, 4)[0]
    with open(root + "/seen", "a") as seen:
        print(kind, file=seen)
    client.sendall(b"noted\\n")
    client.close()
"""


def test_starter_for_real(tmp_path: Path) -> None:
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ipsec.conf").write_text(OLD)
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    starter = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "charon_plugins.stroke.starter.cli",
            *("--nofork", "--root", str(tmp_path), "--daemon", str(program)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        kinds = [11, 11, 3, 3, 1, 3, 0, 3]
        assert wait_for(tmp_path / "seen", kinds) == kinds
        assert (tmp_path / "var/run/starter.stand-in.pid").read_text() == f"{starter.pid}\n"
        (tmp_path / "etc" / "ipsec.conf").write_text(OLD.replace("1.1.1.4", "1.1.1.5"))
        starter.send_signal(signal.SIGHUP)
        assert wait_for(tmp_path / "seen", [*kinds, 4, 3]) == [*kinds, 4, 3]
        starter.send_signal(signal.SIGTERM)
        _, log = starter.communicate(timeout=10)
    finally:
        starter.kill()
    assert starter.returncode == 0
    assert "noted" in log
    assert not (tmp_path / "var/run/starter.stand-in.pid").exists()


def wait_for(file: Path, kinds: list[int]) -> list[int]:
    deadline = time.monotonic() + 10
    seen: list[int] = []
    while time.monotonic() < deadline and len(seen) < len(kinds):
        time.sleep(0.02)
        if file.exists():
            seen = [int(line) for line in file.read_text().splitlines()]
    return seen


def run_starter(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "charon_plugins.stroke.starter.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_conftest_exit_codes(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("conn a\n\tmobike=YES\n\tauto=add\n")
    bad.write_text("conn\n")
    result = run_starter("--conftest", "--conf", str(good), "--root", str(tmp_path))
    assert result.returncode == 1
    assert "conn a is not loaded" in result.stderr
    assert "the configuration is valid, but 1 section is left out" in result.stderr
    good.write_text("conn a\n\tright=192.0.2.1\n\tauto=add\n")
    result = run_starter("--conftest", "--conf", str(good), "--root", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "the configuration is valid\n")
    result = run_starter("--conftest", "--conf", str(bad), "--root", str(tmp_path))
    assert result.returncode == 2
    assert f"{bad}:1:5: expected a name" in result.stderr


SETTINGS = """
[network]
port = {port}
port_nat_t = 0
addresses = ["127.0.0.1"]
ipv6 = false
[kernel]
backend = "null"
"""


def prepare(root: Path, port: int = 0) -> None:
    (root / "var" / "run").mkdir(parents=True)
    (root / "etc" / "charon").mkdir(parents=True)
    (root / "etc" / "charon" / "charon.toml").write_text(SETTINGS.format(port=port))
    (root / "etc" / "ipsec.conf").write_text("conn home\n\tright=192.0.2.1\n\tauto=add\n")


def stroke(root: Path, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "charon_plugins.stroke.client.cli", "--root", str(root), *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    ).stdout


def test_start_in_the_background_returns_when_commands_are_taken(tmp_path: Path) -> None:
    prepare(tmp_path)
    result = run_starter("--root", str(tmp_path))
    try:
        assert result.returncode == 0, result
        assert "home:  %any...192.0.2.1" in stroke(tmp_path, "statusall")
        again = run_starter("--root", str(tmp_path))
        assert again.returncode == 1
        assert "runs already as process" in again.stderr
    finally:
        starter = tmp_path / "var/run/starter.charon.pid"
        os.kill(int(starter.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 15
        while starter.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert not starter.exists()
    assert not (tmp_path / "var/run/charon.pid").exists()


def test_start_in_the_background_that_fails_says_why(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        prepare(tmp_path, port)
        result = run_starter("--root", str(tmp_path))
    assert result.returncode == 1
    assert "charon: not started: " in result.stderr
    assert str(port) in result.stderr
    assert result.stderr.endswith("the daemon is not started\n")
    assert list((tmp_path / "var/run").glob("*.pid")) == []


def test_silence_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch, "LOG_SERVICES", (str(tmp_path / "log"),))
    assert not launch.has_log_service()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "log"))
        assert launch.has_log_service()


def test_start_that_takes_too_long_is_not_waited_for() -> None:
    begun = launch.Launch()
    begun.tell("still at it")
    writer = os.dup(begun._writer)
    assert begun.outcome(patience=0.05) == (None, "still at it\n")
    os.close(writer)


def test_types_are_those_that_the_stand_in_saw() -> None:
    assert (MessageType.INITIATE, MessageType.ROUTE, MessageType.ADD_CONN) == (0, 1, 3)
