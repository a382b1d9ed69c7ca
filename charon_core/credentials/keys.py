"""Public and private keys with the identifiers by which they are found; the octets stay inside."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Final, NoReturn

from charon_core.config import der
from charon_core.crypto.signature_schemes import KeyType, SignatureScheme

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = ["KeyType", "PrivateKey", "PublicKey", "SignatureScheme"]

_FIXED_BITS: Final = {
    KeyType.ED25519: 256,
    KeyType.ED448: 456,
    KeyType.ML_DSA_44: 10496,
    KeyType.ML_DSA_65: 15616,
    KeyType.ML_DSA_87: 20736,
}


class PublicKey:
    """A public key that can verify signatures, taken apart when it is first used.

    Equality is that of the SubjectPublicKeyInfo.
    """

    __slots__ = ("_fingerprint", "_key", "_keyid", "_type", "spki")

    def __init__(self, spki: bytes) -> None:
        """Wrap a DER SubjectPublicKeyInfo; whether it is one shows when it is first used."""
        self.spki = spki
        self._key: PublicKeyTypes | None = None
        self._type: KeyType | None = None
        self._keyid = ""
        self._fingerprint = ""

    @classmethod
    def of(cls, key: PublicKeyTypes) -> PublicKey:
        """Wrap a key of the `cryptography` library."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        wrapped = cls(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        wrapped._key = key
        return wrapped

    @property
    def key(self) -> PublicKeyTypes:
        """The key as an object of the `cryptography` library.

        Raises:
            ValueError: not a key that can be used.
        """
        if self._key is None:
            # Only daemons that authenticate by signatures need the library's asymmetric half.
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.serialization import load_der_public_key

            try:
                self._key = load_der_public_key(self.spki)
            except (ValueError, UnsupportedAlgorithm) as error:
                message = f"public key cannot be used: {error}"
                raise ValueError(message) from None
        return self._key

    @property
    def type(self) -> KeyType:
        """The kind of key.

        Raises:
            ValueError: not a key that can be used.
            UnsupportedAlgorithm: a key that does not sign in IKEv2, for example X25519.
        """
        if self._type is None:
            from charon_core.crypto.signatures import key_type_of

            self._type = key_type_of(self.key)
        return self._type

    @property
    def bits(self) -> int:
        """Size in bits, as it is compared with minimal sizes."""
        return _FIXED_BITS.get(self.type) or int(getattr(self.key, "key_size", 0))

    @property
    def keyid(self) -> str:
        """SHA-1 of the SubjectPublicKeyInfo, in lower-case hexadecimal digits."""
        if not self._keyid:
            self._keyid = sha1(self.spki).hexdigest()
        return self._keyid

    @property
    def fingerprint(self) -> str:
        """SHA-1 of the subjectPublicKey bits (RFC 5280 section 4.2.1.2), in lower-case digits."""
        if not self._fingerprint:
            self._fingerprint = sha1(_public_key_bits(self.spki)).hexdigest()
        return self._fingerprint

    def require_strong(self) -> None:
        """Refuse a key that is too weak to authenticate anybody.

        Raises:
            WeakKey: the text says what is too small.
        """
        from charon_core.crypto.signatures import require_strong_key

        require_strong_key(self.key)

    def verify(
        self, scheme: SignatureScheme, data: bytes, signature: bytes, *, allow_sha1: bool = False
    ) -> None:
        """Return if the signature of `data` is good.

        Raises:
            InvalidSignature: it is not, or its scheme is not accepted.
            UnsupportedAlgorithm: the key is not of the kind that the scheme needs.
            WeakKey: the key is too weak.
        """
        from charon_core.crypto.signatures import verify

        verify(self.key, scheme, data, signature, allow_sha1=allow_sha1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey({self.keyid})"


class PrivateKey:
    """A private key that can sign; nothing but its public half ever leaves it."""

    __slots__ = ("_key", "public_key")

    def __init__(self, key: PrivateKeyTypes) -> None:
        """Wrap a key of the `cryptography` library.

        Raises:
            UnsupportedAlgorithm: a key that does not sign in IKEv2, for example X25519.
        """
        from charon_core.crypto.signatures import key_type_of

        key_type_of(key)
        self._key = key
        self.public_key = PublicKey.of(key.public_key())

    @property
    def key(self) -> PrivateKeyTypes:
        """The key as an object of the `cryptography` library, for signing."""
        return self._key

    @property
    def type(self) -> KeyType:
        """The kind of key."""
        return self.public_key.type

    @property
    def bits(self) -> int:
        """Size in bits."""
        return self.public_key.bits

    @property
    def fingerprint(self) -> str:
        """SHA-1 of the subjectPublicKey bits, in lower-case hexadecimal digits."""
        return self.public_key.fingerprint

    @property
    def keyid(self) -> str:
        """SHA-1 of the SubjectPublicKeyInfo, in lower-case hexadecimal digits."""
        return self.public_key.keyid

    def sign(self, scheme: SignatureScheme, data: bytes) -> bytes:
        """Return the signature of `data`.

        Raises:
            UnsupportedAlgorithm: the key is not of the kind or size that the scheme needs.
        """
        from charon_core.crypto.signatures import sign

        return sign(self._key, scheme, data)

    def __repr__(self) -> str:
        return f"PrivateKey({self.type.name} {self.bits} bits, {self.fingerprint})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "a private key cannot be copied or pickled; pass the reference instead"
        raise TypeError(message)


def _public_key_bits(spki: bytes) -> bytes:
    """Return the content of the BIT STRING of a SubjectPublicKeyInfo.

    Raises:
        DerError: it is not one.
    """
    start, stop = der.whole(spki, der.SEQUENCE)
    _, algorithm_stop = der.expect(spki, start, stop, der.SEQUENCE)
    bits, bits_stop = der.expect(spki, algorithm_stop, stop, der.BIT_STRING)
    if bits_stop != stop or bits == bits_stop or spki[bits] != 0:
        message = "the public key is not a whole number of octets"
        raise der.DerError(message)
    return spki[bits + 1 : bits_stop]
