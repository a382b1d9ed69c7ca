from __future__ import annotations

import pytest

from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.prf import MAX_PRF_PLUS_BLOCKS, SUPPORTED_PRFS, Prf, get_prf
from charon_core.encoding.registry import PrfId
from tests.unit.crypto.support import load_vectors, octets

VECTORS = load_vectors("ikev2_prf.json")
BY_ID = {"ids": lambda vector: vector["id"]}


def prf_named(iana_name: str) -> Prf:
    return get_prf(PrfId[iana_name.removeprefix("PRF_")])


@pytest.mark.parametrize("vector", VECTORS["prf"], **BY_ID)
def test_prf_matches_published_vector(vector):
    prf = prf_named(vector["prf"])
    key, data, expected = (octets(vector[name]) for name in ("key", "data", "output"))
    assert prf.prf(key, data) == expected
    assert prf.keyed(key)(data) == expected


@pytest.mark.parametrize("vector", VECTORS["prf_plus"], **BY_ID)
def test_prf_plus_matches_vector(vector):
    prf = prf_named(vector["prf"])
    output = prf.prf_plus(octets(vector["key"]), octets(vector["seed"]), vector["length"])
    assert output == octets(vector["output"])


@pytest.mark.parametrize("prf_id", SUPPORTED_PRFS)
def test_prf_plus_is_the_chain_of_rfc_7296(prf_id):
    prf = get_prf(prf_id)
    key, seed = b"k" * 16, b"seed"
    first = prf.prf(key, seed + b"\x01")
    second = prf.prf(key, first + seed + b"\x02")
    third = prf.prf(key, second + seed + b"\x03")
    whole = first + second + third
    for length in (0, 1, prf.output_size, prf.output_size + 1, len(whole)):
        assert prf.prf_plus(key, seed, length) == whole[:length]


@pytest.mark.parametrize("prf_id", SUPPORTED_PRFS)
def test_prf_plus_ends_with_its_one_octet_counter(prf_id):
    prf = get_prf(prf_id)
    most = MAX_PRF_PLUS_BLOCKS * prf.output_size
    assert len(prf.prf_plus(b"k", b"s", most)) == most
    for length in (most + 1, -prf.output_size):
        with pytest.raises(ValueError, match=str(length)):
            prf.prf_plus(b"k", b"s", length)


@pytest.mark.parametrize(
    ("prf_id", "size"),
    [
        (PrfId.HMAC_MD5, 16),
        (PrfId.HMAC_SHA1, 20),
        (PrfId.AES128_XCBC, 16),
        (PrfId.HMAC_SHA2_256, 32),
        (PrfId.HMAC_SHA2_384, 48),
        (PrfId.HMAC_SHA2_512, 64),
        (PrfId.AES128_CMAC, 16),
    ],
)
def test_sizes(prf_id, size):
    prf = get_prf(prf_id)
    assert (prf.id, prf.key_size, prf.output_size) == (prf_id, size, size)
    assert len(prf.prf(b"", b"")) == size


def test_variable_key_prf_takes_whole_nonces():
    assert get_prf(PrfId.HMAC_SHA2_256).nonce_key(b"i" * 32, b"r" * 16) == b"i" * 32 + b"r" * 16


@pytest.mark.parametrize("prf_id", [PrfId.AES128_XCBC, PrfId.AES128_CMAC])
def test_fixed_key_prf_takes_64_bits_of_each_nonce(prf_id):
    ni, nr = bytes(range(32)), bytes(range(100, 132))
    assert get_prf(prf_id).nonce_key(ni, nr) == bytes(range(8)) + bytes(range(100, 108))


@pytest.mark.parametrize("prf_id", [0, PrfId.HMAC_TIGER, PrfId.HMAC_STREEBOG_512, 65535])
def test_unknown_prf_is_refused_by_name(prf_id):
    with pytest.raises(UnsupportedAlgorithm, match="PRF"):
        get_prf(prf_id)
