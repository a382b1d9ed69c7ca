"""ML-KEM (FIPS 203) as a key exchange: encapsulation key one way, ciphertext the other."""

from __future__ import annotations

from typing import Any, Final

from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.key_exchange import KeyExchange, check_length, public_value_length
from charon_core.encoding.registry import KeyExchangeId

_PARAMETER_SETS: Final = {
    KeyExchangeId.ML_KEM_512: "MLKEM512",
    KeyExchangeId.ML_KEM_768: "MLKEM768",
    KeyExchangeId.ML_KEM_1024: "MLKEM1024",
}


def _library_class(method: int, kind: str) -> Any:
    """Return PrivateKey or PublicKey of a parameter set; which sets there are depends on versions.

    Raises:
        UnsupportedAlgorithm: the installed library does not offer it.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import mlkem

        return getattr(mlkem, _PARAMETER_SETS[KeyExchangeId(method)] + kind)
    except (ImportError, AttributeError):
        raise _not_offered(method) from None


def _not_offered(method: int) -> UnsupportedAlgorithm:
    return UnsupportedAlgorithm(
        f"{KeyExchangeId(method).name} is not offered by the installed library"
    )


def is_offered(method: int) -> bool:
    """Tell whether the installed library, and the OpenSSL in it, have the parameter set."""
    try:
        generate(method)
    except UnsupportedAlgorithm:
        return False
    return True


def generate(method: int) -> KeyExchange:
    """Make a decapsulation key; its public value is the encapsulation key.

    Raises:
        UnsupportedAlgorithm: the installed library does not offer the parameter set.
    """
    from cryptography.exceptions import UnsupportedAlgorithm as NotOffered

    private_key = _library_class(method, "PrivateKey")
    try:
        return _MlKem(method, private_key.generate())
    except NotOffered:
        raise _not_offered(method) from None


def encapsulate(method: int, encapsulation_key: bytes) -> tuple[bytes, bytes]:
    """Return (ciphertext, shared secret) for the initiator's encapsulation key.

    Raises:
        InvalidPublicValue: the key fails the type or the modulus check (FIPS 203 section 7.2).
        UnsupportedAlgorithm: the installed library does not offer the parameter set.
    """
    from cryptography.exceptions import UnsupportedAlgorithm as NotOffered

    check_length(method, encapsulation_key, public_value_length(method))
    public_key = _library_class(method, "PublicKey")
    try:
        peer = public_key.from_public_bytes(encapsulation_key)
    except NotOffered:
        raise _not_offered(method) from None
    except ValueError:
        raise InvalidPublicValue(
            f"{KeyExchangeId(method).name} encapsulation key: a coefficient is not reduced modulo q"
        ) from None
    shared, ciphertext = peer.encapsulate()
    return ciphertext, shared


class _MlKem(KeyExchange):
    __slots__ = ("_private",)

    def __init__(self, method: int, private: Any) -> None:
        self._private = private
        super().__init__(method, private.public_key().public_bytes_raw())

    def shared_secret(self, peer_value: bytes) -> bytes:
        check_length(self.method, peer_value, public_value_length(self.method, responder=True))
        # An altered ciphertext yields another secret, by design (implicit rejection).
        shared: bytes = self._private.decapsulate(peer_value)
        return shared
