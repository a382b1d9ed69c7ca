from __future__ import annotations

import json
import struct
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.encoding.errors import ParseError
from charon_plugins.stroke.wire import bodies
from charon_plugins.stroke.wire.bodies import ADD_CONN_ORDER, BODIES, LAYOUTS, AddConn, End, Name
from charon_plugins.stroke.wire.fields import BODY_END, BODY_OFFSET, Layout
from charon_plugins.stroke.wire.message import (
    INVALID_POINTER,
    MAX_LENGTH,
    EncodeError,
    Message,
    decode,
    default_order,
    encode,
)
from charon_plugins.stroke.wire.types import MessageType

VECTORS = Path(__file__).parents[2] / "data" / "vectors" / "stroke"
NAMES = sorted(path.stem for path in VECTORS.glob("*.json"))


def vector(name: str) -> tuple[bytes, dict[str, Any]]:
    octets = bytes.fromhex((VECTORS / f"{name}.hex").read_text())
    return octets, json.loads((VECTORS / f"{name}.json").read_text())


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


@pytest.fixture
def status_home() -> bytes:
    return encode(Message(MessageType.STATUS, Name("home")))


def test_all_vectors_are_here() -> None:
    assert len(NAMES) == 13


@pytest.mark.parametrize("name", NAMES)
def test_decodes_captured_message(name: str) -> None:
    octets, expected = vector(name)
    message = decode(octets)
    assert int(message.type) == expected["header"]["type"]
    assert message.label == expected["header"]["type_name"]
    assert message.verbosity == expected["header"]["output_verbosity"]
    assert message.buflen == expected["header"]["buflen"]
    assert asdict(message.body) == expected["body"]  # type: ignore[call-overload]


@pytest.mark.parametrize("name", NAMES)
def test_encodes_byte_for_byte_in_captured_order(name: str) -> None:
    octets, expected = vector(name)
    order = list(expected["string_fields"])
    assert encode(decode(octets), order) == octets


@pytest.mark.parametrize("name", [name for name in NAMES if name != "add-conn-options"])
def test_default_order_is_that_of_the_c_clients(name: str) -> None:
    octets, _ = vector(name)
    assert encode(decode(octets)) == octets


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_refused(name: str) -> None:
    octets, _ = vector(name)
    for length in range(len(octets)):
        with pytest.raises(ParseError):
            decode(octets[:length])


def test_octets_behind_the_announced_length_are_refused(status_home: bytes) -> None:
    with pytest.raises(ParseError, match="length field"):
        decode(status_home + b"\0")


@pytest.mark.parametrize("length", [0, 1, 2, 16, 657, 659, 65535])
def test_length_that_does_not_fit_is_refused(length: int) -> None:
    with pytest.raises(ParseError):
        decode(struct.pack("<H", length) + bytes(656))


@pytest.mark.parametrize("slot", [1, 16, 657, 664, 65535, 2**31, 2**63, 2**64 - 1])
def test_slot_outside_of_the_strings_reads_as_invalid_pointer(
    status_home: bytes, slot: int
) -> None:
    hostile = patched(status_home, BODY_OFFSET, struct.pack("<Q", slot))
    assert decode(hostile).body == Name(INVALID_POINTER)


def test_slot_at_the_end_is_an_empty_string_and_zero_is_none(status_home: bytes) -> None:
    at_end = patched(status_home, BODY_OFFSET, struct.pack("<Q", len(status_home)))
    unset = patched(status_home, BODY_OFFSET, bytes(8))
    assert decode(at_end).body == Name("")
    assert decode(unset).body == Name(None)


def test_last_string_without_terminator_ends_with_the_message(status_home: bytes) -> None:
    shorter = patched(status_home[:-1], 0, struct.pack("<H", len(status_home) - 1))
    assert decode(shorter).body == Name("home")


def test_strings_may_share_and_overlap() -> None:
    octets = encode(Message(MessageType.LEASES, bodies.Leases("pool", "unused")))
    shared = patched(octets, 24, struct.pack("<Q", 660))
    assert decode(shared).body == bodies.Leases("pool", "ol")


def test_padding_and_buflen_are_not_looked_at(status_home: bytes) -> None:
    noisy = patched(patched(status_home, 2, b"\xff\xff"), 12, b"\xff\xff\xff\xff")
    noisy = patched(patched(noisy, BODY_END, b"\xff\xff"), 24, b"\xff" * 600)
    assert decode(noisy).body == Name("home")


@pytest.mark.parametrize("number", [-1, 23, 24, 2**31 - 1])
def test_unknown_type_has_no_body(number: int) -> None:
    octets = encode(Message(number, None))
    message = decode(octets)
    assert message.body is None
    assert message.label == f"unknown type {number}"


def test_every_type_has_a_body_and_survives_a_round_trip() -> None:
    assert set(BODIES) == set(MessageType)
    for kind, cls in BODIES.items():
        message = Message(kind, cls(), -1)
        assert decode(encode(message)) == message


def test_every_string_has_a_place_in_the_order() -> None:
    for cls in BODIES.values():
        order = default_order(cls)
        assert len(set(order)) == len(order)
    assert len(ADD_CONN_ORDER) == 9 + 2 * 18


@pytest.mark.parametrize("cls", sorted(set(BODIES.values()), key=lambda cls: cls.__name__))
def test_no_field_lies_outside_of_the_body_or_over_another(cls: type[Any]) -> None:
    used: set[int] = set()

    def visit(layout: Layout) -> None:
        places = [(name, at, coder.size) for name, at, coder in layout.numbers]
        places += [(name, at, 8) for name, at in layout.texts]
        for name, at, size in places:
            octets = set(range(at, at + size))
            assert min(octets) >= BODY_OFFSET
            assert max(octets) < BODY_END
            assert not octets & used, name
            used.update(octets)
        for _, part in layout.parts:
            visit(part)

    visit(LAYOUTS[cls])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (Name("a\0b"), "name contains a NUL"),
        (Name("x" * MAX_LENGTH), "name does not fit"),
        (AddConn(reqid=-1), "reqid = -1"),
        (AddConn(reqid=2**32), "reqid"),
        (AddConn(me=End(ikeport=70000)), r"me\.ikeport = 70000"),
    ],
)
def test_encoder_names_what_does_not_fit(body: bodies.Body, complaint: str) -> None:
    kind = MessageType.ADD_CONN if isinstance(body, AddConn) else MessageType.STATUS
    with pytest.raises(EncodeError, match=complaint):
        encode(Message(kind, body))


@pytest.mark.parametrize(("size", "fits"), [(65535 - 658 - 2, True), (65535 - 658 - 1, False)])
def test_greatest_message(size: int, fits: bool) -> None:
    message = Message(MessageType.STATUS, Name("x" * size))
    if fits:
        assert decode(encode(message)).body == message.body
    else:
        with pytest.raises(EncodeError):
            encode(message)


@pytest.mark.parametrize(("name", "buflen"), [("home1", 0), ("home{*}", 1024)])
def test_buflen_counts_as_the_c_clients_do(name: str, buflen: int) -> None:
    assert decode(encode(Message(MessageType.TERMINATE, Name(name)))).buflen == buflen


def test_password_does_not_show() -> None:
    message = Message(MessageType.USER_CREDS, bodies.UserCreds("home", "alice", "geheim"))
    assert "geheim" not in repr(message)
    assert "geheim" not in str(message.body)


def test_octets_that_are_not_utf8_survive() -> None:
    octets = encode(
        Message(MessageType.STATUS, Name(b"k\xf6ln".decode("utf-8", "surrogateescape")))
    )
    assert octets.endswith(b"k\xf6ln\0")
    assert encode(decode(octets)) == octets


@given(st.binary(max_size=1400))
@settings(max_examples=150, deadline=None)
def test_random_octets_raise_nothing_but_parse_error(data: bytes) -> None:
    with suppress(ParseError):
        decode(data)


@given(
    st.sampled_from([int(kind) for kind in MessageType]),
    st.binary(min_size=640, max_size=640),
    st.binary(max_size=200),
)
@settings(max_examples=150, deadline=None)
def test_hostile_bodies_decode_to_something_bounded(kind: int, body: bytes, tail: bytes) -> None:
    header = struct.pack("<H2xii4x", 658 + len(tail), kind, 0)
    message = decode(header + body + b"\0\0" + tail)
    assert message.body is not None
    for path in default_order(type(message.body)):
        value: Any = message.body
        for part in path.split("."):
            value = getattr(value, part)
        assert value is None or len(value) <= max(len(tail), len(INVALID_POINTER))


_text = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(_text, _text, _text, st.integers(0, 65535), st.integers(-(2**31), 2**31 - 1))
@settings(max_examples=100, deadline=None)
def test_what_is_encoded_decodes_to_the_same(
    name: str | None, auth: str | None, cert: str | None, port: int, verbosity: int
) -> None:
    body = AddConn(name=name, me=End(auth=auth, ikeport=port), other=End(cert=cert))
    message = Message(MessageType.ADD_CONN, body, verbosity)
    decoded = decode(encode(message))
    assert replace(decoded, buflen=0) == message
