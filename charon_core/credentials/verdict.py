"""What comes out of looking for a peer's trusted keys: the keys, or exactly what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.keys import PublicKey

MAX_PROBLEMS: Final = 16
"""Problems that are kept: a peer decides how many certificates it sends."""


class ProblemKind(Enum):
    """What stands against a certificate or key."""

    IDENTITY = "identity"
    """It does not belong to who the peer claims to be."""
    EXPIRED = "validity"
    """The time is outside its validity."""
    UNTRUSTED = "trust"
    """No chain leads to a trusted CA."""
    REVOKED = "revocation"
    """It is revoked, or nobody can tell although that is demanded."""
    WEAK = "strength"
    """A key or a signature is too weak."""
    CONSTRAINT = "constraint"
    """A constraint of the connection or of a CA is not met."""


class Problem(NamedTuple):
    """One reason against a certificate or key, with a sentence for the local log."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key that is trusted to be the peer's.

    Attributes:
        public_key: The key.
        chain: Certificates from the peer's own to the trust anchor; empty for a raw key.
    """

    public_key: PublicKey
    chain: tuple[Certificate, ...] = ()

    def __str__(self) -> str:
        if not self.chain:
            return f"raw public key {self.public_key.keyid}"
        return f"certificate {self.chain[0]}"


class Problems:
    """Collects problems, each once, and no more than a log line can bear."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, kind: ProblemKind, text: str) -> None:
        """Keep a problem unless there are enough."""
        if len(self._found) < MAX_PROBLEMS:
            self._found[Problem(kind, text)] = None

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The trusted keys of a peer, best first, and what stands against the others.

    Iterating yields the keys.
    """

    keys: tuple[TrustedKey, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """The problems as sentences, for the local log only: never for the peer."""
        return tuple(problem.text for problem in self.problems)

    @property
    def text(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)

    def __iter__(self) -> Iterator[TrustedKey]:
        return iter(self.keys)

    def __bool__(self) -> bool:
        return bool(self.keys)
