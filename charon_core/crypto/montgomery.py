"""Curve25519 and Curve448 (RFC 7748, RFC 8031)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm as NotOffered
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.key_exchange import KeyExchange, check_length
from charon_core.encoding.registry import KeyExchangeId

if TYPE_CHECKING:
    from typing import NoReturn


def is_offered(method: int) -> bool:
    """Tell whether the installed library has the curve."""
    try:
        generate(method)
    except UnsupportedAlgorithm:
        return False
    return True


def generate(method: int) -> KeyExchange:
    """Make a key pair.

    Raises:
        UnsupportedAlgorithm: the installed library does not offer the curve.
    """
    try:
        return _Curve25519() if method == KeyExchangeId.CURVE25519 else _Curve448()
    except NotOffered:
        name = KeyExchangeId(method).name
        raise UnsupportedAlgorithm(f"{name} is not offered by the installed library") from None


def _refuse(name: str) -> NoReturn:
    # The library computes the secret in constant time and refuses it when it is all zero.
    raise InvalidPublicValue(
        f"{name} public value: a point of low order, the shared secret would be zero"
    ) from None


class _Curve25519(KeyExchange):
    __slots__ = ("_private",)

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        super().__init__(KeyExchangeId.CURVE25519, self._private.public_key().public_bytes_raw())

    def shared_secret(self, peer_value: bytes) -> bytes:
        check_length(KeyExchangeId.CURVE25519, peer_value, 32)
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(peer_value))
        except ValueError:
            _refuse("CURVE25519")


class _Curve448(KeyExchange):
    __slots__ = ("_private",)

    def __init__(self) -> None:
        self._private = X448PrivateKey.generate()
        super().__init__(KeyExchangeId.CURVE448, self._private.public_key().public_bytes_raw())

    def shared_secret(self, peer_value: bytes) -> bytes:
        check_length(KeyExchangeId.CURVE448, peer_value, 56)
        try:
            return self._private.exchange(X448PublicKey.from_public_bytes(peer_value))
        except ValueError:
            _refuse("CURVE448")
