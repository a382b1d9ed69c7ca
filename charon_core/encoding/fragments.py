"""Message fragments, both ways (RFC 7383): SKF payloads out, bounded reassembly in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.encoding.chain import GENERIC_HEADER, MAX_PAYLOAD_LENGTH, encode_chain
from charon_core.encoding.errors import ParseError
from charon_core.encoding.header import HEADER_LENGTH
from charon_core.encoding.message import (
    encode_header,
    message_of,
    open_sealed,
    parse_opened,
    parse_sealed,
    seal_plaintext,
)
from charon_core.encoding.payloads import EncryptedFragment
from charon_core.encoding.payloads.encrypted import FRAGMENT_LAYOUT
from charon_core.encoding.registry import PayloadType

if TYPE_CHECKING:
    from charon_core.encoding.header import Header
    from charon_core.encoding.message import Message, Sealer

MAX_FRAGMENTS: Final = 255
"""Fragments a message, sent or received."""

MAX_REASSEMBLED_LENGTH: Final = MAX_PAYLOAD_LENGTH - GENERIC_HEADER.size
"""Octets of plaintext that the fragments of one message may hold together."""

_AHEAD_OF_BODY: Final = HEADER_LENGTH + GENERIC_HEADER.size
_AHEAD_OF_FRAGMENT: Final = _AHEAD_OF_BODY + FRAGMENT_LAYOUT.size
_SK: Final = int(PayloadType.SK)
_SKF: Final = int(PayloadType.SKF)


def seal_fragments(message: Message, sealer: Sealer, max_datagram: int) -> list[bytes]:
    """Encode a message in one SK payload if that fits, else in as many SKF payloads as it takes.

    Args:
        message: with all payloads that belong inside.
        sealer: protection of our direction; used once for each returned element.
        max_datagram: octets that an IKE message may have, from the header on: without a
            non-ESP marker, UDP and IP header.

    Returns:
        Whole IKE messages with the same message ID, to be sent in this order.

    Raises:
        ValueError: `max_datagram` leaves no room for a single octet, or the message is too long.
    """
    first, plaintext = encode_chain(message.payloads)
    if _AHEAD_OF_BODY + sealer.sealed_length(len(plaintext)) <= max_datagram:
        return [seal_plaintext(message, sealer, first, plaintext)]
    capacity = _fragment_capacity(sealer, max_datagram)
    total = -(-len(plaintext) // capacity)
    if len(plaintext) > MAX_REASSEMBLED_LENGTH or total > MAX_FRAGMENTS:
        raise ValueError(
            f"message of {len(plaintext)} octets in {total} fragments of {max_datagram}, expected "
            f"at most {MAX_REASSEMBLED_LENGTH} octets and {MAX_FRAGMENTS} fragments"
        )
    return [
        _seal_fragment(
            message,
            sealer,
            EncryptedFragment(
                # Only fragment 1 tells what is inside (RFC 7383 section 2.5).
                first if number == 1 else PayloadType.NONE,
                number,
                total,
                plaintext[(number - 1) * capacity : number * capacity],
            ),
        )
        for number in range(1, total + 1)
    ]


def _seal_fragment(message: Message, sealer: Sealer, fragment: EncryptedFragment) -> bytes:
    """One whole message with one SKF payload; `fragment.data` is still in the clear."""
    length = GENERIC_HEADER.size + FRAGMENT_LAYOUT.size + sealer.sealed_length(len(fragment.data))
    aad = (
        encode_header(message, _SKF, HEADER_LENGTH + length)
        + GENERIC_HEADER.pack(fragment.first_payload, 0, length)
        + FRAGMENT_LAYOUT.pack(fragment.number, fragment.total)
    )
    return aad + sealer.seal(aad, fragment.data)


def _fragment_capacity(sealer: Sealer, max_datagram: int) -> int:
    """Octets of plaintext that one fragment of at most `max_datagram` octets holds."""
    room = max_datagram - _AHEAD_OF_FRAGMENT
    capacity = max(0, room - sealer.sealed_length(0))
    # Padding to whole blocks makes the length a staircase: walk to the edge of the last step.
    while sealer.sealed_length(capacity + 1) <= room:
        capacity += 1
    if capacity == 0:
        raise ValueError(
            f"fragments of {max_datagram} octets leave no room for content, expected at least "
            f"{_AHEAD_OF_FRAGMENT + sealer.sealed_length(1)}"
        )
    return capacity


def _error(reason: str) -> ParseError:
    return ParseError(EncryptedFragment.NAME, HEADER_LENGTH, reason)


class Reassembler:
    """Collects the fragments of one message at a time, for one IKE_SA and direction.

    Only verified fragments are kept, at most MAX_FRAGMENTS with MAX_REASSEMBLED_LENGTH octets.
    A fragment of a later message ID displaces what is incomplete: with a window of one, the
    peer has given the earlier message up. Not safe for use by several threads at once.
    """

    __slots__ = ("_header", "_length", "_parts", "_prefix", "_total")

    def __init__(self) -> None:
        self._header: Header | None = None
        self._total = 0
        self._length = 0
        self._prefix = b""
        self._parts: dict[int, bytes] = {}

    @property
    def pending(self) -> int:
        """Fragments that wait for the others of their message."""
        return len(self._parts)

    def reset(self) -> None:
        """Forget what is incomplete."""
        self._header = None
        self._total = 0
        self._length = 0
        self._prefix = b""
        self._parts = {}

    def add(self, data: bytes, sealer: Sealer) -> Message | None:
        """Take a message with an SKF payload (RFC 7383 section 2.6).

        Returns:
            The whole message when this was the last missing fragment; None while others are
            missing, and for a fragment that is of no use: a duplicate, one of an earlier
            message, or one of a coarser fragmentation than that in progress.

        Raises:
            IntegrityError: checksum or padding is wrong; what was collected stays.
            ParseError: no SKF payload, contradictory numbers, too much of something, or a
                malformed payload in the complete message.
        """
        header, fragment = parse_sealed(data)
        if not isinstance(fragment, EncryptedFragment):
            raise ParseError("SK", HEADER_LENGTH, "expected a fragment, came a whole message")
        if fragment.total > MAX_FRAGMENTS:
            raise _error(f"{fragment.total} fragments, expected at most {MAX_FRAGMENTS}")
        if not self._is_wanted(header, fragment):
            return None
        # Nothing changes before the fragment is known to be the peer's.
        plaintext = open_sealed(sealer, data, fragment)
        if fragment.number > 1 and fragment.first_payload != PayloadType.NONE:
            raise _error(f"fragment {fragment.number} names a first payload")
        self._store(header, fragment, plaintext)
        if fragment.number == 1:
            # As if the message had not been fragmented (RFC 9242 section 3.3.2).
            self._prefix = header._replace(next_payload=_SK).encode() + GENERIC_HEADER.pack(
                fragment.first_payload, 0, 0
            )
        if len(self._parts) < self._total:
            return None
        return self._complete(header)

    def _is_wanted(self, header: Header, fragment: EncryptedFragment) -> bool:
        """Whether the fragment can contribute; compares it with what is in progress."""
        current = self._header
        if current is None or header.message_id > current.message_id:
            return True
        if header.message_id < current.message_id or fragment.total < self._total:
            return False
        if header.exchange != current.exchange or header.is_response != current.is_response:
            raise _error("fragments of one message ID differ in exchange or direction")
        return fragment.total > self._total or fragment.number not in self._parts

    def _store(self, header: Header, fragment: EncryptedFragment, plaintext: bytes) -> None:
        """Keep a verified fragment, within the bound on octets."""
        current = self._header
        if (
            current is None
            or header.message_id != current.message_id
            # The peer fragments anew, into smaller ones.
            or fragment.total != self._total
        ):
            self.reset()
            self._header = header
            self._total = fragment.total
        self._length += len(plaintext)
        if self._length > MAX_REASSEMBLED_LENGTH:
            self.reset()
            raise _error(f"fragments hold more than {MAX_REASSEMBLED_LENGTH} octets")
        self._parts[fragment.number] = plaintext

    def _complete(self, header: Header) -> Message:
        """Join all fragments and read the payloads."""
        plaintext = b"".join([self._parts[number] for number in range(1, self._total + 1)])
        prefix = self._prefix
        self.reset()
        # The type of the first payload inside stands in the SK payload's header.
        first = prefix[HEADER_LENGTH]
        chain = parse_opened(plaintext, first)
        return message_of(header, chain, (prefix, plaintext))
