"""Lines of keys in TOML, in every form that TOML has."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.settings.positions import key_lines

TEXT = """\
a = 1
"quoted key" = 2
'single' = 3
dotted . path = 4   # = not a key

[table]
b = [
  1,  # c = 7
  "]",
]
d = \"\"\"
e = 5
\\\"""[f]\"\"\"
g = '''
h = 6
'''
inline = {x = 1, y = {z = 2}}

[table.sub]
i = 1979-05-27

[[list]]
j = 1
[[list]]
j = 2
[list.below]
k = 3
[[list.inner]]
l = 4
"""


@pytest.mark.parametrize(
    ("position", "line"),
    [
        (("a",), 1),
        (("quoted key",), 2),
        (("single",), 3),
        (("dotted",), 4),
        (("dotted", "path"), 4),
        (("table",), 6),
        (("table", "b"), 7),
        (("table", "d"), 11),
        (("table", "g"), 14),
        (("table", "inline"), 17),
        (("table", "sub"), 19),
        (("table", "sub", "i"), 20),
        (("list",), 22),
        (("list", 0), 22),
        (("list", 0, "j"), 23),
        (("list", 1), 24),
        (("list", 1, "j"), 25),
        (("list", 1, "below"), 26),
        (("list", 1, "below", "k"), 27),
        (("list", 1, "inner", 0, "l"), 29),
    ],
)
def test_each_key_has_its_line(position: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert key_lines(TEXT)[position] == line


def test_words_in_strings_and_comments_are_no_keys() -> None:
    names = {name for position in key_lines(TEXT) for name in position}
    assert names.isdisjoint({"c", "e", "f", "h"})


@pytest.mark.parametrize("size", range(len(TEXT)))
def test_a_text_cut_anywhere_ends_the_search(size: int) -> None:
    whole = key_lines(TEXT)
    for position, line in key_lines(TEXT[:size]).items():
        assert whole.get(position, line) == line


@given(st.text(alphabet="[]{}=.\"'#\n\\ \tab1,-", max_size=80))
def test_every_key_that_tomllib_finds_has_a_line(text: str) -> None:
    lines = key_lines(text)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(_positions(document)) <= set(lines) | _below_values(lines, document)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def _positions(table: dict[str, Any], above: tuple[str | int, ...] = ()) -> list[Any]:
    found: list[Any] = []
    for key, value in table.items():
        position = (*above, key)
        found.append(position)
        if isinstance(value, dict):
            found.extend(_positions(value, position))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    found.extend(_positions(item, (*position, index)))
    return found


def _below_values(lines: dict[Any, int], document: dict[str, Any]) -> set[Any]:
    """Return the positions inside of inline tables and arrays: their key has the line."""
    return {
        position
        for position in _positions(document)
        if any(position[:depth] in lines for depth in range(1, len(position)))
    }
