"""Lock and pid file in a folder that others may write to: no link leads the daemon elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from charon_core.process import AlreadyRunning, InstanceLock, PidFile

if TYPE_CHECKING:
    from pathlib import Path

PRECIOUS = "somebody's only copy"


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious"
    file.write_text(PRECIOUS)
    return file


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_the_lock_does_not_follow_links(tmp_path: Path, precious: Path, link: str) -> None:
    path = tmp_path / "charon.lock"
    getattr(path, link)(precious)
    lock = InstanceLock(path)
    with pytest.raises(OSError):
        lock.acquire()
    lock.release()
    assert precious.read_text() == PRECIOUS


def test_the_lock_makes_no_file_where_a_link_leads(tmp_path: Path) -> None:
    path = tmp_path / "charon.lock"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError):
        InstanceLock(path).acquire()
    assert not (tmp_path / "nowhere").exists()


def test_a_pipe_in_place_of_the_lock_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "charon.lock"
    os.mkfifo(path)
    with pytest.raises(OSError, match="plain file"):
        InstanceLock(path).acquire()


def test_the_lock_is_held_once_and_its_file_is_not_for_all(tmp_path: Path) -> None:
    path = tmp_path / "charon.lock"
    lock = InstanceLock(path)
    lock.acquire()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        InstanceLock(path).acquire()
    assert path.stat().st_mode & 0o007 == 0
    lock.release()
    again = InstanceLock(path)
    again.acquire()
    again.release()


@pytest.mark.parametrize("name", ["charon.pid", ".charon.pid.{}"])
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_the_pid_file_does_not_follow_links(
    tmp_path: Path, precious: Path, name: str, link: str
) -> None:
    getattr(tmp_path / name.format(os.getpid()), link)(precious)
    file = PidFile(tmp_path / "charon.pid")
    file.write()
    assert (tmp_path / "charon.pid").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / "charon.pid").is_symlink()
    file.remove()
    assert not (tmp_path / "charon.pid").exists()
    assert precious.read_text() == PRECIOUS
