"""Random and mutated octets: whatever comes, only ParseError may come out, and soon."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charon_core.encoding import notify_data
from charon_core.encoding.chain import _PAYLOADS
from charon_core.encoding.cursor import Cursor
from charon_core.encoding.errors import ParseError
from charon_core.encoding.fragments import Reassembler, seal_fragments
from charon_core.encoding.header import Header
from charon_core.encoding.message import Message, open_message, seal_message
from charon_core.encoding.payloads import EncryptedFragment, Unknown
from tests.unit.encoding.samples import GENERIC, ToySealer, renamed, sample_messages, with_chain
from tests.unit.encoding.strategies import messages

MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(MANY, max_examples=100)
SAMPLES = [sample.encode() for sample in sample_messages().values()]


class AnySealer(ToySealer):
    """Opens everything as it is: what an authenticated peer with bad intentions can send."""

    def open(self, aad: bytes, body: bytes) -> bytes:
        return body


@MANY
@given(st.binary(max_size=200))
def test_header(octets):
    with contextlib.suppress(ParseError):
        Header.parse(octets)


@pytest.mark.parametrize(
    "payload_class",
    [*_PAYLOADS.values(), EncryptedFragment, Unknown],
    ids=lambda payload_class: payload_class.__name__,
)
@FEW
@given(octets=st.binary(max_size=300))
def test_payload_bodies(payload_class, octets):
    cursor = Cursor(octets)
    with contextlib.suppress(ParseError):
        payload = payload_class.parse_body(cursor)
        cursor.expect_end()
        # What is accepted can be sent again, and means the same.
        again = payload_class.parse_body(Cursor(payload.encode_body()))
        assert again.encode_body() == payload.encode_body()


@MANY
@given(st.integers(0, 255), st.binary(max_size=300))
def test_chains(first, chain):
    with contextlib.suppress(ParseError):
        Message.parse(with_chain(first, chain))


@MANY
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(28, 600), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_mutated_samples(octets, changes):
    changed = bytearray(octets)
    for position, value in changes:
        if position < len(changed):
            changed[position] = value
    with contextlib.suppress(ParseError):
        parsed = Message.parse(bytes(changed))
        assert isinstance(parsed.summary(), str)
        assert Message.parse(parsed.encode()) == parsed


@MANY
@given(st.sampled_from(SAMPLES), st.integers(28, 500), st.integers(0, 80), st.binary(max_size=80))
def test_spliced_samples(octets, position, removed, inserted):
    changed = octets[:position] + inserted + octets[position + removed :]
    with contextlib.suppress(ParseError):
        Message.parse(renamed(changed, length=len(changed)))


@MANY
@given(st.integers(0, 255), st.binary(max_size=300))
def test_plaintexts_of_an_authenticated_peer(first, plaintext):
    octets = with_chain(46, GENERIC.pack(first, 0, 4 + len(plaintext)) + plaintext)
    with contextlib.suppress(ParseError):
        open_message(octets, AnySealer())


@FEW
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 60), st.binary(max_size=40)),
        max_size=12,
    )
)
def test_fragments_of_an_authenticated_peer(pieces):
    reassembler = Reassembler()
    for number, total, first, content in pieces:
        body = number.to_bytes(2, "big") + total.to_bytes(2, "big") + content
        octets = with_chain(53, GENERIC.pack(first, 0, 4 + len(body)) + body)
        with contextlib.suppress(ParseError):
            reassembler.add(octets, AnySealer())
        assert reassembler.pending <= 5


@FEW
@given(messages())
def test_round_trip_of_any_message(sample):
    assert Message.parse(sample.encode()) == sample
    assert open_message(seal_message(sample, ToySealer()), ToySealer()) == sample


@FEW
@given(messages(), st.integers(76, 600), st.randoms(use_true_random=False))
def test_fragmentation_of_any_message(sample, size, source):
    try:
        pieces = seal_fragments(sample, ToySealer(), size)
    except ValueError:
        return  # too many fragments of that size
    source.shuffle(pieces)
    if pieces[0][16] == 46:
        assert open_message(pieces[0], ToySealer()) == sample
        return
    reassembler = Reassembler()
    results = [reassembler.add(piece, ToySealer()) for piece in pieces]
    assert results[:-1] == [None] * (len(pieces) - 1)
    assert results[-1] == sample


@FEW
@given(st.binary(max_size=100))
def test_notification_data(data):
    for parse in (
        notify_data.IpcompSupported.parse,
        notify_data.Redirect.parse,
        notify_data.Ticket.parse,
        notify_data.MessageIdSync.parse,
        notify_data.PpkIdentity.parse,
    ):
        with contextlib.suppress(ParseError):
            assert parse(data).encode() == data
    with contextlib.suppress(ParseError):
        announcements = notify_data.parse_auth_methods(data)
        assert notify_data.encode_auth_methods(announcements) == data
    with contextlib.suppress(ParseError):
        assert notify_data.encode_numbers(notify_data.parse_numbers(data, "HASH")) == data
