"""The `charon` command, without a daemon."""

from __future__ import annotations

import json
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.cli import main
from charon_core.exit_codes import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a daemon in place that notes with what it is run, and ends with 7."""
    calls: list[Any] = []
    daemon = types.ModuleType("charon_core.daemon")

    def run(*arguments: Any) -> int:
        calls.append(arguments)
        return 7

    daemon.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "charon_core.daemon", daemon)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/charon"])
    return calls


@pytest.mark.parametrize("subcommand", [[], ["run"]])
def test_without_a_subcommand_the_daemon_runs(
    started: list[Any], subcommand: list[str], tmp_path: Path
) -> None:
    assert main([*subcommand, "--root", str(tmp_path), "--use-syslog", "--debug-ike", "2"]) == 7
    ((settings, paths, overrides),) = started
    assert settings.ike.retransmit_tries == 5
    assert paths.pid_file == tmp_path / "var/run/charon.pid"
    assert overrides.use_syslog
    assert overrides.levels == {"ike": 2}


def test_the_settings_file_below_the_root_is_read(started: list[Any], tmp_path: Path) -> None:
    (tmp_path / "etc/charon").mkdir(parents=True)
    (tmp_path / "etc/charon/charon.toml").write_text("[charon]\nthreads = 9\n")
    main(["--root", str(tmp_path)])
    assert started[0][0].charon.threads == 9
    assert started[0][1].settings == tmp_path / "etc/charon/charon.toml"


def test_starter_finds_the_pid_file_that_it_waits_for(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/lib/ipsec/pycharon"])
    main(["--use-syslog"])
    assert str(started[0][1].pid_file) == "/var/run/pycharon.pid"


def test_a_pid_file_of_the_settings_goes_over_the_name(started: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "charon.toml"
    file.write_text('[paths]\npid_file = "/run/x.pid"\n')
    main(["--config", str(file), "--name", "other"])
    assert str(started[0][1].pid_file) == "/run/x.pid"


def test_an_option_that_is_not_understood(
    started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--loud"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "charon: unknown option '--loud'; 'charon run --help' lists all\n"
    )
    assert started == []


def test_wrong_settings_keep_the_daemon_from_starting(
    started: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "charon.toml"
    file.write_text("[charon]\nthreads = 'x'\nthread = 3\n")
    assert main(["--config", str(file)]) == ExitCode.INITIALISATION_FAILED == 66
    error = capsys.readouterr().err
    assert f"{file}:2: charon.threads: expected a whole number from 6 to 1024, got 'x'" in error
    assert f"{file}:3: charon.thread: unknown key; did you mean 'threads'?" in error
    assert started == []


def test_under_starter_wrong_settings_are_told_to_syslog(
    started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda _priority, line: told.append(line))
    monkeypatch.setattr("syslog.openlog", lambda *_: None)
    file = tmp_path / "charon.toml"
    file.write_text("[charon]\nthreads = 1\n")
    assert main(["--config", str(file), "--use-syslog"]) == 66
    assert len(told) == 1
    assert "charon.threads" in told[0]


def test_a_fault_of_the_daemon_is_told_and_invites_another_try(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        raise RuntimeError("never thought of")

    told: list[str] = []
    monkeypatch.setattr(sys.modules["charon_core.daemon"], "run", run)
    monkeypatch.setattr("syslog.syslog", lambda _priority, line: told.append(line))
    monkeypatch.setattr("syslog.openlog", lambda *_: None)
    assert main(["--use-syslog"]) == ExitCode.FAILURE
    assert "RuntimeError: never thought of" in capsys.readouterr().err
    assert told[-1] == "RuntimeError: never thought of"


@pytest.mark.parametrize("arguments", [["--help"], ["--root", "/x", "--help"]])
def test_help(started: list[Any], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "plugins" in capsys.readouterr().out
    assert started == []


def test_help_of_run(started: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    output = capsys.readouterr().out
    for option in ("--root DIR", "--config FILE", "--use-syslog", "--debug-GROUP LEVEL"):
        assert option in output
    for code in ExitCode:
        assert f"  {int(code)} " in output or code is ExitCode.FAILURE


@pytest.mark.parametrize("arguments", [["--version"], ["--use-syslog", "--version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("charon ")


def test_an_unknown_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin"]) == 2
    assert "No such command 'plugin'" in capsys.readouterr().err


def test_check_says_what_may_be_meant_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "charon.toml"
    file.write_text('[plugins]\nload = ["stork"]\nblock = ["kernel-null"]\n\n[plugins.stork]\n')
    assert main(["check", "--config", str(file)]) == 0
    output = capsys.readouterr()
    assert output.out == f"{file}: is in order\n"
    assert output.err.splitlines() == [
        f"{file}: note: plugins.load: 'stork' is not installed",
        f"{file}:5: note: plugins.stork: no plugin of this name is installed",
    ]


def test_check_of_a_file_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--config", str(tmp_path / "none.toml")]) == 1
    assert "found none" in capsys.readouterr().err
    assert main(["check", "--root", str(tmp_path)]) == 0
    assert "does not exist: all defaults" in capsys.readouterr().out


def test_plugins_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json", "--root", str(tmp_path)]) == 0
    listed = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert listed["kernel_null"]["distribution"] == "charon-core"
    assert listed["kernel_null"]["features"] == ["kernel-ipsec:null"]
    assert listed["kernel_null"]["state"] == "ready"


def test_plugins_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--root", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "kernel_null" in output
    assert output.splitlines()[0].split() == [
        *("name", "version", "distribution", "state", "hooks", "features"),
    ]


COMMANDS = """
import click
from charon_core.plugin import hookimpl

class Extending:
    @hookimpl
    def charon_register_commands(self, cli):
        @cli.command("wave")
        @click.argument("whom")
        def wave(whom):
            click.echo(f"waves to {whom}")

        @cli.command("check")
        def check():
            click.echo("taken over")

class Broken:
    @hookimpl
    def charon_register_commands(self, cli):
        raise ValueError("on purpose")
"""


@pytest.fixture
def extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin with a command, and one that fails to add its own."""
    module = types.ModuleType("extending_plugin")
    exec(COMMANDS, module.__dict__)
    monkeypatch.setitem(sys.modules, "extending_plugin", module)
    monkeypatch.setenv("CHARON_PLUGINS", "extending_plugin:Extending,extending_plugin:Broken")
    monkeypatch.setattr("charon_core.commands.cli._extended", False)
    from charon_core.commands import cli

    monkeypatch.setattr(cli, "commands", dict(cli.commands))


@pytest.mark.usefixtures("extended")
def test_a_plugin_adds_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wave", "moon"]) == 0
    output = capsys.readouterr()
    assert output.out == "waves to moon\n"
    assert "plugin 'Broken' disabled: charon_register_commands: ValueError" in output.err
    assert "charon: a plugin may not replace the command 'check'" in output.err


@pytest.mark.usefixtures("extended")
def test_a_plugin_cannot_take_over_a_command_of_the_core(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    assert "wave" in capsys.readouterr().out
    assert main(["check", "--root", str(tmp_path)]) == 0
    assert "taken over" not in capsys.readouterr().out


def test_the_way_to_the_daemon_needs_no_heavy_library() -> None:
    import subprocess

    code = (
        "import sys, types\n"
        "daemon = types.ModuleType('charon_core.daemon')\n"
        "daemon.run = lambda *_: 0\n"
        "sys.modules['charon_core.daemon'] = daemon\n"
        "from charon_core.cli import main\n"
        "main(['--root', '/nonexistent'])\n"
        "import charon_core.plugin.loader\n"
        "charon_core.plugin.loader.find_plugins()\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"click", "rich", "importlib.metadata", "cryptography", "pyroute2", "numpy", "tomllib"}
    assert heavy & set(done.stdout.split()) == set()
