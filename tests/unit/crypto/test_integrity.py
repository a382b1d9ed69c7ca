from __future__ import annotations

import hashlib
import hmac

import pytest

from charon_core.crypto.aes_mac import keyed_cmac, keyed_xcbc
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.integrity import INTEGRITY_ALGORITHMS, get_integrity
from charon_core.encoding.registry import IntegrityId
from tests.unit.crypto.support import octets

XCBC_KEY = bytes(range(16))
CMAC_KEY = octets("2b7e151628aed2a6abf7158809cf4f3c")
CMAC_MESSAGE = octets(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


@pytest.mark.parametrize(
    ("message", "mac"),
    [
        (b"", "75f0251d528ac01c4573dfd584d79f29"),
        (bytes(range(3)), "5b376580ae2f19afe7219ceef172756f"),
        (bytes(range(16)), "d2a246fa349b68a79998a4394ff7a263"),
        (bytes(range(20)), "47f51b4564966215b8985c63055ed308"),
        (bytes(range(32)), "f54f0ec8d2b9f3d36807734bd5283fd4"),
        (bytes(range(34)), "becbb3bccdb518a30677d5481fb6b4d8"),
        (bytes(1000), "f0dafee895db30253761103b5d84528f"),
    ],
    ids=len,
)
def test_xcbc_matches_rfc_3566(message, mac):
    assert keyed_xcbc(XCBC_KEY)(message) == octets(mac)
    assert get_integrity(IntegrityId.AES_XCBC_96).icv(XCBC_KEY, message) == octets(mac)[:12]


@pytest.mark.parametrize(
    ("length", "mac"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_cmac_matches_rfc_4493(length, mac):
    message = CMAC_MESSAGE[:length]
    assert keyed_cmac(CMAC_KEY)(message) == octets(mac)
    assert get_integrity(IntegrityId.AES_CMAC_96).icv(CMAC_KEY, message) == octets(mac)[:12]


@pytest.mark.parametrize("keyed", [keyed_xcbc, keyed_cmac])
def test_a_keyed_mac_can_be_used_again(keyed):
    mac = keyed(XCBC_KEY)
    assert mac(b"one") == mac(b"one") == keyed(XCBC_KEY)(b"one")
    assert mac(b"two") != mac(b"one")


@pytest.mark.parametrize(
    ("integ_id", "digest", "key_length", "icv_length"),
    [
        (IntegrityId.HMAC_MD5_96, hashlib.md5, 16, 12),
        (IntegrityId.HMAC_SHA1_96, hashlib.sha1, 20, 12),
        (IntegrityId.HMAC_SHA2_256_128, hashlib.sha256, 32, 16),
        (IntegrityId.HMAC_SHA2_384_192, hashlib.sha384, 48, 24),
        (IntegrityId.HMAC_SHA2_512_256, hashlib.sha512, 64, 32),
        (IntegrityId.HMAC_SHA2_256_96, hashlib.sha256, 32, 12),
    ],
)
def test_hmac_is_truncated(integ_id, digest, key_length, icv_length):
    algorithm = get_integrity(integ_id)
    key = bytes(range(key_length))
    assert (algorithm.key_length, algorithm.icv_length) == (key_length, icv_length)
    assert algorithm.icv(key, b"data") == hmac.new(key, b"data", digest).digest()[:icv_length]


@pytest.mark.parametrize("algorithm", INTEGRITY_ALGORITHMS, ids=lambda a: a.id.name)
def test_verify_accepts_the_exact_icv_alone(algorithm):
    key = bytes(range(algorithm.key_length))
    icv = algorithm.icv(key, b"data")
    assert len(icv) == algorithm.icv_length
    assert algorithm.verify(key, b"data", icv)
    assert not algorithm.verify(key, b"Data", icv)
    for length in range(len(icv)):
        assert not algorithm.verify(key, b"data", icv[:length])
    assert not algorithm.verify(key, b"data", icv + b"\0")


@pytest.mark.parametrize("integ_id", [IntegrityId.NONE, IntegrityId.DES_MAC, 999])
def test_unknown_integrity_is_refused(integ_id):
    with pytest.raises(UnsupportedAlgorithm):
        get_integrity(integ_id)
