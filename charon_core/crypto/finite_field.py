"""Diffie-Hellman in the MODP groups, by whichever library offers it.

Two providers are written: `cryptography` (OpenSSL), which announces that it will drop these groups,
and gmpy2, whose `powmod_sec` is made for secret exponents: its time and memory accesses depend on
the length of the numbers only. OpenSSL is taken first because it is faster: both halves of
MODP_2048 take 0.67 ms with it and 1.11 ms with gmpy2 (on one core of an EPYC). MODP_1024 is the
exception: OpenSSL does not know it by name and tests its prime for 38 ms at each use.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol

from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.finite_field_groups import MODP_GROUPS
from charon_core.crypto.key_exchange import KeyExchange, check_length
from charon_core.crypto.random import SYSTEM_RANDOM
from charon_core.encoding.registry import KeyExchangeId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.crypto.finite_field_groups import ModpGroup
    from charon_core.crypto.random import RandomSource


class FiniteFieldProvider(Protocol):
    """What a library has to do for a group; peers' values are checked before it sees them."""

    name: str

    def supports(self, group: ModpGroup) -> bool:
        """Tell whether this provider is a good choice for the group."""
        ...

    def generate(self, group: ModpGroup) -> tuple[Any, int]:
        """Return (private key, of a type of its own, and public value)."""
        ...

    def agree(self, group: ModpGroup, private: Any, peer: int) -> bytes:
        """Return the shared secret, padded with zeros to the length of the prime."""
        ...


class _CryptographyProvider:
    """OpenSSL by way of `cryptography`, as long as that has finite field Diffie-Hellman.

    Raises:
        ImportError: it no longer has.
    """

    __slots__ = ("_parameters", "_public_numbers")
    name = "cryptography"

    def __init__(self) -> None:
        # The names are deprecated and warn at each access, so they are looked up once, here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from cryptography.hazmat.primitives.asymmetric.dh import (
                DHParameterNumbers,
                DHPublicNumbers,
            )
        self._public_numbers = DHPublicNumbers
        self._parameters = {
            group.id: DHParameterNumbers(group.p, group.g, group.q)
            for group in MODP_GROUPS.values()
            if self.supports(group)
        }

    def supports(self, group: ModpGroup) -> bool:
        return group.id != KeyExchangeId.MODP_1024

    def generate(self, group: ModpGroup) -> tuple[Any, int]:
        private = self._parameters[group.id].parameters().generate_private_key()
        return private, private.public_key().public_numbers().y

    def agree(self, group: ModpGroup, private: Any, peer: int) -> bytes:
        public = self._public_numbers(peer, self._parameters[group.id]).public_key()
        shared: bytes = private.exchange(public)
        return shared


class _Gmpy2Provider:
    """GMP by way of gmpy2, with exponents of the proper length drawn here.

    Raises:
        ImportError: gmpy2 is not installed.
    """

    __slots__ = ("_mpz", "_powmod_sec", "_random")
    name = "gmpy2"

    def __init__(self, random: RandomSource = SYSTEM_RANDOM) -> None:
        import gmpy2

        self._mpz = gmpy2.mpz
        self._powmod_sec = gmpy2.powmod_sec
        self._random = random

    def supports(self, group: ModpGroup) -> bool:  # noqa: ARG002 - any group will do
        return True

    def generate(self, group: ModpGroup) -> tuple[Any, int]:
        private = self._mpz(self._exponent(group))
        return private, int(self._powmod_sec(self._mpz(group.g), private, self._mpz(group.p)))

    def _exponent(self, group: ModpGroup) -> int:
        octets = group.exponent_bits // 8
        if group.q is not None:
            # Eight octets more than q make the bias of the reduction negligible.
            return int.from_bytes(self._random.bytes(octets + 8), "big") % (group.q - 1) + 1
        drawn = int.from_bytes(self._random.bytes(octets), "big")
        return drawn | 1 << (group.exponent_bits - 1)

    def agree(self, group: ModpGroup, private: Any, peer: int) -> bytes:
        shared = self._powmod_sec(self._mpz(peer), private, self._mpz(group.p))
        return int(shared).to_bytes(group.length, "big")


_PROVIDERS: Final[Mapping[str, Callable[[], FiniteFieldProvider]]] = {
    _CryptographyProvider.name: _CryptographyProvider,
    _Gmpy2Provider.name: _Gmpy2Provider,
}
"""In order of preference."""


@cache
def provider(name: str) -> FiniteFieldProvider | None:
    """Return a provider by name, None where its library is not installed or lacks what it needs.

    Raises:
        UnsupportedAlgorithm: there is no provider of that name.
    """
    if name not in _PROVIDERS:
        known = ", ".join(_PROVIDERS)
        raise UnsupportedAlgorithm(f"no finite field provider '{name}'; there are: {known}")
    try:
        return _PROVIDERS[name]()
    except ImportError:
        return None


def choose_provider(group: ModpGroup, name: str | None = None) -> FiniteFieldProvider:
    """Return the named provider, or the first one that is a good choice for the group.

    Raises:
        UnsupportedAlgorithm: none is installed that does the group.
    """
    for candidate in _PROVIDERS if name is None else (name,):
        found = provider(candidate)
        if found is not None and found.supports(group):
            return found
    raise UnsupportedAlgorithm(
        f"{group.id.name} needs one of the libraries {', '.join(_PROVIDERS)} with finite field "
        f"Diffie-Hellman{'' if name is None else f'; {name} does not do it'}"
    )


def is_offered(method: int) -> bool:
    """Tell whether a library is installed that does the group."""
    openssl = provider(_CryptographyProvider.name)
    if openssl is not None and openssl.supports(MODP_GROUPS[method]):
        return True
    # Only looked for: importing it takes longer than everything else that a status needs.
    return find_spec(_Gmpy2Provider.name) is not None


def generate(method: int, provider_name: str | None = None) -> KeyExchange:
    """Make a key pair.

    Raises:
        UnsupportedAlgorithm: no installed library does the group.
    """
    group = MODP_GROUPS[method]
    return _FiniteField(group, choose_provider(group, provider_name))


class _FiniteField(KeyExchange):
    __slots__ = ("_group", "_private", "_provider")

    def __init__(self, group: ModpGroup, chosen: FiniteFieldProvider) -> None:
        self._group = group
        self._provider = chosen
        self._private, public = chosen.generate(group)
        super().__init__(group.id, public.to_bytes(group.length, "big"))

    def shared_secret(self, peer_value: bytes) -> bytes:
        group = self._group
        peer = check_public_value(group, peer_value)
        try:
            return self._provider.agree(group, self._private, peer)
        except ValueError:
            raise InvalidPublicValue(
                f"{group.id.name} public value: refused by {self._provider.name}"
            ) from None


def check_public_value(group: ModpGroup, value: bytes) -> int:
    """Return a peer's public value as a number once it is found to be good (RFC 6989 2.1, 2.2).

    Raises:
        InvalidPublicValue: its length is not exactly that of the prime, it is not between 2 and
            p - 2, or it lies outside the small subgroup of its group.
    """
    check_length(group.id, value, group.length)
    y = int.from_bytes(value, "big")
    name = group.id.name
    if y < 2:
        raise InvalidPublicValue(f"{name} public value: expected 2 to p - 2, got {y}")
    if y >= group.p - 1:
        which = "p - 1" if y == group.p - 1 else "p or more"
        raise InvalidPublicValue(f"{name} public value: expected 2 to p - 2, got {which}")
    if group.q is not None and _public_power(y, group.q, group.p) != 1:
        raise InvalidPublicValue(
            f"{name} public value: not in the subgroup of order q (RFC 6989 section 2.2)"
        )
    return y


def _public_power(base: int, exponent: int, modulus: int) -> int:
    """Return a power of numbers that are all public, so timing does not matter."""
    try:
        from gmpy2 import powmod
    except ImportError:
        return pow(base, exponent, modulus)
    return int(powmod(base, exponent, modulus))
