"""Hosts in network namespaces of their own, without root: nothing of it outlives the program."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import IO, Any

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_TUN: Final = Path("/dev/net/tun")


class Missing(Exception):  # noqa: N818 - it is a state of this machine
    """This machine lacks something that the demonstration needs."""


def check_tun() -> None:
    """Find out whether TUN devices can be had.

    Raises:
        Missing: They cannot, with what would help.
    """
    try:
        os.close(os.open(_TUN, os.O_RDWR))
    except OSError as error:
        raise Missing(
            f"{_TUN}: {error.strerror}; load the module (modprobe tun) and let this user read "
            f"and write it (chmod 666 {_TUN}), or run the demonstration as root"
        ) from None


def enter_own_world() -> None:
    """Leave this host's network for an empty one, as its root.

    Raises:
        Missing: The kernel does not let this user make namespaces.
    """
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWNET if uid == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    try:
        _unshare(flags)
    except OSError as error:
        raise Missing(
            f"namespaces: {error.strerror}; allow them for users "
            "(sysctl kernel.unprivileged_userns_clone=1, or user.max_user_namespaces), or run "
            "the demonstration as root"
        ) from None
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")


class Host:
    """A network namespace that lives as long as this object is in use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holder: subprocess.Popen[bytes] | None = None
        self._namespace = -1

    def __enter__(self) -> Host:
        self._holder = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: _unshare(_CLONE_NEWNET),  # noqa: PLW1509 - no threads here
        )
        if self._holder.stdout is not None:
            self._holder.stdout.readline()
        self._namespace = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._namespace)
        if self._holder is not None:
            self._holder.communicate()

    @property
    def pid(self) -> int:
        """A process that is in the namespace."""
        return self._holder.pid if self._holder is not None else 0

    def start(
        self, command: Sequence[str], *, output: IO[Any] | int | None = None
    ) -> subprocess.Popen[str]:
        """Start a program on this host."""
        return subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            preexec_fn=self._enter,  # noqa: PLW1509 - no threads here
        )

    def run(self, command: Sequence[str], timeout: float = 30.0) -> tuple[int, str]:
        """Run a program on this host to its end; returns exit code and output."""
        process = self.start(command, output=subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return 124, output
        return process.returncode, output

    def python(self, module: str, *arguments: str, timeout: float = 30.0) -> tuple[int, str]:
        """Run a module of this demonstration on this host."""
        return self.run([sys.executable, "-m", module, *arguments], timeout)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self._namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def connect(one: Host, other: Host, prefix: str) -> None:
    """Lay a cable between two hosts: `prefix`.1 and `prefix`.2, an interface wan at each."""
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        netlink.link(
            "add",
            ifname="wan",
            kind="veth",
            net_ns_pid=one.pid,
            peer={"ifname": "wan", "net_ns_pid": other.pid},
        )
    for number, host in enumerate((one, other), 1):
        code, output = host.python("demo.plumb", "wan", f"{prefix}.{number}/24")
        if code:
            raise Missing(f"network of host {host.name}: {output.strip()}")


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
