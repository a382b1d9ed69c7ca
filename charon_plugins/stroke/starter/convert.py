"""Turns the sections of ipsec.conf into the messages that the daemon is sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from charon_plugins.stroke.starter import keywords, unserved
from charon_plugins.stroke.starter.document import DEFAULT, effective
from charon_plugins.stroke.starter.keywords import Draft
from charon_plugins.stroke.starter.place import InvalidValueError, Problem
from charon_plugins.stroke.wire.bodies import ADD_CONN_ORDER, LAYOUTS, AddCa, AddConn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_plugins.stroke.starter.document import Document, Section
    from charon_plugins.stroke.starter.keywords import Apply
    from charon_plugins.stroke.starter.lexer import Setting
    from charon_plugins.stroke.starter.place import Place
    from charon_plugins.stroke.wire.fields import Layout


CONN_KEYWORDS: Mapping[str, Apply] = MappingProxyType({**keywords.CONN, **keywords.ENDS})


class Auto(IntEnum):
    """What to do with a section at start (``auto``)."""

    IGNORE = 0
    ADD = 1
    ROUTE = 2
    START = 3


@dataclass(frozen=True, slots=True)
class Connection:
    """A conn section, ready to be sent.

    Attributes:
        name: of the section.
        body: the message's body.
        order: in which its strings are sent.
        auto: what follows the ADD_CONN message.
        places: where each of its keywords has its value; "" is the section itself.
    """

    name: str
    body: AddConn
    order: tuple[str, ...]
    auto: Auto
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """A ca section, ready to be sent."""

    name: str
    body: AddCa
    auto: Auto


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says, in the order in which it is sent.

    Attributes:
        cache_crls: ``cachecrls``.
        debug: ``charondebug`` as (group, level).
        connections: by name, those with auto=ignore left out.
        authorities: by name, those with auto=ignore left out.
        warnings: odd but harmless things.
        skipped: by kind and name (``conn home``), why a section cannot be used.
        refused: by name, why the daemon will refuse a connection; found by `check`.
    """

    cache_crls: bool
    debug: tuple[tuple[str, str], ...]
    connections: Mapping[str, Connection]
    authorities: Mapping[str, Authority]
    warnings: tuple[Problem, ...]
    skipped: Mapping[str, tuple[Problem, ...]]
    refused: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)


def convert(document: Document) -> Configuration:
    """Convert all sections; one that has an error is skipped, the others are not affected.

    A wrong value in ``config setup`` is a warning, and the default holds: a gateway with all its
    connections must not stay away for that.
    """
    warnings: dict[Problem, None] = dict.fromkeys(document.warnings)
    setup = _setup(document.setup, warnings)
    connections: dict[str, Connection] = {}
    authorities: dict[str, Authority] = {}
    skipped: dict[str, tuple[Problem, ...]] = {}
    for section in (*document.cas.values(), *document.conns.values()):
        if section.name == DEFAULT:
            continue
        is_conn = section.kind == "conn"
        known = CONN_KEYWORDS if is_conn else keywords.CA
        draft = Draft(_inherited(setup)) if is_conn else Draft()
        settings = effective(document.layers(section))
        problems = _apply(draft, settings, known, section.kind, warnings)
        if problems:
            skipped[f"{section.kind} {section.name}"] = tuple(problems)
            continue
        auto = Auto(int(draft.get("-auto", Auto.IGNORE)))
        if auto is Auto.IGNORE:
            continue
        warnings.update(dict.fromkeys(unserved.warnings(section.kind, settings)))
        if is_conn:
            places = {key: setting.value_place for key, setting in settings.items()}
            connections[section.name] = replace(
                _connection(section.name, draft, auto), places={**places, "": section.place}
            )
        else:
            body = _freeze(LAYOUTS[AddCa], {**draft, "name": section.name})
            authorities[section.name] = Authority(section.name, body, auto)
    return Configuration(
        cache_crls=bool(setup.get("-cache_crls", 0)),
        debug=parse_debug(str(setup.get("-debug", ""))),
        connections=connections,
        authorities=authorities,
        warnings=tuple(warnings),
        skipped=skipped,
    )


def parse_debug(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a ``charondebug`` list, ``ike 2, knl 1``; nothing if it is not such a list."""
    pairs = [item.split() for item in text.split(",")]
    if any(len(pair) != 2 or not pair[1].removeprefix("-").isdecimal() for pair in pairs):
        return ()
    return tuple((group[:3], level) for group, level in pairs)


def _setup(section: Section, warnings: dict[Problem, None]) -> Draft:
    draft = Draft()
    settings = effective([section])
    problems = _apply(draft, settings, keywords.SETUP, "config setup", warnings)
    warnings.update(dict.fromkeys(unserved.warnings("config setup", settings)))
    for also in section.also:
        warnings[Problem(also.place, "'also' is ignored: 'config setup' inherits nothing")] = None
    text = str(draft.get("-debug", ""))
    if text and not parse_debug(text):
        place = section.settings["charondebug"].value_place
        warnings[Problem(place, f"charondebug = {text!r}: expected 'GROUP LEVEL, ...'")] = None
    for problem in problems:
        warnings[Problem(problem.place, f"{problem.text}; the default is used")] = None
    return draft


def _inherited(setup: Draft) -> dict[str, int | str]:
    """What ``config setup`` gives to every connection."""
    values = dict(keywords.CONN_DEFAULTS)
    values |= {key: setup[key] for key in ("unique", "crl_policy") if key in setup}
    return values


def _apply(
    draft: Draft,
    settings: Mapping[str, Setting],
    known: Mapping[str, Apply],
    kind: str,
    warnings: dict[Problem, None],
) -> list[Problem]:
    problems: list[Problem] = []
    for key, setting in settings.items():
        apply = known.get(key)
        if apply is None:
            problem, is_error = _unknown(setting, known, kind)
            if is_error:
                problems.append(problem)
            else:
                warnings[problem] = None
        elif setting.value is not None:
            try:
                apply(draft, setting.value)
            except InvalidValueError as error:
                text = f"{setting.key} = {setting.value!r}: {error}"
                problems.append(Problem(setting.value_place, text))
    return problems


def _unknown(setting: Setting, known: Mapping[str, Apply], kind: str) -> tuple[Problem, bool]:
    """The problem with a keyword that does not belong here, and whether it is an error."""
    key = setting.key
    if key in keywords.DEPRECATED[kind]:
        return Problem(setting.place, f"keyword {key!r} is deprecated and has no effect"), False
    homes = {
        "config setup": keywords.SETUP.keys() | keywords.DEPRECATED["config setup"],
        "conn": CONN_KEYWORDS.keys() | keywords.DEPRECATED["conn"],
        "ca": keywords.CA.keys() | keywords.DEPRECATED["ca"],
    }
    owner = next((home for home, words in homes.items() if key in words), None)
    if owner is not None:
        return Problem(setting.place, f"keyword {key!r} belongs into a {owner!r} section"), True
    close = get_close_matches(key, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Problem(setting.place, f"unknown keyword {key!r} in {kind} is ignored{hint}"), False


def _connection(name: str, draft: Draft, auto: Auto) -> Connection:
    late = _add_authby(draft)
    order = (*(path for path in ADD_CONN_ORDER if path not in late), *late)
    if not draft.get("-rekey", 1):
        # Without rekeying no lifetime is sent either, so the SAs do not expire.
        for path in [path for path in draft if path.startswith("rekey.")]:
            if path != "rekey.tries":
                del draft[path]
    return Connection(name, _freeze(LAYOUTS[AddConn], {**draft, "name": name}), order, auto)


def _add_authby(draft: Draft) -> tuple[str, ...]:
    """Translate ``authby``, which counts only if neither end says how it authenticates.

    Returns:
        The fields that it set; the C starter sends their strings last.
    """
    method = draft.get("-authby")
    if method in (None, "never") or "me.auth" in draft or "other.auth" in draft:
        return ()
    kind = "psk" if method in ("psk", "secret", "xauthpsk") else "pubkey"
    draft["me.auth"] = draft["other.auth"] = kind
    if not str(method).startswith("xauth"):
        return "me.auth", "other.auth"
    second = "other.auth2" if draft.get("-xauth_server") else "me.auth2"
    draft[second] = "xauth"
    return "me.auth", "other.auth", second


def _freeze(layout: Layout, values: Mapping[str, int | str], prefix: str = "") -> Any:
    """A body from its fields by dotted path; what has no value keeps its default."""
    names = [number[0] for number in layout.numbers] + [text[0] for text in layout.texts]
    arguments: dict[str, Any] = {
        name: values[prefix + name] for name in names if prefix + name in values
    }
    for name, part in layout.parts:
        arguments[name] = _freeze(part, values, f"{prefix}{name}.")
    return layout.cls(**arguments)
