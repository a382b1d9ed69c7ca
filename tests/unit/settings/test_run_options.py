"""The options of `charon run`, and starter's way of passing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from charon_core.run_options import UsageError, parse_run_options


def test_nothing_means_nothing() -> None:
    options = parse_run_options([])
    assert (options.root, options.config, options.name) == (None, None, "charon")
    assert not options.overrides.use_syslog
    assert not options.overrides.levels
    assert not options.overrides.notes


def test_starters_arguments() -> None:
    arguments = ["--use-syslog", "--debug-ike", "2", "--debug-knl", "-1", "--debug-esp", "4"]
    overrides = parse_run_options(arguments).overrides
    assert overrides.use_syslog
    assert overrides.levels == {"ike": 2, "knl": -1, "esp": 4}


def test_the_later_level_counts_and_all_means_all() -> None:
    levels = parse_run_options(["--debug-all", "1", "--debug-ike=3"]).overrides.levels
    assert levels["ike"] == 3
    assert levels["net"] == 1
    assert len(levels) == 18


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["--debug-wch", "2"], "option --debug-wch: unknown group; known are: dmn, mgr"),
        (["--debug-ike", "loud"], "option --debug-ike: expected a level from -1 to 4, got 'loud'"),
        (["--debug-ike", "5"], "option --debug-ike: expected a level from -1 to 4, got '5'"),
    ],
)
def test_a_wrong_level_is_noted_and_does_not_stop_the_daemon(
    arguments: list[str], note: str
) -> None:
    overrides = parse_run_options(arguments).overrides
    assert overrides.notes[0].startswith(note)
    assert overrides.levels == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--root"], "--root needs a value"),
        (["--root="], "--root needs a value"),
        (["--debug-ike"], "--debug-ike needs a value"),
        (["--verbose"], "unknown option '--verbose'"),
        (["--use-syslog=yes"], "unknown option '--use-syslog'"),
        (["stray"], "unknown option 'stray'"),
        (["--name", "a/b"], "expected a name without slashes"),
        (["--name", ".."], "expected a name without slashes"),
    ],
)
def test_what_is_not_understood_is_told(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_run_options(arguments)


@pytest.mark.parametrize(
    "arguments", [["--root", "/x", "--config", "/y"], ["--root=/x", "--config=/y"]]
)
def test_places(arguments: list[str]) -> None:
    options = parse_run_options(arguments)
    assert (options.root, options.config) == (Path("/x"), Path("/y"))


def test_a_relative_root_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_run_options(["--root", "r"]).root == tmp_path / "r"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/lib/ipsec/charon", "charon"),
        ("/usr/lib/ipsec/pycharon", "pycharon"),
        ("/usr/bin/charon", "charon"),
        ("/opt/venv/bin/pytest", "charon"),
        ("-c", "charon"),
    ],
)
def test_the_name_is_that_under_which_starter_waits(program: str, name: str) -> None:
    assert parse_run_options([], program).name == name
    assert parse_run_options(["--name", "x"], program).name == "x"
