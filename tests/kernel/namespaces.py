"""Network namespaces for tests: a function runs on a thread that has one of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_NEWNET = 0x40000000
_Result = TypeVar("_Result")


def in_new_network(body: Callable[[], _Result]) -> _Result:
    """Run ``body`` in a fresh network namespace, with loopback up; return what it returns.

    The namespace is the thread's: sockets that it opens and commands that it runs are in there,
    and the namespace is gone with the last of them.
    """
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")

    def enter(libc: ctypes.CDLL) -> None:
        if libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        sh("ip link set lo up")

    return _on_thread(enter, body)


def in_network(name: str, body: Callable[[], _Result]) -> _Result:
    """Run ``body`` in the namespace that ``ip netns add`` made; return what it returns."""

    def enter(libc: ctypes.CDLL) -> None:
        with Path("/run/netns", name).open("rb") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter network namespace {name}")

    return _on_thread(enter, body)


def _on_thread(enter: Callable[[ctypes.CDLL], None], body: Callable[[], _Result]) -> _Result:
    results: list[_Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            enter(ctypes.CDLL(None, use_errno=True))
            results.append(body())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def sh(command: str) -> str:
    """Run a shell command in the namespace of this thread; it must succeed."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
