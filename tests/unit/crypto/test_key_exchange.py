from __future__ import annotations

import pytest

from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.key_exchange import (
    KEY_EXCHANGE_METHODS,
    generate,
    is_supported,
    public_value_length,
    respond,
)
from charon_core.encoding.registry import KeyExchangeId

SUPPORTED = [method for method in KEY_EXCHANGE_METHODS if is_supported(method)]
QUICK = [
    method
    for method in SUPPORTED
    if method not in (KeyExchangeId.MODP_4096, KeyExchangeId.MODP_6144, KeyExchangeId.MODP_8192)
]
ML_KEM = (KeyExchangeId.ML_KEM_512, KeyExchangeId.ML_KEM_768, KeyExchangeId.ML_KEM_1024)
SYMMETRIC = [method for method in QUICK if method not in ML_KEM]
NIST_AND_BRAINPOOL = [method for method in SYMMETRIC if method.name.startswith("ECP")]


def test_the_methods_that_must_be_there_are_there():
    required = {
        f"MODP_{bits}"
        for bits in (1024, 1536, 2048, 3072, 4096, 6144, 8192, "1024_160", "2048_224", "2048_256")
    }
    required |= {"ECP_256", "ECP_384", "ECP_521", "ECP_256_BP", "ECP_384_BP", "ECP_512_BP"}
    required |= {"CURVE25519", "CURVE448", "ML_KEM_768", "ML_KEM_1024"}
    assert required <= {method.name for method in SUPPORTED}


@pytest.mark.parametrize("method", SUPPORTED)
def test_both_ends_agree(method):
    ours = generate(method)
    assert ours.method == method
    assert len(ours.public_value) == public_value_length(method)
    theirs, secret = respond(method, ours.public_value)
    assert len(theirs) == public_value_length(method, responder=True)
    assert ours.shared_secret(theirs) == secret
    assert any(secret)


@pytest.mark.parametrize("method", QUICK)
def test_every_exchange_is_fresh(method):
    first, second = generate(method), generate(method)
    assert first.public_value != second.public_value
    peer = respond(method, first.public_value)
    assert respond(method, first.public_value) != peer


@pytest.mark.parametrize(
    ("method", "length"),
    [
        # RFC 7296 2.14: g^ir has the length of the prime. RFC 5903: the x coordinate.
        (KeyExchangeId.MODP_2048, 256),
        (KeyExchangeId.ECP_256, 32),
        (KeyExchangeId.ECP_521, 66),
        (KeyExchangeId.ECP_512_BP, 64),
        (KeyExchangeId.CURVE25519, 32),
        (KeyExchangeId.CURVE448, 56),
        (KeyExchangeId.ML_KEM_768, 32),
    ],
)
def test_length_of_the_shared_secret(method, length):
    _, secret = respond(method, generate(method).public_value)
    assert len(secret) == length


# Hardening class 6: empty, too short, too long, zero, one, p-1, off the curve, of low order.


@pytest.mark.parametrize("method", QUICK)
def test_public_value_of_another_length_is_refused(method):
    exchange = generate(method)
    sent, received = public_value_length(method), public_value_length(method, responder=True)
    for wrong in (0, 1, sent - 1, sent + 1, 2 * sent):
        with pytest.raises(InvalidPublicValue, match=f"expected {sent} octets, got {wrong}"):
            respond(method, b"\x01" * wrong)
    for wrong in (0, 1, received - 1, received + 1):
        with pytest.raises(InvalidPublicValue, match=f"expected {received} octets, got {wrong}"):
            exchange.shared_secret(b"\x01" * wrong)


@pytest.mark.parametrize("method", SYMMETRIC)
def test_zero_and_all_ones_are_refused(method):
    length = public_value_length(method)
    values = [bytes(length)]
    if method.name.startswith(("MODP", "ECP")):
        values.append(b"\xff" * length)
    for value in values:
        with pytest.raises(InvalidPublicValue, match=method.name):
            respond(method, value)
        with pytest.raises(InvalidPublicValue, match=method.name):
            generate(method).shared_secret(value)


@pytest.mark.parametrize("method", NIST_AND_BRAINPOOL)
def test_points_off_the_curve_are_refused(method):
    good = generate(method).public_value
    half = len(good) // 2
    off_by_one = bytearray(good)
    off_by_one[-1] ^= 1
    swapped = good[half:] + good[:half]
    for value in (bytes(off_by_one), swapped, good[:half] + bytes(half), bytes(half) + good[half:]):
        with pytest.raises(InvalidPublicValue, match="not on the curve"):
            respond(method, value)


@pytest.mark.parametrize("method", NIST_AND_BRAINPOOL)
def test_prefixed_and_compressed_points_are_refused(method):
    good = generate(method).public_value
    half = len(good) // 2
    for value in (b"\x04" + good, b"\x02" + good[:half], b"\x00", good[:half]):
        with pytest.raises(InvalidPublicValue, match="octets"):
            respond(method, value)


@pytest.mark.parametrize(
    "method", [0, KeyExchangeId.MODP_768, KeyExchangeId.ECP_224_BP, 33, 1024, 65535]
)
def test_unknown_method_is_refused_by_name(method):
    assert not is_supported(method)
    for attempt in (
        lambda: generate(method),
        lambda: respond(method, bytes(32)),
        lambda: public_value_length(method),
    ):
        with pytest.raises(UnsupportedAlgorithm, match="key exchange method"):
            attempt()


@pytest.mark.parametrize("method", [m for m in KEY_EXCHANGE_METHODS if m not in SUPPORTED])
def test_method_that_the_library_lacks_is_refused(method):
    with pytest.raises(UnsupportedAlgorithm, match="not offered"):
        generate(method)
    with pytest.raises(UnsupportedAlgorithm, match="not offered"):
        respond(method, bytes(public_value_length(method)))


@pytest.mark.parametrize("method", QUICK)
def test_repr_shows_no_key(method):
    assert repr(generate(method)) == f"<KeyExchange {method.name} ***>"
