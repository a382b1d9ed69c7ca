"""The words for algorithms in proposals, and the transforms that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.config.algorithm_names import (
    CAMELLIA_XCBC_96,
    MODP_NULL,
    PRF_CAMELLIA128_XCBC,
    SERPENT_CBC,
    TWOFISH_CBC,
)
from charon_core.config.proposal import ADDITIONAL_KE, ENCR, ESN, INTEG, KE, PRF, Transform
from charon_core.encoding.registry import EncryptionId, EsnId, IntegrityId, KeyExchangeId, PrfId

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY_BITS: Final = (128, 192, 256)
_PRIVATE_KEY_EXCHANGES: Final = {
    "modpnull": MODP_NULL,
    "ntru112": 1030,
    "ntru128": 1031,
    "ntru192": 1032,
    "ntru256": 1033,
    "newhope128": 1040,
}


def _encryption() -> Iterator[tuple[str, EncryptionId | int, int | None]]:
    ids = EncryptionId
    yield "null", ids.NULL, None
    yield "des", ids.DES, None
    yield "3des", ids.TRIPLE_DES, None
    yield "cast128", ids.CAST, 128
    yield "chacha20poly1305", ids.CHACHA20_POLY1305, None
    yield "chacha20poly1305compat", ids.CHACHA20_POLY1305, 256
    for name, number in (
        ("aes", ids.AES_CBC),
        ("camellia", ids.CAMELLIA_CBC),
        ("blowfish", ids.BLOWFISH),
        ("serpent", SERPENT_CBC),
        ("twofish", TWOFISH_CBC),
    ):
        yield name, number, 128
        for bits in _KEY_BITS:
            yield f"{name}{bits}", number, bits
    for bits in _KEY_BITS:
        yield f"aes{bits}ctr", ids.AES_CTR, bits
        yield f"aes{bits}gmac", ids.NULL_AUTH_AES_GMAC, bits
        yield f"camellia{bits}ctr", ids.CAMELLIA_CTR, bits
        # The length of the ICV is written in octets or in bits; bare words mean 16 octets.
        for mode, number, suffixes in (
            ("aes{}ccm", ids.AES_CCM_8, ("8", "64")),
            ("aes{}ccm", ids.AES_CCM_12, ("12", "96")),
            ("aes{}ccm", ids.AES_CCM_16, ("16", "128", "")),
            ("aes{}gcm", ids.AES_GCM_8, ("8", "64")),
            ("aes{}gcm", ids.AES_GCM_12, ("12", "96")),
            ("aes{}gcm", ids.AES_GCM_16, ("16", "128", "")),
            ("camellia{}ccm", ids.CAMELLIA_CCM_8, ("8", "64")),
            ("camellia{}ccm", ids.CAMELLIA_CCM_12, ("12", "96")),
            ("camellia{}ccm", ids.CAMELLIA_CCM_16, ("16", "128")),
        ):
            for suffix in suffixes:
                yield mode.format(bits) + suffix, number, bits


_INTEGRITY: Final[dict[str, int]] = {
    "md5": IntegrityId.HMAC_MD5_96,
    "md5_128": IntegrityId.HMAC_MD5_128,
    "sha": IntegrityId.HMAC_SHA1_96,
    "sha1": IntegrityId.HMAC_SHA1_96,
    "sha1_160": IntegrityId.HMAC_SHA1_160,
    "aesxcbc": IntegrityId.AES_XCBC_96,
    "aescmac": IntegrityId.AES_CMAC_96,
    "sha256": IntegrityId.HMAC_SHA2_256_128,
    "sha2_256": IntegrityId.HMAC_SHA2_256_128,
    "sha384": IntegrityId.HMAC_SHA2_384_192,
    "sha2_384": IntegrityId.HMAC_SHA2_384_192,
    "sha512": IntegrityId.HMAC_SHA2_512_256,
    "sha2_512": IntegrityId.HMAC_SHA2_512_256,
    "sha256_96": IntegrityId.HMAC_SHA2_256_96,
    "sha2_256_96": IntegrityId.HMAC_SHA2_256_96,
    "camelliaxcbc": CAMELLIA_XCBC_96,
}

_PRFS: Final[dict[str, int]] = {
    "prfmd5": PrfId.HMAC_MD5,
    "prfsha1": PrfId.HMAC_SHA1,
    "prfaesxcbc": PrfId.AES128_XCBC,
    "prfsha256": PrfId.HMAC_SHA2_256,
    "prfsha384": PrfId.HMAC_SHA2_384,
    "prfsha512": PrfId.HMAC_SHA2_512,
    "prfaescmac": PrfId.AES128_CMAC,
    "prfcamelliaxcbc": PRF_CAMELLIA128_XCBC,
}


def _key_exchanges() -> Iterator[tuple[str, int]]:
    ids = KeyExchangeId
    yield "none", ids.NONE
    yield "modpnone", ids.NONE
    for bits in (768, 1024, 1536, 2048, 3072, 4096, 6144, 8192):
        yield f"modp{bits}", ids[f"MODP_{bits}"]
    yield "modp1024s160", ids.MODP_1024_160
    yield "modp2048s224", ids.MODP_2048_224
    yield "modp2048s256", ids.MODP_2048_256
    for bits in (192, 224, 256, 384, 521):
        yield f"ecp{bits}", ids[f"ECP_{bits}"]
    for bits in (224, 256, 384, 512):
        yield f"ecp{bits}bp", ids[f"ECP_{bits}_BP"]
    for word in ("curve25519", "x25519"):
        yield word, ids.CURVE25519
    for word in ("curve448", "x448"):
        yield word, ids.CURVE448
    yield "gost256", ids.GOST3410_2012_256
    yield "gost512", ids.GOST3410_2012_512
    for size in (512, 768, 1024):
        yield f"mlkem{size}", ids[f"ML_KEM_{size}"]
    yield from _PRIVATE_KEY_EXCHANGES.items()


def _table() -> dict[str, Transform]:
    table = {word: Transform(ENCR, int(id_), bits) for word, id_, bits in _encryption()}
    table |= {word: Transform(INTEG, int(id_)) for word, id_ in _INTEGRITY.items()}
    table |= {word: Transform(PRF, int(id_)) for word, id_ in _PRFS.items()}
    for word, id_ in _key_exchanges():
        table[word] = Transform(KE, int(id_))
        for number, type_ in enumerate(ADDITIONAL_KE, 1):
            table[f"ke{number}_{word}"] = Transform(type_, int(id_))
    table["noesn"] = Transform(ESN, int(EsnId.NO_ESN))
    table["esn"] = Transform(ESN, int(EsnId.ESN))
    return table


KEYWORDS: Final[dict[str, Transform]] = _table()
"""Every word that a proposal may be made of."""

PRF_OF_INTEGRITY: Final[dict[int, int]] = {
    int(IntegrityId.HMAC_MD5_96): int(PrfId.HMAC_MD5),
    int(IntegrityId.HMAC_MD5_128): int(PrfId.HMAC_MD5),
    int(IntegrityId.HMAC_SHA1_96): int(PrfId.HMAC_SHA1),
    int(IntegrityId.HMAC_SHA1_160): int(PrfId.HMAC_SHA1),
    int(IntegrityId.HMAC_SHA2_256_128): int(PrfId.HMAC_SHA2_256),
    int(IntegrityId.HMAC_SHA2_384_192): int(PrfId.HMAC_SHA2_384),
    int(IntegrityId.HMAC_SHA2_512_256): int(PrfId.HMAC_SHA2_512),
    int(IntegrityId.AES_XCBC_96): int(PrfId.AES128_XCBC),
    int(IntegrityId.AES_CMAC_96): int(PrfId.AES128_CMAC),
    CAMELLIA_XCBC_96: PRF_CAMELLIA128_XCBC,
}
"""The PRF that an IKE proposal without one takes from each integrity algorithm."""

GMAC_INTEGRITY: Final[dict[int | None, int]] = {
    128: int(IntegrityId.AES_128_GMAC),
    192: int(IntegrityId.AES_192_GMAC),
    256: int(IntegrityId.AES_256_GMAC),
}
"""What ``aes128gmac`` and its like mean in AH: integrity by key length."""
