"""Signing and verifying AUTH payloads (RFC 7296 section 2.15, RFC 4754, RFC 7427, RFC 8420).

The library is imported in the functions: a daemon that only knows pre-shared keys never needs its
asymmetric half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charon_core.crypto.errors import InvalidSignature, UnsupportedAlgorithm
from charon_core.crypto.signature_choice import SUPPORTED_HASHES, choose_scheme
from charon_core.crypto.signature_keys import (
    MIN_RSA_BITS,
    key_type_of,
    require_fitting_key,
    require_strong_key,
)
from charon_core.crypto.signature_schemes import (
    CLASSIC_SCHEMES,
    SCHEMES_BY_KEYWORD,
    KeyType,
    SignatureScheme,
    decode_algorithm,
    encode_algorithm,
)
from charon_core.encoding.registry import AuthMethod, HashId, name_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

# The one door for those who sign and verify; the parts are in modules of their own.
__all__ = [
    "MIN_RSA_BITS",
    "SCHEMES_BY_KEYWORD",
    "SUPPORTED_HASHES",
    "KeyType",
    "SignatureScheme",
    "choose_scheme",
    "key_type_of",
    "require_strong_key",
    "sign",
    "sign_auth",
    "split_digital_signature",
    "verify",
    "verify_auth",
]


def sign(private_key: PrivateKeyTypes, scheme: SignatureScheme, data: bytes) -> bytes:
    """Return the signature of `data`, without any AlgorithmIdentifier.

    Raises:
        UnsupportedAlgorithm: the key is not of the kind or size that the scheme needs.
    """
    require_fitting_key(private_key, scheme)
    from cryptography.exceptions import UnsupportedAlgorithm as NotOffered

    key: Any = private_key
    try:
        if scheme.key_type is KeyType.RSA:
            signature: bytes = key.sign(data, _padding(scheme), _hash(scheme))
        elif scheme.key_type is KeyType.ECDSA:
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

            signature = key.sign(data, ECDSA(_hash(scheme)))
        else:
            signature = key.sign(data)
    except (NotOffered, ValueError):
        # ValueError: the modulus has no room for hash and salt.
        raise UnsupportedAlgorithm(f"{scheme.name}: this key cannot sign with it") from None
    if scheme.value.curve_bits:
        return _to_concatenation(signature, scheme.value.curve_bits)
    return signature


def verify(
    public_key: PublicKeyTypes,
    scheme: SignatureScheme,
    data: bytes,
    signature: bytes,
    *,
    min_rsa_bits: int = MIN_RSA_BITS,
    allow_sha1: bool = False,
) -> None:
    """Return if the signature of `data` is good, and raise in every other case.

    Args:
        public_key: the signer's key.
        scheme: what the AUTH payload says, or its Auth Method implies.
        data: the signed octets.
        signature: without any AlgorithmIdentifier.
        min_rsa_bits: shortest RSA modulus that is accepted.
        allow_sha1: accept SHA-1 under Digital Signature too; the classic RSA method allows it
            always, as RFC 7296 has it.

    Raises:
        InvalidSignature: it does not verify, or its scheme is not accepted.
        UnsupportedAlgorithm: the key is not of the kind or size that the scheme needs.
        WeakKey: the key is too weak.
    """
    if scheme.hash is HashId.SHA1 and not scheme.is_classic and not allow_sha1:
        raise InvalidSignature(f"{scheme.name}: signatures with SHA-1 are not accepted")
    require_fitting_key(public_key, scheme)
    require_strong_key(public_key, min_rsa_bits=min_rsa_bits)
    from cryptography.exceptions import InvalidSignature as Mismatch
    from cryptography.exceptions import UnsupportedAlgorithm as NotOffered

    key: Any = public_key
    try:
        if scheme.key_type is KeyType.RSA:
            key.verify(signature, data, _padding(scheme), _hash(scheme))
        elif scheme.key_type is KeyType.ECDSA:
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

            if scheme.value.curve_bits:
                signature = _from_concatenation(signature, scheme.value.curve_bits)
            key.verify(signature, data, ECDSA(_hash(scheme)))
        else:
            key.verify(signature, data)
    except (Mismatch, ValueError):
        raise InvalidSignature(f"{scheme.name} signature does not verify") from None
    except NotOffered:
        raise UnsupportedAlgorithm(
            f"{scheme.name} is not offered by the installed library"
        ) from None


def sign_auth(
    private_key: PrivateKeyTypes, scheme: SignatureScheme, octets: bytes
) -> tuple[AuthMethod, bytes]:
    """Return Auth Method and Authentication Data of an AUTH payload over `signed_octets`.

    Raises:
        UnsupportedAlgorithm: the key is not of the kind or size that the scheme needs.
    """
    signature = sign(private_key, scheme, octets)
    if scheme.is_classic:
        return scheme.auth_method, signature
    algorithm = encode_algorithm(scheme)
    return scheme.auth_method, b"%c%b%b" % (len(algorithm), algorithm, signature)


def verify_auth(
    public_key: PublicKeyTypes,
    method: int,
    auth_data: bytes,
    octets: bytes,
    *,
    min_rsa_bits: int = MIN_RSA_BITS,
    allow_sha1: bool = False,
) -> SignatureScheme:
    """Verify an AUTH payload and return the scheme that it was made with.

    Args:
        public_key: the peer's key.
        method: Auth Method of the payload.
        auth_data: its Authentication Data.
        octets: what the peer has to have signed.
        min_rsa_bits: as for `verify`.
        allow_sha1: as for `verify`.

    Raises:
        InvalidSignature: it does not verify, is malformed, or its scheme is not accepted.
        UnsupportedAlgorithm: the method is none with signatures, or the key does not fit it.
        WeakKey: the key is too weak.
    """
    if method == AuthMethod.DIGITAL_SIGNATURE:
        schemes: tuple[SignatureScheme, ...]
        scheme, signature = split_digital_signature(auth_data)
        schemes = (scheme,)
    else:
        schemes = CLASSIC_SCHEMES.get(method, ())
        signature = auth_data
        if not schemes:
            raise UnsupportedAlgorithm(
                f"Auth Method {name_of(AuthMethod, method)} does not carry a signature known here"
            )
    for candidate in schemes:
        try:
            verify(
                public_key,
                candidate,
                octets,
                signature,
                min_rsa_bits=min_rsa_bits,
                allow_sha1=allow_sha1,
            )
        except InvalidSignature:
            if candidate is schemes[-1]:
                raise
        else:
            return candidate
    raise InvalidSignature("signature does not verify")


def split_digital_signature(auth_data: bytes) -> tuple[SignatureScheme, bytes]:
    """Split the data of Auth Method 14 into (scheme, signature) (RFC 7427 section 3).

    Raises:
        InvalidSignature: lengths are wrong, or the AlgorithmIdentifier is not accepted.
    """
    length = auth_data[0] if auth_data else 0
    if length == 0 or len(auth_data) <= 1 + length:
        raise InvalidSignature(
            "Digital Signature: expected an AlgorithmIdentifier of "
            f"{length or 'some'} octets and a signature, got {len(auth_data)} octets in all"
        )
    return decode_algorithm(auth_data[1 : 1 + length]), auth_data[1 + length :]


def _hash(scheme: SignatureScheme) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    digests: dict[HashId, type[HashAlgorithm]] = {
        HashId.SHA1: hashes.SHA1,
        HashId.SHA2_256: hashes.SHA256,
        HashId.SHA2_384: hashes.SHA384,
        HashId.SHA2_512: hashes.SHA512,
    }
    return digests[scheme.hash]()


def _padding(scheme: SignatureScheme) -> Any:
    from cryptography.hazmat.primitives.asymmetric import padding

    if not scheme.value.is_pss:
        return padding.PKCS1v15()
    digest = _hash(scheme)
    # The salt's length is fixed, not taken from the signature: it is part of the scheme.
    return padding.PSS(padding.MGF1(digest), digest.digest_size)


def _to_concatenation(der: bytes, bits: int) -> bytes:
    """Return r | s of a DER ECDSA signature (RFC 4754 section 7)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(der)
    length = (bits + 7) // 8
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def _from_concatenation(signature: bytes, bits: int) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    length = (bits + 7) // 8
    if len(signature) != 2 * length:
        raise InvalidSignature(
            f"ECDSA signature: expected {2 * length} octets of r | s, got {len(signature)}"
        )
    r = int.from_bytes(signature[:length], "big")
    s = int.from_bytes(signature[length:], "big")
    return encode_dss_signature(r, s)
