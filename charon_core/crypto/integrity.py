"""Integrity algorithms: a MAC truncated to an ICV (RFC 2403, 2404, 3566, 4494, 4868)."""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from charon_core.crypto.aes_mac import keyed_cmac, keyed_xcbc
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.encoding.registry import IntegrityId, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class IntegrityAlgorithm(ABC):
    """One integrity algorithm; stateless, so a single object serves all SAs.

    Attributes:
        id: the transform ID.
        key_length: octets of its key, which is never of another length.
        icv_length: octets of the ICV.
    """

    __slots__ = ("icv_length", "id", "key_length")

    def __init__(self, integ_id: IntegrityId, key_length: int, icv_length: int) -> None:
        self.id = integ_id
        self.key_length = key_length
        self.icv_length = icv_length

    @abstractmethod
    def icv(self, key: bytes, data: bytes) -> bytes:
        """Return the ICV of `data`."""

    def verify(self, key: bytes, data: bytes, icv: bytes) -> bool:
        """Tell whether `icv` is the ICV of `data`, in constant time."""
        return hmac.compare_digest(self.icv(key, data), icv)

    def __repr__(self) -> str:
        return f"<IntegrityAlgorithm {self.id.name}>"


class _HmacIntegrity(IntegrityAlgorithm):
    __slots__ = ("_hash",)

    def __init__(
        self, integ_id: IntegrityId, hash_name: str, key_length: int, icv_length: int
    ) -> None:
        super().__init__(integ_id, key_length, icv_length)
        self._hash = hash_name

    def icv(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._hash)[: self.icv_length]


class _AesIntegrity(IntegrityAlgorithm):
    __slots__ = ("_keyed",)

    def __init__(
        self, integ_id: IntegrityId, keyed: Callable[[bytes], Callable[[bytes], bytes]]
    ) -> None:
        super().__init__(integ_id, key_length=16, icv_length=12)
        self._keyed = keyed

    def icv(self, key: bytes, data: bytes) -> bytes:
        return self._keyed(key)(data)[:12]


_ALGORITHMS: Final[Mapping[int, IntegrityAlgorithm]] = {
    algorithm.id: algorithm
    for algorithm in (
        _HmacIntegrity(IntegrityId.HMAC_MD5_96, "md5", 16, 12),
        _HmacIntegrity(IntegrityId.HMAC_SHA1_96, "sha1", 20, 12),
        _AesIntegrity(IntegrityId.AES_XCBC_96, keyed_xcbc),
        _AesIntegrity(IntegrityId.AES_CMAC_96, keyed_cmac),
        _HmacIntegrity(IntegrityId.HMAC_SHA2_256_128, "sha256", 32, 16),
        _HmacIntegrity(IntegrityId.HMAC_SHA2_384_192, "sha384", 48, 24),
        _HmacIntegrity(IntegrityId.HMAC_SHA2_512_256, "sha512", 64, 32),
        _HmacIntegrity(IntegrityId.HMAC_SHA2_256_96, "sha256", 32, 12),
    )
}

INTEGRITY_ALGORITHMS: Final = tuple(_ALGORITHMS.values())


def get_integrity(integ_id: int) -> IntegrityAlgorithm:
    """Return the integrity algorithm of a transform ID.

    Raises:
        UnsupportedAlgorithm: there is no such algorithm here; NONE is not one.
    """
    try:
        return _ALGORITHMS[integ_id]
    except KeyError:
        raise UnsupportedAlgorithm(
            f"integrity algorithm {name_of(IntegrityId, integ_id)} is not supported"
        ) from None
