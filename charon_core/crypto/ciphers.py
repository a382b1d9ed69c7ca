"""Encryption algorithms as data: lengths of keys, salts, IVs, ICVs and blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.integrity import get_integrity
from charon_core.encoding.registry import EncryptionId, IntegrityId, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class EncryptionSpec:
    """What has to be known about a cipher to derive its keys and to lay out its messages.

    All lengths are in octets.

    Attributes:
        id: the transform ID.
        key_bits: value of the Key Length attribute; None for ciphers with a fixed key length,
            which must not carry the attribute (RFC 7296 section 3.3.5).
        key_length: length of the key proper.
        salt_length: implicit part of the nonce, taken from the keying material after the key
            (RFC 4106, RFC 4309, RFC 5930, RFC 7634).
        iv_length: explicit IV at the start of the protected data.
        icv_length: ICV of a combined-mode cipher; 0 for all others.
        block_size: the plaintext with its padding is a multiple of this.
        is_aead: a combined-mode cipher, which takes no integrity algorithm (RFC 5282).
    """

    id: EncryptionId
    key_bits: int | None
    key_length: int
    salt_length: int
    iv_length: int
    icv_length: int
    block_size: int
    is_aead: bool

    @property
    def keymat_length(self) -> int:
        """Octets of keying material: key and salt."""
        return self.key_length + self.salt_length

    def __str__(self) -> str:
        return self.id.name if self.key_bits is None else f"{self.id.name}_{self.key_bits}"


def _specs() -> Iterator[EncryptionSpec]:
    yield EncryptionSpec(EncryptionId.TRIPLE_DES, None, 24, 0, 8, 0, 8, is_aead=False)
    yield EncryptionSpec(EncryptionId.NULL, None, 0, 0, 0, 0, 1, is_aead=False)
    for bits in (128, 192, 256):
        octets = bits // 8
        yield EncryptionSpec(EncryptionId.AES_CBC, bits, octets, 0, 16, 0, 16, is_aead=False)
        yield EncryptionSpec(EncryptionId.AES_CTR, bits, octets, 4, 8, 0, 1, is_aead=False)
        for encryption_id, salt, icv in (
            (EncryptionId.AES_CCM_8, 3, 8),
            (EncryptionId.AES_CCM_12, 3, 12),
            (EncryptionId.AES_CCM_16, 3, 16),
            (EncryptionId.AES_GCM_8, 4, 8),
            (EncryptionId.AES_GCM_12, 4, 12),
            (EncryptionId.AES_GCM_16, 4, 16),
        ):
            yield EncryptionSpec(encryption_id, bits, octets, salt, 8, icv, 1, is_aead=True)
    yield EncryptionSpec(EncryptionId.CHACHA20_POLY1305, None, 32, 4, 8, 16, 1, is_aead=True)


_SPECS: Final[Mapping[tuple[int, int | None], EncryptionSpec]] = {
    (spec.id, spec.key_bits): spec for spec in _specs()
}

ENCRYPTION_SPECS: Final = tuple(_SPECS.values())
"""Every cipher known here. NULL is for ESP alone: an IKE_SA always encrypts."""


def encryption_spec(encr_id: int, key_bits: int | None) -> EncryptionSpec:
    """Return the description of a cipher.

    Raises:
        UnsupportedAlgorithm: it is unknown here, or its Key Length attribute is missing,
            superfluous or of a value that the cipher does not have.
    """
    spec = _SPECS.get((encr_id, key_bits))
    if spec is None:
        name = name_of(EncryptionId, encr_id)
        known = [other.key_bits for other in ENCRYPTION_SPECS if other.id == encr_id]
        if not known:
            raise UnsupportedAlgorithm(f"cipher {name} is not supported")
        expected = "none" if known == [None] else ", ".join(map(str, known))
        came = "none" if key_bits is None else key_bits
        raise UnsupportedAlgorithm(
            f"cipher {name}: expected a key length in bits of {expected}, got {came}"
        )
    return spec


def keymat_lengths(
    encr_id: int | None, key_bits: int | None, integ_id: int | None
) -> tuple[int, int]:
    """Return the octets of keying material of one direction: (cipher with salt, integrity).

    Args:
        encr_id: the cipher; None for AH.
        key_bits: its Key Length attribute, None where it has none.
        integ_id: the integrity algorithm; None or NONE with a combined-mode cipher.

    Raises:
        UnsupportedAlgorithm: an algorithm is unknown here, or the two do not belong together, so
            that data would be protected twice or not at all.
    """
    has_integrity = integ_id is not None and integ_id != IntegrityId.NONE
    integrity = get_integrity(integ_id).key_length if integ_id and has_integrity else 0
    if encr_id is None:
        if not has_integrity:
            raise UnsupportedAlgorithm("neither a cipher nor an integrity algorithm was negotiated")
        return 0, integrity
    spec = encryption_spec(encr_id, key_bits)
    require_fitting_integrity(spec, has_integrity=has_integrity)
    return spec.keymat_length, integrity


def require_fitting_integrity(spec: EncryptionSpec, *, has_integrity: bool) -> None:
    """Refuse a combined-mode cipher with, and any other cipher without, an integrity algorithm.

    Raises:
        UnsupportedAlgorithm: the combination is not legal (RFC 7296 section 3.3, RFC 5282).
    """
    if spec.is_aead and has_integrity:
        raise UnsupportedAlgorithm(
            f"{spec} is a combined-mode cipher, but an integrity algorithm was negotiated with it"
        )
    if not spec.is_aead and not has_integrity:
        raise UnsupportedAlgorithm(f"{spec} was negotiated without an integrity algorithm")
