"""Kernel names, and keys that do not fit."""

from __future__ import annotations

import pytest

from charon_core.encoding.registry import EncryptionId, IntegrityId
from charon_core.kernel.interface import AlgorithmNotSupported
from charon_core.kernel.xfrm.algorithms import kernel_cipher, kernel_integrity


@pytest.mark.parametrize(
    ("encryption", "key_bits", "octets", "name", "icv_bits"),
    [
        (EncryptionId.AES_GCM_16, 128, 20, "rfc4106(gcm(aes))", 128),
        (EncryptionId.AES_GCM_12, 192, 28, "rfc4106(gcm(aes))", 96),
        (EncryptionId.AES_GCM_8, 256, 36, "rfc4106(gcm(aes))", 64),
        (EncryptionId.AES_CCM_16, 128, 19, "rfc4309(ccm(aes))", 128),
        (EncryptionId.AES_CCM_8, 256, 35, "rfc4309(ccm(aes))", 64),
        (EncryptionId.AES_CBC, 128, 16, "cbc(aes)", 0),
        (EncryptionId.AES_CBC, 256, 32, "cbc(aes)", 0),
        (EncryptionId.AES_CTR, 128, 20, "rfc3686(ctr(aes))", 0),
        (EncryptionId.TRIPLE_DES, None, 24, "cbc(des3_ede)", 0),
        (EncryptionId.NULL, None, 0, "ecb(cipher_null)", 0),
        (EncryptionId.NULL_AUTH_AES_GMAC, 128, 20, "rfc4543(gcm(aes))", 128),
        (EncryptionId.CHACHA20_POLY1305, None, 36, "rfc7539esp(chacha20,poly1305)", 128),
        (EncryptionId.CAMELLIA_CBC, 192, 24, "cbc(camellia)", 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_cipher(
    encryption: int, key_bits: int | None, octets: int, name: str, icv_bits: int
) -> None:
    cipher = kernel_cipher(encryption, key_bits, octets)
    assert (cipher.name, cipher.icv_bits, cipher.is_aead) == (name, icv_bits, icv_bits > 0)


@pytest.mark.parametrize(
    ("integrity", "octets", "name", "icv_bits"),
    [
        (IntegrityId.HMAC_MD5_96, 16, "hmac(md5)", 96),
        (IntegrityId.HMAC_SHA1_96, 20, "hmac(sha1)", 96),
        (IntegrityId.AES_XCBC_96, 16, "xcbc(aes)", 96),
        (IntegrityId.AES_CMAC_96, 16, "cmac(aes)", 96),
        (IntegrityId.HMAC_SHA2_256_128, 32, "hmac(sha256)", 128),
        (IntegrityId.HMAC_SHA2_384_192, 48, "hmac(sha384)", 192),
        (IntegrityId.HMAC_SHA2_512_256, 64, "hmac(sha512)", 256),
        (IntegrityId.HMAC_SHA2_256_96, 32, "hmac(sha256)", 96),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_integrity(integrity: int, octets: int, name: str, icv_bits: int) -> None:
    algorithm = kernel_integrity(integrity, octets, sha256_96=False)
    assert (algorithm.name, algorithm.icv_bits) == (name, icv_bits)


def test_sha256_96_changes_only_sha256() -> None:
    sha256 = kernel_integrity(IntegrityId.HMAC_SHA2_256_128, 32, sha256_96=True)
    sha512 = kernel_integrity(IntegrityId.HMAC_SHA2_512_256, 64, sha256_96=True)
    assert (sha256.icv_bits, sha512.icv_bits) == (96, 256)


@pytest.mark.parametrize(
    ("encryption", "key_bits", "octets", "words"),
    [
        (EncryptionId.AES_CBC, 128, 0, "expected 16 or 24 or 32 octets .* got 0"),
        (EncryptionId.AES_CBC, 256, 16, r"\(key length attribute 256 bits\), got 16"),
        (EncryptionId.AES_GCM_16, 128, 16, "expected 20 or 28 or 36 octets .* got 16"),
        (EncryptionId.CHACHA20_POLY1305, None, 32, "expected 36 octets of key and salt, got 32"),
        (EncryptionId.AES_GCM_16, 0, 4, "got 4"),
        (EncryptionId.AES_GCM_16_IIV, 128, 20, "no such cipher"),
        (4711, None, 16, "no such cipher"),
    ],
)
def test_cipher_with_keys_that_do_not_fit(
    encryption: int, key_bits: int | None, octets: int, words: str
) -> None:
    with pytest.raises(AlgorithmNotSupported, match=words):
        kernel_cipher(encryption, key_bits, octets)


@pytest.mark.parametrize(
    ("integrity", "octets", "words"),
    [
        (IntegrityId.HMAC_SHA2_256_128, 0, "expected a key of 32 octets, got 0"),
        (IntegrityId.HMAC_SHA2_256_128, 20, "expected a key of 32 octets, got 20"),
        (IntegrityId.DES_MAC, 8, "no such integrity algorithm"),
    ],
)
def test_integrity_with_keys_that_do_not_fit(integrity: int, octets: int, words: str) -> None:
    with pytest.raises(AlgorithmNotSupported, match=words):
        kernel_integrity(integrity, octets, sha256_96=False)
