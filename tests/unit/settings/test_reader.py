"""charon.toml to settings, and everything that can be wrong with it."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.settings import (
    Settings,
    SettingsError,
    load_settings,
    parse_settings,
    parse_table,
)
from charon_core.settings.option import option

if TYPE_CHECKING:
    from pathlib import Path


def problems(text: str) -> list[str]:
    """Return what is said of a settings file, line by line."""
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, "charon.toml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize("text", ["", "   \n\n", "# nothing but words\n", "[ike]\n[log.syslog]\n"])
def test_an_empty_file_means_all_defaults(text: str) -> None:
    assert parse_settings(text) == Settings()


def test_defaults_are_those_of_the_field() -> None:
    ike = Settings().ike
    assert (ike.retransmit_timeout, ike.retransmit_base, ike.retransmit_tries) == (4.0, 1.8, 5)
    assert (ike.half_open_timeout, ike.keep_alive, ike.fragment_size) == (30.0, 20.0, 1280)
    assert (ike.cookie_threshold, ike.cookie_threshold_ip, ike.block_threshold) == (30, 3, 5)
    assert (Settings().charon.threads, Settings().network.max_packet) == (16, 10000)
    assert (Settings().network.port, Settings().network.port_nat_t) == (500, 4500)
    kernel = Settings().kernel
    assert (kernel.spi_min, kernel.spi_max, kernel.table) == (0xC0000000, 0xCFFFFFFF, 220)
    assert (kernel.backend, kernel.replay_window) == ("auto", 32)


def test_values_of_every_type_arrive() -> None:
    settings = parse_settings(
        """
        [charon]
        threads = 8
        [network]
        addresses = ["192.0.2.1", "2001:db8::1"]
        ipv6 = false
        [ike]
        retransmit_timeout = 2
        [kernel]
        spi_min = 0xc1000000
        [kernel.userspace]
        device = "tun7"
        [processor]
        reserved = {high = 2}
        [[log.file]]
        path = "/var/log/charon.log"
        levels = {ike = 2}
        [[log.file]]
        format = "json"
        [log.syslog]
        enabled = true
        """
    )
    assert settings.charon.threads == 8
    assert settings.network.addresses == ("192.0.2.1", "2001:db8::1")
    assert settings.network.ipv6 is False
    assert settings.ike.retransmit_timeout == 2.0
    assert isinstance(settings.ike.retransmit_timeout, float)
    assert settings.kernel.spi_min == 0xC1000000
    assert settings.kernel.userspace.device == "tun7"
    assert settings.processor.reserved == {"high": 2}
    assert [file.path for file in settings.log.file] == ["/var/log/charon.log", "stdout"]
    assert settings.log.file[0].levels == {"ike": 2}
    assert settings.log.file[1].format == "json"
    assert settings.log.syslog.enabled


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[ike]\nretransmit_trys = 5",
            "charon.toml:2: ike.retransmit_trys: unknown key; did you mean 'retransmit_tries'?",
        ),
        (
            "[ikee]\n",
            "charon.toml:1: ikee: unknown key; did you mean 'ike'?",
        ),
        (
            "[network]\nport-nat-t = 1",
            "charon.toml:2: network.port-nat-t: unknown key; did you mean 'port_nat_t'?",
        ),
        (
            '[ike]\nretransmit_tries = "five"',
            (
                "charon.toml:2: ike.retransmit_tries: expected a whole number from 0 to 100, "
                "got 'five'"
            ),
        ),
        (
            "[ike]\n\nretransmit_tries = 2.5",
            "charon.toml:3: ike.retransmit_tries: expected a whole number from 0 to 100, got 2.5",
        ),
        (
            "[charon]\nthreads = true",
            "charon.toml:2: charon.threads: expected a whole number from 6 to 1024, got true",
        ),
        (
            "[charon]\nthreads = 1",
            "charon.toml:2: charon.threads: expected a whole number from 6 to 1024, got 1",
        ),
        (
            "[ike]\nkeep_alive = nan",
            "charon.toml:2: ike.keep_alive: expected a number of seconds from 0 to 3600, got nan",
        ),
        (
            "[network]\nipv4 = 1",
            "charon.toml:2: network.ipv4: expected true or false, got 1",
        ),
        (
            '[network]\naddresses = "192.0.2.1"',
            "charon.toml:2: network.addresses: expected a list of strings, got '192.0.2.1'",
        ),
        (
            '[network]\naddresses = ["192.0.2.256"]',
            (
                "charon.toml:2: network.addresses: expected IP addresses ('192.0.2.256' is none), "
                "got ['192.0.2.256']"
            ),
        ),
        (
            "ike = 3",
            "charon.toml:1: ike: expected a table [ike], got 3",
        ),
        (
            "[log]\nfile = {path = 'x'}",
            "charon.toml:2: log.file: expected tables [[log.file]], got a table",
        ),
        (
            '[[log.file]]\npath = "/a"\n\n[[log.file]]\npath = "b"',
            (
                "charon.toml:5: log.file[1].path: expected an absolute path, "
                '"stdout" or "stderr", got \'b\''
            ),
        ),
        (
            "[log]\nlevels = {ikk = 2}",
            "charon.toml:2: log.levels.ikk: unknown key; did you mean 'ike'?",
        ),
        (
            "[log]\nlevels = {ike = 9}",
            "charon.toml:2: log.levels.ike: expected a whole number from -1 to 4, got 9",
        ),
        (
            "[log]\nlevels = 2",
            "charon.toml:2: log.levels: expected a table like {name = value}, got 2",
        ),
        (
            '[log]\nformat = "jsn"',
            (
                "charon.toml:2: log.format: expected one of 'text', 'json' (did you mean 'json'?), "
                "got 'jsn'"
            ),
        ),
        (
            "[network]\nport = 500\nport_nat_t = 500",
            (
                "charon.toml:3: network.port_nat_t: expected another port than network.port, "
                "got 500 for both"
            ),
        ),
        (
            "[network]\nipv4 = false\nipv6 = false",
            (
                "charon.toml:3: network.ipv6: expected at least one of ipv4 and ipv6 to be true, "
                "got false for both"
            ),
        ),
        (
            "[kernel]\nspi_max = 0xb0000000",
            (
                "charon.toml:2: kernel.spi_max: expected at least kernel.spi_min = 0xc0000000, "
                "got 0xb0000000"
            ),
        ),
        (
            "[ike]\nspi_bits = 2\nspi_value = 4",
            (
                "charon.toml:3: ike.spi_value: expected a number of at most ike.spi_bits = 2 bits, "
                "got 4"
            ),
        ),
        (
            '[kernel.userspace]\ndevice = "a/b"',
            (
                "charon.toml:2: kernel.userspace.device: expected an interface name of 1 to 15 "
                "characters, got 'a/b'"
            ),
        ),
        (
            '[paths]\npid_file = "charon.pid"',
            "charon.toml:2: paths.pid_file: expected an absolute path, got 'charon.pid'",
        ),
        (
            '[charon]\nuser = "a b"',
            "charon.toml:2: charon.user: expected a name, or an empty string for none, got 'a b'",
        ),
        (
            "[plugins]\nload = [1]",
            "charon.toml:2: plugins.load[0]: expected a string, got 1",
        ),
        (
            "[plugins]\nlod = ['stroke']",
            "charon.toml:2: plugins.lod: unknown key; did you mean 'load'?",
        ),
        (
            "[plugins.load]\n",
            "charon.toml:1: plugins.load: expected a list of strings, got a table",
        ),
        (
            "[ike]\na = ",
            "charon.toml:2: not TOML: Invalid value (at end of document)",
        ),
        (
            "[ike]\na = x\n",
            "charon.toml:2: not TOML: Invalid value (column 5)",
        ),
    ],
)
def test_a_wrong_file_is_told_with_line_and_key(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_all_that_is_wrong_comes_at_once_in_the_order_of_the_file() -> None:
    text = """
[network]
port = -1
colour = "blue"

[log]
level = "loud"
levels = {ike = 7, abc = 1}
"""
    lines = [line.split(": ")[0] for line in problems(text)]
    assert lines == [
        "charon.toml:3",
        "charon.toml:4",
        "charon.toml:7",
        "charon.toml:8",
        "charon.toml:8",
    ]


def test_long_values_are_cut_in_messages() -> None:
    (line,) = problems(f'[log]\nformat = "{"x" * 1000}"')
    assert len(line) < 200


def test_a_missing_file_counts_as_empty_unless_it_was_named(tmp_path: Path) -> None:
    file = tmp_path / "charon.toml"
    assert load_settings(file) == Settings()
    with pytest.raises(SettingsError, match="expected a settings file, found none"):
        load_settings(file, must_exist=True)


def test_what_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)
    (tmp_path / "latin").write_bytes(b"[ike]\n# \xe9\n")
    with pytest.raises(SettingsError, match=r"latin:2: expected UTF-8, got the octet 0xe9"):
        load_settings(tmp_path / "latin")


def test_plugin_tables_are_free_and_know_their_lines() -> None:
    settings = parse_settings(
        """[plugins]
load = ["stroke", "eap-md5"]

[plugins.stroke]
max_concurrent = 8

[plugins.eap-md5]
deep = {er = 1}
""",
        "x.toml",
    )
    assert settings.plugins.load == ("stroke", "eap-md5")
    stroke = settings.plugins.table("stroke")
    assert dict(stroke) == {"max_concurrent": 8}
    assert (stroke.file, stroke.line_of("max_concurrent"), stroke.line_of()) == ("x.toml", 5, 4)
    assert settings.plugins.table("eap_md5")["deep"] == {"er": 1}
    assert dict(settings.plugins.table("sql")) == {}


def test_a_plugin_table_never_shows_its_values() -> None:
    table = parse_settings('[plugins.sql]\npassword = "open sesame"').plugins.table("sql")
    assert "sesame" not in repr(table)
    assert "password" in repr(table)


@dataclasses.dataclass(frozen=True, slots=True)
class SampleOptions:
    """What a plugin might want to know."""

    rounds: int = option(3, "How often.", minimum=1, maximum=9)
    peer: str | None = option(None, "Whom to ask.")


def test_a_plugin_checks_its_table_as_the_daemon_does() -> None:
    text = "[plugins.sample]\nrounds = 4\npeer = 'sun'"
    table = parse_settings(text).plugins.table("sample")
    assert parse_table(table, SampleOptions) == SampleOptions(4, "sun")
    assert parse_table({}, SampleOptions) == SampleOptions()

    bad = parse_settings("[plugins.sample]\n\nrounds = 10\nround = 1", "x.toml")
    with pytest.raises(SettingsError) as caught:
        parse_table(bad.plugins.table("sample"), SampleOptions)
    assert str(caught.value).splitlines() == [
        "x.toml:3: plugins.sample.rounds: expected a whole number from 1 to 9, got 10",
        "x.toml:4: plugins.sample.round: unknown key; did you mean 'rounds'?",
    ]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().ike.retransmit_tries = 1  # type: ignore[misc]


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
SECTIONS = [field.name for field in dataclasses.fields(Settings)]


@given(st.sampled_from(SECTIONS), st.data())
def test_no_table_whatever_gets_past_with_anything_but_problems(
    section: str, data: st.DataObject
) -> None:
    from charon_core.settings.convert import Conversion

    keys = [field.name for field in dataclasses.fields(type(getattr(Settings(), section)))]
    values = data.draw(
        st.dictionaries(st.sampled_from(keys) | st.text(max_size=8), toml_values, max_size=5)
    )
    conversion = Conversion("x", lambda _position: 0)
    result = conversion.section(Settings, {section: values}, ())
    assert isinstance(result, Settings)


@given(st.text(alphabet="[]{}=.\"'#\n\\ ab1,-", max_size=60))
def test_no_text_whatever_ends_in_another_error(text: str) -> None:
    try:
        tomllib.loads(text)
        valid = True
    except tomllib.TOMLDecodeError:
        valid = False
    try:
        parse_settings(text)
        accepted = True
    except SettingsError:
        accepted = False
    assert valid or not accepted
