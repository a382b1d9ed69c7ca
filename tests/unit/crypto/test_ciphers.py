from __future__ import annotations

import pytest

from charon_core.crypto.ciphers import ENCRYPTION_SPECS, encryption_spec, keymat_lengths
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.encoding.registry import EncryptionId, IntegrityId

AEAD = [
    # id, key bits, keying material, IV, ICV: RFC 5282 (GCM as RFC 4106, CCM as RFC 4309), RFC 7634
    (EncryptionId.AES_GCM_8, 128, 20, 8, 8),
    (EncryptionId.AES_GCM_12, 192, 28, 8, 12),
    (EncryptionId.AES_GCM_16, 256, 36, 8, 16),
    (EncryptionId.AES_CCM_8, 128, 19, 8, 8),
    (EncryptionId.AES_CCM_12, 192, 27, 8, 12),
    (EncryptionId.AES_CCM_16, 256, 35, 8, 16),
    (EncryptionId.CHACHA20_POLY1305, None, 36, 8, 16),
]
PLAIN = [
    (EncryptionId.TRIPLE_DES, None, 24, 8, 8),
    (EncryptionId.AES_CBC, 128, 16, 16, 16),
    (EncryptionId.AES_CBC, 192, 24, 16, 16),
    (EncryptionId.AES_CBC, 256, 32, 16, 16),
    (EncryptionId.AES_CTR, 128, 20, 8, 1),
    (EncryptionId.AES_CTR, 256, 36, 8, 1),
    (EncryptionId.NULL, None, 0, 0, 1),
]


@pytest.mark.parametrize(("encr_id", "bits", "keymat", "iv", "icv"), AEAD)
def test_combined_mode_lengths(encr_id, bits, keymat, iv, icv):
    spec = encryption_spec(encr_id, bits)
    assert spec.is_aead
    assert (spec.keymat_length, spec.iv_length, spec.icv_length) == (keymat, iv, icv)
    assert spec.block_size == 1
    for no_integrity in (None, IntegrityId.NONE):
        assert keymat_lengths(encr_id, bits, no_integrity) == (keymat, 0)


@pytest.mark.parametrize(("encr_id", "bits", "keymat", "iv", "block"), PLAIN)
def test_lengths_beside_an_integrity_algorithm(encr_id, bits, keymat, iv, block):
    spec = encryption_spec(encr_id, bits)
    assert not spec.is_aead
    assert (spec.keymat_length, spec.iv_length, spec.block_size) == (keymat, iv, block)
    assert spec.icv_length == 0
    assert keymat_lengths(encr_id, bits, IntegrityId.HMAC_SHA2_384_192) == (keymat, 48)


def test_every_size_of_every_aes_mode_is_there():
    sizes = {}
    for spec in ENCRYPTION_SPECS:
        sizes.setdefault(spec.id, set()).add(spec.key_bits)
    fixed = (EncryptionId.TRIPLE_DES, EncryptionId.NULL, EncryptionId.CHACHA20_POLY1305)
    for encr_id, bits in sizes.items():
        assert bits == ({None} if encr_id in fixed else {128, 192, 256}), encr_id


def test_ah_has_integrity_alone():
    assert keymat_lengths(None, None, IntegrityId.HMAC_SHA1_96) == (0, 20)


def test_names_carry_the_key_length():
    assert str(encryption_spec(EncryptionId.AES_GCM_16, 256)) == "AES_GCM_16_256"
    assert str(encryption_spec(EncryptionId.CHACHA20_POLY1305, None)) == "CHACHA20_POLY1305"


# Hardening class 10: negotiated but not available, key material of length zero.


@pytest.mark.parametrize(
    ("encr_id", "bits", "text"),
    [
        (EncryptionId.AES_CBC, None, "128, 192, 256, got none"),
        (EncryptionId.AES_CBC, 0, "got 0"),
        (EncryptionId.AES_GCM_16, 129, "got 129"),
        (EncryptionId.CHACHA20_POLY1305, 256, "of none, got 256"),
        (EncryptionId.TRIPLE_DES, 192, "of none, got 192"),
        (EncryptionId.DES, None, "DES is not supported"),
        (EncryptionId.BLOWFISH, 128, "BLOWFISH is not supported"),
        (4711, None, r"\(4711\) is not supported"),
    ],
)
def test_unavailable_cipher_is_refused_by_name(encr_id, bits, text):
    with pytest.raises(UnsupportedAlgorithm, match=text):
        encryption_spec(encr_id, bits)


@pytest.mark.parametrize(
    ("encr_id", "bits", "integ_id"),
    [
        (EncryptionId.AES_CBC, 128, None),
        (EncryptionId.AES_CBC, 128, IntegrityId.NONE),
        (EncryptionId.AES_CTR, 128, None),
        (EncryptionId.NULL, None, None),
        (EncryptionId.AES_GCM_16, 128, IntegrityId.HMAC_SHA2_256_128),
        (EncryptionId.CHACHA20_POLY1305, None, IntegrityId.HMAC_SHA1_96),
        (EncryptionId.AES_CBC, 128, IntegrityId.DES_MAC),
        (None, None, None),
        (None, None, IntegrityId.NONE),
    ],
)
def test_combinations_that_protect_twice_or_not_at_all_are_refused(encr_id, bits, integ_id):
    with pytest.raises(UnsupportedAlgorithm):
        keymat_lengths(encr_id, bits, integ_id)
