"""Proposals: which algorithms one side offers or accepts, and what both can agree on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config.algorithm_names import TYPE_NAMES, transform_name
from charon_core.encoding.registry import (
    EncryptionId,
    EsnId,
    IntegrityId,
    KeyExchangeId,
    ProtocolId,
    TransformType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from charon_core.encoding.payloads import ProposalSubstructure, TransformSubstructure

# Plain integers: members of an enum cost a look-up in its class each time.
ENCR: Final = int(TransformType.ENCR)
PRF: Final = int(TransformType.PRF)
INTEG: Final = int(TransformType.INTEG)
KE: Final = int(TransformType.KE)
ESN: Final = int(TransformType.ESN)
ADDITIONAL_KE: Final = tuple(range(TransformType.ADDKE1, TransformType.ADDKE7 + 1))
"""Transform types of the additional key exchanges (RFC 9370 section 2.2.2)."""

_KEY_EXCHANGES: Final = frozenset((KE, *ADDITIONAL_KE))
# The order in which types are chosen and shown: what is chosen first decides about the rest.
_ORDER: Final = (ENCR, INTEG, PRF, KE, *ADDITIONAL_KE, ESN)
_RANK: Final[dict[int, int]] = {type_: rank for rank, type_ in enumerate(_ORDER)}

_COMMON_LENGTH: Final = 32
"""Transforms of an offer that is remembered: nobody shall fill our memory with monsters."""

UNUSABLE: Final = -1
"""Transform ID of a transform with attributes that nobody here understands; it never matches."""

AEAD_CIPHERS: Final = frozenset(
    int(cipher)
    for cipher in EncryptionId
    if any(mark in cipher.name for mark in ("_GCM_", "_CCM_", "POLY1305", "GMAC", "MGM"))
)
"""Encryption transforms that bring their own integrity (RFC 7296 section 3.3, RFC 5282)."""

_NOTHING: Final[frozenset[int]] = frozenset()
_NO_INTEGRITY: Final = frozenset({int(IntegrityId.NONE)})
_NONE_OF: Final = {INTEG: int(IntegrityId.NONE), ESN: int(EsnId.NO_ESN)} | dict.fromkeys(
    _KEY_EXCHANGES, int(KeyExchangeId.NONE)
)


MAX_EXPLAINED: Final = 16
"""Offers of a peer that an explanation looks at."""

MAX_EXPLAINED_TEXT: Final = 500
"""Characters of each proposal in an explanation."""


def in_order(transforms: Iterable[Transform]) -> list[Transform]:
    """Return transforms with their types in the usual order, each type's own order kept."""
    return sorted(transforms, key=lambda transform: _RANK.get(transform[0], len(_RANK)))


class Transform(NamedTuple):
    """One algorithm of a proposal.

    Attributes:
        type: Transform type (RFC 7296 section 3.3.2).
        id: Transform ID within the type.
        key_length: Key Length attribute in bits, None where there is no such attribute.
    """

    type: int
    id: int
    key_length: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether it says that nothing of this type is used: no integrity, no key exchange."""
        return _NONE_OF.get(self.type) == self.id

    def __str__(self) -> str:
        return transform_name(self.type, self.id, self.key_length)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Algorithms for one protocol; several of one type are alternatives, in order of preference.

    Attributes:
        protocol: `ProtocolId` of IKE, AH or ESP; other numbers may come from peers.
        transforms: The algorithms, in any order of the types.
    """

    protocol: int
    transforms: tuple[Transform, ...]
    # Worked out when they are first asked for: most proposals serve many IKE_SAs.
    _by_type: dict[int, list[Transform]] | None = field(
        default=None, init=False, compare=False, repr=False
    )
    _text: str | None = field(default=None, init=False, compare=False, repr=False)
    _on_wire: tuple[TransformSubstructure, ...] | None = field(
        default=None, init=False, compare=False, repr=False
    )

    def of(self, type_: int) -> list[Transform]:
        """Return the alternatives of one type, most preferred first; do not change the list."""
        return self.by_type().get(type_, [])

    def by_type(self) -> dict[int, list[Transform]]:
        """Return the alternatives of every type that occurs; do not change what is returned."""
        table = self._by_type
        if table is None:
            table = {}
            for transform in self.transforms:
                if transform[0] in table:
                    table[transform[0]].append(transform)
                else:
                    table[transform[0]] = [transform]
            object.__setattr__(self, "_by_type", table)
        return table

    def first(self, type_: int) -> Transform | None:
        """Return the preferred algorithm of one type, or None if the proposal has none."""
        found = self.by_type().get(type_)
        return found[0] if found else None

    @property
    def is_single(self) -> bool:
        """Whether there are no alternatives, as in a responder's answer (RFC 7296 2.7)."""
        return len(self.by_type()) == len(self.transforms)

    @property
    def is_aead(self) -> bool:
        """Whether there is encryption and all of it brings its own integrity."""
        ciphers = self.of(ENCR)
        return bool(ciphers) and all(cipher.id in AEAD_CIPHERS for cipher in ciphers)

    def without(self, types: frozenset[int]) -> Proposal:
        """Return this proposal less the transforms of some types."""
        return Proposal(self.protocol, tuple(t for t in self.transforms if t[0] not in types))

    def never_if_additional(self) -> Proposal:
        """Return the proposal, or what agrees with nothing if it asks for additional exchanges."""
        if not additional_methods(self):
            return self
        return Proposal(0, self.transforms)

    def without_key_exchanges(self) -> Proposal:
        """Return the proposal as it is in IKE_AUTH, where no key exchange can take place."""
        return self.without(_KEY_EXCHANGES)

    def to_wire(self, number: int, spi: bytes) -> ProposalSubstructure:
        """Return the substructure of an SA payload (RFC 7296 section 3.3.1).

        Args:
            number: Number of the proposal, from 1.
            spi: 4 octets for AH and ESP, 8 for rekeying an IKE_SA, empty in IKE_SA_INIT.
        """
        # Loaded with the first message: configurations alone need no wire format.
        from charon_core.encoding.payloads import ProposalSubstructure, TransformSubstructure

        transforms = self._on_wire
        if transforms is None:
            transforms = tuple(
                TransformSubstructure(t.type, t.id, t.key_length) for t in self.transforms
            )
            object.__setattr__(self, "_on_wire", transforms)
        return ProposalSubstructure(number, self.protocol, spi, transforms)

    @classmethod
    def from_wire(cls, substructure: ProposalSubstructure) -> Proposal:
        """Take what a peer offers or chose; unusable transforms stay and never match."""
        transforms = substructure.transforms
        make = _common_offer if len(transforms) <= _COMMON_LENGTH else _offer
        return make(substructure.protocol, transforms)

    def __str__(self) -> str:
        """``IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519``."""
        text = self._text
        if text is None:
            try:
                protocol = ProtocolId(self.protocol).name
            except ValueError:
                protocol = f"PROTO_{self.protocol}"
            text = f"{protocol}:{self.algorithms()}"
            object.__setattr__(self, "_text", text)
        return text

    def algorithms(self) -> str:
        """Return the names alone, ordered by type, joined by ``/``; INTEG NONE is not shown."""
        shown = [t for t in self.transforms if t.type != INTEG or not t.is_none]
        return "/".join(map(str, in_order(shown))) or "(no algorithms)"


def _offer(protocol: int, transforms: tuple[TransformSubstructure, ...]) -> Proposal:
    return Proposal(
        protocol,
        tuple(
            [
                Transform(t.type, UNUSABLE if t.unknown_attributes else t.id, t.key_length)
                for t in transforms
            ]
        ),
    )


_common_offer: Final = lru_cache(maxsize=256)(_offer)
"""One object for all equal offers, so that what is known about it is worked out once."""


def additional_methods(proposal: Proposal) -> tuple[int, ...]:
    """Return the preferred additional key exchanges in their order (RFC 9370 section 2.2.1).

    Of a proposal that was agreed on these are the methods that have to be done.
    """
    first = (proposal.first(type_) for type_ in ADDITIONAL_KE)
    return tuple([found.id for found in first if found is not None and not found.is_none])


class Selection(NamedTuple):
    """What a responder chose.

    Attributes:
        proposal: Exactly one transform of each type that the chosen offer had.
        offered_index: Index of the chosen offer; its number on the wire goes into the answer.
    """

    proposal: Proposal
    offered_index: int


def select(
    configured: Sequence[Proposal],
    offered: Sequence[Proposal],
    *,
    prefer_configured: bool = True,
    ignore_ke: bool = False,
) -> Selection | None:
    """Find the first proposal that both sides agree on (RFC 7296 sections 2.7 and 3.3).

    The answer has one transform for each type of the offer. A type that one side lacks agrees
    with NONE (NO_ESN) on the other; a type that is unknown here never agrees.

    Args:
        configured: What we accept, most preferred first.
        offered: What the peer offers, most preferred first.
        prefer_configured: Whether our order counts more than the peer's.
        ignore_ke: Leave key exchanges out on both sides, as for the CHILD_SA of IKE_AUTH.
    """
    skip = _KEY_EXCHANGES if ignore_ke else _NOTHING
    if prefer_configured:
        for ours in configured:
            for index, theirs in enumerate(offered):
                chosen = _agree(ours, theirs, skip, ours_first=True)
                if chosen is not None:
                    return Selection(chosen, index)
        return None
    for index, theirs in enumerate(offered):
        for ours in configured:
            chosen = _agree(ours, theirs, skip, ours_first=False)
            if chosen is not None:
                return Selection(chosen, index)
    return None


def _agree(
    ours: Proposal, theirs: Proposal, skip: frozenset[int], *, ours_first: bool
) -> Proposal | None:
    """Return one transform of each type of `theirs`, or None."""
    agree = _common_agreement if len(theirs.transforms) <= _COMMON_LENGTH else _agreement
    return agree(ours, theirs, skip, ours_first)


def _agreement(
    ours: Proposal, theirs: Proposal, skip: frozenset[int], ours_first: bool
) -> Proposal | None:
    chosen = _choose(ours, theirs, skip, ours_first=ours_first)
    return None if isinstance(chosen, int) else Proposal(theirs.protocol, tuple(chosen))


_common_agreement: Final = lru_cache(maxsize=256)(_agreement)
"""The same answer to the same offers, which also is one object in the memory of all IKE_SAs."""


def _choose(
    ours: Proposal, theirs: Proposal, skip: AbstractSet[int], *, ours_first: bool
) -> list[Transform] | int:
    """Choose for every type in turn; the first type without agreement is returned instead.

    Types in `skip` are left out. A different protocol counts as type 0.
    """
    if ours.protocol != theirs.protocol:
        return 0
    our_types, their_types = ours.by_type(), theirs.by_type()
    chosen: list[Transform] = []
    aead = False
    methods: set[int] = set()
    for type_ in _ORDER:
        own, peers = our_types.get(type_), their_types.get(type_)
        if type_ in skip:
            continue
        if type_ == INTEG and aead:
            # Its own integrity suffices: a second one may not be asked for (RFC 5282 section 8).
            own = None
        elif type_ == INTEG and (own is None or peers is None):
            # Whatever a configuration says, nothing goes without integrity (RFC 8221 section 4).
            return type_
        if own is None and peers is None:
            continue
        excluded: AbstractSet[int] = _NOTHING
        if type_ in _KEY_EXCHANGES:
            excluded = methods
        elif type_ == INTEG and not aead:
            excluded = _NO_INTEGRITY
        found = _common(own, peers, excluded, ours_first=ours_first)
        if found is None:
            return type_
        if peers is not None:
            chosen.append(found)
        if type_ == ENCR:
            aead = found.id in AEAD_CIPHERS
        elif type_ in _KEY_EXCHANGES and found.id:
            methods.add(found.id)
    for type_ in their_types:
        if type_ not in _RANK and type_ not in skip:
            return type_
    return chosen


def _common(
    ours: list[Transform] | None,
    theirs: list[Transform] | None,
    excluded: AbstractSet[int],
    *,
    ours_first: bool,
) -> Transform | None:
    """Return the preferred transform of one type that both sides have.

    `excluded` must not be chosen; for key exchanges these are the methods that are in use
    already, since RFC 9370 section 2.2.2 wants each one different.
    """
    if ours is None or theirs is None:
        present = ours or theirs or ()
        return next((t for t in present if t.is_none), None)
    preferred, other = (ours, theirs) if ours_first else (theirs, ours)
    for transform in preferred:
        if transform in other and transform[1] not in excluded and transform[1] != UNUSABLE:
            return transform
    return None


def explain_mismatch(
    configured: Sequence[Proposal],
    offered: Sequence[Proposal],
    *,
    connection: str | None = None,
    ignore_ke: bool = False,
) -> str:
    """Say for the log why nothing could be selected, with the nearest pair and what differs.

    The text is for the local log only: it would tell a peer what this side accepts.
    """
    owner = f"connection '{connection}'" if connection else "this side"
    protocol = ProtocolId(configured[0].protocol).name if configured else "IKE or IPsec"
    if not configured or not offered:
        lacking = "the peer offers nothing" if not offered else f"{owner} accepts nothing"
        return f"no acceptable {protocol} proposal: {lacking}"
    ours, theirs, different = min(
        (
            (ours, theirs, _differences(ours, theirs, ignore_ke=ignore_ke))
            for ours in configured
            for theirs in offered[:MAX_EXPLAINED]
        ),
        key=lambda entry: len(entry[2]),
    )
    what = " and ".join(
        TYPE_NAMES.get(t, f"transform type {t}") if t else "protocol" for t in different
    )
    return (
        f"no acceptable {protocol} proposal: peer offers {_shorten(theirs)}; "
        f"{owner} accepts {_shorten(ours)}; nearest differs in: {what or 'nothing'}"
    )


def _shorten(proposal: Proposal) -> str:
    text = proposal.algorithms()
    return text if len(text) <= MAX_EXPLAINED_TEXT else text[:MAX_EXPLAINED_TEXT] + "..."


def _differences(ours: Proposal, theirs: Proposal, *, ignore_ke: bool) -> list[int]:
    """Return the types on which two proposals do not agree."""
    different: list[int] = []
    skip = set(_KEY_EXCHANGES if ignore_ke else _NOTHING)
    while True:
        type_ = _choose(ours, theirs, skip, ours_first=True)
        if not isinstance(type_, int):
            return different
        different.append(type_)
        if not type_:
            return different
        skip.add(type_)
        if type_ == ENCR and ours.is_aead != theirs.is_aead:
            # That one has a separate integrity algorithm and the other has not goes without saying.
            skip.add(INTEG)
