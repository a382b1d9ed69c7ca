"""How one SA seals and opens ESP packets: header, IV, ciphertext, ICV (RFC 4303 section 2).

A transform belongs to one SA and one direction, and to one thread at a time.
"""

from __future__ import annotations

import hmac
import os
from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.types import Buffer

ESP_HEADER: Final = 8
"""SPI and sequence number."""

_U64: Final = Struct(">Q")
_U32: Final = Struct(">I")
_AES_BLOCK: Final = 16
_RANDOM_CHUNK: Final = 4096


class InvalidIcv(Exception):  # noqa: N818 - says what is the case
    """A packet is not authentic, or too short to be."""


class Aead(Protocol):
    """The AEAD objects of `cryptography`."""

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer, /) -> bytes:
        """Return ciphertext and tag."""

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer, /) -> bytes:
        """Return the plaintext."""


class Transform(ABC):
    """Seals or opens the packets of one SA.

    Attributes:
        spi: The SPI on the wire.
        extended: Whether the upper 32 bits of the sequence number enter the ICV (ESN).
        iv_length: Octets of the IV.
        icv_length: Octets of the ICV.
        alignment: The plaintext with its trailer is a multiple of so many octets.
    """

    __slots__ = ("alignment", "extended", "icv_length", "iv_length", "spi")

    def __init__(
        self, spi: bytes, *, extended: bool, iv_length: int, icv_length: int, alignment: int = 4
    ) -> None:
        self.spi = spi
        self.extended = extended
        self.iv_length = iv_length
        self.icv_length = icv_length
        self.alignment = alignment

    @property
    def overhead(self) -> int:
        """Octets that a packet has more than its plaintext with trailer."""
        return ESP_HEADER + self.iv_length + self.icv_length

    @abstractmethod
    def seal(self, sequence: int, plaintext: Buffer) -> bytes:
        """Return the ESP packet around a plaintext that has its trailer, aligned."""

    @abstractmethod
    def open(self, packet: Buffer, sequence: int) -> bytes:
        """Return the plaintext with its trailer.

        Args:
            packet: The whole ESP packet.
            sequence: Its whole sequence number.

        Raises:
            InvalidIcv: The packet is forged, damaged or too short.
        """


class AeadTransform(Transform):
    """AES-GCM (RFC 4106), AES-CCM (RFC 4309) and ChaCha20-Poly1305 (RFC 7634).

    The IV is the sequence number, of which no value is used twice under one key.

    Attributes:
        salt: What stands before the IV in the nonce.
        encrypt_into: (nonce, data, associated data, buffer), if whole rows may be encrypted in
            one go; None where the packet is not just ciphertext and tag, or `cryptography` is
            too old.
        decrypt_into: The other direction.
        refused: What it raises for a packet that is not authentic.
    """

    __slots__ = ("_decrypt", "_encrypt", "decrypt_into", "encrypt_into", "refused", "salt")

    _IN_ROWS: ClassVar[bool] = True

    def __init__(
        self, spi: bytes, aead: Aead, salt: bytes, *, extended: bool, icv_length: int = 16
    ) -> None:
        from cryptography.exceptions import InvalidTag

        super().__init__(spi, extended=extended, iv_length=8, icv_length=icv_length)
        self.salt = salt
        self._encrypt = aead.encrypt
        self._decrypt = aead.decrypt
        self.refused = InvalidTag
        self.encrypt_into: Any = getattr(aead, "encrypt_into", None) if self._IN_ROWS else None
        self.decrypt_into: Any = getattr(aead, "decrypt_into", None) if self._IN_ROWS else None

    def seal(self, sequence: int, plaintext: Buffer) -> bytes:
        """Return the ESP packet around a plaintext."""
        iv = _U64.pack(sequence)
        header = self.spi + iv[4:]
        associated = self.spi + iv if self.extended else header
        return b"".join((header, iv, self._encrypt(self.salt + iv, plaintext, associated)))

    def open(self, packet: Buffer, sequence: int) -> bytes:
        """Return the plaintext with its trailer."""
        if len(packet) < self.overhead:
            raise InvalidIcv
        associated = self.spi + _U64.pack(sequence) if self.extended else packet[:ESP_HEADER]
        nonce = self.salt + bytes(packet[ESP_HEADER:16])
        try:
            return self._decrypt(nonce, packet[16:], associated)
        except self.refused:
            raise InvalidIcv from None


class TruncatedGcm(AeadTransform):
    """AES-GCM with an ICV of 8 or 12 octets, which the AEAD object does not verify itself."""

    __slots__ = ("_key",)

    _IN_ROWS = False

    def __init__(
        self, spi: bytes, key: bytes, salt: bytes, *, extended: bool, icv_length: int
    ) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        super().__init__(spi, AESGCM(key), salt, extended=extended, icv_length=icv_length)
        self._key = key

    def seal(self, sequence: int, plaintext: Buffer) -> bytes:
        """Return the ESP packet around a plaintext."""
        return super().seal(sequence, plaintext)[: len(plaintext) + self.overhead]

    def open(self, packet: Buffer, sequence: int) -> bytes:
        """Return the plaintext with its trailer."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if len(packet) < self.overhead:
            raise InvalidIcv
        associated = self.spi + _U64.pack(sequence) if self.extended else packet[:ESP_HEADER]
        nonce = self.salt + bytes(packet[ESP_HEADER:16])
        size = self.icv_length
        mode = modes.GCM(nonce, bytes(packet[-size:]), min_tag_length=size)
        decryptor = Cipher(algorithms.AES(self._key), mode).decryptor()
        decryptor.authenticate_additional_data(associated)
        try:
            return decryptor.update(packet[16:-size]) + decryptor.finalize()
        except self.refused:
            raise InvalidIcv from None


class Gmac(AeadTransform):
    """NULL encryption with AES-GMAC (RFC 4543): everything is associated data."""

    __slots__ = ()

    _IN_ROWS = False

    def seal(self, sequence: int, plaintext: Buffer) -> bytes:
        """Return the ESP packet around a plaintext."""
        iv = _U64.pack(sequence)
        header = self.spi + iv[4:]
        prefix = self.spi + iv if self.extended else header
        tag = self._encrypt(self.salt + iv, b"", b"".join((prefix, iv, plaintext)))
        return b"".join((header, iv, plaintext, tag))

    def open(self, packet: Buffer, sequence: int) -> bytes:
        """Return the plaintext with its trailer."""
        if len(packet) < self.overhead:
            raise InvalidIcv
        body = bytes(packet[ESP_HEADER:-16])
        prefix = self.spi + _U64.pack(sequence) if self.extended else bytes(packet[:ESP_HEADER])
        try:
            self._decrypt(self.salt + body[:8], packet[-16:], prefix + body)
        except self.refused:
            raise InvalidIcv from None
        return body[8:]


class AuthenticatedTransform(Transform):
    """A cipher of its own, or none, and an integrity algorithm over everything (RFC 4303)."""

    __slots__ = ("_icv",)

    def __init__(
        self,
        spi: bytes,
        icv: Callable[[Buffer], bytes],
        *,
        extended: bool,
        iv_length: int,
        icv_length: int,
        alignment: int = 4,
    ) -> None:
        super().__init__(
            spi,
            extended=extended,
            iv_length=iv_length,
            icv_length=icv_length,
            alignment=alignment,
        )
        self._icv = icv

    @abstractmethod
    def _encrypt(self, sequence: int, plaintext: Buffer) -> bytes:
        """Return IV and ciphertext."""

    @abstractmethod
    def _decrypt(self, body: Buffer) -> bytes:
        """Return the plaintext of IV and ciphertext."""

    def seal(self, sequence: int, plaintext: Buffer) -> bytes:
        """Return the ESP packet around a plaintext."""
        number = _U64.pack(sequence)
        packet = b"".join((self.spi, number[4:], self._encrypt(sequence, plaintext)))
        return packet + self._icv(packet + number[:4] if self.extended else packet)

    def open(self, packet: Buffer, sequence: int) -> bytes:
        """Return the plaintext with its trailer."""
        size = len(packet) - self.icv_length
        body = size - ESP_HEADER - self.iv_length
        if body < 0 or body % self.alignment:
            raise InvalidIcv
        covered = packet[:size]
        if self.extended:
            covered = bytes(covered) + _U32.pack(sequence >> 32 & 0xFFFFFFFF)
        if not hmac.compare_digest(self._icv(covered), packet[size:]):
            raise InvalidIcv
        return self._decrypt(packet[ESP_HEADER:size])


class NullTransform(AuthenticatedTransform):
    """NULL encryption (RFC 2410) with an integrity algorithm."""

    __slots__ = ()

    def _encrypt(self, sequence: int, plaintext: Buffer) -> bytes:  # noqa: ARG002
        return bytes(plaintext)

    def _decrypt(self, body: Buffer) -> bytes:
        return bytes(body)


class CbcTransform(AuthenticatedTransform):
    """AES-CBC (RFC 3602) with an integrity algorithm.

    One cipher context lives as long as the SA, since making one costs four times as much as
    encrypting a packet. Each packet goes on in the chain of the one before, with a random block in
    front: what that block becomes is the IV, as good as random to those without the key, and the
    blocks after it are chained to it as RFC 3602 wants it. In the other direction the block that
    stands for the IV decrypts to something useless, and the chain is right after it.
    """

    __slots__ = ("_decryptor", "_encryptor", "_random")

    def __init__(
        self,
        spi: bytes,
        key: bytes,
        icv: Callable[[Buffer], bytes],
        *,
        extended: bool,
        icv_length: int,
    ) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        super().__init__(
            spi,
            icv,
            extended=extended,
            iv_length=_AES_BLOCK,
            icv_length=icv_length,
            alignment=_AES_BLOCK,
        )
        self._encryptor = Cipher(algorithms.AES(key), modes.CBC(os.urandom(_AES_BLOCK))).encryptor()
        self._decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(_AES_BLOCK))).decryptor()
        self._random = iter(())  # type: Any

    def _block(self) -> bytes:
        block: bytes | None = next(self._random, None)
        if block is None:
            pool = os.urandom(_RANDOM_CHUNK)
            self._random = iter(
                [pool[i : i + _AES_BLOCK] for i in range(0, _RANDOM_CHUNK, _AES_BLOCK)]
            )
            block = next(self._random)
        return block

    def _encrypt(self, sequence: int, plaintext: Buffer) -> bytes:  # noqa: ARG002
        return self._encryptor.update(b"".join((self._block(), plaintext)))

    def _decrypt(self, body: Buffer) -> bytes:
        return self._decryptor.update(body)[_AES_BLOCK:]


class CtrTransform(AuthenticatedTransform):
    """AES-CTR (RFC 3686) with an integrity algorithm; the IV is the sequence number."""

    __slots__ = ("_algorithm", "_nonce")

    _FIRST_BLOCK: Final = b"\0\0\0\1"

    def __init__(
        self,
        spi: bytes,
        key: bytes,
        nonce: bytes,
        icv: Callable[[Buffer], bytes],
        *,
        extended: bool,
        icv_length: int,
    ) -> None:
        from cryptography.hazmat.primitives.ciphers import algorithms

        super().__init__(spi, icv, extended=extended, iv_length=8, icv_length=icv_length)
        self._algorithm = algorithms.AES(key)
        self._nonce = nonce

    def _encrypt(self, sequence: int, plaintext: Buffer) -> bytes:
        iv = _U64.pack(sequence)
        return iv + self._stream(iv, plaintext)

    def _decrypt(self, body: Buffer) -> bytes:
        return self._stream(bytes(body[:8]), body[8:])

    def _stream(self, iv: bytes, data: Buffer) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        mode = modes.CTR(self._nonce + iv + self._FIRST_BLOCK)
        return Cipher(self._algorithm, mode).encryptor().update(data)
