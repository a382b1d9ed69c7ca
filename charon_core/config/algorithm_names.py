"""The names by which transforms are shown in log lines and status output."""

from __future__ import annotations

from typing import Final

from charon_core.encoding.registry import (
    EncryptionId,
    EsnId,
    IntegrityId,
    KeyExchangeId,
    PrfId,
    TransformType,
)

# Transforms without a registered number that proposals may name all the same (private use range).
SERPENT_CBC: Final = 1026
TWOFISH_CBC: Final = 1027
CAMELLIA_XCBC_96: Final = 1030
PRF_CAMELLIA128_XCBC: Final = 1028
MODP_NULL: Final = 1024

_ENCRYPTION: Final = {
    EncryptionId.DES: "DES_CBC",
    EncryptionId.TRIPLE_DES: "3DES_CBC",
    EncryptionId.CAST: "CAST_CBC",
    EncryptionId.BLOWFISH: "BLOWFISH_CBC",
    EncryptionId.NULL_AUTH_AES_GMAC: "NULL_AES_GMAC",
    SERPENT_CBC: "SERPENT_CBC",
    TWOFISH_CBC: "TWOFISH_CBC",
}
_PRF: Final = {PRF_CAMELLIA128_XCBC: "PRF_CAMELLIA128_XCBC"}
_INTEGRITY: Final = {CAMELLIA_XCBC_96: "CAMELLIA_XCBC_96"}
_KEY_EXCHANGE: Final = {
    KeyExchangeId.NONE: "MODP_NONE",
    KeyExchangeId.CURVE25519: "CURVE_25519",
    KeyExchangeId.CURVE448: "CURVE_448",
    MODP_NULL: "MODP_NULL",
    1030: "NTRU_112",
    1031: "NTRU_128",
    1032: "NTRU_192",
    1033: "NTRU_256",
    1040: "NEWHOPE_128",
}
_ESN: Final = {EsnId.NO_ESN: "NO_EXT_SEQ", EsnId.ESN: "EXT_SEQ"}

TYPE_NAMES: Final[dict[int, str]] = {
    TransformType.ENCR: "encryption",
    TransformType.PRF: "pseudorandom function",
    TransformType.INTEG: "integrity",
    TransformType.KE: "key exchange",
    TransformType.ESN: "extended sequence numbers",
    **{
        int(TransformType.ADDKE1) + n: f"additional key exchange {n + 1}"  # RFC 9370
        for n in range(7)
    },
}
"""What a transform type is called in sentences."""


def _table() -> dict[tuple[int, int], str]:
    """Merge the registered names with those that are shown differently."""
    names: dict[tuple[int, int], str] = {}
    for encryption in EncryptionId:
        names[TransformType.ENCR, encryption] = encryption.name
    for prf in PrfId:
        names[TransformType.PRF, prf] = f"PRF_{prf.name}"
    for integrity in IntegrityId:
        names[TransformType.INTEG, integrity] = integrity.name
    for esn in EsnId:
        names[TransformType.ESN, esn] = esn.name
    exchanges = {int(method): method.name for method in KeyExchangeId} | _KEY_EXCHANGE
    for method, name in exchanges.items():
        names[TransformType.KE, method] = name
        for number in range(7):
            names[TransformType.ADDKE1 + number, method] = f"KE{number + 1}_{name}"
    for type_, special in (
        (TransformType.ENCR, _ENCRYPTION),
        (TransformType.PRF, _PRF),
        (TransformType.INTEG, _INTEGRITY),
        (TransformType.ESN, _ESN),
    ):
        names.update({(type_, number): name for number, name in special.items()})
    return {(int(type_), int(number)): name for (type_, number), name in names.items()}


_NAMES: Final = _table()
_UNKNOWN: Final = {
    int(TransformType.ENCR): "ENCR",
    int(TransformType.PRF): "PRF",
    int(TransformType.INTEG): "AUTH",
    int(TransformType.KE): "KE",
    int(TransformType.ESN): "ESN",
}


def transform_name(type_: int, number: int, key_length: int | None = None) -> str:
    """Return for example ``AES_CBC_128``; unknown numbers give ``ENCR_1234``."""
    name = _NAMES.get((type_, number))
    if name is None:
        name = f"{_UNKNOWN.get(type_, f'TYPE{type_}')}_{number}"
    return name if key_length is None else f"{name}_{key_length}"
