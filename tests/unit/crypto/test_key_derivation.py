from __future__ import annotations

import hashlib
import hmac

import pytest

from charon_core.crypto.key_derivation import (
    derive_child_keys,
    derive_ike_keys,
    derive_rekeyed_ike_keys,
    intermediate_auth,
    mix_ppk,
    nat_detection_hash,
    psk_auth,
    signed_octets,
)
from charon_core.crypto.prf import get_prf
from charon_core.encoding.registry import PrfId
from tests.unit.crypto.support import load_vectors, octets

VECTORS = load_vectors("ikev2_prf.json")
BY_ID = {"ids": lambda vector: vector["id"]}
REKEYING = [vector for vector in VECTORS["vectors"] if "rekey" in vector["kind"]]


def prf_of(vector):
    return get_prf(PrfId[vector["prf"].removeprefix("PRF_")])


def field(vector, *names):
    return tuple(octets(vector[name]) for name in names)


def concatenated(keys):
    return keys.sk_d + keys.sk_ai + keys.sk_ar + keys.sk_ei + keys.sk_er + keys.sk_pi + keys.sk_pr


@pytest.mark.parametrize("vector", VECTORS["vectors"], **BY_ID)
def test_ike_keys_are_cut_from_the_published_keymat(vector):
    prf = prf_of(vector)
    ni, nr, shared, spi_i, spi_r, keymat = field(
        vector, "ni", "nr", "g_ir", "spi_i", "spi_r", "prf_plus"
    )
    # The published octets end anywhere; take lengths that they cover.
    encr = 16
    integ = (len(keymat) - 3 * prf.key_size - 2 * encr) // 2
    if integ < 0:
        encr, integ = (len(keymat) - 3 * prf.key_size) // 2, 0
    if encr < 0:
        # Three keys of HMAC-SHA2-512 are more than was published: compare what there is.
        keys = derive_ike_keys(prf, ni, nr, shared, spi_i, spi_r, 0, 0)
        assert concatenated(keys)[: len(keymat)] == keymat
        return
    keys = derive_ike_keys(prf, ni, nr, shared, spi_i, spi_r, encr, integ)
    lengths = [
        len(key)
        for key in (
            keys.sk_d, keys.sk_ai, keys.sk_ar, keys.sk_ei, keys.sk_er, keys.sk_pi, keys.sk_pr,
        )
    ]  # fmt: skip
    size = prf.key_size
    assert lengths == [size, integ, integ, encr, encr, size, size]
    assert concatenated(keys) == keymat[: sum(lengths)]
    assert prf.prf(ni + nr, shared) == octets(vector["skeyseed"])


@pytest.mark.parametrize("vector", REKEYING, **BY_ID)
def test_child_keys_match_published_vector(vector):
    prf = prf_of(vector)
    sk_d, ni, nr, fresh = field(vector, "sk_d", "ni", "nr", "g_ir_new")
    for shared, name in ((None, "child_keymat"), (fresh, "child_keymat_with_ke")):
        keymat = octets(vector[name])
        keys = derive_child_keys(prf, sk_d, ni, nr, shared, 36, 30)
        assert keys.initiator_encr == keymat[:36]
        assert keys.initiator_integ == keymat[36:66]
        assert keys.responder_encr == keymat[66:102]
        assert keys.responder_integ == keymat[102:132]


@pytest.mark.parametrize("vector", REKEYING, **BY_ID)
def test_rekeying_starts_from_the_published_skeyseed(vector):
    prf = prf_of(vector)
    sk_d, ni, nr, fresh, spi_i, spi_r, skeyseed = field(
        vector, "sk_d", "ni", "nr", "g_ir_new", "spi_i", "spi_r", "skeyseed_rekey"
    )
    assert prf.prf(sk_d, fresh + ni + nr) == skeyseed
    new_prf = get_prf(PrfId.HMAC_SHA2_256)
    keys = derive_rekeyed_ike_keys(prf, sk_d, new_prf, ni, nr, fresh, spi_i, spi_r, 36, 0)
    keymat = new_prf.prf_plus(skeyseed, ni + nr + spi_i + spi_r, 3 * 32 + 2 * 36)
    assert concatenated(keys) == keymat
    assert keys.sk_ai == keys.sk_ar == b""


def test_followup_secrets_are_appended_after_the_nonces():
    prf = get_prf(PrfId.HMAC_SHA2_256)
    ni, nr, first, second = b"I" * 32, b"R" * 32, b"0" * 32, b"1" * 32
    rekeyed = derive_rekeyed_ike_keys(
        prf, b"d" * 32, prf, ni, nr, first, b"i" * 8, b"r" * 8, 32, 32, second
    )
    skeyseed = prf.prf(b"d" * 32, first + ni + nr + second)
    assert rekeyed.sk_d == prf.prf_plus(skeyseed, ni + nr + b"i" * 8 + b"r" * 8, 32)
    child = derive_child_keys(prf, b"d" * 32, ni, nr, first, 36, 0, second)
    assert child.initiator_encr == prf.prf_plus(b"d" * 32, first + ni + nr + second, 36)


@pytest.mark.parametrize("prf_id", [PrfId.AES128_XCBC, PrfId.AES128_CMAC])
def test_skeyseed_of_a_fixed_key_prf_uses_half_a_key_of_each_nonce(prf_id):
    prf = get_prf(prf_id)
    ni, nr = bytes(range(32)), bytes(range(50, 82))
    keys = derive_ike_keys(prf, ni, nr, b"g" * 32, b"i" * 8, b"r" * 8, 16, 16)
    skeyseed = prf.prf(ni[:8] + nr[:8], b"g" * 32)
    assert concatenated(keys) == prf.prf_plus(skeyseed, ni + nr + b"i" * 8 + b"r" * 8, 112)


@pytest.mark.parametrize("vector", VECTORS["auth"], **BY_ID)
def test_shared_secret_auth_matches_vector(vector):
    secret, signed, expected = field(vector, "shared_secret", "signed_octets", "auth")
    assert psk_auth(prf_of(vector), secret, signed) == expected


def test_empty_shared_secret_authenticates_nobody():
    with pytest.raises(ValueError, match="empty"):
        psk_auth(get_prf(PrfId.HMAC_SHA2_256), b"", b"octets")


def test_signed_octets_are_message_nonce_and_maced_identity():
    prf = get_prf(PrfId.HMAC_SHA2_256)
    maced = hmac.digest(b"p" * 32, b"\x01\0\0\0\x0a\0\0\x01", "sha256")
    plain = signed_octets(b"MESSAGE", b"NONCE", prf, b"p" * 32, b"\x01\0\0\0\x0a\0\0\x01")
    assert plain == b"MESSAGENONCE" + maced
    with_int_auth = signed_octets(
        b"MESSAGE", b"NONCE", prf, b"p" * 32, b"\x01\0\0\0\x0a\0\0\x01", b"INTAUTH"
    )
    assert with_int_auth == plain + b"INTAUTH"


def test_intermediate_auth_chains_over_exchanges():
    prf = get_prf(PrfId.HMAC_SHA2_256)
    first = intermediate_auth(prf, b"p" * 32, b"", b"A1", b"P1")
    assert first == hmac.digest(b"p" * 32, b"A1P1", "sha256")
    second = intermediate_auth(prf, b"q" * 32, first, b"A2", b"P2")
    assert second == hmac.digest(b"q" * 32, first + b"A2P2", "sha256")


@pytest.mark.parametrize(
    ("host", "packed"),
    [("192.0.2.1", "c0000201"), ("2001:db8::1", "20010db8000000000000000000000001")],
)
def test_nat_detection_hash(host, packed):
    expected = hashlib.sha1(b"i" * 8 + b"r" * 8 + octets(packed) + b"\x11\x94").digest()
    assert nat_detection_hash(b"i" * 8, b"r" * 8, host, 4500) == expected


@pytest.mark.parametrize("host", ["gateway.example", "", "192.0.2", "2001:db8::1%eth0"])
def test_nat_detection_needs_an_address(host):
    with pytest.raises(OSError):
        nat_detection_hash(bytes(8), bytes(8), host, 500)


def test_reprs_show_no_key():
    prf = get_prf(PrfId.HMAC_SHA2_256)
    ike = derive_ike_keys(prf, b"n" * 16, b"m" * 16, b"s", bytes(8), bytes(8), 16, 32)
    child = derive_child_keys(prf, ike.sk_d, b"n" * 16, b"m" * 16, None, 16, 32)
    assert f"{ike} {ike!r}" == "IkeKeys(***) IkeKeys(***)"
    assert f"{child} {child!r}" == "ChildKeys(***) ChildKeys(***)"


@pytest.mark.parametrize("prf_id", [PrfId.HMAC_SHA2_256, PrfId.HMAC_SHA2_512, PrfId.AES128_XCBC])
def test_a_preshared_key_is_mixed_by_prf_plus(prf_id):
    """RFC 8784 section 3: SK_d = prf+ (PPK, SK_d'), and so on."""
    prf = get_prf(prf_id)
    key = bytes(range(prf.key_size))
    mixed = mix_ppk(prf, b"post-quantum", key)
    assert mixed == prf.prf(b"post-quantum", key + b"\1")[: len(key)]
    assert len(mixed) == len(key)


def test_an_empty_preshared_key_mixes_nothing():
    with pytest.raises(ValueError, match="empty"):
        mix_ppk(get_prf(PrfId.HMAC_SHA2_256), b"", bytes(32))
