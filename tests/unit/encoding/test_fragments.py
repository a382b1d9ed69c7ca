from __future__ import annotations

import contextlib
import functools
import itertools
import random

import pytest

from charon_core.encoding.errors import IntegrityError, ParseError
from charon_core.encoding.fragments import (
    MAX_FRAGMENTS,
    MAX_REASSEMBLED_LENGTH,
    Reassembler,
    seal_fragments,
)
from charon_core.encoding.message import (
    Message,
    intermediate_octets,
    open_message,
    seal_message,
)
from charon_core.encoding.payloads import Certificate, EncryptedFragment, VendorId
from charon_core.encoding.registry import ExchangeType, PayloadType
from tests.unit.encoding.samples import (
    GENERIC,
    ToySealer,
    ike_auth_request,
    message,
    renamed,
    with_chain,
)

LONG = ike_auth_request(Certificate(4, bytes(range(256)) * 4))


@functools.cache
def fragments(count: int, sample: Message = LONG) -> list[bytes]:
    """`sample` in exactly `count` fragments."""
    for size in range(1500, 60, -1):
        pieces = seal_fragments(sample, ToySealer(), size)
        if len(pieces) == count and pieces[0][16] == PayloadType.SKF:
            return pieces
    raise LookupError(count)


def fragment(number: int, total: int, content: bytes, *, first: int = 0, message_id: int = 1):
    """One fragment with fields as they are given."""
    sealer = ToySealer()
    length = 8 + sealer.sealed_length(len(content))
    octets = with_chain(
        PayloadType.SKF,
        GENERIC.pack(first, 0, length)
        + number.to_bytes(2, "big")
        + total.to_bytes(2, "big")
        + bytes(length - 8),
        exchange=ExchangeType.IKE_AUTH,
    )
    head = renamed(octets, message_id=message_id)[:36]
    return head + sealer.seal(head, content)


def feed(reassembler: Reassembler, *datagrams: bytes) -> Message | None:
    """What comes of the last one; none of the earlier ones may complete a message."""
    *earlier, last = datagrams
    for datagram in earlier:
        assert reassembler.add(datagram, ToySealer()) is None
    return reassembler.add(last, ToySealer())


def test_message_that_fits_is_not_fragmented():
    whole = seal_message(LONG, ToySealer())
    assert seal_fragments(LONG, ToySealer(), len(whole)) == [whole]
    assert len(seal_fragments(LONG, ToySealer(), len(whole) - 1)) == 2


@pytest.mark.parametrize("size", range(76, 400))
def test_no_fragment_is_larger_than_allowed_and_all_but_the_last_use_the_room(size):
    pieces = seal_fragments(LONG, ToySealer(), size)
    assert all(len(piece) <= size for piece in pieces)
    assert all(len(piece) > size - ToySealer.BLOCK for piece in pieces[:-1])
    assert feed(Reassembler(), *pieces) == LONG


def test_fragments_on_the_wire():
    pieces = [Message.parse(piece) for piece in fragments(3)]
    assert [piece.message_id for piece in pieces] == [1, 1, 1]
    payloads = [piece.payloads[0] for piece in pieces]
    assert all(isinstance(payload, EncryptedFragment) for payload in payloads)
    assert [(payload.number, payload.total) for payload in payloads] == [(1, 3), (2, 3), (3, 3)]
    # The first fragment tells what is inside, the others nothing.
    assert [payload.first_payload for payload in payloads] == [PayloadType.IDI, 0, 0]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_reassembly_in_every_order(order):
    pieces = fragments(4)
    assert feed(Reassembler(), *[pieces[index] for index in order]) == LONG


def test_reassembled_message_is_what_the_whole_one_would_be():
    reassembled = feed(Reassembler(), *fragments(3))
    whole = open_message(seal_message(LONG, ToySealer()), ToySealer())
    assert reassembled == whole
    assert intermediate_octets(reassembled) == intermediate_octets(whole)


def test_single_fragment_is_a_message():
    alone = fragment(1, 1, b"\0\0\0\5v", first=PayloadType.VENDOR_ID)
    assert feed(Reassembler(), alone).payloads == (VendorId(b"v"),)


def test_duplicates_are_dropped_without_a_look_inside():
    pieces = fragments(3)
    reassembler = Reassembler()
    sealer = ToySealer()
    for _ in range(5):
        assert reassembler.add(pieces[1], sealer) is None
    assert sealer.opened == 1
    assert reassembler.pending == 1
    assert feed(reassembler, pieces[0], pieces[2]) == LONG


def test_complete_message_leaves_nothing_behind():
    reassembler = Reassembler()
    assert feed(reassembler, *fragments(3)) == LONG
    assert reassembler.pending == 0
    assert feed(reassembler, *fragments(3)) == LONG


def test_finer_fragmentation_starts_anew():
    reassembler = Reassembler()
    feed(reassembler, *fragments(2)[:1])
    finer = fragments(5)
    feed(reassembler, finer[3])
    assert reassembler.pending == 1
    assert feed(reassembler, *finer[:3], finer[4]) == LONG


def test_coarser_fragmentation_is_dropped():
    reassembler = Reassembler()
    finer = fragments(5)
    feed(reassembler, *finer[:4])
    feed(reassembler, *fragments(2))
    assert reassembler.pending == 4
    assert feed(reassembler, finer[4]) == LONG


def test_forged_total_does_not_reset_what_is_there():
    reassembler = Reassembler()
    pieces = fragments(3)
    feed(reassembler, *pieces[:2])
    forged = bytearray(pieces[2])
    forged[35] = 200
    with pytest.raises(IntegrityError):
        reassembler.add(bytes(forged), ToySealer())
    assert feed(reassembler, pieces[2]) == LONG


def test_later_message_displaces_an_incomplete_one():
    reassembler = Reassembler()
    feed(reassembler, *fragments(3)[:2])
    later = fragments(3, message(ExchangeType.INFORMATIONAL, 2, VendorId(bytes(500))))
    feed(reassembler, later[0])
    assert reassembler.pending == 1
    assert feed(reassembler, *later[1:]).message_id == 2


def test_earlier_message_is_dropped():
    reassembler = Reassembler()
    later = fragments(3, message(ExchangeType.INFORMATIONAL, 2, VendorId(bytes(500))))
    feed(reassembler, *later[:2])
    feed(reassembler, *fragments(3))
    assert feed(reassembler, later[2]).message_id == 2


def test_forged_later_message_displaces_nothing():
    reassembler = Reassembler()
    pieces = fragments(3)
    feed(reassembler, *pieces[:2])
    with pytest.raises(IntegrityError):
        reassembler.add(renamed(pieces[2], message_id=77), ToySealer())
    assert feed(reassembler, pieces[2]) == LONG


def test_other_exchange_under_the_same_message_id_is_refused():
    reassembler = Reassembler()
    pieces = fragments(3)
    feed(reassembler, pieces[0])
    for field in ({"exchange": ExchangeType.INFORMATIONAL}, {"flags": 0x28}):
        with pytest.raises(ParseError, match="differ in exchange or direction"):
            reassembler.add(renamed(pieces[1], **field), ToySealer())
    assert feed(reassembler, *pieces[1:]) == LONG


def test_only_the_first_fragment_names_a_payload():
    with pytest.raises(ParseError, match="names a first payload"):
        Reassembler().add(fragment(2, 2, b"abc", first=PayloadType.SA), ToySealer())


def test_first_fragment_without_a_payload_type_leaves_octets_unclaimed():
    with pytest.raises(ParseError) as caught:
        feed(Reassembler(), fragment(1, 2, b"\0\0"), fragment(2, 2, b"\0\4"))
    assert caught.value.answerable


def test_whole_messages_and_open_ones_are_refused():
    for octets in (seal_message(LONG, ToySealer()), LONG.encode(), b"", bytes(28)):
        with pytest.raises(ParseError) as caught:
            Reassembler().add(octets, ToySealer())
        assert not caught.value.answerable


@pytest.mark.parametrize("flipped", range(28, 110))
def test_every_flipped_octet_is_noticed_and_changes_nothing(flipped):
    pieces = fragments(3)
    reassembler = Reassembler()
    feed(reassembler, pieces[0])
    forged = bytearray(pieces[1])
    forged[flipped] ^= 0x01
    with contextlib.suppress(ParseError):  # or it is dropped as useless
        assert reassembler.add(bytes(forged), ToySealer()) is None
    assert reassembler.pending == 1
    assert feed(reassembler, *pieces[1:]) == LONG


def test_truncation_at_every_length():
    piece = fragments(3)[0]
    reassembler = Reassembler()
    for length in range(len(piece)):
        octets = piece[:length]
        with pytest.raises(ParseError):
            reassembler.add(octets, ToySealer())
        if length >= 28:
            with pytest.raises(ParseError):
                reassembler.add(renamed(octets, length=length), ToySealer())
    assert reassembler.pending == 0


def test_number_of_fragments_is_bounded():
    with pytest.raises(ParseError, match="expected at most 255"):
        Reassembler().add(fragment(1, MAX_FRAGMENTS + 1, b"abc"), ToySealer())
    Reassembler().add(fragment(1, MAX_FRAGMENTS, b"abc"), ToySealer())


def test_octets_of_all_fragments_are_bounded():
    reassembler = Reassembler()
    size = 1400
    enough = MAX_REASSEMBLED_LENGTH // size
    feed(reassembler, *[fragment(n, MAX_FRAGMENTS, bytes(size)) for n in range(1, enough + 1)])
    assert reassembler.pending == enough
    with pytest.raises(ParseError, match="hold more than"):
        reassembler.add(fragment(enough + 1, MAX_FRAGMENTS, bytes(size)), ToySealer())
    assert reassembler.pending == 0


def test_reset_forgets():
    reassembler = Reassembler()
    pieces = fragments(3)
    feed(reassembler, *pieces[:2])
    reassembler.reset()
    assert feed(reassembler, pieces[2]) is None


@pytest.mark.parametrize("size", [0, 36, 36 + 8 + 16 + 15])
def test_datagram_without_room_is_refused(size):
    with pytest.raises(ValueError, match="leave no room"):
        seal_fragments(LONG, ToySealer(), size)


def test_message_that_needs_too_many_fragments_is_refused():
    with pytest.raises(ValueError, match="fragments of 80"):
        seal_fragments(message(35, 1, VendorId(bytes(6000))), ToySealer(), 80)
    with pytest.raises(ValueError, match="expected at most 65531 octets"):
        seal_fragments(message(35, 1, *[VendorId(bytes(40000))] * 2), ToySealer(), 1400)


def test_storm_of_shuffled_duplicated_fragments_yields_only_whole_messages():
    source = random.Random(7383)
    messages = [
        message(ExchangeType.INFORMATIONAL, number, VendorId(bytes([number]) * 900))
        for number in range(1, 6)
    ]
    for _ in range(20):
        reassembler = Reassembler()
        for sample in messages:
            pool = seal_fragments(sample, ToySealer(), 300) + seal_fragments(
                sample, ToySealer(), 200
            )
            got = None
            while got is None:
                piece = source.choice(pool)
                got = reassembler.add(piece, ToySealer())
                assert reassembler.pending <= 8
            assert got == sample
