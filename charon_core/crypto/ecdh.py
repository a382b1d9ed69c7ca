"""Elliptic curve groups over prime fields: NIST (RFC 5903, RFC 5114) and brainpool (RFC 6954).

A public value is x | y without any prefix, and the shared secret is the x coordinate alone
(RFC 5903 section 7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm as NotOffered
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.key_exchange import KeyExchange, check_length, public_value_length
from charon_core.encoding.registry import KeyExchangeId

if TYPE_CHECKING:
    from collections.abc import Mapping

_CURVES: Final[Mapping[int, ec.EllipticCurve]] = {
    KeyExchangeId.ECP_192: ec.SECP192R1(),
    KeyExchangeId.ECP_224: ec.SECP224R1(),
    KeyExchangeId.ECP_256: ec.SECP256R1(),
    KeyExchangeId.ECP_384: ec.SECP384R1(),
    KeyExchangeId.ECP_521: ec.SECP521R1(),
    KeyExchangeId.ECP_256_BP: ec.BrainpoolP256R1(),
    KeyExchangeId.ECP_384_BP: ec.BrainpoolP384R1(),
    KeyExchangeId.ECP_512_BP: ec.BrainpoolP512R1(),
}
_ECDH: Final = ec.ECDH()
_UNCOMPRESSED: Final = b"\x04"


def is_offered(method: int) -> bool:
    """Tell whether the installed library has the curve; costs no curve arithmetic."""
    nowhere = _UNCOMPRESSED + bytes(public_value_length(method))
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[method], nowhere)
    except ValueError:
        return True  # the curve is there to tell that the point is not on it
    except NotOffered:
        return False
    return True


def generate(method: int) -> KeyExchange:
    """Make a key pair.

    Raises:
        UnsupportedAlgorithm: the installed library does not offer the curve.
    """
    try:
        private = ec.generate_private_key(_CURVES[method])
    except NotOffered:
        name = KeyExchangeId(method).name
        raise UnsupportedAlgorithm(f"{name} is not offered by the installed library") from None
    return _Ecdh(method, private)


class _Ecdh(KeyExchange):
    __slots__ = ("_private",)

    def __init__(self, method: int, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        super().__init__(method, point[1:])

    def shared_secret(self, peer_value: bytes) -> bytes:
        check_length(self.method, peer_value, len(self.public_value))
        try:
            # The prefix leaves no room for compressed points or infinity, and loading checks the
            # curve's equation (RFC 6989 section 2.3). Cofactors are one: no small subgroups.
            peer = ec.EllipticCurvePublicKey.from_encoded_point(
                self._private.curve, _UNCOMPRESSED + peer_value
            )
        except ValueError:
            name = KeyExchangeId(self.method).name
            raise InvalidPublicValue(
                f"{name} public value: the point is not on the curve"
            ) from None
        return self._private.exchange(_ECDH, peer)
