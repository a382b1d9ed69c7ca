from __future__ import annotations

import warnings

import gmpy2
import pytest

from charon_core.crypto import finite_field
from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.finite_field import check_public_value, choose_provider, provider
from charon_core.crypto.finite_field_groups import MODP_GROUPS
from charon_core.crypto.key_exchange import generate, public_value_length, respond
from charon_core.encoding.registry import KeyExchangeId
from tests.unit.crypto.support import FixedRandom

GROUPS = list(MODP_GROUPS.values())
SAFE_PRIMES = [group for group in GROUPS if group.q is None]
SUBGROUPS = [group for group in GROUPS if group.q is not None]
QUICK = [group for group in GROUPS if group.length <= 384]
PROVIDERS = ("cryptography", "gmpy2")


def named(groups):
    return {"argvalues": groups, "ids": [group.id.name for group in groups]}


@pytest.fixture
def no_cached_provider():
    provider.cache_clear()
    yield
    provider.cache_clear()


# The groups themselves.


@pytest.mark.parametrize("group", **named(SAFE_PRIMES))
def test_safe_primes_have_the_length_of_their_name(group):
    bits = int(group.id.name.removeprefix("MODP_"))
    assert group.p.bit_length() == bits
    assert group.length == bits // 8 == public_value_length(group.id)
    assert gmpy2.is_prime(gmpy2.mpz(group.p), 1)
    assert group.g == 2


@pytest.mark.parametrize("group", **named(SAFE_PRIMES[:4]))
def test_safe_primes_are_safe(group):
    assert gmpy2.is_prime(gmpy2.mpz(group.p >> 1), 1)
    assert pow(2, group.p >> 1, group.p) == 1, "the generator is a square: no bit leaks"


def test_modp_2048_ends_as_in_rfc_3526():
    p = f"{MODP_GROUPS[KeyExchangeId.MODP_2048].p:X}"
    assert p.startswith("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74")
    assert p.endswith(
        "DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF"
    )


@pytest.mark.parametrize("group", **named(SUBGROUPS))
def test_subgroups_are_of_prime_order(group):
    p_bits, q_bits = group.id.name.removeprefix("MODP_").split("_")
    assert (group.p.bit_length(), group.q.bit_length()) == (int(p_bits), int(q_bits))
    assert gmpy2.is_prime(group.p)
    assert gmpy2.is_prime(group.q)
    assert (group.p - 1) % group.q == 0
    assert group.g > 1
    assert pow(group.g, group.q, group.p) == 1


@pytest.mark.parametrize(
    ("method", "strength"),
    [
        # NIST SP 800-57 part 1, table 2; RFC 3526 section 8 for what that does not list
        (KeyExchangeId.MODP_1024, 80),
        (KeyExchangeId.MODP_1536, 90),
        (KeyExchangeId.MODP_2048, 112),
        (KeyExchangeId.MODP_3072, 128),
        (KeyExchangeId.MODP_4096, 150),
        (KeyExchangeId.MODP_6144, 176),
        (KeyExchangeId.MODP_8192, 200),
    ],
)
def test_exponents_have_twice_the_strength(method, strength):
    assert MODP_GROUPS[method].exponent_bits >= 2 * strength


# The providers, against Python's pow and against each other.


@pytest.mark.parametrize("group", **named(QUICK))
@pytest.mark.parametrize("name", PROVIDERS)
def test_provider_agrees_with_pow(group, name):
    chosen = provider(name)
    if not chosen.supports(group):
        with pytest.raises(UnsupportedAlgorithm, match=f"{name} does not"):
            choose_provider(group, name)
        return
    private, public = chosen.generate(group)
    x = int(private) if name == "gmpy2" else private.private_numbers().x
    assert public == pow(group.g, x, group.p)
    peer = pow(group.g, 0xC0FFEE, group.p)
    assert chosen.agree(group, private, peer) == pow(peer, x, group.p).to_bytes(group.length)


@pytest.mark.parametrize("group", **named(QUICK))
@pytest.mark.parametrize(("ours", "theirs"), [PROVIDERS, PROVIDERS[::-1]])
def test_providers_agree_with_each_other(group, ours, theirs):
    if not provider("cryptography").supports(group):
        ours = theirs = "gmpy2"
    initiator = generate(group.id, finite_field_provider=ours)
    public, secret = respond(group.id, initiator.public_value, finite_field_provider=theirs)
    assert initiator.shared_secret(public) == secret


@pytest.mark.parametrize("name", PROVIDERS)
def test_shared_secret_keeps_its_leading_zeros(name):
    """RFC 7296 section 2.14: padded with zeros to the length of the prime."""
    group = MODP_GROUPS[KeyExchangeId.MODP_2048]
    chosen = provider(name)
    private, _ = chosen.generate(group)
    x = int(private) if name == "gmpy2" else private.private_numbers().x
    # The peer's value is worked out backwards from a short secret, within the squares.
    peer = pow(4, pow(x, -1, group.p >> 1), group.p)
    assert chosen.agree(group, private, peer) == bytes(255) + b"\x04"


def test_gmpy2_draws_exponents_of_fixed_length():
    group = MODP_GROUPS[KeyExchangeId.MODP_2048]
    for drawn in (bytes(29), b"\xff" * 29):
        chosen = finite_field._Gmpy2Provider(FixedRandom(drawn))
        private, _ = chosen.generate(group)
        assert int(private).bit_length() == group.exponent_bits == 232


@pytest.mark.parametrize("group", **named(SUBGROUPS))
def test_gmpy2_draws_exponents_below_the_order(group):
    octets = group.exponent_bits // 8 + 8
    for drawn in (bytes(octets), b"\xff" * octets, (group.q - 1).to_bytes(octets)):
        private, public = finite_field._Gmpy2Provider(FixedRandom(drawn)).generate(group)
        assert 1 <= int(private) < group.q
        assert public == pow(group.g, int(private), group.p)


# Which one is taken.


@pytest.mark.parametrize("group", **named(GROUPS))
def test_openssl_is_preferred_where_it_knows_the_group(group):
    expected = "gmpy2" if group.id == KeyExchangeId.MODP_1024 else "cryptography"
    assert choose_provider(group).name == expected


def test_without_cryptography_gmpy2_does_it_all(monkeypatch, no_cached_provider):
    def removed():
        raise ImportError("cannot import name 'DHParameterNumbers'")

    monkeypatch.setattr(
        finite_field, "_PROVIDERS", {**finite_field._PROVIDERS, "cryptography": removed}
    )
    for group in GROUPS:
        assert choose_provider(group).name == "gmpy2"
        assert finite_field.is_offered(group.id)
    initiator = generate(KeyExchangeId.MODP_2048)
    public, secret = respond(KeyExchangeId.MODP_2048, initiator.public_value)
    assert initiator.shared_secret(public) == secret


def test_without_any_provider_the_groups_are_not_offered(monkeypatch, no_cached_provider):
    def missing():
        raise ImportError

    monkeypatch.setattr(finite_field, "_PROVIDERS", dict.fromkeys(PROVIDERS, missing))
    monkeypatch.setattr(finite_field, "find_spec", lambda name: None)
    for group in GROUPS:
        assert not finite_field.is_offered(group.id)
        with pytest.raises(UnsupportedAlgorithm, match="one of the libraries"):
            generate(group.id)


def test_unknown_provider_is_named():
    with pytest.raises(UnsupportedAlgorithm, match=r"openssl.*there are: cryptography, gmpy2"):
        generate(KeyExchangeId.MODP_2048, finite_field_provider="openssl")


def test_no_deprecation_warning_reaches_the_user(no_cached_provider):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        respond(KeyExchangeId.MODP_2048, generate(KeyExchangeId.MODP_2048).public_value)


# Hardening class 6 (RFC 6989 sections 2.1 and 2.2).


@pytest.mark.parametrize("group", **named(GROUPS))
def test_values_outside_of_two_to_p_minus_two_are_refused(group):
    largest = (1 << 8 * group.length) - 1
    for y in (0, 1, group.p - 1, group.p, group.p + 1, largest):
        with pytest.raises(InvalidPublicValue, match=r"expected 2 to p - 2"):
            check_public_value(group, y.to_bytes(group.length))


@pytest.mark.parametrize("group", **named(SAFE_PRIMES))
def test_the_outermost_good_values_are_accepted(group):
    for y in (2, group.p - 2):
        assert check_public_value(group, y.to_bytes(group.length)) == y


@pytest.mark.parametrize("group", **named(SUBGROUPS))
@pytest.mark.parametrize("with_gmpy2", [True, False])
def test_values_outside_of_the_subgroup_are_refused(group, with_gmpy2, monkeypatch):
    if not with_gmpy2:
        monkeypatch.setitem(__import__("sys").modules, "gmpy2", None)
    inside = pow(group.g, 12345, group.p)
    assert check_public_value(group, inside.to_bytes(group.length)) == inside
    # Elements of order 2 q, and of the order of the rest of the group.
    for outside in (group.p - inside, pow(3, group.q, group.p), 2):
        with pytest.raises(InvalidPublicValue, match="subgroup"):
            check_public_value(group, outside.to_bytes(group.length))


@pytest.mark.parametrize("method", [KeyExchangeId.MODP_2048, KeyExchangeId.MODP_2048_256])
@pytest.mark.parametrize("name", PROVIDERS)
def test_bad_values_are_refused_whatever_the_provider(method, name):
    exchange = generate(method, finite_field_provider=name)
    group = MODP_GROUPS[method]
    for y in (0, 1, group.p - 1, group.p):
        with pytest.raises(InvalidPublicValue):
            exchange.shared_secret(y.to_bytes(group.length))


def test_what_only_the_provider_refuses_is_an_invalid_public_value(monkeypatch):
    exchange = generate(KeyExchangeId.MODP_2048, finite_field_provider="gmpy2")

    def refuse(*args):
        raise ValueError("Error computing shared key.")

    monkeypatch.setattr(finite_field._Gmpy2Provider, "agree", refuse)
    with pytest.raises(InvalidPublicValue, match="refused by gmpy2"):
        exchange.shared_secret(exchange.public_value)
