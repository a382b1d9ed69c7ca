"""The keys of charon.toml: complete, documented, and in step with what they stand for."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

import pytest

from charon_core.bus.listener import Group
from charon_core.bus.sys_logger import Facility, Transport
from charon_core.processing.job import Priority
from charon_core.settings import Overrides, Paths, PathSettings, Settings, parse_settings
from charon_core.settings.log import FACILITIES, LOG_GROUPS
from charon_core.settings.model import PRIORITIES
from charon_core.settings.option import Option, options_of
from charon_core.settings.sample import sample_settings, to_toml

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


def sections(kind: type = Settings) -> Iterator[type]:
    """Yield every dataclass of the settings."""
    yield kind
    for hint in typing.get_type_hints(kind).values():
        inner = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else (hint,)
        for item in inner:
            if dataclasses.is_dataclass(item):
                yield from sections(typing.cast("type", item))


def keys() -> Iterator[tuple[str, Option, object]]:
    for kind in sections():
        for name, option, default in options_of(kind):
            yield f"{kind.__name__}.{name}", option, default


def test_groups_and_priorities_are_those_of_bus_and_processor() -> None:
    assert tuple(group.name.lower() for group in Group) == LOG_GROUPS
    assert tuple(priority.name.lower() for priority in Priority) == PRIORITIES


def test_words_of_syslog_are_those_of_the_logger() -> None:
    assert tuple(facility.name.lower() for facility in Facility) == FACILITIES
    transport = next(o for key, o, _ in keys() if key == "SyslogSettings.transport")
    assert transport.choices == tuple(item.value for item in Transport)


def test_settings_compare_and_show_themselves_by_their_keys() -> None:
    first, second = parse_settings("[ike]\nkeep_alive = 5"), parse_settings("[ike]\nkeep_alive = 5")
    assert first == second
    assert first != Settings()
    assert first.ike != first.network
    assert "keep_alive=5.0" in repr(first)


def test_every_field_is_a_key() -> None:
    plain = {
        f"{kind.__name__}.{field.name}"
        for kind in sections()
        for field in dataclasses.fields(kind)
        if field.name not in {name for name, _, _ in options_of(kind)}
    }
    assert plain == {"PluginSettings.tables"}


@pytest.mark.parametrize(("key", "option"), [(key, option) for key, option, _ in keys()])
def test_every_key_says_what_it_does(key: str, option: Option) -> None:
    assert option.doc, key


@pytest.mark.parametrize(
    ("option", "default"),
    [(option, default) for _, option, default in keys() if not dataclasses.is_dataclass(default)],
)
def test_every_default_is_allowed(option: Option, default: object) -> None:
    if isinstance(default, int | float) and not isinstance(default, bool):
        assert option.minimum is None or option.minimum <= default
        assert option.maximum is None or default <= option.maximum
    if option.choices:
        assert default in option.choices
    if option.check is not None:
        assert option.check(default) is None


def test_every_key_is_used_by_somebody() -> None:
    """A key that nobody reads would tell its reader a lie."""
    folders = (ROOT / "charon_core", ROOT / "charon_plugins")
    files = (file for folder in folders for file in folder.rglob("*.py"))
    words = {
        word
        for file in files
        if "settings" not in file.relative_to(ROOT).parts
        for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))
    }
    unused = {key for key, _, _ in keys() if key.partition(".")[2] not in words}
    assert unused == set()


def test_every_example_is_allowed() -> None:
    for line in sample_settings().splitlines():
        if match := re.match(r"# For example: (\w+) = (.*)", line):
            tomllib.loads(f"{match[1]} = {match[2]}")


def test_the_sample_means_the_same_as_an_empty_file() -> None:
    assert parse_settings(sample_settings()) == Settings()


def test_the_sample_with_all_keys_uncommented_means_nearly_the_same() -> None:
    lines = [
        line.removeprefix("# ")
        if re.match(r"# (\w+ = |\[\[)", line) and "For example" not in line
        else line
        for line in sample_settings().splitlines()
    ]
    settings = parse_settings("\n".join(lines))
    # The one table of files that the sample shows is there now; all else is as it was.
    assert len(settings.log.file) == 1
    log = dataclasses.replace(settings.log, file=())
    assert dataclasses.replace(settings, log=log) == Settings()


def test_the_sample_has_every_key() -> None:
    text = sample_settings()
    for key, _, default in keys():
        name = key.partition(".")[2]
        if not dataclasses.is_dataclass(default) and key != "LogSettings.file":
            assert re.search(rf"^# {name} = ", text, re.MULTILINE), key


def test_the_sample_in_the_documentation_is_the_same() -> None:
    """If this fails: .venv/bin/charon settings > docs/charon.toml."""
    assert (ROOT / "docs" / "charon.toml").read_text() == sample_settings()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (4.0, "4.0"),
        ('a"b\\', '"a\\"b\\\\"'),
        (("x", 1), '["x", 1]'),
        ({"a": 1}, "{a = 1}"),
    ],
)
def test_values_are_written_as_toml(value: object, text: str) -> None:
    assert to_toml(value) == text
    loaded = tomllib.loads(f"x = {text}")["x"]
    assert (tuple(loaded) if isinstance(loaded, list) else loaded) == value


def test_a_root_moves_every_path() -> None:
    here = Paths.make(PathSettings())
    moved = Paths.make(PathSettings(), Path("/tmp/x"))
    assert str(here.control_socket) == "/var/run/charon.ctl"
    assert str(here.settings) == "/etc/charon/charon.toml"
    for name, path in here._asdict().items():
        if name != "root":
            assert getattr(moved, name) == Path(f"/tmp/x{path}")
    assert moved.below_root("/var/log/charon.log") == Path("/tmp/x/var/log/charon.log")


def test_every_configured_path_is_a_path_of_the_daemon() -> None:
    names = {field.name for field in dataclasses.fields(PathSettings)}
    assert names | {"root", "settings"} == set(Paths._fields)


def test_a_settings_file_that_was_named_stays_where_it_is() -> None:
    paths = Paths.make(PathSettings(), Path("/tmp/x"), Path("/home/me/charon.toml"))
    assert paths.settings == Path("/home/me/charon.toml")


def test_the_command_line_goes_over_the_levels_of_every_logger() -> None:
    settings = parse_settings('[[log.file]]\npath = "/a"\nlevels = {ike = 1, knl = 3}')
    log = Overrides(levels={"ike": 2}).apply(settings).log
    assert log.file[0].levels == {"ike": 2, "knl": 3}
    assert log.syslog.levels == {"ike": 2}
    assert log.levels == {"ike": 2}


def test_use_syslog_takes_the_place_of_standard_output() -> None:
    log = Overrides(use_syslog=True).apply(Settings()).log
    assert log.syslog.enabled
    assert log.outputs() == ()
    configured = parse_settings('[[log.file]]\npath = "/a"')
    assert len(Overrides(use_syslog=True).apply(configured).log.outputs()) == 1


def test_no_overrides_change_nothing() -> None:
    settings = Settings()
    assert Overrides().apply(settings) is settings


def test_standard_output_has_the_levels_of_the_section() -> None:
    (output,) = parse_settings('[log]\nlevel = 2\nformat = "json"').log.outputs()
    assert (output.path, output.level, output.format) == ("stdout", 2, "json")


def test_defaults_agree_with_those_of_the_components() -> None:
    from charon_core.kernel.userspace.settings import UserspaceOptions
    from charon_core.sa.parameters import IkeParameters

    ike = Settings().ike
    for field in dataclasses.fields(IkeParameters):
        if hasattr(ike, field.name):
            assert getattr(ike, field.name) == field.default, field.name
    kernel = Settings().kernel
    for field in dataclasses.fields(UserspaceOptions):
        section = kernel if hasattr(kernel, field.name) else kernel.userspace
        assert getattr(section, field.name) == field.default, field.name
    assert kernel.replay_window == IkeParameters().replay_window
