"""Name servers in resolv.conf: ours come, ours go, and nothing else of the file changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from charon_core.attributes.given import Domain, GivenAttributes
from charon_core.attributes.manager import AttributeManager
from charon_core.attributes.resolv_conf import ResolvConf, ResolvconfProgram
from charon_core.attributes.setup import make_manager
from charon_core.settings import AttributeSettings, Paths, PathSettings

OLD = "# by hand\nsearch example.org\nnameserver 192.0.2.53\n"
HOME = GivenAttributes(connection="home", dns=("10.2.0.53", "fd02::53"))
WORK = GivenAttributes(connection="work", dns=("10.3.0.53", "10.2.0.53"))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text(OLD)
    path.chmod(0o640)
    return path


@pytest.fixture
def handler(file: Path, said: list[str]) -> ResolvConf:
    return ResolvConf(file, said.append)


def ours(*hosts: str) -> str:
    return "".join(f"nameserver {host}   # by charon[{os.getpid()}]\n" for host in hosts)


def test_name_servers_come_first_and_go(handler: ResolvConf, file: Path) -> None:
    assert handler.install(HOME)
    assert file.read_text() == ours("10.2.0.53", "fd02::53") + OLD
    assert file.stat().st_mode & 0o777 == 0o640
    handler.remove(HOME)
    assert file.read_text() == OLD
    assert [path.name for path in file.parent.iterdir()] == ["resolv.conf"]


def test_connections_share_the_file(handler: ResolvConf, file: Path) -> None:
    handler.install(HOME)
    handler.install(WORK)
    assert file.read_text() == ours("10.3.0.53", "10.2.0.53", "fd02::53") + OLD
    handler.remove(HOME)
    assert file.read_text() == ours("10.3.0.53", "10.2.0.53") + OLD
    handler.remove(WORK)
    assert file.read_text() == OLD


def test_changes_of_others_stay(handler: ResolvConf, file: Path) -> None:
    handler.install(HOME)
    file.write_text(file.read_text() + "options edns0")
    handler.remove(HOME)
    assert file.read_text() == OLD + "options edns0\n"


def test_lines_of_a_daemon_that_crashed_are_taken_away(handler: ResolvConf, file: Path) -> None:
    gone, alive = 2**22 + 1, os.getppid()
    other = f"nameserver 10.8.0.53   # by charon[{alive}]\n"
    file.write_text(f"nameserver 10.9.0.53   # by charon[{gone}]\n{other}{OLD}")
    handler.install(HOME)
    handler.remove(HOME)
    assert file.read_text() == other + OLD


def test_there_need_be_no_file(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "resolv.conf"
    handler = ResolvConf(path, said.append)
    handler.install(HOME)
    assert path.read_text() == ours("10.2.0.53", "fd02::53")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_is_followed(tmp_path: Path, file: Path, said: list[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    ResolvConf(link, said.append).install(HOME)
    assert link.is_symlink()
    assert file.read_text().startswith(ours("10.2.0.53"))


def test_a_mounted_file_is_written_in_place(
    handler: ResolvConf, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    handler.install(HOME)
    assert file.read_text() == ours("10.2.0.53", "fd02::53") + OLD
    assert len(list(file.parent.iterdir())) == 1


def test_octets_that_are_no_text_stay(handler: ResolvConf, file: Path) -> None:
    file.write_bytes(b"# caf\xe9\n")
    handler.install(HOME)
    handler.remove(HOME)
    assert file.read_bytes() == b"# caf\xe9\n"


def test_servers_of_some_domains_are_no_servers_of_all(
    handler: ResolvConf, file: Path, said: list[str]
) -> None:
    split = GivenAttributes(
        connection="home", dns=("10.2.0.53",), domains=(Domain("corp.example.org"),)
    )
    assert not handler.install(split)
    assert not handler.install(GivenAttributes(connection="home", nbns=("10.2.0.54",)))
    assert file.read_text() == OLD
    assert "are for corp.example.org alone" in said[0]


def test_a_file_that_cannot_be_written_is_a_line_in_the_log(
    tmp_path: Path, said: list[str]
) -> None:
    manager = AttributeManager(said.append)
    manager.add_handler(ResolvConf(tmp_path / "missing" / "resolv.conf", said.append))
    assert manager.install(HOME) == ()
    assert "failed to install attributes: FileNotFoundError" in said[0]
    manager.remove(HOME)


def program(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "resolvconf"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_resolvconf_gets_records_and_loses_them(tmp_path: Path, said: list[str]) -> None:
    log = tmp_path / "log"
    handler = ResolvconfProgram(program(tmp_path, f'echo "$@" >> {log}; cat >> {log}'), said.append)
    assert handler.install(HOME)
    handler.remove(HOME)
    handler.remove(HOME)
    record = f"lo.charon.{os.getpid()}.1"
    assert log.read_text().splitlines() == [
        f"-a {record}",
        "nameserver 10.2.0.53",
        "nameserver fd02::53",
        f"-d {record}",
    ]


def test_resolvconf_that_fails_says_why(tmp_path: Path, said: list[str]) -> None:
    handler = ResolvconfProgram(program(tmp_path, "echo no >&2; exit 3"), said.append)
    with pytest.raises(OSError, match="ended with 3: no"):
        handler.install(HOME)


def test_settings_choose_file_or_program(tmp_path: Path, said: list[str]) -> None:
    paths = Paths.make(PathSettings(), tmp_path)
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/resolv.conf"
    file.write_text(f"nameserver 10.9.0.53   # by charon[{2**22 + 1}]\n")
    manager = make_manager(AttributeSettings(dns=("10.2.0.53",)), paths, said.append)
    assert file.read_text() == ""
    assert manager.install(HOME) == ("resolv.conf",)
    assert file.read_text() == ours("10.2.0.53", "fd02::53")
    assert len(list(manager.attributes([], "carol"))) == 1
    manager.close()
    assert file.read_text() == ""
    (tmp_path / "sbin").mkdir()
    program(tmp_path / "sbin", "cat > /dev/null")
    manager = make_manager(AttributeSettings(), paths, said.append)
    assert manager.install(HOME) == ("resolvconf",)
    manager = make_manager(AttributeSettings(resolv_conf="", resolvconf=""), paths, said.append)
    assert manager.install(HOME) == ()
