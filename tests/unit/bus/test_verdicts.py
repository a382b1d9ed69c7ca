"""What is kept of what went wrong: bounded, merged, and readable again."""

from __future__ import annotations

from charon_core.bus.verdicts import (
    MAX_PEERS,
    MAX_PER_PEER,
    MAX_TEXT,
    Verdict,
    VerdictBook,
    dump,
    load,
)


def verdict(number: float = 0.0, peer: str = "192.0.2.1", text: str = "no") -> Verdict:
    return Verdict(
        time=number, kind="kind", peer=peer, identity="moon", connection="net", text=text
    )


def test_the_same_again_only_counts() -> None:
    book = VerdictBook()
    for number in range(3):
        book.add(verdict(number))
    book.add(verdict(4.0, text="other"))
    assert [(v.time, v.times, v.text) for v in book.all()] == [(2, 3, "no"), (4, 1, "other")]


def test_strangers_cannot_fill_it() -> None:
    book = VerdictBook()
    for number in range(2 * MAX_PEERS):
        for text in range(2 * MAX_PER_PEER):
            book.add(verdict(number, peer=str(number), text=f"{text}" * MAX_TEXT))
    found = book.all()
    assert len(found) == MAX_PEERS * MAX_PER_PEER
    assert {v.peer for v in found} == {str(n) for n in range(MAX_PEERS, 2 * MAX_PEERS)}
    assert max(len(v.text) for v in found) == MAX_TEXT


def test_what_is_written_is_read_again_and_nonsense_passed_over() -> None:
    book = [verdict(1.5), verdict(2.0, text='"quoted"\nline')]
    text = dump(book)
    assert load(text) == book
    assert load("nonsense\n[1]\n{}\n" + text + '{"time": "x", "kind": "k"}\n{"torn') == book


def test_a_word_finds_the_peer() -> None:
    assert all(verdict().concerns(word) for word in ("192.0.2.1", "moon", "net"))
    assert not verdict().concerns("sun")
