from __future__ import annotations

import pytest

from charon_core.crypto import ml_kem
from charon_core.crypto.errors import InvalidPublicValue
from charon_core.crypto.key_exchange import generate, is_supported, public_value_length, respond
from charon_core.encoding.registry import KeyExchangeId

METHODS = [
    method
    for method in (
        KeyExchangeId.ML_KEM_512,
        KeyExchangeId.ML_KEM_768,
        KeyExchangeId.ML_KEM_1024,
    )
    if is_supported(method)
]
Q = 3329


def with_first_coefficient(key: bytes, value: int) -> bytes:
    """ByteEncode12 of FIPS 203: twelve bits each, the lowest octet first."""
    return bytes((value & 0xFF, key[1] & 0xF0 | value >> 8)) + key[2:]


@pytest.mark.parametrize(
    ("method", "key", "ciphertext"),
    [
        (KeyExchangeId.ML_KEM_512, 800, 768),
        (KeyExchangeId.ML_KEM_768, 1184, 1088),
        (KeyExchangeId.ML_KEM_1024, 1568, 1568),
    ],
)
def test_lengths_of_fips_203(method, key, ciphertext):
    assert public_value_length(method) == key
    assert public_value_length(method, responder=True) == ciphertext


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coefficient", [Q, Q + 1, 4095])
def test_encapsulation_key_that_is_not_reduced_is_refused(method, coefficient):
    """FIPS 203 section 7.2, modulus check."""
    key = generate(method).public_value
    with pytest.raises(InvalidPublicValue, match="not reduced"):
        respond(method, with_first_coefficient(key, coefficient))


@pytest.mark.parametrize("method", METHODS)
def test_largest_reduced_coefficient_is_accepted(method):
    key = with_first_coefficient(generate(method).public_value, Q - 1)
    ciphertext, secret = respond(method, key)
    assert (len(ciphertext), len(secret)) == (public_value_length(method, responder=True), 32)


@pytest.mark.parametrize("method", METHODS)
def test_altered_ciphertext_yields_an_unrelated_secret(method):
    """FIPS 203 section 6.3, implicit rejection: no error that could tell the sender anything."""
    exchange = generate(method)
    ciphertext, secret = respond(method, exchange.public_value)
    assert exchange.shared_secret(ciphertext) == secret
    for position in (0, len(ciphertext) // 2, len(ciphertext) - 1):
        altered = bytearray(ciphertext)
        altered[position] ^= 1
        other = exchange.shared_secret(bytes(altered))
        assert len(other) == 32
        assert other != secret


@pytest.mark.parametrize("method", METHODS)
def test_encapsulation_draws_anew(method):
    key = generate(method).public_value
    assert ml_kem.encapsulate(method, key) != ml_kem.encapsulate(method, key)
