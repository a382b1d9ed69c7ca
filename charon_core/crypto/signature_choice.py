"""Which scheme to sign with: what fits our key, the peer's hashes and the configuration."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.signature_keys import key_type_of
from charon_core.crypto.signature_schemes import KeyType, SignatureScheme
from charon_core.encoding.registry import HashId, name_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

SUPPORTED_HASHES: Final = (
    HashId.SHA2_256,
    HashId.SHA2_384,
    HashId.SHA2_512,
    HashId.IDENTITY,
)
"""What we announce in SIGNATURE_HASH_ALGORITHMS; SHA-1 is not among them on purpose."""


def choose_scheme(
    key: PrivateKeyTypes | PublicKeyTypes,
    peer_hashes: Collection[int],
    *,
    allowed: Sequence[SignatureScheme] = (),
    prefer_pss: bool = False,
    announced: Collection[SignatureScheme] = (),
) -> SignatureScheme:
    """Choose what to sign with.

    Args:
        key: our key.
        peer_hashes: what the peer announced in SIGNATURE_HASH_ALGORITHMS; empty when it did not,
            which leaves the classic methods (RFC 7427 section 4).
        allowed: the only schemes to take, best first; empty for those that suit the key.
        announced: schemes that the peer says it takes (RFC 9593), which come first; empty if it
            does not say.
        prefer_pss: for RSA keys take RSASSA-PSS, which not every peer knows, before PKCS #1 v1.5.

    Raises:
        UnsupportedAlgorithm: no scheme fits key, peer and configuration; the text names all three.
    """
    kind = key_type_of(key)
    bits: int = getattr(key, "key_size", 0)
    suitable = _suitable_schemes(kind, bits, prefer_pss=prefer_pss)
    if peer_hashes:
        choices = list(allowed or suitable)
        for scheme in [one for one in choices if one in announced] + choices:
            if scheme.key_type is kind and not scheme.is_classic and scheme.hash in peer_hashes:
                return scheme
    else:
        hashes = {scheme.hash for scheme in allowed if scheme.key_type is kind}
        for scheme in _classic_schemes(key, kind):
            if not allowed or scheme.hash in hashes:
                return scheme
    known = ", ".join(name_of(HashId, value) for value in sorted(peer_hashes)) or "none"
    wanted = ", ".join(scheme.keyword for scheme in allowed or suitable)
    raise UnsupportedAlgorithm(
        f"no signature scheme for our {kind.name} key{f' of {bits} bits' if bits else ''}: "
        f"we would take {wanted}; the peer announced these hashes: {known}"
    )


def _suitable_schemes(kind: KeyType, bits: int, *, prefer_pss: bool) -> tuple[SignatureScheme, ...]:
    """Return the schemes of Auth Method 14 for a key, the best match in strength first."""
    strength = 0
    if kind is KeyType.RSA:
        strength = 0 if bits <= 3072 else 1 if bits <= 7680 else 2
    elif kind is KeyType.ECDSA:
        strength = 0 if bits <= 256 else 1 if bits <= 384 else 2
    return _schemes_by_strength(kind, strength, prefer_pss)


@cache
def _schemes_by_strength(
    kind: KeyType, strength: int, prefer_pss: bool
) -> tuple[SignatureScheme, ...]:
    schemes = [
        scheme
        for digest in (*_hashes_from(strength), HashId.IDENTITY)
        for scheme in SignatureScheme
        if scheme.key_type is kind and scheme.hash is digest and not scheme.is_classic
    ]
    schemes.sort(key=lambda scheme: scheme.value.is_pss is not prefer_pss)
    return tuple(schemes)


def _hashes_from(strength: int) -> list[HashId]:
    """Return the SHA-2 hashes: from the one of that strength upwards, then the weaker ones."""
    by_strength = [HashId.SHA2_256, HashId.SHA2_384, HashId.SHA2_512]
    return by_strength[strength:] + by_strength[:strength][::-1]


def _classic_schemes(key: Any, kind: KeyType) -> list[SignatureScheme]:
    if kind is KeyType.RSA:
        return [SignatureScheme.CLASSIC_RSA_SHA1]
    if kind is not KeyType.ECDSA:
        return []
    # Brainpool curves have the same sizes, but no method.
    return [
        scheme
        for scheme in SignatureScheme
        if scheme.value.curve_bits and key.curve.name == f"secp{scheme.value.curve_bits}r1"
    ]
