"""The plugins of charon-core itself, on a real bus and a real registry of backends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from charon_core.bus import Group, Level
from charon_core.bus.bus import Bus
from charon_core.kernel.backends import BackendRegistry
from charon_core.plugin.distributions import CORE, find_plugins
from charon_core.plugin.loader import PluginHost
from charon_core.settings import Overrides, Paths, Settings, parse_settings

if TYPE_CHECKING:
    from pathlib import Path

BUILTIN = [plugin for plugin in find_plugins() if plugin.distribution == CORE]


class Daemon:
    """The part of a daemon that stands before everything else."""

    def __init__(self, root: Path, settings: Settings | None = None) -> None:
        self.bus = Bus()
        self.kernel = BackendRegistry()
        self.host = PluginHost(
            settings or Settings(),
            lambda level, message, *arguments: self.bus.log(Group.CFG, level, message, *arguments),
            environment={},
            installed=lambda: BUILTIN,
        )
        self.host.discover()
        self.host.prepare(self.bus, self.kernel, Paths.make(Settings().paths, root))

    def say(self, text: str, level: Level = Level.CONTROL) -> None:
        self.bus.log(Group.IKE, level, "%s", text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "var/log").mkdir(parents=True)
    return tmp_path / "var/log/charon.log"


def test_the_core_has_three_kernel_backends_two_loggers_and_verdicts(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    features = {feature for item in daemon.host.plugins() for feature in item.features}
    assert features == {
        *("logger:file", "logger:syslog"),
        *("kernel-ipsec:null", "kernel-ipsec:userspace", "kernel-ipsec:xfrm"),
        "verdicts",
    }
    assert daemon.kernel.names == ("xfrm", "userspace", "null")


def test_kernel_backends_go_with_their_plugins(tmp_path: Path) -> None:
    settings = parse_settings('[plugins]\nblock = ["kernel-xfrm"]')
    daemon = Daemon(tmp_path, settings)
    assert daemon.kernel.names == ("userspace", "null")
    daemon.host.destroy()
    assert daemon.kernel.names == ()


def test_lines_go_to_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    daemon = Daemon(tmp_path)
    daemon.say("good morning")
    daemon.say("not so loud", Level.MORE)
    assert capfd.readouterr().out.splitlines()[-1].endswith("[IKE] good morning")


def test_lines_go_to_files_below_the_root(log: Path, tmp_path: Path) -> None:
    text = '[[log.file]]\npath = "/var/log/charon.log"\nlevels = {ike = 2}\nformat = "json"\n'
    daemon = Daemon(tmp_path, parse_settings(text))
    daemon.say("more", Level.MORE)
    daemon.say("raw", Level.RAW)
    (line,) = log.read_text().splitlines()
    record = json.loads(line)
    assert (record["group"], record["level"], record["message"]) == ("IKE", 2, "more")


def test_a_reload_opens_files_anew_and_takes_new_levels(log: Path, tmp_path: Path) -> None:
    text = '[[log.file]]\npath = "/var/log/charon.log"\nappend = false\nlevel = {}\n'
    log.write_text("from yesterday\n")
    daemon = Daemon(tmp_path, parse_settings(text.format(1)))
    daemon.say("first")
    log.rename(log.with_suffix(".1"))
    daemon.host.reload(parse_settings(text.format(2)))
    daemon.say("second", Level.MORE)
    daemon.host.reload(parse_settings(text.format(1)))
    daemon.say("third", Level.MORE)
    assert log.with_suffix(".1").read_text().endswith("first\n")
    assert "yesterday" not in log.with_suffix(".1").read_text()
    assert log.read_text().endswith("second\n")


def test_a_level_can_be_changed_while_it_runs(log: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, parse_settings('[[log.file]]\npath = "/var/log/charon.log"\n'))
    daemon.host.set_log_level(daemon.bus, Group.IKE, Level.MORE)
    daemon.say("loud", Level.MORE)
    daemon.host.set_log_level(daemon.bus, None, Level.SILENT)
    daemon.say("silence")
    assert len(log.read_text().splitlines()) == 1


def test_the_end_writes_what_is_buffered(log: Path, tmp_path: Path) -> None:
    text = '[[log.file]]\npath = "/var/log/charon.log"\nflush = false\n'
    daemon = Daemon(tmp_path, parse_settings(text))
    daemon.say("last words")
    daemon.host.destroy()
    assert log.read_text().endswith("last words\n")
    assert not daemon.bus.wants(Group.IKE, Level.AUDIT)


def test_syslog_is_used_if_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charon_core.bus import sys_logger

    made = []

    class Recording(sys_logger.SysLogger):
        def log(self, record: object) -> None:
            made.append((self.config.facility.name, self.config.levels.default, record))

    monkeypatch.setattr(sys_logger, "SysLogger", Recording)
    Daemon(tmp_path).say("to nobody's syslog")
    assert made == []

    settings = Overrides(use_syslog=True).apply(parse_settings("[log.syslog]\nlevel = 2"))
    daemon = Daemon(tmp_path, settings)
    made.clear()
    daemon.say("up", Level.AUDIT)
    daemon.say("more", Level.MORE)
    assert [(name, level) for name, level, _ in made] == [
        ("DAEMON", Level.MORE),
        ("AUTHPRIV", Level.AUDIT),
        ("DAEMON", Level.MORE),
    ]
    daemon.host.reload(Settings())
    daemon.say("no more")
    assert len(made) == 3
