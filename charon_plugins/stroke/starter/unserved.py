"""Keywords that are read and have no effect in this version: the list, and the warnings.

A feature that comes takes its lines out of the table here, and its words out of the table in
docs/stroke.md, which a test compares with this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from charon_plugins.stroke.starter.place import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from charon_plugins.stroke.starter.lexer import Setting


class Unserved(NamedTuple):
    """Keywords of which some values are not served.

    Attributes:
        kind: of the section.
        keywords: in one string, with blanks between them; ``*`` in front stands for both
            ``left`` and ``right``.
        values: those that are meant, or their beginnings with a ``*`` behind; empty for all but
            those in `harmless`.
        harmless: values that ask for nothing.
        text: what happens instead.
    """

    kind: str
    keywords: str
    values: str
    harmless: str
    text: str


_NONE: Final = "has no effect in this version"
_FAILS: Final = "cannot be established in this version"

TABLE: Final = (
    Unserved("conn", "type", "transport_proxy beet", "", _FAILS),
    Unserved("conn", "compress", "yes", "", _NONE),
    Unserved("conn", "inactivity", "", "0 0s", _NONE),
    Unserved("conn", "*groups *groups2", "", "", _FAILS),
    Unserved("conn", "dpdtimeout", "", "", f"{_NONE}: with IKEv2 retransmission decides"),
    Unserved("conn", "aggressive", "yes", "", f"{_NONE}: it belongs to IKEv1"),
    Unserved("conn", "modeconfig", "push", "", f"{_NONE}: it belongs to IKEv1"),
)


def warnings(kind: str, settings: Mapping[str, Setting]) -> Iterator[Problem]:
    """Tell which settings of a section have no effect, each with its place."""
    for entry in TABLE:
        if entry.kind != kind:
            continue
        for keyword in keywords_of(entry):
            setting = settings.get(keyword)
            if setting is not None and setting.value and _is_meant(entry, setting.value):
                text = f"{setting.key} = {setting.value!r} {entry.text}"
                yield Problem(setting.value_place, text)


def keywords_of(entry: Unserved) -> Iterator[str]:
    """The keywords of an entry, one by one."""
    for word in entry.keywords.split():
        if word.startswith("*"):
            yield from (f"left{word[1:]}", f"right{word[1:]}")
        else:
            yield word


def _is_meant(entry: Unserved, value: str) -> bool:
    if entry.values:
        return any(
            value.startswith(word[:-1]) if word.endswith("*") else value == word
            for word in entry.values.split()
        )
    return value not in entry.harmless.split()
