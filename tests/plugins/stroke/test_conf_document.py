"""ipsec.conf as text: lines, quotes, includes, sections, inheritance."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_plugins.stroke.starter.document import Document, effective, load
from charon_plugins.stroke.starter.lexer import MAX_INCLUDE_DEPTH
from charon_plugins.stroke.starter.place import ConfError


def parse(text: str) -> Document:
    return load(Path("/conf"), lambda _: text)


def values(document: Document, name: str) -> dict[str, str | None]:
    layers = document.layers(document.conns[name])
    return {key: setting.value for key, setting in effective(layers).items()}


def conn(*lines: str) -> str:
    return "conn a\n" + "".join(f"\t{line}\n" for line in lines)


def value_of(line: str) -> str | None:
    (value,) = values(parse(conn(line)), "a").values()
    return value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x=1", "1"),
        ("x = 1", "1"),
        ("x=a   b", "a b"),
        ("x=a # comment", "a"),
        ("x=foo#bar", "foo"),
        ("x=@#0102", "@#0102"),
        ("x=@#01#02", "@#01"),
        ("x=foo@#bar", "foo@"),
        ('x="@#0102 # no comment"', "@#0102 # no comment"),
        ('x="C=CH, O=Test"', "C=CH, O=Test"),
        ('x=abc"def"ghi', "abc def ghi"),
        (r'x="a\"b\\c\nd\te\rf\zg"', 'a"b\\c\nd\te\rfzg'),
        ('x="a\nb"', "a\nb"),
        ('x="a\\\n  b"', "a  b"),
        ("x='a b'", "'a b'"),
        (r"x=a\b", r"a\b"),
        ("x=", None),
        ("x=  # nothing", None),
        ('x=""', ""),
        ('x="" a', " a"),
    ],
)
def test_value(line: str, value: str | None) -> None:
    assert value_of(line) == value


@pytest.mark.parametrize(
    "text",
    ["", "\n", "# only a comment", "   \n\t\n  # x\n", "version 2.0\n", "conn a", "config setup"],
)
def test_harmless_files(text: str) -> None:
    assert parse(text).warnings == ()


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("conn a\nright=1\n", "2:1", "must be indented"),
        ("conn\n", "1:5", "expected a name after 'conn'"),
        ('conn ""\n', "1:6", "expected a name"),
        ("conn a b\n", "1:8", "quote a name"),
        ("config foo\n", "1:8", "config setup"),
        ("foo bar\n", "1:1", "not 'foo'"),
        ("connect a\n", "1:1", "not 'connect'"),
        (conn("=x"), "2:2", "KEY=VALUE"),
        (conn("foo"), "2:5", "expected '=' after 'foo'"),
        (conn("left id=x"), "2:6", "expected '='"),
        (conn("x=a=b"), "2:5", "double quotes"),
        (conn('x="abc'), "2:4", "no closing"),
        (conn("also=b"), "2:7", "no section 'conn b'"),
        (conn("also=a"), "2:7", "loop: a -> a"),
        (conn("also=b") + "conn b\n\talso=c\nconn c\n\talso=b\n", "6:7", "loop: b -> c -> b"),
    ],
)
def test_error_says_where_and_what_was_expected(text: str, place: str, complaint: str) -> None:
    with pytest.raises(ConfError) as caught:
        parse(text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"/conf:{place}: ")


def test_all_errors_of_a_file_are_reported_at_once() -> None:
    with pytest.raises(ConfError) as caught:
        parse("foo\nconn a\n\tx\n\ty=1=2\n\talso=z\n")
    assert [problem.place.line for problem in caught.value.problems] == [1, 3, 4, 5]


def test_carriage_returns_are_kept_and_warned_of() -> None:
    document = parse("conn a\r\n\tx=1\r\n")
    assert values(document, "a\r") == {"x": "1\r"}
    assert "CR LF" in str(document.warnings[0])


def test_setting_before_the_first_section_is_warned_of() -> None:
    (warning,) = parse("\tx=1\nconn a\n").warnings
    assert "/conf:1:2" in str(warning)


def test_sections_of_one_name_are_merged() -> None:
    document = parse("conn a\n\tx=1\n\ty=1\nconn b\nconn a\n\tx=2\n")
    assert list(document.conns) == ["a", "b"]
    assert values(document, "a") == {"x": "2", "y": "1"}


def test_inheritance() -> None:
    document = parse(
        "conn a\n\talso=b\n\talso=c\n\town=a\n"
        "conn b\n\tx=b\n\tonly_b=b\n\talso=d\n"
        "conn c\n\tx=c\n\town=c\n\talso=d\n"
        "conn d\n\tx=d\n\tunset=d\n\tdeep=d\n"
        "conn %default\n\tdeep=0\n\tbase=0\n\tunset=0\n"
        "conn e\n\talso=d\n\tunset=\n"
    )
    assert values(document, "a") == {
        "own": "a",
        "x": "c",
        "only_b": "b",
        "deep": "d",
        "unset": "d",
        "base": "0",
    }
    assert values(document, "e") == {"unset": None, "x": "d", "deep": "d", "base": "0"}


def test_a_section_reachable_twice_counts_at_its_weakest_position() -> None:
    document = parse(
        "conn a\n\talso=base\n\talso=b\nconn b\n\talso=base\n\tx=b\nconn base\n\tx=base\n"
    )
    assert [layer.name for layer in document.layers(document.conns["a"])] == ["a", "b", "base"]


def test_settings_take_effect_in_alphabetical_order_strongest_layer_first() -> None:
    document = parse("conn a\n\tz=1\n\ty=1\n\talso=b\nconn b\n\ta=1\n\tz=2\n")
    assert list(values(document, "a").items()) == [("y", "1"), ("z", "1"), ("a", "1")]


@pytest.mark.parametrize(
    ("lines", "winner"),
    [
        (("lifetime=1", "keylife=2"), ("lifetime", "1")),
        (("keylife=2", "lifetime=1"), ("lifetime", "1")),
        (("margintime=1", "rekeymargin=2"), ("margintime", "2")),
    ],
)
def test_two_spellings_of_one_keyword(lines: tuple[str, ...], winner: tuple[str, str]) -> None:
    assert values(parse(conn(*lines)), "a") == dict([winner])


def test_generated_names() -> None:
    assert list(parse("conn %auto\nconn %auto\n").conns) == ["conn_1", "conn_2"]


def test_diamonds_and_long_chains_cost_linear_time() -> None:
    lines = ["conn c0\n\tx=1\n"]
    lines += [f"conn c{n}\n\talso=c{n - 1}\n\talso=c{n - 1}\n" for n in range(1, 3000)]
    document = parse("".join(lines))
    assert len(document.layers(document.conns["c2999"])) == 3000


def test_include_goes_on_in_the_same_section(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text('conn a\n\tx=1\n\tinclude more.*\n\tz=1\ninclude "other"\n')
    (tmp_path / "more.1").write_text("\ty=1\n")
    (tmp_path / "more.2").write_text("\ty=2\nconn b\n\tw=1")
    (tmp_path / "other").write_text("conn c\n")
    document = load(tmp_path / "conf")
    assert values(document, "a") == {"x": "1", "y": "2"}
    assert values(document, "b") == {"w": "1", "z": "1"}
    assert list(document.conns) == ["a", "b", "c"]


def test_include_of_nothing_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("include nothing.*\nconn a\n")
    (warning,) = load(tmp_path / "conf").warnings
    assert "no file matches" in str(warning)
    assert warning.place.line == 1


def test_include_of_a_folder_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "conf").write_text("include d\n")
    assert "cannot read" in str(load(tmp_path / "conf").warnings[0])


def test_include_escapes(tmp_path: Path) -> None:
    (tmp_path / "a b#c").write_text("conn found\n")
    (tmp_path / "conf").write_text("include a\\ b\\#c # comment\n")
    assert list(load(tmp_path / "conf").conns) == ["found"]


def test_include_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("include conf\n")
    with pytest.raises(ConfError, match=f"more than {MAX_INCLUDE_DEPTH} deep"):
        load(tmp_path / "conf")


def test_include_with_equals_sign_is_a_setting() -> None:
    assert values(parse(conn("include = x")), "a") == {"include": "x"}


def test_errors_in_included_files_name_that_file(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("include bad\n")
    (tmp_path / "bad").write_text("\nfoo\n")
    with pytest.raises(ConfError) as caught:
        load(tmp_path / "conf")
    assert str(caught.value).startswith(f"{tmp_path / 'bad'}:2:1: ")


@given(st.text(st.sampled_from('conn a\t\n"#=\\x@%default also=b include ca'), max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_sections_or_conf_errors(text: str) -> None:
    with suppress(ConfError):
        document = parse(text)
        for section in (*document.conns.values(), *document.cas.values()):
            effective(document.layers(section))
