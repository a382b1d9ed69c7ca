"""Whole daemons, run as a user runs them: starter, client, and two that talk to each other."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class RunningDaemon:
    """A `charon` process below a folder of its own, on a UDP port of its own."""

    def __init__(self, root: Path, port: int, *, swap: bool = True) -> None:
        (root / "etc/charon").mkdir(parents=True)
        (root / "var/run").mkdir(parents=True)
        (root / "etc/charon/charon.toml").write_text(
            f"[network]\nport = {port}\nport_nat_t = 0\nipv6 = false\n"
            'addresses = ["127.0.0.1"]\n[kernel]\nbackend = "null"\n'
            f"[plugins.stroke]\nallow_swap = {str(swap).lower()}\n"
        )
        (root / "etc/ipsec.secrets").write_text('@moon @sun : PSK "geheim"\n')
        self.root = root
        with (root / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "charon_core.cli", "--root", str(root)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 20
        while not (root / "var/run/charon.pid").exists():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    def starter(self, conf: str) -> None:
        (self.root / "etc/ipsec.conf").write_text(conf)
        run("starter", "--attach", "--root", str(self.root))

    def stroke(self, *words: str) -> str:
        return run("client", "--root", str(self.root), *words)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def run(module: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", f"charon_plugins.stroke.{module}.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return result.stdout


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningDaemon]]:
    running: list[RunningDaemon] = []

    def start_one(name: str, port: int = 0, *, swap: bool = True) -> RunningDaemon:
        running.append(RunningDaemon(tmp_path / name, port, swap=swap))
        return running[-1]

    yield start_one
    for daemon in running:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_one_daemon(start: Callable[..., RunningDaemon]) -> None:
    daemon = start("one")
    daemon.starter(
        "conn good\n\tright=198.51.100.2\n\tauthby=secret\n\tauto=add\n"
        "conn bad\n\tright=198.51.100.3\n\tike=foo\n\tauto=add\n"
    )
    text = daemon.stroke("statusall")
    assert " stroke" in next(line for line in text.splitlines() if "loaded plugins" in line)
    assert "good:  %any...198.51.100.2  IKEv1/2" in text
    assert "bad:" not in text
    assert "connection 'bad': ike = 'foo': expected proposals" in daemon.log
    assert daemon.stroke("up", "other") == "no config named 'other'\n"
    assert daemon.stroke("up", "bad").startswith("no config named 'bad': it was refused, the log")
    assert daemon.stop() == 0
    assert not (daemon.root / "var/run/charon.ctl").exists()
    assert "geheim" not in daemon.log


def conf(local: str, remote: str, port: int, subnets: tuple[str, str]) -> str:
    return (
        f"conn home\n\tkeyexchange=ikev2\n\tleft=127.0.0.1\n\tleftid=@{local}\n"
        f"\tleftsubnet={subnets[0]}\n\tright=127.0.0.1\n\trightid=@{remote}\n"
        f"\trightikeport={port}\n\trightsubnet={subnets[1]}\n\tauthby=secret\n"
        "\treauth=no\n\tauto=add\n"
    )


def test_two_daemons(start: Callable[..., RunningDaemon]) -> None:
    ports = free_port(), free_port()
    moon = start("moon", ports[0], swap=False)
    sun = start("sun", ports[1], swap=False)
    moon.starter(conf("moon", "sun", ports[1], ("10.1.0.0/16", "10.2.0.0/16")))
    sun.starter(conf("sun", "moon", ports[0], ("10.2.0.0/16", "10.1.0.0/16")))
    lines = moon.stroke("up", "home").splitlines()
    assert lines[0] == "initiating IKE_SA home[1] to 127.0.0.1"
    assert lines[-1] == "connection 'home' established successfully"
    assert any(line.startswith("CHILD_SA home{1} established with SPIs ") for line in lines)
    status = sun.stroke("status", "home")
    assert "Security Associations (1 up, 0 connecting):" in status
    assert "127.0.0.1[sun]...127.0.0.1[moon]" in status
    assert "home{1}:  INSTALLED, TUNNEL, reqid 1, ESP" in status
    assert "home{1}:   10.2.0.0/16 === 10.1.0.0/16" in status
    assert moon.stroke("up", "home").splitlines()[-1] == "establishing connection 'home' failed"
    down = moon.stroke("down", "home{*}").splitlines()
    assert down[-1] == "CHILD_SA {1} closed successfully"
    down = moon.stroke("down", "home").splitlines()
    assert down[-1] == "IKE_SA [1] closed successfully"
    assert sun.stroke("status").endswith("  none\n")
    assert moon.stop() == sun.stop() == 0


def test_dead_peers_block_nobody(start: Callable[..., RunningDaemon]) -> None:
    ports = free_port(), free_port()
    moon = start("moon", ports[0], swap=False)
    sun = start("sun", ports[1], swap=False)
    # Nobody listens on that port, and what comes back from there is not looked at.
    dead = "".join(
        conf("moon", f"dead{number}", free_port(), (f"10.{number}.0.0/16", "10.9.0.0/16")).replace(
            "conn home", f"conn dead{number}"
        )
        for number in range(20, 32)
    )
    moon.starter(conf("moon", "sun", ports[1], ("10.1.0.0/16", "10.2.0.0/16")) + dead)
    sun.starter(conf("sun", "moon", ports[0], ("10.2.0.0/16", "10.1.0.0/16")))
    command = [sys.executable, "-m", "charon_plugins.stroke.client.cli", "--root", str(moon.root)]
    waiting = [
        subprocess.Popen(
            [*command, "up", f"dead{number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(20, 32)
    ]
    try:
        deadline = time.monotonic() + 30
        while moon.log.count("initiating IKE_SA dead") < len(waiting):
            assert time.monotonic() < deadline, moon.log
            time.sleep(0.05)
        assert moon.stroke("up", "home").endswith("connection 'home' established successfully\n")
        for number, client in enumerate(waiting, 20):
            down = moon.stroke("down", f"dead{number}").splitlines()
            assert down[-1].endswith("closed successfully")
            text = client.communicate(timeout=20)[0]
            assert text.endswith(f"establishing connection 'dead{number}' failed\n")
    finally:
        for client in waiting:
            client.kill()
            client.communicate()
    assert moon.stop() == sun.stop() == 0
