"""SA payload: proposals with their transforms and attributes (RFC 7296 section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from charon_core.encoding.cursor import Cursor
from charon_core.encoding.errors import ParseError
from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType, ProtocolId, TransformAttributeType

if TYPE_CHECKING:
    from typing import Self

MAX_PROPOSALS: Final = 64
"""Proposals an SA payload."""

MAX_TRANSFORMS: Final = 512
"""Transforms an SA payload, of all proposals together."""

_PROPOSAL: Final = Struct("!BBHBBBB")
_TRANSFORM: Final = Struct("!BBHBBH")
_TRANSFORM_WITH_KEY_LENGTH: Final = Struct("!BBHBBHHH")
_ATTRIBUTE: Final = Struct("!HH")

_COMMON_LENGTH: Final = 256
"""Octets of transforms that are remembered with what they mean; they differ little among peers."""

_LAST: Final = 0
_MORE_PROPOSALS: Final = 2
_MORE_TRANSFORMS: Final = 3
_FIXED_LENGTH_ATTRIBUTE: Final = 0x8000
_KEY_LENGTH_ATTRIBUTE: Final = _FIXED_LENGTH_ATTRIBUTE | TransformAttributeType.KEY_LENGTH

# Octets of the SPI in a proposal (RFC 7296 section 3.3.1); IKE has none in IKE_SA_INIT.
_SPI_LENGTHS: Final = {
    int(ProtocolId.IKE): (0, 8),
    int(ProtocolId.AH): (4,),
    int(ProtocolId.ESP): (4,),
}


class _TransformFields(NamedTuple):
    type: int
    id: int
    key_length: int | None = None
    unknown_attributes: bytes = b""


class TransformSubstructure(_TransformFields):
    """One transform (RFC 7296 section 3.3.2).

    A tuple, since these are compared and looked up far more often than other substructures.

    Attributes:
        type: transform type, see TransformType.
        id: transform ID within the type.
        key_length: Key Length attribute in bits, None without one.
        unknown_attributes: octets of all other attributes as they came. Whoever meets one must
            not choose the transform (section 3.3.6): see `is_usable`.
    """

    __slots__ = ()

    def __new__(
        cls,
        type: int,  # noqa: A002 - the name of the field in RFC 7296
        id: int,  # noqa: A002
        key_length: int | None = None,
        unknown_attributes: bytes = b"",
    ) -> Self:
        """Make a transform; a key length of 0 bits is a ValueError."""
        if key_length == 0:
            raise ValueError(f"transform {type}/{id} has a key length of 0 bits")
        return super().__new__(cls, type, id, key_length, unknown_attributes)

    @property
    def is_usable(self) -> bool:
        """Whether all attributes are understood."""
        return not self.unknown_attributes

    def encode(self, is_last: bool) -> bytes:
        """The substructure with its header."""
        more = _LAST if is_last else _MORE_TRANSFORMS
        if self.key_length is None:
            length = _TRANSFORM.size + len(self.unknown_attributes)
            head = _TRANSFORM.pack(more, 0, length, self.type, 0, self.id)
        else:
            length = _TRANSFORM_WITH_KEY_LENGTH.size + len(self.unknown_attributes)
            head = _TRANSFORM_WITH_KEY_LENGTH.pack(
                more, 0, length, self.type, 0, self.id, _KEY_LENGTH_ATTRIBUTE, self.key_length
            )
        return head + self.unknown_attributes

    @classmethod
    def parse(cls, cursor: Cursor) -> tuple[TransformSubstructure, bool]:
        """Read one transform; the flag tells whether another one follows."""
        more, _, length, transform_type, _, transform_id = cursor.unpack(_TRANSFORM)
        if more not in (_LAST, _MORE_TRANSFORMS):
            raise cursor.error(f"expected 0 or 3 as a transform's first octet, came {more}")
        if length == _TRANSFORM.size:
            return cls(transform_type, transform_id), more == _MORE_TRANSFORMS
        outer_end = cursor.narrow(length - _TRANSFORM.size)
        key_length, unknown = _parse_attributes(cursor)
        cursor.widen(outer_end)
        transform = cursor.checked(cls, transform_type, transform_id, key_length, unknown)
        return transform, more == _MORE_TRANSFORMS


@lru_cache(maxsize=256)
def _common_transforms(octets: bytes) -> tuple[TransformSubstructure, ...] | None:
    """Return the transforms of a proposal, or None if there are none, or anything wrong with them.

    Peers of one kind offer the same ones, again and again; what is remembered is not read again.
    """
    cursor = Cursor(octets)
    transforms = []
    following = bool(octets)
    try:
        while following:
            transform, following = TransformSubstructure.parse(cursor)
            transforms.append(transform)
        cursor.expect_end()
    except ParseError:
        return None
    return tuple(transforms) or None


@lru_cache(maxsize=256)
def _encode_transforms(transforms: tuple[TransformSubstructure, ...]) -> bytes:
    """All transforms of a proposal, one after the other."""
    count = len(transforms)
    return b"".join(
        [
            transform.encode(is_last=position == count)
            for position, transform in enumerate(transforms, 1)
        ]
    )


def _parse_attributes(cursor: Cursor) -> tuple[int | None, bytes]:
    """Read all attributes of a transform: the key length, and the octets of the others."""
    key_length: int | None = None
    unknown = b""
    end = cursor.end
    while cursor.offset < end:
        kind, value = cursor.unpack(_ATTRIBUTE)
        if kind == _KEY_LENGTH_ATTRIBUTE:
            if key_length is not None:
                raise cursor.error("a second Key Length attribute in one transform")
            key_length = value
        elif kind & _FIXED_LENGTH_ATTRIBUTE:
            unknown += _ATTRIBUTE.pack(kind, value)
        else:
            unknown += _ATTRIBUTE.pack(kind, value) + cursor.take(value)
    return key_length, unknown


@dataclass(frozen=True, slots=True)
class ProposalSubstructure:
    """One proposal (RFC 7296 section 3.3.1).

    Attributes:
        number: from 1; in a response that of the accepted proposal.
        protocol: see ProtocolId.
        spi: the sender's inbound SPI; empty for IKE in IKE_SA_INIT, 8 octets for IKE when
            rekeying, 4 octets for ESP and AH; never zero.
        transforms: at least one, in order of preference within each type.
    """

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[TransformSubstructure, ...]

    def __post_init__(self) -> None:
        if self.number == 0:
            raise ValueError("proposal number 0; the first proposal has number 1")
        spi = self.spi
        expected = _SPI_LENGTHS.get(self.protocol)
        if expected is not None and len(spi) not in expected:
            raise ValueError(
                f"proposal {self.number} for protocol {self.protocol} has an SPI of "
                f"{len(spi)} octets, expected {' or '.join(map(str, expected))}"
            )
        if spi and not any(spi):
            raise ValueError(f"proposal {self.number} has an SPI of zero")
        if not self.transforms:
            raise ValueError(f"proposal {self.number} has no transform")

    def encode(self, is_last: bool) -> bytes:
        """The substructure with its header."""
        count = len(self.transforms)
        body = _encode_transforms(self.transforms)
        head = _PROPOSAL.pack(
            _LAST if is_last else _MORE_PROPOSALS,
            0,
            _PROPOSAL.size + len(self.spi) + len(body),
            self.number,
            self.protocol,
            len(self.spi),
            count,
        )
        return head + self.spi + body

    @classmethod
    def parse(cls, cursor: Cursor) -> tuple[ProposalSubstructure, bool]:
        """Read one proposal; the flag tells whether another one follows."""
        more, _, length, number, protocol, spi_length, count = cursor.unpack(_PROPOSAL)
        if more not in (_LAST, _MORE_PROPOSALS):
            raise cursor.error(f"expected 0 or 2 as a proposal's first octet, came {more}")
        outer_end = cursor.narrow(length - _PROPOSAL.size)
        spi = cursor.take(spi_length)
        transforms = None
        if cursor.remaining <= _COMMON_LENGTH:
            transforms = _common_transforms(cursor.ahead())
        if transforms is None or len(transforms) != count:
            transforms = _parse_transforms(cursor, count)
        else:
            cursor.skip(cursor.remaining)
        cursor.widen(outer_end)
        proposal = cursor.checked(cls, number, protocol, spi, transforms)
        return proposal, more == _MORE_PROPOSALS


def _parse_transforms(cursor: Cursor, count: int) -> tuple[TransformSubstructure, ...]:
    """Read the transforms of a proposal, which says that there are `count` of them."""
    transforms = []
    following = count > 0
    while following:
        transform, following = TransformSubstructure.parse(cursor)
        transforms.append(transform)
    if len(transforms) != count:
        cursor.expect_end()
        raise cursor.error(f"a proposal says {count} transforms and has {len(transforms)}")
    return tuple(transforms)


@dataclass(frozen=True, slots=True)
class SecurityAssociation(Payload):
    """SA payload: what the initiator offers, or the one proposal that the responder accepts.

    Attributes:
        proposals: at least one, in order of preference, numbers rising.
    """

    TYPE: ClassVar[int] = PayloadType.SA
    NAME: ClassVar[str] = "SA"
    LIMIT: ClassVar[int] = 1

    proposals: tuple[ProposalSubstructure, ...]

    def __post_init__(self) -> None:
        if not self.proposals:
            raise ValueError("no proposal")
        if len(self.proposals) > 1:
            numbers = [proposal.number for proposal in self.proposals]
            if any(after <= before for before, after in pairwise(numbers)):
                raise ValueError(f"proposal numbers do not rise: {numbers}")

    def encode_body(self) -> bytes:
        """All proposals one after the other."""
        if len(self.proposals) == 1:
            return self.proposals[0].encode(is_last=True)
        last = len(self.proposals)
        return b"".join(
            [
                proposal.encode(is_last=position == last)
                for position, proposal in enumerate(self.proposals, 1)
            ]
        )

    @classmethod
    def parse_body(cls, cursor: Cursor) -> SecurityAssociation:
        """Read proposals until the one that says it is the last."""
        proposals: list[ProposalSubstructure] = []
        transforms = 0
        following = True
        while following:
            if len(proposals) == MAX_PROPOSALS:
                raise cursor.error(f"more than {MAX_PROPOSALS} proposals")
            proposal, following = ProposalSubstructure.parse(cursor)
            proposals.append(proposal)
            transforms += len(proposal.transforms)
            if transforms > MAX_TRANSFORMS:
                raise cursor.error(f"more than {MAX_TRANSFORMS} transforms")
        return cursor.checked(cls, tuple(proposals))
