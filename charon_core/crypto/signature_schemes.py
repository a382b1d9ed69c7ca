"""Signature schemes of IKEv2: what they consist of, and their names on the wire (RFC 7427).

AlgorithmIdentifiers are compared as a whole with the few that are legal. There is no DER parser
that could be lax: absent, negative, superfluous or non-canonical parameters simply do not match.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import TYPE_CHECKING, Final

from charon_core.crypto.errors import InvalidSignature
from charon_core.encoding.registry import AuthMethod, HashId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class KeyType(Enum):
    """Kinds of public keys that can sign; values are the words of configuration files."""

    RSA = "rsa"
    ECDSA = "ecdsa"
    ED25519 = "ed25519"
    ED448 = "ed448"
    ML_DSA_44 = "mldsa44"
    ML_DSA_65 = "mldsa65"
    ML_DSA_87 = "mldsa87"


_HASH_WORDS: Final = {
    HashId.SHA1: "sha1",
    HashId.SHA2_256: "sha256",
    HashId.SHA2_384: "sha384",
    HashId.SHA2_512: "sha512",
    HashId.IDENTITY: "identity",
}


@dataclass(frozen=True, slots=True)
class SchemeFacts:
    """What makes up a signature scheme.

    Attributes:
        key_type: the kind of key that it needs.
        hash: the hash, IDENTITY where the algorithm takes the data as they are (RFC 8420).
        auth_method: the Auth Method of the AUTH payload that carries it.
        is_pss: RSASSA-PSS instead of RSASSA-PKCS1-v1_5.
        curve_bits: the one curve size of a classic ECDSA method (RFC 4754), 0 for any.
    """

    key_type: KeyType
    hash: HashId
    auth_method: AuthMethod = AuthMethod.DIGITAL_SIGNATURE
    is_pss: bool = False
    curve_bits: int = 0


class SignatureScheme(Enum):
    """Every scheme known here.

    The CLASSIC ones are those of Auth Methods 1 and 9 to 11, where nothing on the wire but the
    method names the scheme, and where ECDSA signatures are r | s; all others are carried by Auth
    Method 14, Digital Signature.
    """

    CLASSIC_RSA_SHA1 = SchemeFacts(KeyType.RSA, HashId.SHA1, AuthMethod.RSA_DIGITAL_SIGNATURE)
    CLASSIC_RSA_SHA2_256 = SchemeFacts(
        KeyType.RSA, HashId.SHA2_256, AuthMethod.RSA_DIGITAL_SIGNATURE
    )
    CLASSIC_RSA_SHA2_384 = SchemeFacts(
        KeyType.RSA, HashId.SHA2_384, AuthMethod.RSA_DIGITAL_SIGNATURE
    )
    CLASSIC_RSA_SHA2_512 = SchemeFacts(
        KeyType.RSA, HashId.SHA2_512, AuthMethod.RSA_DIGITAL_SIGNATURE
    )
    CLASSIC_ECDSA_256 = SchemeFacts(
        KeyType.ECDSA, HashId.SHA2_256, AuthMethod.ECDSA_SHA2_256_P256, curve_bits=256
    )
    CLASSIC_ECDSA_384 = SchemeFacts(
        KeyType.ECDSA, HashId.SHA2_384, AuthMethod.ECDSA_SHA2_384_P384, curve_bits=384
    )
    CLASSIC_ECDSA_521 = SchemeFacts(
        KeyType.ECDSA, HashId.SHA2_512, AuthMethod.ECDSA_SHA2_512_P521, curve_bits=521
    )
    RSA_SHA1 = SchemeFacts(KeyType.RSA, HashId.SHA1)
    RSA_SHA2_256 = SchemeFacts(KeyType.RSA, HashId.SHA2_256)
    RSA_SHA2_384 = SchemeFacts(KeyType.RSA, HashId.SHA2_384)
    RSA_SHA2_512 = SchemeFacts(KeyType.RSA, HashId.SHA2_512)
    RSA_PSS_SHA2_256 = SchemeFacts(KeyType.RSA, HashId.SHA2_256, is_pss=True)
    RSA_PSS_SHA2_384 = SchemeFacts(KeyType.RSA, HashId.SHA2_384, is_pss=True)
    RSA_PSS_SHA2_512 = SchemeFacts(KeyType.RSA, HashId.SHA2_512, is_pss=True)
    ECDSA_SHA1 = SchemeFacts(KeyType.ECDSA, HashId.SHA1)
    ECDSA_SHA2_256 = SchemeFacts(KeyType.ECDSA, HashId.SHA2_256)
    ECDSA_SHA2_384 = SchemeFacts(KeyType.ECDSA, HashId.SHA2_384)
    ECDSA_SHA2_512 = SchemeFacts(KeyType.ECDSA, HashId.SHA2_512)
    ED25519 = SchemeFacts(KeyType.ED25519, HashId.IDENTITY)
    ED448 = SchemeFacts(KeyType.ED448, HashId.IDENTITY)
    ML_DSA_44 = SchemeFacts(KeyType.ML_DSA_44, HashId.IDENTITY)
    ML_DSA_65 = SchemeFacts(KeyType.ML_DSA_65, HashId.IDENTITY)
    ML_DSA_87 = SchemeFacts(KeyType.ML_DSA_87, HashId.IDENTITY)

    @property
    def key_type(self) -> KeyType:
        """The kind of key that it needs."""
        return self.value.key_type

    @property
    def hash(self) -> HashId:
        """The hash, IDENTITY where there is none before signing."""
        return self.value.hash

    @property
    def auth_method(self) -> AuthMethod:
        """The Auth Method of the AUTH payload that carries it."""
        return self.value.auth_method

    @property
    def is_classic(self) -> bool:
        """Whether Auth Method 1 or 9 to 11 carries it."""
        return self.value.auth_method is not AuthMethod.DIGITAL_SIGNATURE

    @property
    def keyword(self) -> str:
        """The word of configuration files, such as rsa/pss-sha256 or ed25519."""
        facts = self.value
        if facts.hash is HashId.IDENTITY:
            return facts.key_type.value
        pss = "/pss" if facts.is_pss else ""
        return f"{facts.key_type.value}{pss}-{_HASH_WORDS[facts.hash]}"


SCHEMES_BY_KEYWORD: Final[Mapping[str, SignatureScheme]] = {
    scheme.keyword: scheme for scheme in SignatureScheme if not scheme.is_classic
}

CLASSIC_SCHEMES: Final[Mapping[int, tuple[SignatureScheme, ...]]] = {
    method: tuple(scheme for scheme in SignatureScheme if scheme.auth_method is method)
    for method in AuthMethod
    if method is not AuthMethod.DIGITAL_SIGNATURE
    and any(scheme.auth_method is method for scheme in SignatureScheme)
}
"""What a classic Auth Method may carry. RSA names its hash only inside the signature: SHA-1 is
what RFC 7296 section 3.8 has everybody support, others are allowed."""


# DER, as far as it is needed to write down constants: every length is below 128.


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    content = bytearray((40 * first + second,))
    for arc in rest:
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(octets))
    return _tlv(0x06, bytes(content))


_NULL: Final = b"\x05\x00"
_PSS_OID: Final = _oid("1.2.840.113549.1.1.10")
_MGF1_OID: Final = _oid("1.2.840.113549.1.1.8")
_HASHES: Final = {
    HashId.SHA2_256: (_oid("2.16.840.1.101.3.4.2.1"), 32),
    HashId.SHA2_384: (_oid("2.16.840.1.101.3.4.2.2"), 48),
    HashId.SHA2_512: (_oid("2.16.840.1.101.3.4.2.3"), 64),
}
_PKCS1_OIDS: Final = {
    SignatureScheme.RSA_SHA1: _oid("1.2.840.113549.1.1.5"),
    SignatureScheme.RSA_SHA2_256: _oid("1.2.840.113549.1.1.11"),
    SignatureScheme.RSA_SHA2_384: _oid("1.2.840.113549.1.1.12"),
    SignatureScheme.RSA_SHA2_512: _oid("1.2.840.113549.1.1.13"),
}
_PSS_SCHEMES: Final = (
    SignatureScheme.RSA_PSS_SHA2_256,
    SignatureScheme.RSA_PSS_SHA2_384,
    SignatureScheme.RSA_PSS_SHA2_512,
)
_BARE_OIDS: Final = {
    SignatureScheme.ECDSA_SHA1: _oid("1.2.840.10045.4.1"),
    SignatureScheme.ECDSA_SHA2_256: _oid("1.2.840.10045.4.3.2"),
    SignatureScheme.ECDSA_SHA2_384: _oid("1.2.840.10045.4.3.3"),
    SignatureScheme.ECDSA_SHA2_512: _oid("1.2.840.10045.4.3.4"),
    SignatureScheme.ED25519: _oid("1.3.101.112"),
    SignatureScheme.ED448: _oid("1.3.101.113"),
    SignatureScheme.ML_DSA_44: _oid("2.16.840.1.101.3.4.3.17"),
    SignatureScheme.ML_DSA_65: _oid("2.16.840.1.101.3.4.3.18"),
    SignatureScheme.ML_DSA_87: _oid("2.16.840.1.101.3.4.3.19"),
}


def _identifiers() -> Iterator[tuple[SignatureScheme, bytes]]:
    """Yield every legal AlgorithmIdentifier, for each scheme first the one that is sent."""
    # RFC 4055 section 5: the parameters are NULL, and absent ones have to be accepted.
    for scheme, oid in _PKCS1_OIDS.items():
        yield scheme, _sequence(oid, _NULL)
        yield scheme, _sequence(oid)
    # RFC 4055 section 3.1: hash, MGF1 with the same hash, salt as long as the hash, all explicit.
    # What that RFC has everybody accept beside what is sent: the hashes' own parameters absent
    # instead of NULL, and the trailer field present with its default value.
    trailers = (b"", _tlv(0xA3, b"\x02\x01\x01"))
    for scheme in _PSS_SCHEMES:
        hash_oid, salt_length = _HASHES[scheme.hash]
        salt = _tlv(0xA2, _tlv(0x02, bytes((salt_length,))))
        hashes = (_sequence(hash_oid, _NULL), _sequence(hash_oid))
        for digest, mgf_digest, trailer in product(hashes, hashes, trailers):
            mgf = _sequence(_MGF1_OID, mgf_digest)
            parameters = _sequence(_tlv(0xA0, digest), _tlv(0xA1, mgf), salt, trailer)
            yield scheme, _sequence(_PSS_OID, parameters)
    # RFC 5758 section 3.2, RFC 8420 appendix A: parameters are absent.
    for scheme, oid in _BARE_OIDS.items():
        yield scheme, _sequence(oid)


_DECODE: Final[Mapping[bytes, SignatureScheme]] = {der: scheme for scheme, der in _identifiers()}
_ENCODE: Final[Mapping[SignatureScheme, bytes]] = dict(reversed(tuple(_identifiers())))
_PSS_START: Final = 2
"""Where the OID begins in an AlgorithmIdentifier shorter than 128 octets."""


def encode_algorithm(scheme: SignatureScheme) -> bytes:
    """Return the DER AlgorithmIdentifier of a scheme (RFC 7427 appendix A).

    Raises:
        ValueError: it is a classic scheme, which has none in IKEv2.
    """
    if scheme.is_classic:
        raise ValueError(f"{scheme.name} has no AlgorithmIdentifier")
    return _ENCODE[scheme]


def decode_algorithm(der: bytes) -> SignatureScheme:
    """Return the scheme of a DER AlgorithmIdentifier.

    Raises:
        InvalidSignature: it is none of the legal ones.
    """
    scheme = _DECODE.get(der)
    if scheme is not None:
        return scheme
    if der.startswith(_PSS_OID, _PSS_START):
        raise InvalidSignature(
            "RSASSA-PSS parameters: expected SHA-256, SHA-384 or SHA-512, MGF1 with the same hash "
            f"and a salt of the hash's length, all explicit; got {der.hex()}"
        )
    raise InvalidSignature(
        f"AlgorithmIdentifier {der.hex() or '(empty)'} is none of the signature schemes known here"
    )
