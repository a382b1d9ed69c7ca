"""updown: the environment, the running, the order; and a daemon's CHILD_SA from end to end."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.bus.events import ChildTraffic, TrafficPair
from charon_core.bus.refs import ChildRef, SaRef
from charon_core.config.child import ChildMode
from charon_core.processing.processor import Processor
from charon_core.processing.program import MAX_OUTPUT, Outcome
from charon_plugins.updown.command import run
from charon_plugins.updown.environment import variables
from charon_plugins.updown.plugin import UpdownPlugin
from charon_plugins.updown.runner import MAX_WAITING, Runner, Task
from tests.exchange.world import World, child, connection, share_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from charon_core.processing.job import Job

ANY = (0, 0xFFFF)


def event(begins: bool = True, **changes: Any) -> ChildTraffic:
    values: dict[str, Any] = {
        "sa": SaRef("net", 3),
        "child": ChildRef("net", 5, 1, 1, 2),
        "begins": begins,
        "command": "true",
        "host_access": False,
        "protocol": "esp",
        "mode": "TUNNEL",
        "local": "10.99.0.1",
        "remote": "10.99.0.2",
        "remote_port": 0,
        "local_id": "moon.example.org",
        "remote_id": "sun.example.org",
        "marks": (None, None),
        "pairs": (pair(),),
    }
    return ChildTraffic(**values | changes)


def pair(local: str = "10.1.0.0/16", remote: str = "10.2.0.0/16", **changes: Any) -> TrafficPair:
    return TrafficPair(local, remote, 0, ANY, ANY)._replace(**changes)


def test_the_whole_environment() -> None:
    assert variables(event(), pair(), "eth0") == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PLUTO_VERSION": "1.1",
        "PLUTO_VERB": "up-client",
        "PLUTO_CONNECTION": "net",
        "PLUTO_INTERFACE": "eth0",
        "PLUTO_REQID": "1",
        "PLUTO_PROTO": "esp",
        "PLUTO_UNIQUEID": "3",
        "PLUTO_ME": "10.99.0.1",
        "PLUTO_MY_ID": "moon.example.org",
        "PLUTO_MY_CLIENT": "10.1.0.0/16",
        "PLUTO_MY_PORT": "0",
        "PLUTO_MY_PROTOCOL": "0",
        "PLUTO_PEER": "10.99.0.2",
        "PLUTO_PEER_ID": "sun.example.org",
        "PLUTO_PEER_CLIENT": "10.2.0.0/16",
        "PLUTO_PEER_PORT": "0",
        "PLUTO_PEER_PROTOCOL": "0",
    }


@pytest.mark.parametrize(
    ("changes", "traffic", "name", "value"),
    [
        ({"begins": False}, {}, "PLUTO_VERB", "down-client"),
        ({}, {"local": "10.99.0.1/32"}, "PLUTO_VERB", "up-host"),
        ({}, {"local": "10.99.0.9/32"}, "PLUTO_VERB", "up-client"),
        ({"local": "fd99::1"}, {"local": "fd99::1/128"}, "PLUTO_VERB", "up-host-v6"),
        ({}, {"local": "fd01::/16", "remote": "fd02::/16"}, "PLUTO_VERB", "up-client-v6"),
        ({}, {"protocol": 6, "local_ports": (80, 80)}, "PLUTO_MY_PORT", "80"),
        ({}, {"protocol": 6, "remote_ports": (80, 90)}, "PLUTO_PEER_PORT", "80:90"),
        ({}, {"protocol": 6, "remote_ports": (65535, 0)}, "PLUTO_PEER_PORT", "0"),
        ({}, {"protocol": 1, "local_ports": (0x800, 0x8FF)}, "PLUTO_MY_PORT", "8"),
        ({}, {"protocol": 17}, "PLUTO_PEER_PROTOCOL", "17"),
        ({"marks": ((10, 0xFFFFFFFF), None)}, {}, "PLUTO_MARK_IN", "10/0xffffffff"),
        ({"remote_port": 4500}, {}, "PLUTO_UDP_ENC", "4500"),
        ({"host_access": True}, {}, "PLUTO_HOST_ACCESS", "1"),
        ({"remote_id": "C=CH, CN=$(reboot)\n`x`"}, {}, "PLUTO_PEER_ID", "C=CH, CN=_(reboot)__x_"),
        ({"remote_id": "x" * 5000}, {}, "PLUTO_PEER_ID", "x" * 512),
    ],
)
def test_each_variable(
    changes: dict[str, Any], traffic: dict[str, Any], name: str, value: str
) -> None:
    assert variables(event(**changes), pair(**traffic), "")[name] == value


def test_a_command_has_its_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the daemon")
    outcome = run("/usr/bin/env; pwd", {"PLUTO_VERB": "up-host"}, 10)
    lines = [line for line in outcome.output.splitlines() if not line.startswith(("PWD=", "_="))]
    assert lines == ["PLUTO_VERB=up-host", "/"]
    assert outcome.code == 0


def test_exit_codes_and_output() -> None:
    assert run("echo out; echo err >&2; exit 3", {}, 10) == Outcome(3, "out\nerr\n")
    assert run("kill -9 $$", {}, 10).code == -9
    assert len(run("yes | head -c 1000000", {}, 10).output) == MAX_OUTPUT
    assert run("/nonexistent", {}, 10).code == 127


def test_one_that_does_not_end_is_ended_with_all_its_kind() -> None:
    began = time.monotonic()
    outcome = run("echo begun; sleep 60 & sleep 60", {"PATH": "/usr/bin:/bin"}, 0.5)
    assert outcome == Outcome(None, "begun\n")
    assert time.monotonic() - began < 5


def test_what_it_leaves_behind_is_not_waited_for() -> None:
    began = time.monotonic()
    outcome = run("sleep 5 & echo done", {"PATH": "/usr/bin:/bin"}, 4)
    assert outcome == Outcome(0, "done\n")
    assert time.monotonic() - began < 3


class Bench:
    """A runner whose commands are only noted, with jobs that are run by hand or by workers."""

    def __init__(self, submit: Callable[[Job], bool] | None = None, at_once: int = 2) -> None:
        self.jobs: list[Job] = []
        self.done: list[str] = []
        self.said: list[str] = []
        self.fails: OSError | None = None
        bus: Any = SimpleNamespace(
            log=lambda _g, _l, message, *args: self.said.append(message % args)
        )
        self.runner = Runner(submit or self._submit, bus, self.execute, at_once=at_once, timeout=30)
        self.takes = True

    def _hear(self, _group: object, _level: object, message: str, *args: object) -> None:
        self.said.append(message % args)

    def _submit(self, job: Job) -> bool:
        if self.takes:
            self.jobs.append(job)
        return self.takes

    def execute(self, command: str, _: Mapping[str, str], timeout: float) -> Outcome:
        if self.fails is not None:
            raise self.fails
        self.done.append(command)
        return Outcome(None if command == "hangs" else int(command == "fails"), "a line\n")

    def add(self, key: str, command: str) -> None:
        self.runner.add(Task(key, command, {"PLUTO_VERB": "up-host"}))

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop(0).execute()


def test_few_run_at_once_and_all_in_order() -> None:
    bench = Bench()
    for number in range(5):
        bench.add("one", f"1-{number}")
        bench.add("two", f"2-{number}")
        bench.add("three", f"3-{number}")
    assert len(bench.jobs) == 2
    bench.work()
    assert len(bench.done) == 15
    for key in "123":
        mine = [command for command in bench.done if command.startswith(key)]
        assert mine == sorted(mine)


def test_workers_keep_the_order_of_each_key() -> None:
    processor = Processor(4)
    processor.start()
    running: set[str] = set()
    lock = threading.Lock()
    overlaps: list[str] = []
    bench = Bench(processor.queue, at_once=3)

    def execute(command: str, _: Mapping[str, str], timeout: float) -> Outcome:
        key = command[0]
        with lock:
            if key in running or len(running) >= 3:
                overlaps.append(command)
            running.add(key)
        time.sleep(0.001)
        with lock:
            running.discard(key)
            bench.done.append(command)
        return Outcome(0, "")

    bench.runner._execute = execute
    for number in range(20):
        for key in "abcdef":
            bench.add(key, f"{key}{number:02}")
    deadline = time.monotonic() + 10
    while len(bench.done) < 120 and time.monotonic() < deadline:
        time.sleep(0.01)
    processor.stop(5)
    assert len(bench.done) == 120
    assert not overlaps
    for key in "abcdef":
        mine = [command for command in bench.done if command[0] == key]
        assert mine == sorted(mine)


def test_what_goes_wrong_is_told_and_the_next_one_runs() -> None:
    bench = Bench()
    bench.add("one", "fails")
    bench.add("one", "hangs")
    bench.work()
    bench.fails = OSError("no processes")
    bench.add("one", "x")
    bench.work()
    told = "\n".join(bench.said)
    assert "'fails' ended with 1" in told
    assert "'hangs' was ended after 30 s" in told
    assert "cannot run 'x': no processes" in told
    assert "updown: up-host of one: a line" in told


def test_too_many_are_refused() -> None:
    bench = Bench()
    for _ in range(MAX_WAITING + 1):
        bench.add("one", "x")
    assert "is not run" in bench.said[-1]
    bench.work()
    assert len(bench.done) == MAX_WAITING


def test_a_daemon_that_stops_runs_the_rest() -> None:
    bench = Bench()
    bench.takes = False
    bench.add("one", "up")
    bench.add("one", "down")
    assert bench.done == []
    bench.runner.finish(5)
    assert bench.done == ["up", "down"]
    bench.add("one", "late")
    bench.runner.finish(0)
    assert "1 commands are not run any more" in bench.said[-1]


# -- with IKE_SAs -----------------------------------------------------------------------------


def test_up_and_down_of_a_child_sa_and_not_its_rekeying(tmp_path: Path) -> None:
    world = World()
    moon = world.moon
    moon.kernel.net.interface_of = lambda host: "eth7"  # type: ignore[method-assign]
    plugin = UpdownPlugin()
    log = tmp_path / "log"
    daemon: Any = SimpleNamespace(
        settings=_no_settings(),
        processor=SimpleNamespace(queue=lambda job: moon.soon(job) is None),
        bus=moon.bus,
        kernel=moon.kernel,
    )
    plugin.charon_create(daemon)
    plugin.charon_register_listeners(moon.bus)
    share_secret(moon)
    share_secret(world.sun)
    networks = ("10.1.0.0/16", "10.3.0.0/24")
    command = f"echo $PLUTO_VERB $PLUTO_MY_CLIENT $PLUTO_PEER_ID $PLUTO_INTERFACE >> {log}"
    connection(world, world.sun, children=(child(local=("10.2.0.0/16",), remote=networks),))
    peer = connection(world, moon, children=(child(local=networks, updown=command),))
    moon.initiate(peer)
    world.run()
    ups = [f"up-client {network} sun.example.org eth7" for network in networks]
    assert log.read_text().splitlines() == ups
    moon.rekey_child()
    world.run()
    world.elapse(10)
    moon.with_ike(lambda ike: ike.rekey())
    world.run()
    world.elapse(10)
    assert log.read_text().splitlines() == ups
    world.sun.delete_ike()
    world.run()
    moon.do_jobs()
    downs = [line.replace("up-", "down-") for line in ups]
    assert log.read_text().splitlines() == ups + downs
    plugin.charon_destroy()


def test_nothing_is_run_where_nothing_is_wanted() -> None:
    world = World()
    heard: list[ChildTraffic] = []
    world.moon.bus.add_listener(
        SimpleNamespace(name="ear", events=(ChildTraffic,), on_event=heard.append)
    )
    share_secret(world.moon)
    share_secret(world.sun)
    mode = ChildMode.TRANSPORT
    connection(world, world.sun, children=(child(local=(), remote=(), mode=mode),))
    world.moon.initiate(
        connection(world, world.moon, children=(child(local=(), remote=(), mode=mode),))
    )
    world.run()
    world.moon.delete_ike()
    world.run()
    assert [(one.begins, one.command, one.mode) for one in heard] == [
        (True, "", "TRANSPORT"),
        (False, "", "TRANSPORT"),
    ]
    assert heard[1].child.reqid == heard[0].child.reqid != 0
    UpdownPlugin().on_event(heard[0])


def _no_settings() -> Any:
    from charon_core.settings import Settings

    return Settings().plugins.table("updown")
