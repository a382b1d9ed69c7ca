"""Protection of one direction's messages of an IKE_SA: the Encrypted payload's octets.

The layout is IV, ciphertext, ICV (RFC 7296 section 3.14); combined-mode ciphers follow RFC 5282,
ChaCha20-Poly1305 RFC 7634, AES-CTR RFC 5930.

An established IKE_SA keeps two of these for hours and uses them a few times. They hold key octets
only (about 300 octets); the contexts of the library (up to 2.5 KB) are made for each message, which
costs one to four microseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from charon_core.crypto.ciphers import encryption_spec, require_fitting_integrity
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.integrity import get_integrity
from charon_core.crypto.random import SYSTEM_RANDOM
from charon_core.encoding.registry import EncryptionId, IntegrityId

if TYPE_CHECKING:
    from charon_core.crypto.random import RandomSource


class MessageCipher(ABC):
    """Seals messages of one direction and opens those of the other end with the same keys.

    One object, and one only, is made for a key: it hands out the IVs.
    """

    __slots__ = ()

    @abstractmethod
    def sealed_length(self, n: int) -> int:
        """Return the octets that `seal` makes of `n` octets of plaintext."""

    @abstractmethod
    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        """Return IV, ciphertext and ICV; Padding and Pad Length are added here.

        Args:
            aad: the message from its header to the end of the Encrypted payload's header.
            plaintext: the inner payloads.
        """

    @abstractmethod
    def open(self, aad: bytes, body: bytes) -> bytes:
        """Return the plaintext of what `seal` made, without its padding.

        Raises:
            OpenError: it is too short, was altered, or its padding is malformed.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ***>"


def create_message_cipher(
    encr_id: int,
    key_bits: int | None,
    integ_id: int | None,
    encr_key: bytes,
    integ_key: bytes,
    *,
    random: RandomSource = SYSTEM_RANDOM,
) -> MessageCipher:
    """Make the cipher of one direction of an IKE_SA.

    Args:
        encr_id: the negotiated cipher.
        key_bits: its Key Length attribute, None where it has none.
        integ_id: the negotiated integrity algorithm; None or NONE with a combined-mode cipher.
        encr_key: SK_ei or SK_er with the salt at its end.
        integ_key: SK_ai or SK_ar; empty with a combined-mode cipher.
        random: source of IVs.

    Raises:
        UnsupportedAlgorithm: an algorithm is not offered, or the two do not belong together.
        ValueError: a key is not of the length that its algorithm needs.
    """
    spec = encryption_spec(encr_id, key_bits)
    if spec.id is EncryptionId.NULL:
        raise UnsupportedAlgorithm("an IKE_SA needs encryption; NULL is for ESP alone")
    integrity = None
    if integ_id is not None and integ_id != IntegrityId.NONE:
        integrity = get_integrity(integ_id)
    require_fitting_integrity(spec, has_integrity=integrity is not None)
    if len(encr_key) != spec.keymat_length:
        raise _wrong_length(f"key of {spec}", encr_key, spec.keymat_length)
    if integrity is None and integ_key:
        raise _wrong_length(f"integrity key beside {spec}", integ_key, 0)
    if integrity is not None and len(integ_key) != integrity.key_length:
        raise _wrong_length(f"key of {integrity.id.name}", integ_key, integrity.key_length)
    # Imported when the first IKE_SA is negotiated: the library takes 20 ms to load.
    from charon_core.crypto.sealers import make_cipher

    return make_cipher(spec, encr_key, integrity, integ_key, random)


def _wrong_length(what: str, key: bytes, length: int) -> ValueError:
    return ValueError(f"{what}: expected {length} octets, got {len(key)}")
