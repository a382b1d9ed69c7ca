"""The proposals that are offered and accepted where a connection does not say otherwise."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from charon_core.config.algorithm_support import is_supported
from charon_core.config.proposal import ENCR, ESN, INTEG, KE, PRF, Proposal, Transform
from charon_core.encoding.registry import (
    EncryptionId,
    EsnId,
    IntegrityId,
    KeyExchangeId,
    PrfId,
    ProtocolId,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_KEY_BITS: Final = (128, 192, 256)
_CLASSIC: Final = (EncryptionId.AES_CBC, EncryptionId.AES_CTR)
_AEAD: Final = (
    EncryptionId.AES_GCM_16,
    EncryptionId.AES_CCM_16,
    EncryptionId.CHACHA20_POLY1305,
    EncryptionId.AES_GCM_12,
    EncryptionId.AES_GCM_8,
    EncryptionId.AES_CCM_12,
    EncryptionId.AES_CCM_8,
)
_FIXED_KEY_LENGTH: Final = frozenset({EncryptionId.TRIPLE_DES, EncryptionId.CHACHA20_POLY1305})
_IKE_INTEGRITY: Final = (
    IntegrityId.HMAC_SHA2_256_128,
    IntegrityId.HMAC_SHA2_384_192,
    IntegrityId.HMAC_SHA2_512_256,
    IntegrityId.AES_XCBC_96,
    IntegrityId.AES_CMAC_96,
    IntegrityId.HMAC_SHA1_96,
)
_ESP_INTEGRITY: Final = (
    IntegrityId.HMAC_SHA2_256_128,
    IntegrityId.HMAC_SHA2_384_192,
    IntegrityId.HMAC_SHA2_512_256,
    IntegrityId.HMAC_SHA1_96,
    IntegrityId.AES_XCBC_96,
)
_PRFS: Final = (
    PrfId.HMAC_SHA2_256,
    PrfId.HMAC_SHA2_384,
    PrfId.HMAC_SHA2_512,
    PrfId.AES128_XCBC,
    PrfId.AES128_CMAC,
    PrfId.HMAC_SHA1,
)
_KEY_EXCHANGES: Final = (
    KeyExchangeId.CURVE25519,
    KeyExchangeId.CURVE448,
    KeyExchangeId.ECP_256,
    KeyExchangeId.ECP_384,
    KeyExchangeId.ECP_521,
    KeyExchangeId.ECP_256_BP,
    KeyExchangeId.ECP_384_BP,
    KeyExchangeId.ECP_512_BP,
    KeyExchangeId.MODP_3072,
    KeyExchangeId.MODP_4096,
    KeyExchangeId.MODP_6144,
    KeyExchangeId.MODP_8192,
    KeyExchangeId.MODP_2048,
)


def _ciphers(ids: Iterable[EncryptionId]) -> Iterator[Transform]:
    for number in ids:
        if number in _FIXED_KEY_LENGTH:
            yield Transform(ENCR, int(number))
        else:
            for bits in _KEY_BITS:
                yield Transform(ENCR, int(number), bits)


def _plain(type_: int, ids: Iterable[int]) -> Iterator[Transform]:
    return (Transform(type_, int(number)) for number in ids)


def _written(protocol: ProtocolId) -> Iterator[list[Transform]]:
    """Yield the default proposals as they would be if everything were supported."""
    no_esn = Transform(ESN, int(EsnId.NO_ESN))
    if protocol == ProtocolId.IKE:
        common = [*_plain(PRF, _PRFS), *_plain(KE, _KEY_EXCHANGES)]
        classic = _ciphers((*_CLASSIC, EncryptionId.TRIPLE_DES))
        yield [*classic, *_plain(INTEG, _IKE_INTEGRITY), *common]
        yield [*_ciphers(_AEAD), *common]
    elif protocol == ProtocolId.ESP:
        integrity = _plain(INTEG, _ESP_INTEGRITY)
        yield [*_ciphers((EncryptionId.AES_CBC,)), *integrity, no_esn]
        yield [*_ciphers((EncryptionId.AES_GCM_16,)), no_esn]
    elif protocol == ProtocolId.AH:
        yield [*_plain(INTEG, _ESP_INTEGRITY), no_esn]


@cache
def default_proposals(protocol: ProtocolId) -> tuple[Proposal, ...]:
    """Return the default proposals, as far as this daemon supports their algorithms."""
    return tuple(
        Proposal(int(protocol), tuple(t for t in transforms if is_supported(int(protocol), t)))
        for transforms in _written(protocol)
    )
