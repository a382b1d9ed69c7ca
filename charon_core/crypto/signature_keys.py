"""Which keys may sign, and which are too weak to be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from charon_core.crypto.errors import UnsupportedAlgorithm, WeakKey
from charon_core.crypto.signature_schemes import KeyType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    from charon_core.crypto.signature_schemes import SignatureScheme

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 16384
"""Verification takes longer with every bit, and the peer chooses its key."""
MIN_RSA_EXPONENT: Final = 5
"""Exponents of 1 and 2 are no keys at all; 3 turns every slip in checking padding into a forgery
and has not been generated for long."""
MAX_RSA_EXPONENT: Final = (1 << 32) + 1
"""The fifth Fermat number; nearly all keys have the fourth, 65537. An exponent as long as the
modulus makes verification a hundred times slower, for whoever presents such a key."""
MIN_ECDSA_BITS: Final = 224


def key_type_of(key: PrivateKeyTypes | PublicKeyTypes) -> KeyType:
    """Return the kind of a private or public key of the library.

    Raises:
        UnsupportedAlgorithm: keys of its kind do not sign in IKEv2.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return KeyType.RSA
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return KeyType.ECDSA
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return KeyType.ED25519
    if isinstance(key, ed448.Ed448PublicKey | ed448.Ed448PrivateKey):
        return KeyType.ED448
    # Younger versions of the library have ML-DSA, older ones have no such classes to compare with.
    kind = _ML_DSA_CLASSES.get(type(key).__name__)
    if kind is None:
        raise UnsupportedAlgorithm(f"{type(key).__name__} is no key that signs in IKEv2")
    return kind


_ML_DSA_CLASSES: Final = {
    f"MLDSA{size}{half}Key": kind
    for size, kind in (
        (44, KeyType.ML_DSA_44),
        (65, KeyType.ML_DSA_65),
        (87, KeyType.ML_DSA_87),
    )
    for half in ("Public", "Private")
}


def require_strong_key(key: PublicKeyTypes, *, min_rsa_bits: int = MIN_RSA_BITS) -> None:
    """Refuse keys that are too weak to authenticate anybody, or too large to be worked with.

    Raises:
        WeakKey: RSA of less than `min_rsa_bits` or more than MAX_RSA_BITS, an RSA exponent that is
            even, below MIN_RSA_EXPONENT or above MAX_RSA_EXPONENT, a curve of less than
            MIN_ECDSA_BITS.
        UnsupportedAlgorithm: keys of its kind do not sign in IKEv2.
    """
    kind = key_type_of(key)
    if kind is KeyType.RSA:
        _require_strong_rsa(key, min_rsa_bits)
    elif kind is KeyType.ECDSA:
        bits: int = key.key_size  # type: ignore[union-attr] # the kind tells the class
        if bits < MIN_ECDSA_BITS:
            raise WeakKey(f"ECDSA key: expected {MIN_ECDSA_BITS} bits or more, got {bits}")


def _require_strong_rsa(key: Any, min_bits: int) -> None:
    bits = key.key_size
    if not min_bits <= bits <= MAX_RSA_BITS:
        raise WeakKey(f"RSA key: expected {min_bits} to {MAX_RSA_BITS} bits, got {bits}")
    numbers = key.public_numbers()
    if numbers.e < MIN_RSA_EXPONENT or numbers.e % 2 == 0:
        raise WeakKey(
            f"RSA key: expected an odd public exponent of {MIN_RSA_EXPONENT} or more, "
            f"got {numbers.e}"
        )
    if numbers.e > MAX_RSA_EXPONENT:
        raise WeakKey(
            f"RSA key: expected a public exponent of {MAX_RSA_EXPONENT} or less, got one of "
            f"{numbers.e.bit_length()} bits"
        )
    if numbers.n % 2 == 0:
        raise WeakKey("RSA key: the modulus is even")


def require_fitting_key(key: Any, scheme: SignatureScheme) -> None:
    """Refuse a private or public key that is not of the kind or size that a scheme needs.

    Raises:
        UnsupportedAlgorithm: it is not.
    """
    kind = key_type_of(key)
    if kind is not scheme.key_type:
        raise UnsupportedAlgorithm(
            f"{scheme.name} needs a key of type {scheme.key_type.name}, this one is {kind.name}"
        )
    curve_bits = scheme.value.curve_bits
    if curve_bits and key.curve.name != f"secp{curve_bits}r1":
        raise UnsupportedAlgorithm(
            f"{scheme.name} needs a key on secp{curve_bits}r1, this one is on {key.curve.name}"
        )
