"""Constraints on keys and signatures as connections write them: ``rsa-2048-sha256``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from charon_core.crypto.errors import InvalidSignature
from charon_core.crypto.signature_schemes import KeyType, SignatureScheme
from charon_core.encoding.registry import HashId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_AUTH_PREFIX: Final = "ike:"
_PSS: Final = "rsa/pss"
_ANY_KEY: Final = "pubkey"
_KEY_WORDS: Final[dict[str, tuple[KeyType, ...]]] = {
    _ANY_KEY: tuple(KeyType),
    "rsa": (KeyType.RSA,),
    _PSS: (KeyType.RSA,),
    "ecdsa": (KeyType.ECDSA,),
    "ed25519": (KeyType.ED25519,),
    "ed448": (KeyType.ED448,),
    "mldsa44": (KeyType.ML_DSA_44,),
    "mldsa65": (KeyType.ML_DSA_65,),
    "mldsa87": (KeyType.ML_DSA_87,),
}
_HASH_WORDS: Final[dict[str, HashId | None]] = {
    "md5": None,  # known, but no signature with it is ever accepted
    "sha1": HashId.SHA1,
    "sha224": None,
    "sha256": HashId.SHA2_256,
    "sha384": HashId.SHA2_384,
    "sha512": HashId.SHA2_512,
    "identity": HashId.IDENTITY,
}
_SIZED: Final = frozenset({KeyType.RSA, KeyType.ECDSA})
MAX_TEXTS: Final = 256
"""Different constraints whose meaning is remembered."""


@dataclass(frozen=True, slots=True)
class SignatureConstraints:
    """What keys and signatures of a peer must be like.

    Attributes:
        min_bits: Smallest key by its type. Where it is not empty, the key of the peer itself
            must be of one of these types, or of one that was named without a size.
        key_types: Key types that are allowed for the peer itself; empty for any.
        chain_schemes: The only schemes that may have signed certificates; None for any.
        auth_schemes: The only schemes of AUTH payloads, most preferred first; None for any.
        unknown: Words that mean nothing.
    """

    min_bits: Mapping[KeyType, int] = field(default_factory=dict)
    key_types: frozenset[KeyType] = frozenset()
    chain_schemes: frozenset[SignatureScheme] | None = None
    auth_schemes: tuple[SignatureScheme, ...] | None = None
    unknown: tuple[str, ...] = ()


def parse_constraints(
    texts: Sequence[str], *, rsa_pss: bool = False, for_auth: bool = True
) -> SignatureConstraints:
    """Take constraints apart.

    Each text is ``[ike:]keytype[-minbits]{-hash}{-keytype...}``; what follows ``ike:`` restricts
    AUTH payloads, everything before it the certificates of the chain.

    Args:
        texts: Constraints as written; unknown words in them are returned, not obeyed.
        rsa_pss: Plain ``rsa`` and ``pubkey`` include RSASSA-PSS.
        for_auth: Constraints without ``ike:`` count for AUTH payloads, too, if none has it.
    """
    return _parse(tuple(texts), rsa_pss=rsa_pss, for_auth=for_auth)


@lru_cache(maxsize=MAX_TEXTS)
def _parse(texts: tuple[str, ...], *, rsa_pss: bool, for_auth: bool) -> SignatureConstraints:
    chain, auth = _Section(rsa_pss=rsa_pss), _Section(rsa_pss=rsa_pss)
    unknown: list[str] = []
    for text in texts:
        before, prefix, behind = text.strip().partition(_AUTH_PREFIX)
        for section, words in ((chain, before), (auth, behind)):
            unknown += section.take_all(words.replace(_AUTH_PREFIX, ""))
        auth.asked |= bool(prefix)
    chain_schemes = chain.schemes()
    auth_schemes = auth.schemes() if auth.asked else chain_schemes if for_auth else None
    sized = chain.min_bits
    return SignatureConstraints(
        min_bits=sized,
        key_types=frozenset(chain.key_types) if sized else frozenset(),
        chain_schemes=None if chain_schemes is None else frozenset(chain_schemes),
        auth_schemes=auth_schemes,
        unknown=tuple(unknown),
    )


class _Section:
    """Collects the words of one part: either of the chain or of AUTH payloads."""

    def __init__(self, *, rsa_pss: bool) -> None:
        self._rsa_pss = rsa_pss
        self._word = ""
        self._hashes: list[HashId | None] = []
        self._groups: list[tuple[str, list[HashId | None]]] = []
        self.min_bits: dict[KeyType, int] = {}
        self.key_types: list[KeyType] = []
        self.asked = False

    def take_all(self, words: str) -> list[str]:
        """Take words joined by ``-``; return those that mean nothing."""
        unknown = [word for word in words.split("-") if word and not self.take(word.strip())]
        self.close()
        return unknown

    def take(self, word: str) -> bool:
        """Take the next word; False if it means nothing here."""
        if word in _KEY_WORDS:
            self.close()
            self._word = word
            self.key_types += _KEY_WORDS[word]
            return True
        if word in _HASH_WORDS and self._word:
            self._hashes.append(_HASH_WORDS[word])
            return True
        sized = _SIZED.intersection(_KEY_WORDS.get(self._word, ()))
        if word.isascii() and word.isdigit() and len(sized) == 1:
            (kind,) = sized
            self.min_bits[kind] = max(int(word), self.min_bits.get(kind, 0))
            return True
        return False

    def close(self) -> None:
        """End the key type that the last words belong to."""
        if self._word:
            self._groups.append((self._word, self._hashes))
        self._word, self._hashes = "", []

    def schemes(self) -> tuple[SignatureScheme, ...] | None:
        """Return the schemes that are allowed, or None where no hash was named at all."""
        if not any(hashes for _, hashes in self._groups) and all(
            word != _PSS for word, _ in self._groups
        ):
            return None
        allowed: dict[SignatureScheme, None] = {}
        for word, hashes in self._groups:
            allowed.update(dict.fromkeys(self._of(word, hashes)))
        return tuple(allowed)

    def _of(self, word: str, hashes: list[HashId | None]) -> list[SignatureScheme]:
        """Return the schemes of one key type, in the order of its hashes."""
        found = [
            scheme
            for scheme in SignatureScheme
            if not scheme.is_classic
            and scheme.key_type in _KEY_WORDS[word]
            and (not scheme.value.is_pss or self._rsa_pss or word == _PSS)
            and (word != _PSS or scheme.value.is_pss)
            and (not hashes or scheme.hash in hashes or not _takes_hash(scheme, word))
        ]
        return sorted(found, key=lambda s: hashes.index(s.hash) if s.hash in hashes else 0)


def _takes_hash(scheme: SignatureScheme, word: str) -> bool:
    """Whether a list of hashes concerns the scheme: not one named by its own key type."""
    return scheme.hash is not HashId.IDENTITY or word == _ANY_KEY


def signing_schemes(texts: Sequence[str]) -> tuple[SignatureScheme, ...]:
    """Return the schemes that our own side may sign with; empty for whatever suits the key.

    Only constraints with ``ike:`` count for our own side.
    """
    return parse_constraints(texts, rsa_pss=True, for_auth=False).auth_schemes or ()


def check_auth_scheme(
    scheme: SignatureScheme, texts: Sequence[str], *, rsa_pss: bool = False, for_auth: bool = True
) -> None:
    """Return if an AUTH payload may be made with a scheme.

    The classic schemes (Auth Methods 1 and 9 to 11) count as what they consist of.

    Raises:
        InvalidSignature: the constraints allow others only; the text lists them.
    """
    allowed = parse_constraints(texts, rsa_pss=rsa_pss, for_auth=for_auth).auth_schemes
    if allowed is None or any(_same(scheme, other) for other in allowed):
        return
    expected = ", ".join(other.keyword for other in allowed) or "none"
    message = f"signed with {scheme.keyword}, but the connection only accepts {expected}"
    raise InvalidSignature(message)


def _same(one: SignatureScheme, other: SignatureScheme) -> bool:
    return (one.key_type, one.hash, one.value.is_pss) == (
        other.key_type,
        other.hash,
        other.value.is_pss,
    )
