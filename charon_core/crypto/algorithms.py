"""Which algorithms can be negotiated with the libraries that are installed."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from charon_core.crypto.ciphers import ENCRYPTION_SPECS
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.integrity import INTEGRITY_ALGORITHMS
from charon_core.crypto.key_exchange import KEY_EXCHANGE_METHODS, is_supported
from charon_core.crypto.message_cipher import create_message_cipher
from charon_core.crypto.prf import SUPPORTED_PRFS, get_prf
from charon_core.encoding.registry import EncryptionId, EsnId, IntegrityId, TransformType

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.crypto.ciphers import EncryptionSpec

_KEY_EXCHANGES = frozenset(
    {
        TransformType.KE,
        TransformType.ADDKE1,
        TransformType.ADDKE2,
        TransformType.ADDKE3,
        TransformType.ADDKE4,
        TransformType.ADDKE5,
        TransformType.ADDKE6,
        TransformType.ADDKE7,
    }
)


@cache
def supported(transform_type: TransformType) -> tuple[tuple[int, int | None], ...]:
    """Return the (transform ID, Key Length in bits or None) that IKE_SAs can use.

    Every algorithm is tried once, so that what an OpenSSL of reduced means refuses is not listed.
    """
    if transform_type is TransformType.ENCR:
        return tuple(
            (spec.id, spec.key_bits)
            for spec in ENCRYPTION_SPECS
            if spec.id is not EncryptionId.NULL and _works(partial(_try_cipher, spec))
        )
    if transform_type is TransformType.PRF:
        return tuple(
            (prf_id, None)
            for prf_id in SUPPORTED_PRFS
            if _works(partial(get_prf(prf_id).prf, bytes(16), b""))
        )
    if transform_type is TransformType.INTEG:
        return tuple(
            (algorithm.id, None)
            for algorithm in INTEGRITY_ALGORITHMS
            if _works(partial(algorithm.icv, bytes(algorithm.key_length), b""))
        )
    if transform_type in _KEY_EXCHANGES:
        return tuple((method, None) for method in KEY_EXCHANGE_METHODS if is_supported(method))
    if transform_type is TransformType.ESN:
        return ((EsnId.NO_ESN, None), (EsnId.ESN, None))
    return ()


def preload() -> None:
    """Import what a usual handshake needs, some 40 ms that its first peer need not wait for.

    The daemon calls it once it has started to answer.
    """
    _try_cipher(next(spec for spec in ENCRYPTION_SPECS if spec.id is EncryptionId.AES_GCM_16))
    supported(TransformType.KE)


def _try_cipher(spec: EncryptionSpec) -> None:
    integrity = None if spec.is_aead else IntegrityId.HMAC_SHA2_256_128
    key = bytes(range(spec.keymat_length))
    integrity_key = b"" if spec.is_aead else bytes(32)
    create_message_cipher(spec.id, spec.key_bits, integrity, key, integrity_key).seal(b"", b"")


def _works(attempt: Callable[[], object]) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm as NotOffered

    try:
        attempt()
    except (UnsupportedAlgorithm, NotOffered, ValueError):
        return False
    return True
