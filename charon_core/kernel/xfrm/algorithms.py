"""IANA transform IDs as the names that the Linux kernel's crypto API has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.encoding.registry import EncryptionId, IntegrityId, name_of
from charon_core.kernel.interface import AlgorithmNotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping

_AES_KEYS: Final = (16, 24, 32)


@dataclass(frozen=True, slots=True)
class KernelCipher:
    """One encryption algorithm of ESP."""

    name: str
    """``rfc4106(gcm(aes))``"""
    key_octets: tuple[int, ...]
    """Lengths of the key without the salt."""
    salt_octets: int = 0
    """Follows the key; the kernel takes both as one key."""
    icv_bits: int = 0
    """Length of the ICV of an AEAD; 0 for a cipher that needs an integrity algorithm."""

    @property
    def is_aead(self) -> bool:
        """Whether it authenticates, too."""
        return self.icv_bits > 0


@dataclass(frozen=True, slots=True)
class KernelIntegrity:
    """One integrity algorithm of ESP and AH."""

    name: str
    """``hmac(sha256)``"""
    key_octets: int
    icv_bits: int
    """Bits of the MAC that are sent."""


def _gcm(icv_octets: int) -> KernelCipher:
    return KernelCipher("rfc4106(gcm(aes))", _AES_KEYS, 4, 8 * icv_octets)


def _ccm(icv_octets: int) -> KernelCipher:
    return KernelCipher("rfc4309(ccm(aes))", _AES_KEYS, 3, 8 * icv_octets)


CIPHERS: Final[Mapping[int, KernelCipher]] = {
    EncryptionId.DES: KernelCipher("cbc(des)", (8,)),
    EncryptionId.TRIPLE_DES: KernelCipher("cbc(des3_ede)", (24,)),
    EncryptionId.CAST: KernelCipher("cbc(cast5)", tuple(range(5, 17))),
    EncryptionId.BLOWFISH: KernelCipher("cbc(blowfish)", tuple(range(5, 57))),
    EncryptionId.NULL: KernelCipher("ecb(cipher_null)", (0,)),
    EncryptionId.AES_CBC: KernelCipher("cbc(aes)", _AES_KEYS),
    EncryptionId.AES_CTR: KernelCipher("rfc3686(ctr(aes))", _AES_KEYS, 4),
    EncryptionId.AES_CCM_8: _ccm(8),
    EncryptionId.AES_CCM_12: _ccm(12),
    EncryptionId.AES_CCM_16: _ccm(16),
    EncryptionId.AES_GCM_8: _gcm(8),
    EncryptionId.AES_GCM_12: _gcm(12),
    EncryptionId.AES_GCM_16: _gcm(16),
    EncryptionId.NULL_AUTH_AES_GMAC: KernelCipher("rfc4543(gcm(aes))", _AES_KEYS, 4, 128),
    EncryptionId.CAMELLIA_CBC: KernelCipher("cbc(camellia)", _AES_KEYS),
    EncryptionId.CHACHA20_POLY1305: KernelCipher("rfc7539esp(chacha20,poly1305)", (32,), 4, 128),
}

INTEGRITIES: Final[Mapping[int, KernelIntegrity]] = {
    IntegrityId.HMAC_MD5_96: KernelIntegrity("hmac(md5)", 16, 96),
    IntegrityId.HMAC_SHA1_96: KernelIntegrity("hmac(sha1)", 20, 96),
    IntegrityId.AES_XCBC_96: KernelIntegrity("xcbc(aes)", 16, 96),
    IntegrityId.HMAC_MD5_128: KernelIntegrity("hmac(md5)", 16, 128),
    IntegrityId.HMAC_SHA1_160: KernelIntegrity("hmac(sha1)", 20, 160),
    IntegrityId.AES_CMAC_96: KernelIntegrity("cmac(aes)", 16, 96),
    IntegrityId.HMAC_SHA2_256_128: KernelIntegrity("hmac(sha256)", 32, 128),
    IntegrityId.HMAC_SHA2_384_192: KernelIntegrity("hmac(sha384)", 48, 192),
    IntegrityId.HMAC_SHA2_512_256: KernelIntegrity("hmac(sha512)", 64, 256),
    IntegrityId.HMAC_SHA2_256_96: KernelIntegrity("hmac(sha256)", 32, 96),
}


def kernel_cipher(encryption: int, key_bits: int | None, keymat_octets: int) -> KernelCipher:
    """Return the cipher of a transform ID, once its key has been checked.

    Args:
        encryption: transform ID of type ENCR.
        key_bits: key length attribute, None for none.
        keymat_octets: length of key and salt.

    Raises:
        AlgorithmNotSupported: the kernel has no name for it, or the key does not fit.
    """
    operation = f"use {name_of(EncryptionId, encryption)} in XFRM"
    cipher = CIPHERS.get(encryption)
    if cipher is None:
        raise AlgorithmNotSupported(operation, "Linux has no such cipher for ESP")
    key_octets = keymat_octets - cipher.salt_octets
    if key_octets not in cipher.key_octets or key_bits not in {None, 8 * key_octets}:
        wanted = " or ".join(str(length + cipher.salt_octets) for length in cipher.key_octets)
        attribute = "" if key_bits is None else f" (key length attribute {key_bits} bits)"
        raise AlgorithmNotSupported(
            operation,
            f"expected {wanted} octets of key and salt{attribute}, got {keymat_octets}",
        )
    return cipher


def kernel_integrity(integrity: int, key_octets: int, *, sha256_96: bool) -> KernelIntegrity:
    """Return the integrity algorithm of a transform ID, once its key has been checked.

    Args:
        integrity: transform ID of type INTEG.
        key_octets: length of the key.
        sha256_96: truncate HMAC_SHA2_256_128 to 96 bits.

    Raises:
        AlgorithmNotSupported: the kernel has no name for it, or the key does not fit.
    """
    operation = f"use {name_of(IntegrityId, integrity)} in XFRM"
    if sha256_96 and integrity == IntegrityId.HMAC_SHA2_256_128:
        integrity = IntegrityId.HMAC_SHA2_256_96
    algorithm = INTEGRITIES.get(integrity)
    if algorithm is None:
        raise AlgorithmNotSupported(operation, "Linux has no such integrity algorithm for IPsec")
    if key_octets != algorithm.key_octets:
        raise AlgorithmNotSupported(
            operation, f"expected a key of {algorithm.key_octets} octets, got {key_octets}"
        )
    return algorithm
