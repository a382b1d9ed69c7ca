from __future__ import annotations

import hashlib
import hmac
from itertools import pairwise

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from charon_core.crypto.ciphers import ENCRYPTION_SPECS, encryption_spec, keymat_lengths
from charon_core.crypto.errors import OpenError, UnsupportedAlgorithm
from charon_core.crypto.integrity import INTEGRITY_ALGORITHMS
from charon_core.crypto.message_cipher import create_message_cipher
from charon_core.encoding.registry import EncryptionId, IntegrityId
from tests.unit.crypto import support
from tests.unit.crypto.support import FixedRandom, octets, starting_counter_at

AAD = bytes(range(32))
PLAINTEXT = b"the inner payloads of a message"

SPECS = [spec for spec in ENCRYPTION_SPECS if spec.id is not EncryptionId.NULL]
WITH_INTEGRITY = [
    (spec.id, spec.key_bits, integrity.id)
    for spec in SPECS
    if not spec.is_aead
    for integrity in INTEGRITY_ALGORITHMS
]
COMBINED = [(spec.id, spec.key_bits, None) for spec in SPECS if spec.is_aead]
SUITES = COMBINED + WITH_INTEGRITY
GCM_AND_CCM = [suite for suite in COMBINED if suite[0] is not EncryptionId.CHACHA20_POLY1305]
CBC = [
    (EncryptionId.TRIPLE_DES, None, TripleDES),
    (EncryptionId.AES_CBC, 128, AES),
    (EncryptionId.AES_CBC, 192, AES),
    (EncryptionId.AES_CBC, 256, AES),
]


def a_cipher(encr_id, bits, integ_id, **options):
    encr, integ = keymat_lengths(encr_id, bits, integ_id)
    keys = bytes(range(encr)), bytes(range(100, 100 + integ))
    return create_message_cipher(encr_id, bits, integ_id, *keys, **options)


def key_and_salt(encr_id, bits):
    spec = encryption_spec(encr_id, bits)
    keymat = bytes(range(spec.keymat_length))
    return keymat[: spec.key_length], keymat[spec.key_length :]


def test_matches_the_ike_example_of_rfc_7634():
    keymat = bytes(range(0x80, 0xA0)) + octets("a0a1a2a3")
    iv = octets("1011121314151617")
    cipher = create_message_cipher(
        EncryptionId.CHACHA20_POLY1305,
        None,
        None,
        keymat,
        b"",
        random=starting_counter_at(int.from_bytes(iv, "big")),
    )
    aad = octets("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029")
    sealed = iv + octets("610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2")
    payloads = octets("0000000c000040010000000a")
    assert cipher.seal(aad, payloads) == sealed
    assert cipher.open(aad, sealed) == payloads


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), GCM_AND_CCM)
@pytest.mark.parametrize("length", [0, 1, 15, 16, 31, 100])
def test_gcm_and_ccm_match_their_definition(encr_id, bits, integ_id, length):
    """RFC 5282: nonce is salt and IV, Pad Length is encrypted, the ICV is truncated."""
    key, salt = key_and_salt(encr_id, bits)
    icv = encryption_spec(encr_id, bits).icv_length
    oracle = support.aes_gcm if "GCM" in encr_id.name else support.aes_ccm
    cipher = a_cipher(encr_id, bits, integ_id, random=starting_counter_at(7))
    plaintext = bytes(length)
    iv = b"\0\0\0\0\0\0\0\x07"
    assert cipher.seal(AAD, plaintext) == iv + oracle(key, salt + iv, AAD, plaintext + b"\0", icv)


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), COMBINED)
def test_combined_modes_match_the_library_with_a_full_icv(encr_id, bits, integ_id):
    key, salt = key_and_salt(encr_id, bits)
    sealed = a_cipher(encr_id, bits, integ_id).seal(AAD, PLAINTEXT)
    nonce = salt + sealed[:8]
    if encr_id is EncryptionId.CHACHA20_POLY1305:
        expected = ChaCha20Poly1305(key).encrypt(nonce, PLAINTEXT + b"\0", AAD)
    elif "GCM" in encr_id.name:
        expected = AESGCM(key).encrypt(nonce, PLAINTEXT + b"\0", AAD)
    else:
        icv = encryption_spec(encr_id, bits).icv_length
        expected = AESCCM(key, icv).encrypt(nonce, PLAINTEXT + b"\0", AAD)
    assert expected.startswith(sealed[8:])
    assert sealed[8:].startswith(expected[: len(PLAINTEXT) + 1])


@pytest.mark.parametrize(("encr_id", "bits", "algorithm"), CBC)
@pytest.mark.parametrize("length", [0, 6, 7, 8, 14, 15, 16, 100])
def test_cbc_matches_its_definition(encr_id, bits, algorithm, length):
    """RFC 7296 section 3.14: pad to the block, MAC over header, IV and ciphertext."""
    spec = encryption_spec(encr_id, bits)
    key, _ = key_and_salt(encr_id, bits)
    iv = bytes(range(200, 200 + spec.iv_length))
    integrity = IntegrityId.HMAC_SHA2_256_128
    cipher = a_cipher(encr_id, bits, integrity, random=FixedRandom(iv))
    sealed = cipher.seal(AAD, bytes(length))
    pad = -(length + 1) % spec.block_size
    ciphertext = support.cbc(algorithm, key, iv, bytes(length) + bytes(pad) + bytes((pad,)))
    covered = AAD + iv + ciphertext
    icv = hmac.new(bytes(range(100, 132)), covered, hashlib.sha256).digest()[:16]
    assert sealed == iv + ciphertext + icv


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_ctr_matches_its_definition(bits):
    """RFC 5930: counter block is nonce, IV, and a block counter that starts at one."""
    key, nonce = key_and_salt(EncryptionId.AES_CTR, bits)
    cipher = a_cipher(
        EncryptionId.AES_CTR, bits, IntegrityId.HMAC_SHA1_96, random=starting_counter_at(9)
    )
    sealed = cipher.seal(AAD, PLAINTEXT)
    iv = b"\0\0\0\0\0\0\0\x09"
    ciphertext = support.aes_ctr(key, nonce + iv + b"\0\0\0\1", PLAINTEXT + b"\0")
    icv = hmac.new(bytes(range(100, 120)), AAD + iv + ciphertext, hashlib.sha1).digest()[:12]
    assert sealed == iv + ciphertext + icv


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_what_is_sealed_opens_at_the_other_end(encr_id, bits, integ_id):
    ours, theirs = a_cipher(encr_id, bits, integ_id), a_cipher(encr_id, bits, integ_id)
    for length in (0, 1, 7, 8, 15, 16, 17, 1400):
        plaintext = bytes(length)
        sealed = ours.seal(AAD, plaintext)
        assert len(sealed) == ours.sealed_length(length)
        assert theirs.open(AAD, sealed) == plaintext


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_no_octet_can_be_changed(encr_id, bits, integ_id):
    cipher = a_cipher(encr_id, bits, integ_id)
    sealed = cipher.seal(AAD, PLAINTEXT)
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1 << position % 8
        with pytest.raises(OpenError):
            cipher.open(AAD, bytes(altered))
    for position in range(len(AAD)):
        header = bytearray(AAD)
        header[position] ^= 0x80
        with pytest.raises(OpenError):
            cipher.open(bytes(header), sealed)
    assert cipher.open(AAD, sealed) == PLAINTEXT


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_truncated_at_every_length(encr_id, bits, integ_id):
    cipher = a_cipher(encr_id, bits, integ_id)
    sealed = cipher.seal(AAD, PLAINTEXT)
    for length in range(len(sealed)):
        with pytest.raises(OpenError):
            cipher.open(AAD, sealed[:length])
        with pytest.raises(OpenError):
            cipher.open(AAD, sealed[-length:] if length else b"")
    with pytest.raises(OpenError):
        cipher.open(AAD, sealed + b"\0")


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_another_key_does_not_open(encr_id, bits, integ_id):
    encr, integ = keymat_lengths(encr_id, bits, integ_id)
    other = create_message_cipher(encr_id, bits, integ_id, b"\xaa" * encr, b"\xbb" * integ)
    with pytest.raises(OpenError):
        other.open(AAD, a_cipher(encr_id, bits, integ_id).seal(AAD, PLAINTEXT))


@pytest.mark.parametrize(
    ("encr_id", "bits", "integ_id"),
    [
        (EncryptionId.AES_GCM_16, 128, None),
        (EncryptionId.AES_GCM_8, 128, None),
        (EncryptionId.AES_CCM_12, 256, None),
        (EncryptionId.CHACHA20_POLY1305, None, None),
        (EncryptionId.AES_CBC, 128, IntegrityId.AES_XCBC_96),
        (EncryptionId.AES_CTR, 128, IntegrityId.HMAC_SHA2_512_256),
        (EncryptionId.TRIPLE_DES, None, IntegrityId.HMAC_SHA1_96),
    ],
)
@given(aad=st.binary(max_size=40), body=st.binary(max_size=120))
def test_arbitrary_octets_only_ever_raise_an_open_error(encr_id, bits, integ_id, aad, body):
    with pytest.raises(OpenError):
        a_cipher(encr_id, bits, integ_id).open(aad, body)


def test_an_open_error_is_a_value_error():
    assert issubclass(OpenError, ValueError)


# Padding of the peer, which only whoever has the keys can get wrong.


def sealed_by_hand(padded):
    key, salt = key_and_salt(EncryptionId.AES_GCM_16, 128)
    iv = bytes(8)
    return iv + AESGCM(key).encrypt(salt + iv, padded, AAD)


@pytest.mark.parametrize("pad", [0, 1, 15, 16, 100, 255])
def test_padding_of_any_length_and_content_is_accepted(pad):
    cipher = a_cipher(EncryptionId.AES_GCM_16, 128, None)
    sealed = sealed_by_hand(PLAINTEXT + b"\xa5" * pad + bytes((pad,)))
    assert cipher.open(AAD, sealed) == PLAINTEXT


@pytest.mark.parametrize("padded", [b"\x01", b"\xff", b"abc\x04", b"\0" * 254 + b"\xff"], ids=len)
def test_pad_length_beyond_the_plaintext_is_refused(padded):
    with pytest.raises(OpenError, match="Pad Length"):
        a_cipher(EncryptionId.AES_GCM_16, 128, None).open(AAD, sealed_by_hand(padded))


def test_padding_may_be_all_there_is():
    cipher = a_cipher(EncryptionId.AES_GCM_16, 128, None)
    assert cipher.open(AAD, sealed_by_hand(b"\0" * 255 + b"\xff")) == b""


def test_ciphertext_of_broken_blocks_with_a_good_icv_is_refused():
    key = bytes(range(100, 132))
    body = bytes(16) + bytes(17)
    icv = hmac.digest(key, AAD + body, "sha256")[:16]
    cipher = a_cipher(EncryptionId.AES_CBC, 128, IntegrityId.HMAC_SHA2_256_128)
    with pytest.raises(OpenError, match="multiple of 16"):
        cipher.open(AAD, body + icv)


@pytest.mark.parametrize("encr_id", [EncryptionId.AES_CBC, EncryptionId.AES_CTR])
def test_no_ciphertext_at_all_with_a_good_icv_is_refused(encr_id):
    spec = encryption_spec(encr_id, 128)
    iv = bytes(spec.iv_length)
    icv = hmac.digest(bytes(range(100, 132)), AAD + iv, "sha256")[:16]
    cipher = a_cipher(encr_id, 128, IntegrityId.HMAC_SHA2_256_128)
    with pytest.raises(OpenError, match="too few"):
        cipher.open(AAD, iv + icv)


# IVs.


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_no_iv_repeats(encr_id, bits, integ_id):
    length = encryption_spec(encr_id, bits).iv_length
    cipher = a_cipher(encr_id, bits, integ_id)
    assert len({cipher.seal(AAD, b"")[:length] for _ in range(300)}) == 300


@pytest.mark.parametrize("start", [0, 1, 2**32 - 2, 2**63 - 1])
def test_counter_ivs_go_up_and_do_not_wrap(start):
    cipher = a_cipher(
        EncryptionId.AES_GCM_16, 128, None, random=FixedRandom((start << 1 | 1).to_bytes(8, "big"))
    )
    ivs = [int.from_bytes(cipher.seal(AAD, b"")[:8], "big") for _ in range(5)]
    assert ivs[0] == start
    assert all(after - before == 1 for before, after in pairwise(ivs))


def test_two_ciphers_of_one_key_begin_at_different_places():
    starts = {a_cipher(EncryptionId.AES_GCM_16, 128, None).seal(AAD, b"")[:8] for _ in range(50)}
    assert len(starts) == 50


def test_cbc_draws_a_whole_iv_for_each_message():
    ivs = bytes(range(32))
    cipher = a_cipher(EncryptionId.AES_CBC, 128, IntegrityId.HMAC_SHA1_96, random=FixedRandom(ivs))
    assert cipher.seal(AAD, b"")[:16] == ivs[:16]
    assert cipher.seal(AAD, b"")[:16] == ivs[16:]


# Hardening class 10: algorithms that are not there, keys of length zero or of another length.


@pytest.mark.parametrize(
    ("encr_id", "bits", "integ_id"),
    [
        (EncryptionId.NULL, None, IntegrityId.HMAC_SHA2_256_128),
        (EncryptionId.DES, None, IntegrityId.HMAC_SHA2_256_128),
        (EncryptionId.AES_CBC, None, IntegrityId.HMAC_SHA2_256_128),
        (EncryptionId.AES_CBC, 128, None),
        (EncryptionId.AES_CBC, 128, IntegrityId.NONE),
        (EncryptionId.AES_CBC, 128, IntegrityId.KPDK_MD5),
        (EncryptionId.AES_GCM_16, 128, IntegrityId.HMAC_SHA2_256_128),
        (0, None, None),
    ],
)
def test_unavailable_suite_is_refused(encr_id, bits, integ_id):
    with pytest.raises(UnsupportedAlgorithm):
        create_message_cipher(encr_id, bits, integ_id, bytes(16), bytes(32))


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_keys_of_a_wrong_length_are_refused_without_being_shown(encr_id, bits, integ_id):
    encr, integ = keymat_lengths(encr_id, bits, integ_id)
    good = b"\xee" * encr, b"\xee" * integ
    for wrong in (0, encr - 1, encr + 1):
        with pytest.raises(ValueError, match=f"expected {encr} octets, got {wrong}") as caught:
            create_message_cipher(encr_id, bits, integ_id, b"\xee" * wrong, good[1])
        assert "ee" not in str(caught.value).removeprefix("key of")
    for wrong in {0, integ - 1, integ + 1} - {integ, -1}:
        with pytest.raises(ValueError, match=f"expected {integ} octets, got {wrong}"):
            create_message_cipher(encr_id, bits, integ_id, good[0], b"\xee" * wrong)


@pytest.mark.parametrize(("encr_id", "bits", "integ_id"), SUITES)
def test_repr_shows_no_key(encr_id, bits, integ_id):
    assert repr(a_cipher(encr_id, bits, integ_id)).endswith("***>")


def test_none_is_as_good_as_no_integrity_algorithm():
    cipher = a_cipher(EncryptionId.AES_GCM_16, 256, IntegrityId.NONE)
    assert cipher.open(AAD, cipher.seal(AAD, PLAINTEXT)) == PLAINTEXT
