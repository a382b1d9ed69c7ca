"""Constraints on keys and signatures, as connections write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.credentials.constraints import (
    SignatureConstraints,
    check_auth_scheme,
    parse_constraints,
    signing_schemes,
)
from charon_core.crypto.errors import InvalidSignature
from charon_core.crypto.signature_schemes import KeyType, SignatureScheme

RSA, ECDSA = KeyType.RSA, KeyType.ECDSA


def words(schemes):
    return None if schemes is None else sorted(scheme.keyword for scheme in schemes)


CHAIN = [
    ((), None),
    (("pubkey",), None),
    (("rsa",), None),
    (("rsa-2048",), None),
    (("pubkey-sha256",), ["ecdsa-sha256", "rsa-sha256"]),
    (("rsa-2048-sha256",), ["rsa-sha256"]),
    (("rsa-2048-sha256-sha384",), ["rsa-sha256", "rsa-sha384"]),
    (("rsa-2048-sha256-ecdsa-256-sha384",), ["ecdsa-sha384", "rsa-sha256"]),
    (("rsa/pss-sha256",), ["rsa/pss-sha256"]),
    (("rsa/pss",), ["rsa/pss-sha256", "rsa/pss-sha384", "rsa/pss-sha512"]),
    (("rsa-sha256-ed25519",), ["ed25519", "rsa-sha256"]),
    (("rsa-sha256-ed25519-sha512",), ["ed25519", "rsa-sha256"]),
    (("pubkey-identity",), ["ed25519", "ed448", "mldsa44", "mldsa65", "mldsa87"]),
    (("pubkey-md5",), []),
    (("rsa-sha224",), []),
    (("rsa-sha256", "ecdsa-sha384"), ["ecdsa-sha384", "rsa-sha256"]),
    (("ike:pubkey-sha384",), None),
    (("rsa-sha256-ike:pubkey-sha384",), ["rsa-sha256"]),
]


@pytest.mark.parametrize(("texts", "expected"), CHAIN)
def test_signatures_of_the_chain(texts, expected):
    assert words(parse_constraints(texts).chain_schemes) == expected


AUTH = [
    ((), None),
    (("rsa-2048",), None),
    (("pubkey-sha256",), ["rsa-sha256", "ecdsa-sha256"]),
    (("ike:pubkey-sha384-sha256",), ["rsa-sha384", "ecdsa-sha384", "rsa-sha256", "ecdsa-sha256"]),
    (("rsa-sha256-ike:rsa-sha512",), ["rsa-sha512"]),
    (("rsa-sha256", "ike:rsa/pss-sha512"), ["rsa/pss-sha512"]),
    (("ike:rsa-sha256-ike:ecdsa-sha384",), ["rsa-sha256", "ecdsa-sha384"]),
    (("rsa-sha256-ike:rsa",), None),
]


@pytest.mark.parametrize(("texts", "expected"), AUTH)
def test_signatures_of_auth_payloads_in_their_order(texts, expected):
    schemes = parse_constraints(texts).auth_schemes
    assert (schemes and [scheme.keyword for scheme in schemes]) == expected


def test_chain_constraints_need_not_count_for_auth_payloads():
    assert parse_constraints(("rsa-sha256",), for_auth=False).auth_schemes is None
    only = parse_constraints(("rsa-sha256-ike:rsa-sha512",), for_auth=False)
    assert words(only.auth_schemes) == ["rsa-sha512"]


def test_pss_counts_as_rsa_only_if_asked():
    assert words(parse_constraints(("rsa-sha256",), rsa_pss=True).chain_schemes) == [
        "rsa-sha256",
        "rsa/pss-sha256",
    ]


@pytest.mark.parametrize(
    ("text", "bits", "types"),
    [
        ("rsa-2048", {RSA: 2048}, {RSA}),
        ("rsa-2048-sha256-ecdsa-256-sha256", {RSA: 2048, ECDSA: 256}, {RSA, ECDSA}),
        ("rsa-2048-rsa-3072", {RSA: 3072}, {RSA}),
        ("rsa-2048-ed25519", {RSA: 2048}, {RSA, KeyType.ED25519}),
        ("rsa-sha256", {}, set()),
        ("ike:rsa-4096", {}, set()),
    ],
)
def test_sizes_of_keys(text, bits, types):
    constraints = parse_constraints((text,))
    assert constraints.min_bits == bits
    assert constraints.key_types == types


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("bliss-128", ("bliss", "128")),
        ("sha256", ("sha256",)),
        ("pubkey-2048-sha256", ("2048",)),
        ("ed25519-256", ("256",)),
        ("rsa-2048-sha3", ("sha3",)),
        ("rsa-sha256-²", ("²",)),
        ("RSA", ("RSA",)),
        ("", ()),
        ("--", ()),
    ],
)
def test_unknown_words_are_returned(text, unknown):
    assert parse_constraints((text,)).unknown == unknown


def test_what_we_sign_with():
    assert signing_schemes(("rsa-sha256",)) == ()
    assert signing_schemes(("ike:rsa-sha256",)) == (
        SignatureScheme.RSA_SHA2_256,
        SignatureScheme.RSA_PSS_SHA2_256,
    )


def test_auth_payloads_are_checked():
    check_auth_scheme(SignatureScheme.RSA_SHA2_256, ())
    check_auth_scheme(SignatureScheme.RSA_SHA2_256, ("pubkey-sha256",))
    check_auth_scheme(SignatureScheme.CLASSIC_ECDSA_256, ("pubkey-sha256",))
    for scheme in (
        SignatureScheme.RSA_SHA2_384,
        SignatureScheme.RSA_PSS_SHA2_256,
        SignatureScheme.CLASSIC_RSA_SHA1,
        SignatureScheme.CLASSIC_ECDSA_384,
    ):
        with pytest.raises(InvalidSignature, match="only accepts rsa-sha256, ecdsa-sha256"):
            check_auth_scheme(scheme, ("pubkey-sha256",))
    with pytest.raises(InvalidSignature, match="only accepts none"):
        check_auth_scheme(SignatureScheme.RSA_SHA2_256, ("rsa-md5",))


WORDS = st.sampled_from(["rsa", "ecdsa", "pubkey", "rsa/pss", "2048", "sha256", "ike:rsa", "x", ""])


@given(st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=6).map("-".join))
def test_any_text_is_understood_or_returned(text):
    constraints = parse_constraints((text,))
    assert isinstance(constraints, SignatureConstraints)
    for schemes in (constraints.chain_schemes, constraints.auth_schemes):
        assert schemes is None or all(not scheme.is_classic for scheme in schemes)
