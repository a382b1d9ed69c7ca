"""Hosts in network namespaces, cables between them, a masquerading router: the tests' internet."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLONE_NEWNET = 0x40000000
PREFIX = "chi-"

_NAMESPACES = Path("/run/netns")
_Result = TypeVar("_Result")


class CommandError(AssertionError):
    """A command that must work did not."""


class Host:
    """A host of the test's network: a namespace with loopback up and nothing else."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.name = f"{PREFIX}{os.getpid()}-{role}"
        sh("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        self.shell("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done")

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs a program on this host."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def try_run(self, *arguments: str, timeout: float = 15) -> tuple[int, str]:
        """Run a program on this host; return its exit code and all that it wrote."""
        return run(self.command(*arguments), timeout=timeout)

    def run(self, *arguments: str, timeout: float = 15) -> str:
        """Run a program on this host that must succeed; return what it wrote."""
        return sh(*self.command(*arguments), timeout=timeout)

    def shell(self, script: str) -> str:
        """Run a shell script on this host."""
        return self.run("sh", "-ec", script)

    def ip(self, *arguments: str) -> str:
        """Run `ip` on this host."""
        return sh("ip", "-n", self.name, *arguments)

    def add_address(self, interface: str, *addresses: str) -> None:
        """Give an interface addresses; IPv6 ones are usable at once."""
        for address in addresses:
            at_once = ["nodad"] if ":" in address else []
            self.ip("addr", "add", address, "dev", interface, *at_once)

    def ping(self, source: str, destination: str, *, count: int = 2, size: int = 56) -> bool:
        """Ask for echoes; tells whether every one came back."""
        code, _ = self.try_run(
            "ping", "-q", "-n", "-c", str(count), "-i", "0.02", "-W", "2", "-s", str(size),
            "-I", source, destination,
        )  # fmt: skip
        return code == 0

    def within(self, body: Callable[[], _Result]) -> _Result:
        """Call a function on a thread that is on this host: sockets it opens stay there."""
        results: list[_Result] = []
        failures: list[BaseException] = []

        def enter_and_run() -> None:
            try:
                namespace = os.open(_NAMESPACES / self.name, os.O_RDONLY)
                try:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(namespace, CLONE_NEWNET):
                        number = ctypes.get_errno()
                        raise OSError(number, os.strerror(number))
                finally:
                    os.close(namespace)
                results.append(body())
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        thread = threading.Thread(target=enter_and_run)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket on this host."""
        return self.within(lambda: socket.socket(family, kind, protocol))

    def footprint(self) -> str:
        """Describe all that an IKE daemon may leave on a host: what tests compare."""
        parts = [
            sh("ip", "-n", self.name, *arguments)
            for arguments in (
                ("-o", "addr"),
                ("-4", "rule"),
                ("-6", "rule"),
                ("-4", "route", "show", "table", "all"),
                ("-6", "route", "show", "table", "all"),
                ("xfrm", "policy"),
            )
        ]
        # Link-local addresses come a while after their interface, all by themselves.
        lines = [line for part in parts for line in part.splitlines()]
        return "\n".join(" ".join(line.split()) for line in lines if "fe80:" not in line)

    def close(self) -> list[int]:
        """Remove the host; returns the processes that were still on it (and ends them)."""
        left = [int(pid) for pid in sh("ip", "netns", "pids", self.name).split()]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        sh("ip", "netns", "del", self.name)
        return left


def lay_cable(one: tuple[Host, str], other: tuple[Host, str]) -> None:
    """Connect two hosts: an interface of the given name at each, up and without addresses."""
    (host, name), (peer, peer_name) = one, other
    sh(
        "ip", "link", "add", "name", name, "netns", host.name, "type", "veth",
        "peer", "name", peer_name, "netns", peer.name,
    )  # fmt: skip
    for end, interface in (one, other):
        end.ip("link", "set", interface, "up")


def masquerade(router: Host) -> None:
    """Forward everything and hide every sender behind the router's address of the way out."""
    router.shell(
        "echo 1 > /proc/sys/net/ipv4/ip_forward\n"
        "nft add table ip nat\n"
        "nft 'add chain ip nat out { type nat hook postrouting priority 100; }'\n"
        # Sequential ports instead of the same ones: as carrier-grade routers do, a peer must
        # not count on port 500 or 4500.
        "nft add rule ip nat out meta l4proto udp masquerade to :20000-29999\n"
        "nft add rule ip nat out masquerade"
    )


def remove_leftovers() -> None:
    """Remove the hosts of runs that died: their names tell the process, which is gone."""
    if not _NAMESPACES.is_dir():
        return
    for path in _NAMESPACES.glob(f"{PREFIX}*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            for pid in sh("ip", "netns", "pids", path.name).split():
                os.kill(int(pid), signal.SIGKILL)
            sh("ip", "netns", "del", path.name)


def run(command: Sequence[str], *, timeout: float = 15, **options: object) -> tuple[int, str]:
    """Run a program to its end; return its exit code and all that it wrote."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            **options,  # type: ignore[call-overload]
        )
    except subprocess.TimeoutExpired as late:
        output = late.output or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return 124, f"{text}\n(no end within {timeout:g} s)"
    return done.returncode, done.stdout


def sh(*command: str, timeout: float = 15) -> str:
    """Run a program that must succeed; return what it wrote."""
    code, output = run(command, timeout=timeout)
    if code:
        raise CommandError(f"{' '.join(command)}: exit {code}: {output.strip()}")
    return output


def wait_until(
    condition: Callable[[], object], what: str, *, seconds: float = 5, pause: float = 0.02
) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: It did not within the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
