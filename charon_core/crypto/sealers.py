"""The message ciphers themselves: combined mode, CBC and CTR, on the library's contexts."""

from __future__ import annotations

import struct
from abc import abstractmethod
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from charon_core.crypto.errors import OpenError, UnsupportedAlgorithm
from charon_core.crypto.message_cipher import MessageCipher
from charon_core.encoding.registry import EncryptionId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from charon_core.crypto.ciphers import EncryptionSpec
    from charon_core.crypto.integrity import IntegrityAlgorithm
    from charon_core.crypto.random import RandomSource

_COUNTER_IV: Final = struct.Struct(">Q")
_CTR_START: Final = b"\0\0\0\1"
"""The block counter of AES-CTR starts at one (RFC 3686 section 4, RFC 5930)."""

_FORGED: Final = "the integrity check value does not match"


def make_cipher(
    spec: EncryptionSpec,
    encr_key: bytes,
    integrity: IntegrityAlgorithm | None,
    integ_key: bytes,
    random: RandomSource,
) -> MessageCipher:
    """Make the cipher for parameters that `create_message_cipher` has checked.

    Raises:
        UnsupportedAlgorithm: the installed library does not offer the cipher.
    """
    if integrity is None:
        return _AeadCipher(spec, encr_key, random)
    if spec.id is EncryptionId.AES_CTR:
        return _CtrCipher(spec, encr_key, integrity, integ_key, random)
    return _CbcCipher(spec, encr_key, integrity, integ_key, random)


def _counter(random: RandomSource) -> Iterator[int]:
    """Return a counter for 8-octet IVs.

    It starts at a random place in the lower half of the range and cannot wrap, so no IV repeats
    under a key. Taking the next number is atomic.
    """
    return count(int.from_bytes(random.bytes(8), "big") >> 1)


def _unpad(plaintext: bytes) -> bytes:
    """Remove Padding and Pad Length; the padding's content is the sender's choice (RFC 7296)."""
    end = len(plaintext) - 1 - plaintext[-1]
    if end < 0:
        raise OpenError(
            f"Pad Length {plaintext[-1]} exceeds the {len(plaintext) - 1} octets before it"
        )
    return plaintext[:end]


class _AeadContext(Protocol):
    """What the combined-mode classes of the library have in common."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...


class _AeadCipher(MessageCipher):
    """AES-GCM, AES-CCM and ChaCha20-Poly1305: nonce is salt and IV, Pad Length is always 0."""

    __slots__ = ("_context", "_icv_length", "_ivs", "_key", "_salt")

    def __init__(self, spec: EncryptionSpec, keymat: bytes, random: RandomSource) -> None:
        self._key = keymat[: spec.key_length]
        self._salt = keymat[spec.key_length :]
        self._icv_length = spec.icv_length
        self._ivs = _counter(random)
        self._context = _AEAD_CONTEXTS[spec.id]

    def sealed_length(self, n: int) -> int:
        return 8 + n + 1 + self._icv_length

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        iv = _COUNTER_IV.pack(next(self._ivs))
        return iv + self._context(self._key).encrypt(self._salt + iv, plaintext + b"\0", aad)

    def open(self, aad: bytes, body: bytes) -> bytes:
        if len(body) < 9 + self._icv_length:
            raise OpenError(f"{len(body)} octets are too few for IV, Pad Length and ICV")
        nonce = self._salt + body[:8]
        try:
            plaintext = self._context(self._key).decrypt(nonce, body[8:], aad)
        except InvalidTag:
            raise OpenError(_FORGED) from None
        return _unpad(plaintext)


class _TruncatedGcm:
    """AES-GCM with an ICV of 8 or 12 octets, which the library's AESGCM does not do."""

    __slots__ = ("_icv_length", "_key")

    def __init__(self, icv_length: int, key: bytes) -> None:
        self._icv_length = icv_length
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        encryptor = Cipher(algorithms.AES(self._key), modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated_data)
        ciphertext = encryptor.update(data) + encryptor.finalize()
        return ciphertext + encryptor.tag[: self._icv_length]

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        # The minimum is the negotiated length itself: a shorter tag is never accepted.
        icv = data[-self._icv_length :]
        mode = modes.GCM(nonce, icv, min_tag_length=self._icv_length)
        decryptor = Cipher(algorithms.AES(self._key), mode).decryptor()
        decryptor.authenticate_additional_data(associated_data)
        plaintext = decryptor.update(data[: -self._icv_length])
        return plaintext + decryptor.finalize()


_AEAD_CONTEXTS: Final[Mapping[EncryptionId, Callable[[bytes], _AeadContext]]] = {
    EncryptionId.AES_GCM_16: AESGCM,
    EncryptionId.AES_GCM_12: partial(_TruncatedGcm, 12),
    EncryptionId.AES_GCM_8: partial(_TruncatedGcm, 8),
    EncryptionId.AES_CCM_16: AESCCM,
    EncryptionId.AES_CCM_12: partial(AESCCM, tag_length=12),
    EncryptionId.AES_CCM_8: partial(AESCCM, tag_length=8),
    EncryptionId.CHACHA20_POLY1305: ChaCha20Poly1305,
}


class _MacCipher(MessageCipher):
    """A cipher with an integrity algorithm beside it: encrypt, then MAC over all that precedes."""

    __slots__ = ("_block_size", "_integ_key", "_integrity", "_iv_length", "_key")

    def __init__(
        self,
        spec: EncryptionSpec,
        key: bytes,
        integrity: IntegrityAlgorithm,
        integ_key: bytes,
    ) -> None:
        self._key = key
        self._integrity = integrity
        self._integ_key = integ_key
        self._iv_length = spec.iv_length
        self._block_size = spec.block_size

    @abstractmethod
    def _next_iv(self) -> bytes:
        """Return an IV that was never used with this key."""

    @abstractmethod
    def _context(self, iv: bytes) -> Any:
        """Return the library's Cipher for a message with this IV."""

    def sealed_length(self, n: int) -> int:
        blocks = -(-(n + 1) // self._block_size)
        return self._iv_length + blocks * self._block_size + self._integrity.icv_length

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        pad_length = -(len(plaintext) + 1) % self._block_size
        iv = self._next_iv()
        padded = b"%b%b%c" % (plaintext, bytes(pad_length), pad_length)
        body: bytes = iv + self._context(iv).encryptor().update(padded)
        return body + self._integrity.icv(self._integ_key, aad + body)

    def open(self, aad: bytes, body: bytes) -> bytes:
        iv_length = self._iv_length
        end = len(body) - self._integrity.icv_length
        if end <= iv_length:
            raise OpenError(f"{len(body)} octets are too few for IV, Pad Length and ICV")
        if not self._integrity.verify(self._integ_key, aad + body[:end], body[end:]):
            raise OpenError(_FORGED)
        if (end - iv_length) % self._block_size:
            raise OpenError(f"ciphertext is not a multiple of {self._block_size} octets")
        decryptor = self._context(body[:iv_length]).decryptor()
        plaintext: bytes = decryptor.update(body[iv_length:end])
        return _unpad(plaintext)


class _CbcCipher(_MacCipher):
    """AES-CBC (RFC 3602) and 3DES-CBC (RFC 2451): IVs are unpredictable."""

    __slots__ = ("_algorithm", "_random")

    def __init__(
        self,
        spec: EncryptionSpec,
        key: bytes,
        integrity: IntegrityAlgorithm,
        integ_key: bytes,
        random: RandomSource,
    ) -> None:
        super().__init__(spec, key, integrity, integ_key)
        self._random = random
        self._algorithm = _block_cipher(spec.id)

    def _next_iv(self) -> bytes:
        return self._random.bytes(self._iv_length)

    def _context(self, iv: bytes) -> Any:
        return Cipher(self._algorithm(self._key), modes.CBC(iv))


def _block_cipher(encr_id: EncryptionId) -> Callable[[bytes], Any]:
    """Return the library's class of a block cipher.

    Raises:
        UnsupportedAlgorithm: the installed library no longer has it.
    """
    if encr_id is EncryptionId.TRIPLE_DES:
        try:
            # The library keeps its old ciphers apart, and may drop them one day.
            from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
        except ImportError:
            raise UnsupportedAlgorithm("3DES is not offered by the installed library") from None
        return TripleDES
    return algorithms.AES


class _CtrCipher(_MacCipher):
    """AES-CTR: the counter block is nonce, IV and block counter (RFC 5930 section 2)."""

    __slots__ = ("_ivs", "_nonce")

    def __init__(
        self,
        spec: EncryptionSpec,
        keymat: bytes,
        integrity: IntegrityAlgorithm,
        integ_key: bytes,
        random: RandomSource,
    ) -> None:
        super().__init__(spec, keymat[: spec.key_length], integrity, integ_key)
        self._nonce = keymat[spec.key_length :]
        self._ivs = _counter(random)

    def _next_iv(self) -> bytes:
        return _COUNTER_IV.pack(next(self._ivs))

    def _context(self, iv: bytes) -> Any:
        return Cipher(algorithms.AES(self._key), modes.CTR(self._nonce + iv + _CTR_START))
