"""Registered numbers of proposals: transform types and their transform IDs."""

from __future__ import annotations

from enum import IntEnum


class TransformType(IntEnum):
    """Transform Type Values."""

    ENCR = 1
    PRF = 2
    INTEG = 3
    KE = 4
    ESN = 5
    ADDKE1 = 6  # RFC 9370, as the following six
    ADDKE2 = 7
    ADDKE3 = 8
    ADDKE4 = 9
    ADDKE5 = 10
    ADDKE6 = 11
    ADDKE7 = 12
    KWA = 13  # RFC 9838
    GCAUTH = 14  # RFC 9838


class TransformAttributeType(IntEnum):
    """IKEv2 Transform Attribute Types."""

    KEY_LENGTH = 14
    SIGNATURE_ALGORITHM = 18  # RFC 9838


class EncryptionId(IntEnum):
    """Transform Type 1: Encryption Algorithm Transform IDs (ENCR_*)."""

    DES_IV64 = 1
    DES = 2
    TRIPLE_DES = 3  # ENCR_3DES
    RC5 = 4
    IDEA = 5
    CAST = 6
    BLOWFISH = 7
    TRIPLE_IDEA = 8  # ENCR_3IDEA
    DES_IV32 = 9
    NULL = 11
    AES_CBC = 12
    AES_CTR = 13  # RFC 5930
    AES_CCM_8 = 14  # RFC 5282
    AES_CCM_12 = 15
    AES_CCM_16 = 16
    AES_GCM_8 = 18  # RFC 5282
    AES_GCM_12 = 19
    AES_GCM_16 = 20
    NULL_AUTH_AES_GMAC = 21  # RFC 4543
    CAMELLIA_CBC = 23  # RFC 5529
    CAMELLIA_CTR = 24
    CAMELLIA_CCM_8 = 25
    CAMELLIA_CCM_12 = 26
    CAMELLIA_CCM_16 = 27
    CHACHA20_POLY1305 = 28  # RFC 7634
    AES_CCM_8_IIV = 29  # RFC 8750
    AES_GCM_16_IIV = 30
    CHACHA20_POLY1305_IIV = 31
    KUZNYECHIK_MGM_KTREE = 32  # RFC 9227
    MAGMA_MGM_KTREE = 33
    KUZNYECHIK_MGM_MAC_KTREE = 34
    MAGMA_MGM_MAC_KTREE = 35


class PrfId(IntEnum):
    """Transform Type 2: Pseudorandom Function Transform IDs (PRF_*)."""

    HMAC_MD5 = 1
    HMAC_SHA1 = 2
    HMAC_TIGER = 3
    AES128_XCBC = 4  # RFC 4434
    HMAC_SHA2_256 = 5  # RFC 4868
    HMAC_SHA2_384 = 6
    HMAC_SHA2_512 = 7
    AES128_CMAC = 8  # RFC 4615
    HMAC_STREEBOG_512 = 9  # RFC 9385


class IntegrityId(IntEnum):
    """Transform Type 3: Integrity Algorithm Transform IDs (AUTH_*)."""

    NONE = 0
    HMAC_MD5_96 = 1
    HMAC_SHA1_96 = 2
    DES_MAC = 3
    KPDK_MD5 = 4
    AES_XCBC_96 = 5
    HMAC_MD5_128 = 6  # RFC 4595
    HMAC_SHA1_160 = 7  # RFC 4595
    AES_CMAC_96 = 8  # RFC 4494
    AES_128_GMAC = 9  # RFC 4543
    AES_192_GMAC = 10
    AES_256_GMAC = 11
    HMAC_SHA2_256_128 = 12  # RFC 4868
    HMAC_SHA2_384_192 = 13
    HMAC_SHA2_512_256 = 14

    HMAC_SHA2_256_96 = 1026
    """Private use: the truncation that early Linux kernels applied to HMAC-SHA2-256."""


class KeyExchangeId(IntEnum):
    """Transform Type 4 (and ADDKE1 to ADDKE7): Key Exchange Method Transform IDs."""

    NONE = 0
    MODP_768 = 1
    MODP_1024 = 2
    MODP_1536 = 5  # RFC 3526
    MODP_2048 = 14
    MODP_3072 = 15
    MODP_4096 = 16
    MODP_6144 = 17
    MODP_8192 = 18
    ECP_256 = 19  # RFC 5903
    ECP_384 = 20
    ECP_521 = 21
    MODP_1024_160 = 22  # RFC 5114
    MODP_2048_224 = 23
    MODP_2048_256 = 24
    ECP_192 = 25  # RFC 5114
    ECP_224 = 26
    ECP_224_BP = 27  # RFC 6954
    ECP_256_BP = 28
    ECP_384_BP = 29
    ECP_512_BP = 30
    CURVE25519 = 31  # RFC 8031
    CURVE448 = 32
    GOST3410_2012_256 = 33  # RFC 9385
    GOST3410_2012_512 = 34
    ML_KEM_512 = 35
    ML_KEM_768 = 36
    ML_KEM_1024 = 37


class EsnId(IntEnum):
    """Transform Type 5: Sequence Numbers Transform IDs (RFC 9827 renamed the registry)."""

    NO_ESN = 0
    ESN = 1
    UNSPECIFIED_32_BIT = 2  # RFC 9827
