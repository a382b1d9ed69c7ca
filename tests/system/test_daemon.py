"""The daemon as a process: start, signals, pid file, lock, exit codes, privileges."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

CHARON = Path(sys.executable).parent / "charon"
READY_WITHIN = 20.0
NULL = '[kernel]\nbackend = "null"\n'
LOG = '[[log.file]]\npath = "/var/log/charon.log"\n'


def free_ports() -> str:
    """Return network settings with ports that nobody uses, on loopback."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    return (
        f"[network]\nport = {ports[0]}\nport_nat_t = {ports[1]}\n"
        'addresses = ["127.0.0.1"]\nipv6 = false\n'
    )


def program_for_everybody() -> tuple[list[str], dict[str, str]]:
    """Return a command that runs the daemon, and its environment, for a user who is not root.

    The interpreter of the tests may lie where only root can read; Debian's is everybody's.
    """
    import sysconfig

    prefix = Path(sys.base_prefix).resolve()
    if all(folder.stat().st_mode & 0o005 == 0o005 for folder in (prefix, *prefix.parents)):
        return [str(CHARON)], {}
    paths = [str(Path(__file__).parents[2]), sysconfig.get_paths()["purelib"]]
    return ["/usr/bin/python3", "-m", "charon_core.cli"], {"PYTHONPATH": ":".join(paths)}


class Daemon:
    """A daemon below a folder of its own."""

    def __init__(
        self,
        root: Path,
        settings: str | None = None,
        program: tuple[str, ...] = (str(CHARON),),
        **options: object,
    ) -> None:
        self.root = root
        for folder in ("etc/charon", "var/run", "var/log"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        if settings is None:
            settings = free_ports() + NULL + LOG
        (root / "etc/charon/charon.toml").write_text(settings)
        self.pid_file = root / "var/run/charon.pid"
        self.process = subprocess.Popen(
            [*program, "run", "--root", str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_ready(self) -> Daemon:
        deadline = time.monotonic() + READY_WITHIN
        while not self.pid_file.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)

    @property
    def log(self) -> str:
        file = self.root / "var/log/charon.log"
        return file.read_text() if file.exists() else ""

    def wait_log(self, fragment: str) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while fragment not in self.log:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)


def ask(control: Path, kind: int = 8) -> str:
    """Send a stroke request without arguments (type 8: status); returns the whole answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(control))
        order = sys.byteorder
        client.sendall((658).to_bytes(2, order) + bytes(2) + kind.to_bytes(4, order) + bytes(650))
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
        return answer.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_starts_answers_and_stops_in_order(tmp_path: Path, number: int) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.wait_ready()
        assert int(daemon.pid_file.read_text()) == daemon.process.pid
        assert ask(tmp_path / "var/run/charon.ctl") == (
            "Security Associations (0 up, 0 connecting):\n  none\n"
        )
        assert daemon.end(number) == 0
        assert not daemon.pid_file.exists()
        assert not (tmp_path / "var/run/charon.ctl").exists()
        assert "ready after" in daemon.log
        assert "stopping" in daemon.log


def test_control_socket_belongs_to_owner_and_group_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.wait_ready()
        assert (tmp_path / "var/run/charon.ctl").stat().st_mode & 0o007 == 0


def test_a_second_daemon_on_the_same_paths_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path) as first:
        first.wait_ready()
        with Daemon(tmp_path) as second:
            _, errors = second.process.communicate(timeout=15)
            assert second.process.returncode == 68
            assert str(first.process.pid) in errors
            assert "--root" in errors
        assert ask(tmp_path / "var/run/charon.ctl").startswith("Security Associations")


def test_the_lock_of_a_daemon_that_was_killed_is_free(tmp_path: Path) -> None:
    with Daemon(tmp_path) as first:
        first.wait_ready()
        first.process.kill()
        first.process.wait()
    (tmp_path / "var/run/charon.pid").unlink()
    with Daemon(tmp_path) as second:
        second.wait_ready()
        assert second.end() == 0


def test_hup_reopens_the_log_and_keeps_the_daemon(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.wait_ready()
        daemon.wait_log("ready after")
        (tmp_path / "var/log/charon.log").rename(tmp_path / "var/log/old.log")
        daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + READY_WITHIN
        while not (tmp_path / "var/log/charon.log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "reloading" in (tmp_path / "var/log/old.log").read_text()
        assert ask(tmp_path / "var/run/charon.ctl").startswith("Security Associations")
        assert daemon.end() == 0
        assert "stopping" in daemon.log


def test_hup_before_anything_is_ready_ends_nobody(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        status = Path(f"/proc/{daemon.process.pid}/status")
        # From the first moment in which our own code runs.
        deadline = time.monotonic() + READY_WITHIN
        while not _blocks(status, signal.SIGHUP):
            assert time.monotonic() < deadline
        assert not daemon.pid_file.exists()
        for _ in range(20):
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        daemon.wait_ready()
        daemon.wait_log("reloading")
        assert daemon.end() == 0


def _blocks(status: Path, number: int) -> bool:
    lines = status.read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_hup_with_a_broken_settings_file_changes_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.wait_ready()
        with (tmp_path / "etc/charon/charon.toml").open("a") as file:
            file.write("\n[nonsense]\nkey = 1\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log("settings stay as they were")
        assert ask(tmp_path / "var/run/charon.ctl").startswith("Security Associations")
        assert daemon.end() == 0


def test_signals_blocked_by_starter_are_unblocked(tmp_path: Path) -> None:
    """Debian's starter leaves HUP, INT, QUIT, USR1, ALRM and TERM blocked, and PIPE ignored."""
    blocked = {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGALRM,
        signal.SIGTERM,
    }

    def as_starter_does() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    with Daemon(tmp_path, preexec_fn=as_starter_does) as daemon:
        daemon.wait_ready()
        # While threads are made, the C library blocks everything for a moment.
        daemon.wait_log("ready after")
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        mask = int(
            next(v for k, _, v in (x.partition(":") for x in status.split("\n")) if k == "SigBlk"),
            16,
        )
        assert not mask & (1 << (signal.SIGALRM - 1))
        assert not mask & (1 << (signal.SIGUSR1 - 1))
        begun = time.monotonic()
        assert daemon.end(signal.SIGINT) == 0
        assert time.monotonic() - begun < 8


@pytest.mark.parametrize("name", ["charon", "pycharon"])
def test_arguments_of_starter(tmp_path: Path, name: str) -> None:
    daemon = Daemon(tmp_path)
    daemon.end(signal.SIGKILL)
    daemon.process.communicate()
    program = tmp_path / "usr/lib/ipsec" / name
    program.parent.mkdir(parents=True)
    program.symlink_to(CHARON)
    process = subprocess.Popen(
        [
            str(program),
            "--use-syslog",
            "--debug-ike",
            "2",
            "--debug-net",
            "0",
            "--root",
            str(tmp_path),
        ]
    )
    try:
        pid_file = tmp_path / f"var/run/{name}.pid"
        deadline = time.monotonic() + READY_WITHIN
        while not pid_file.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        assert process.wait(15) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_wrong_settings_name_file_line_key_and_expectation(tmp_path: Path) -> None:
    with Daemon(
        tmp_path, '[network]\nport = "five hundred"\n[ike]\nretransmit_trys = 3\n'
    ) as daemon:
        _, errors = daemon.process.communicate(timeout=15)
        assert daemon.process.returncode == 66
        assert "charon.toml:2" in errors
        assert "network.port" in errors
        assert "retransmit_tries" in errors


def test_no_kernel_backend_has_an_exit_code_and_reasons(tmp_path: Path) -> None:
    settings = free_ports() + '[kernel]\nbackend = "xfrm"\n'
    with Daemon(tmp_path, settings + '[plugins]\nblock = ["kernel_xfrm"]\n' + LOG) as daemon:
        _, errors = daemon.process.communicate(timeout=15)
        assert daemon.process.returncode == 67
        assert "xfrm" in errors
        assert "xfrm" in daemon.log
    assert not (tmp_path / "var/run/charon.pid").exists()


def test_ports_in_use_have_an_exit_code(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        settings = (
            f'[network]\nport = {port}\nport_nat_t = 0\naddresses = ["127.0.0.1"]\nipv6 = false\n'
        )
        with Daemon(tmp_path, settings + NULL + LOG) as daemon:
            _, errors = daemon.process.communicate(timeout=15)
            assert daemon.process.returncode == 69
            assert str(port) in errors


def test_json_log_lines(tmp_path: Path) -> None:
    settings = free_ports() + NULL + LOG + 'format = "json"\n'
    with Daemon(tmp_path, settings) as daemon:
        daemon.wait_ready()
        daemon.wait_log("ready after")
        records = [json.loads(line) for line in daemon.log.splitlines()]
        assert {"time", "group", "level", "message"} <= records[0].keys()
        assert daemon.end() == 0


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[..., Daemon]:
    """Start a daemon that becomes nobody, in folders of root that everybody may look into."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(folder, 0o755)
    program, environment = program_for_everybody()

    def start(more: str = "", **variables: str) -> Daemon:
        settings = free_ports() + NULL + LOG + '\n[charon]\nuser = "nobody"\n' + more
        environ = {**os.environ, **environment, **variables}
        if "PYTHONPATH" in variables and "PYTHONPATH" in environment:
            environ["PYTHONPATH"] = f"{environment['PYTHONPATH']}:{variables['PYTHONPATH']}"
        return Daemon(tmp_path, settings, tuple(program), env=environ)

    return start


@pytest.mark.root
@as_root
@pytest.mark.parametrize("for_good", [True, False])
def test_privileges_are_dropped_to_three_capabilities(
    tmp_path: Path, as_nobody: Callable[..., Daemon], for_good: bool
) -> None:
    kept = 1 << 10 | 1 << 12 | 1 << 13
    with as_nobody(f"no_new_privileges = {str(for_good).lower()}\n") as daemon:
        daemon.wait_ready()
        daemon.wait_log("ready after")
        for thread in Path(f"/proc/{daemon.process.pid}/task").iterdir():
            lines = (thread / "status").read_text().splitlines()
            fields = {k: v.split() for k, _, v in (line.partition(":") for line in lines)}
            assert set(fields["Uid"]) == {"65534"}, fields["Name"]
            assert int(fields["CapEff"][0], 16) == kept
            assert int(fields["CapPrm"][0], 16) == kept
            assert (int(fields["CapBnd"][0], 16) == kept) is for_good
            assert fields["NoNewPrivs"] == ["1" if for_good else "0"]
        assert ask(tmp_path / "var/run/charon.ctl").startswith("Security Associations")
        assert daemon.end() == 0
        # Both lie in a folder where this user may remove nothing.
        assert not (tmp_path / "var/run/charon.ctl").exists()
        assert not (tmp_path / "var/run/charon.pid").exists()
        assert (tmp_path / "var/run/charon.lock").exists()


@pytest.mark.root
@as_root
def test_a_user_without_rights_logs_on_after_a_rotation(
    tmp_path: Path, as_nobody: Callable[..., Daemon]
) -> None:
    log, old = tmp_path / "var/log/charon.log", tmp_path / "var/log/old.log"
    with as_nobody() as daemon:
        daemon.wait_ready()
        daemon.wait_log("ready after")
        assert log.stat().st_uid == 65534
        # The file is there, and may be opened again.
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log("reloading")
        ask(tmp_path / "var/run/charon.ctl", 19)
        assert "cannot be" not in daemon.log
        # It is not, and none can be made: what is open is kept.
        log.rename(old)
        daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + READY_WITHIN
        while "cannot be opened anew: Permission denied" not in old.read_text():
            assert time.monotonic() < deadline, old.read_text()
            time.sleep(0.01)
        assert daemon.end() == 0
        assert "stopping" in old.read_text()


@pytest.mark.root
@as_root
def test_secrets_that_the_user_cannot_read_are_told_to_the_client(
    tmp_path: Path, as_nobody: Callable[..., Daemon]
) -> None:
    with as_nobody() as daemon:
        secrets = tmp_path / "etc/ipsec.secrets"
        secrets.write_text(': PSK "geheim"\n')
        secrets.chmod(0o600)
        daemon.wait_ready()
        client = CHARON.with_name("charon-stroke")
        told = subprocess.run(
            [client, "--root", str(tmp_path), "rereadsecrets"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert f"'{secrets}' cannot be read" in told
        assert "let the daemon's user (number 65534) read it" in told
        assert daemon.end() == 0


@pytest.mark.root
@as_root
def test_modules_that_the_user_cannot_read_keep_it_from_starting(
    tmp_path: Path, as_nobody: Callable[..., Daemon]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "usercustomize.py").write_text("")
    (closed / "sitecustomize.py").write_text("")
    closed.chmod(0o700)
    with as_nobody(PYTHONPATH=str(closed)) as daemon:
        _, errors = daemon.process.communicate(timeout=20)
        assert daemon.process.returncode == 66
        assert f"charon.user: user 'nobody' cannot read {closed}, from where modules" in errors
        assert "not started" in daemon.log
    assert not (tmp_path / "var/run/charon.pid").exists()


@pytest.mark.parametrize("key", ["user", "group"])
def test_unknown_user_is_said_with_its_place_before_anything_runs(tmp_path: Path, key: str) -> None:
    settings = free_ports() + NULL + f'[charon]\n{key} = "nosuchuser"\n' + LOG
    with Daemon(tmp_path, settings) as daemon:
        _, errors = daemon.process.communicate(timeout=15)
        assert daemon.process.returncode == 66
        assert f"charon.toml:9: charon.{key}: expected the name of a" in errors
        assert "'nosuchuser'" in errors
        assert "not started:" in daemon.log
        assert "nosuchuser" in daemon.log
    assert not (tmp_path / "var/run/charon.pid").exists()


def test_the_log_says_why_a_second_daemon_does_not_start(tmp_path: Path) -> None:
    with Daemon(tmp_path, free_ports() + NULL + LOG + "append = false\n") as first:
        first.wait_ready()
        first.wait_log("ready after")
        with Daemon(tmp_path, free_ports() + NULL + LOG + "append = false\n") as second:
            second.process.communicate(timeout=15)
            assert second.process.returncode == 68
        # Both write to it, and nothing is lost of what the first wrote.
        assert "ready after" in first.log
        assert "not started: another daemon" in first.log


def test_the_log_says_why_when_the_pid_file_cannot_be_made(tmp_path: Path) -> None:
    settings = free_ports() + NULL + LOG + '[paths]\npid_file = "/proc/none/charon.pid"\n'
    (tmp_path / "proc").write_text("not a folder")
    with Daemon(tmp_path, settings) as daemon:
        daemon.process.communicate(timeout=15)
        assert daemon.process.returncode == 66
        assert "not started: pid file" in daemon.log
