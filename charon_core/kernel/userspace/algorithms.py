"""From an `SaSpec` to the transform that seals or opens its packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.encoding.registry import EncryptionId, IntegrityId, name_of
from charon_core.kernel.esp_algorithms import EspAlgorithms
from charon_core.kernel.interface import AlgorithmNotSupported
from charon_core.kernel.userspace.integrity import INTEGRITIES, icv_function, integrity_spec
from charon_core.kernel.userspace.transforms import (
    AeadTransform,
    CbcTransform,
    CtrTransform,
    Gmac,
    NullTransform,
    Transform,
    TruncatedGcm,
)

if TYPE_CHECKING:
    from charon_core.kernel.interface import SaSpec


class _Encryption(NamedTuple):
    key_lengths: tuple[int, ...]
    """Octets of the key, without the salt."""
    salt_length: int
    icv_length: int
    """0 for a cipher that needs an integrity algorithm."""


_AES: Final = (16, 24, 32)
_ENCRYPTION: Final = {
    EncryptionId.NULL: _Encryption((0,), 0, 0),
    EncryptionId.AES_CBC: _Encryption(_AES, 0, 0),
    EncryptionId.AES_CTR: _Encryption(_AES, 4, 0),
    EncryptionId.AES_CCM_8: _Encryption(_AES, 3, 8),
    EncryptionId.AES_CCM_12: _Encryption(_AES, 3, 12),
    EncryptionId.AES_CCM_16: _Encryption(_AES, 3, 16),
    EncryptionId.AES_GCM_8: _Encryption(_AES, 4, 8),
    EncryptionId.AES_GCM_12: _Encryption(_AES, 4, 12),
    EncryptionId.AES_GCM_16: _Encryption(_AES, 4, 16),
    EncryptionId.NULL_AUTH_AES_GMAC: _Encryption(_AES, 4, 16),
    EncryptionId.CHACHA20_POLY1305: _Encryption((32,), 4, 16),
}
ALGORITHMS: Final = EspAlgorithms(frozenset(_ENCRYPTION), frozenset(INTEGRITIES))
"""What there is."""

_CCM: Final = (EncryptionId.AES_CCM_8, EncryptionId.AES_CCM_12, EncryptionId.AES_CCM_16)


def create_transform(spec: SaSpec) -> Transform:
    """Make the transform of an SA.

    Raises:
        AlgorithmNotSupported: The algorithms are not offered, do not go together, or the key
            material does not have their length.
    """
    encryption = (
        _ENCRYPTION.get(EncryptionId(spec.encryption)) if (spec.encryption in _ENCRYPTION) else None
    )
    if encryption is None:
        raise _refuse(
            spec, f"{name_of(EncryptionId, spec.encryption)} is not offered by this backend"
        )
    material = spec.encryption_key.reveal()
    key_length = len(material) - encryption.salt_length
    if key_length not in encryption.key_lengths or (
        spec.key_bits is not None and key_length and spec.key_bits != key_length * 8
    ):
        raise _refuse(
            spec,
            f"{EncryptionId(spec.encryption).name} with {len(material)} octets of key material "
            f"for a key of {spec.key_bits} bits",
        )
    key, salt = material[:key_length], material[key_length:]
    if encryption.icv_length:
        if spec.integrity:
            raise _refuse(spec, f"an AEAD with {name_of(IntegrityId, spec.integrity)}")
        return _aead(spec, key, salt, encryption.icv_length)
    return _authenticated(spec, key, salt)


def _aead(spec: SaSpec, key: bytes, salt: bytes, icv_length: int) -> Transform:
    # Loading `cryptography` costs time that the start of the daemon does not have.
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

    spi, esn = spec.id.spi.to_bytes(4, "big"), spec.esn
    if spec.encryption in _CCM:
        return AeadTransform(
            spi, AESCCM(key, icv_length), salt, extended=esn, icv_length=icv_length
        )
    if spec.encryption == EncryptionId.CHACHA20_POLY1305:
        return AeadTransform(spi, ChaCha20Poly1305(key), salt, extended=esn)
    if spec.encryption == EncryptionId.NULL_AUTH_AES_GMAC:
        return Gmac(spi, AESGCM(key), salt, extended=esn)
    if icv_length != 16:
        return TruncatedGcm(spi, key, salt, extended=esn, icv_length=icv_length)
    return AeadTransform(spi, AESGCM(key), salt, extended=esn)


def _authenticated(spec: SaSpec, key: bytes, salt: bytes) -> Transform:
    number = spec.integrity or IntegrityId.NONE
    if number == IntegrityId.HMAC_SHA2_256_128 and spec.sha256_96:
        number = IntegrityId.HMAC_SHA2_256_96
    integrity = integrity_spec(number)
    material = spec.integrity_key.reveal() if spec.integrity_key else b""
    if integrity is None:
        raise _refuse(spec, f"{name_of(IntegrityId, number)} is not offered by this backend")
    if len(material) != integrity.key_length:
        raise _refuse(
            spec,
            f"{IntegrityId(number).name} with a key of {len(material)} octets, expected "
            f"{integrity.key_length}",
        )
    icv = icv_function(number, material)
    spi, esn, size = spec.id.spi.to_bytes(4, "big"), spec.esn, integrity.icv_length
    if spec.encryption == EncryptionId.AES_CBC:
        return CbcTransform(spi, key, icv, extended=esn, icv_length=size)
    if spec.encryption == EncryptionId.AES_CTR:
        return CtrTransform(spi, key, salt, icv, extended=esn, icv_length=size)
    return NullTransform(spi, icv, extended=esn, iv_length=0, icv_length=size)


def _refuse(spec: SaSpec, reason: str) -> AlgorithmNotSupported:
    return AlgorithmNotSupported(
        f"add SA {spec.id}", reason, "change the ESP proposals (esp=) of the connection"
    )
