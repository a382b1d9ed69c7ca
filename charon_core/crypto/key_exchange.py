"""Key exchange methods behind one interface: MODP, ECP, Curve25519, Curve448, ML-KEM.

Implementations are imported when a method of their kind is first used: gmpy2 alone takes tens of
milliseconds, and most daemons never need it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.encoding.registry import KeyExchangeId, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyExchange(ABC):
    """Our half of one key exchange; holds the private key, so keep it no longer than needed.

    Attributes:
        method: the transform ID.
        public_value: what goes into our KE payload.
    """

    __slots__ = ("method", "public_value")

    def __init__(self, method: int, public_value: bytes) -> None:
        self.method = method
        self.public_value = public_value

    @abstractmethod
    def shared_secret(self, peer_value: bytes) -> bytes:
        """Return the shared secret, g^ir or SK(n), from the data of the peer's KE payload.

        Raises:
            InvalidPublicValue: the peer's value is refused.
        """

    def __repr__(self) -> str:
        return f"<KeyExchange {name_of(KeyExchangeId, self.method)} ***>"


class _Family(Enum):
    MODP = auto()
    ECP = auto()
    MONTGOMERY = auto()
    ML_KEM = auto()


class _Method(NamedTuple):
    family: _Family
    initiator_length: int
    responder_length: int


def _symmetric(family: _Family, lengths: Mapping[KeyExchangeId, int]) -> dict[int, _Method]:
    return {method: _Method(family, length, length) for method, length in lengths.items()}


_METHODS: Final[Mapping[int, _Method]] = {
    **_symmetric(
        _Family.MODP,
        {
            KeyExchangeId.MODP_1024: 128,
            KeyExchangeId.MODP_1536: 192,
            KeyExchangeId.MODP_2048: 256,
            KeyExchangeId.MODP_3072: 384,
            KeyExchangeId.MODP_4096: 512,
            KeyExchangeId.MODP_6144: 768,
            KeyExchangeId.MODP_8192: 1024,
            KeyExchangeId.MODP_1024_160: 128,
            KeyExchangeId.MODP_2048_224: 256,
            KeyExchangeId.MODP_2048_256: 256,
        },
    ),
    **_symmetric(
        _Family.ECP,
        {
            KeyExchangeId.ECP_192: 48,
            KeyExchangeId.ECP_224: 56,
            KeyExchangeId.ECP_256: 64,
            KeyExchangeId.ECP_384: 96,
            KeyExchangeId.ECP_521: 132,
            KeyExchangeId.ECP_256_BP: 64,
            KeyExchangeId.ECP_384_BP: 96,
            KeyExchangeId.ECP_512_BP: 128,
        },
    ),
    **_symmetric(_Family.MONTGOMERY, {KeyExchangeId.CURVE25519: 32, KeyExchangeId.CURVE448: 56}),
    # The initiator sends an encapsulation key, the responder a ciphertext.
    KeyExchangeId.ML_KEM_512: _Method(_Family.ML_KEM, 800, 768),
    KeyExchangeId.ML_KEM_768: _Method(_Family.ML_KEM, 1184, 1088),
    KeyExchangeId.ML_KEM_1024: _Method(_Family.ML_KEM, 1568, 1568),
}

KEY_EXCHANGE_METHODS: Final = tuple(_METHODS)
"""Every method written here; `is_supported` tells which of them the installed libraries offer."""


def _method(method: int) -> _Method:
    try:
        return _METHODS[method]
    except KeyError:
        raise UnsupportedAlgorithm(
            f"key exchange method {name_of(KeyExchangeId, method)} is not supported"
        ) from None


def public_value_length(method: int, *, responder: bool = False) -> int:
    """Return the octets of a public value; only with ML-KEM do those of the two ends differ.

    Raises:
        UnsupportedAlgorithm: the method is unknown here.
    """
    known = _method(method)
    return known.responder_length if responder else known.initiator_length


def is_supported(method: int) -> bool:
    """Tell whether a method can be used with the installed libraries."""
    return method in _METHODS and _is_offered(method)


@cache
def _is_offered(method: int) -> bool:
    """Ask the library, once for each method known here: peers' numbers do not fill the cache."""
    known = _METHODS[method]
    if known.family is _Family.MODP:
        from charon_core.crypto import finite_field

        return finite_field.is_offered(method)
    if known.family is _Family.ECP:
        from charon_core.crypto import ecdh

        return ecdh.is_offered(method)
    if known.family is _Family.MONTGOMERY:
        from charon_core.crypto import montgomery

        return montgomery.is_offered(method)
    from charon_core.crypto import ml_kem

    return ml_kem.is_offered(method)


def generate(method: int, *, finite_field_provider: str | None = None) -> KeyExchange:
    """Make our half of a key exchange with a fresh private key.

    Args:
        method: the transform ID.
        finite_field_provider: name of the library that does MODP groups, None for the fastest.

    Raises:
        UnsupportedAlgorithm: the method is unknown or not offered by the installed libraries.
    """
    family = _method(method).family
    if family is _Family.MONTGOMERY:
        from charon_core.crypto import montgomery

        return montgomery.generate(method)
    if family is _Family.ECP:
        from charon_core.crypto import ecdh

        return ecdh.generate(method)
    if family is _Family.MODP:
        from charon_core.crypto import finite_field

        return finite_field.generate(method, finite_field_provider)
    from charon_core.crypto import ml_kem

    return ml_kem.generate(method)


def respond(
    method: int, peer_value: bytes, *, finite_field_provider: str | None = None
) -> tuple[bytes, bytes]:
    """Do the responder's whole part: return (our public value, shared secret).

    Args:
        method: the transform ID.
        peer_value: data of the initiator's KE payload.
        finite_field_provider: as for `generate`.

    Raises:
        InvalidPublicValue: the peer's value is refused.
        UnsupportedAlgorithm: the method is unknown or not offered by the installed libraries.
    """
    known = _method(method)
    # A wrong length is found before any expensive work is done for the peer.
    check_length(method, peer_value, known.initiator_length)
    if known.family is _Family.ML_KEM:
        from charon_core.crypto import ml_kem

        return ml_kem.encapsulate(method, peer_value)
    exchange = generate(method, finite_field_provider=finite_field_provider)
    return exchange.public_value, exchange.shared_secret(peer_value)


def check_length(method: int, value: bytes, expected: int) -> None:
    """Refuse a public value that is not exactly as long as its method says.

    Raises:
        InvalidPublicValue: it is not.
    """
    if len(value) != expected:
        raise InvalidPublicValue(
            f"{name_of(KeyExchangeId, method)} public value: "
            f"expected {expected} octets, got {len(value)}"
        )
