from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.bus import Group
from charon_core.bus.text import Multiline, escape, format_message, lines_of

FORGERY = "x\n05[IKE] authentication of 'admin' successful"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Zürich 東京", "Zürich 東京"),
        ("a\nb", "a\\nb"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("nul\0", "nul\\x00"),
        ("\x7f\x85\x9b", "\\x7f\\x85\\x9b"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("", ""),
    ],
)
def test_escape(text, expected):
    assert escape(text) == expected


@given(st.text(st.characters(exclude_categories=[])))
def test_escaped_text_is_one_printable_line(text):
    escaped = escape(text)
    assert escaped.isprintable()
    assert escape(escaped) == escaped
    escaped.encode()


@given(st.text(st.characters(exclude_categories=[])))
def test_lines_are_printable_and_at_least_one(text):
    lines = lines_of(text)
    assert lines
    assert all(line.isprintable() for line in lines)


def test_lines_of_a_message():
    assert lines_of("one\ntwo\r\n\n  three\n") == ["one", "two", "", "  three"]
    assert lines_of("") == [""]


def test_a_peers_string_cannot_begin_a_line():
    class Identity:
        def __str__(self):
            return FORGERY

        __repr__ = __str__

    for argument in (FORGERY, Identity(), type("Name", (str,), {})(FORGERY)):
        for placeholder in ("%s", "%r"):
            text = format_message(f"peer {placeholder} failed", (argument,))
            assert len(lines_of(text)) == 1
            assert "\\n05[IKE]" in text


def test_our_own_text_may_have_lines():
    text = format_message("job failed\n%s", (Multiline("first\nsecond"),))
    assert lines_of(text) == ["job failed", "first", "second"]


@pytest.mark.parametrize(
    ("message", "args", "expected"),
    [
        ("%d %i %05d %x", (1, 2, 3, 255), "1 2 00003 ff"),
        ("%.2f %s", (1.5, 2.5), "1.50 2.5"),
        ("%s %r", (b"a\nb", b"\x00"), "b'a\\nb' b'\\x00'"),
        ("%s %s", (None, True), "None True"),
        ("%d", (Group.IKE,), "2"),
        ("%-5s|", ("ab",), "ab   |"),
        ("%s", ((1, "a\nb"),), "(1, 'a\\nb')"),
        ("50%% of %s", ("it",), "50% of it"),
    ],
)
def test_format_message(message, args, expected):
    assert format_message(message, args) == expected


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.binary(), st.none())))
def test_formatting_never_raises(message, args):
    assert isinstance(format_message(message, tuple(args)), str)
