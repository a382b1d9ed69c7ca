"""What is read and has no effect is warned of, and the documents name the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from charon_plugins.stroke.starter import keywords
from charon_plugins.stroke.starter.convert import CONN_KEYWORDS, convert
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.unserved import TABLE, Unserved, keywords_of

DOCS = Path(__file__).parents[3] / "docs/stroke.md"
KNOWN = {"conn": CONN_KEYWORDS, "ca": keywords.CA, "config setup": keywords.SETUP}


def texts(text: str) -> list[str]:
    return [str(warning) for warning in convert(load(Path("/conf"), lambda _: text)).warnings]


def example(entry: Unserved) -> str:
    value = (entry.values.split() or ["1.2.3.4"])[0].replace("eap*", "eap-tls").rstrip("*")
    return "5" if entry.keywords in ("inactivity", "dpdtimeout") else value


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: f"{entry.keywords} {entry.values}")
def test_each_is_warned_of_once_with_its_place(entry: Unserved) -> None:
    name = "" if entry.kind == "config setup" else " a\n\tauto=add"
    for keyword in keywords_of(entry):
        assert keyword in KNOWN[entry.kind]
        lines = texts(f"{entry.kind}{name}\n\t{keyword}={example(entry)}\n")
        line = 2 if entry.kind == "config setup" else 3
        (told,) = lines
        assert told.startswith(f"/conf:{line}:{len(keyword) + 3}: {keyword} = ")
        assert entry.text in told


@pytest.mark.parametrize(
    "line",
    [
        "compress=no", "inactivity=0", "mobike=no", "leftfirewall=no", "dpdaction=clear",
        "type=tunnel", "mark=7", "leftauth=psk", "dpdaction=restart", "closeaction=restart",
    ],
)  # fmt: skip
def test_what_is_served_is_not_warned_of(line: str) -> None:
    assert texts(f"conn a\n\tauto=add\n\t{line}\n") == []


def test_what_is_inherited_is_warned_of_once() -> None:
    lines = texts("conn %default\n\tcompress=yes\n\tauto=add\nconn a\nconn b\n")
    assert len(lines) == 1


def test_sections_that_are_not_used_are_not_warned_of() -> None:
    assert texts("conn a\n\tcompress=yes\n") == []


def test_the_documents_name_the_same_keywords() -> None:
    rows = [
        line
        for line in DOCS.read_text().splitlines()
        if line.startswith(("| in part", "| loaded, but", "| no effect"))
    ]
    told = set(re.findall(r"`([a-z0-9_]+)", " ".join(rows)))
    listed = {keyword for entry in TABLE for keyword in keywords_of(entry)}
    assert listed <= told, listed - told
    assert told - listed <= {"none", "restart", "hold", "clear", "eap"}, told - listed
