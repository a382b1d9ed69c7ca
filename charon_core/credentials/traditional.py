"""The one form of traditional PEM encryption that the `cryptography` library leaves out."""

from __future__ import annotations

import re
from hashlib import md5
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.credentials.pem import PemBlock
    from charon_core.crypto.secret import Secret

_DEK_INFO: Final = re.compile(
    rb"^DEK-Info:[ \t]*AES-192-CBC,([0-9A-Fa-f]{32})[ \t]*\r?$", re.MULTILINE
)
_KEY_LENGTH: Final = 24
_BLOCK: Final = 16
_SALT_LENGTH: Final = 8


def is_aes_192(block: PemBlock) -> bool:
    """Whether the block is encrypted with AES-192-CBC under ``Proc-Type: 4,ENCRYPTED``."""
    return block.is_encrypted and _DEK_INFO.search(block.text) is not None


def decrypt(block: PemBlock, passphrase: Secret) -> bytes:
    """Return the DER inside such a block (RFC 1421 framing, key derivation as OpenSSL does).

    Raises:
        ValueError: not such a block, or the passphrase does not fit.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    found = _DEK_INFO.search(block.text)
    if found is None or not block.data or len(block.data) % _BLOCK:
        message = "not a PEM block encrypted with AES-192-CBC"
        raise ValueError(message)
    iv = bytes.fromhex(found.group(1).decode())
    key = b""
    while len(key) < _KEY_LENGTH:
        # MD5 is what the format prescribes; whoever wants better uses PKCS#8.
        key += md5(key[-_BLOCK:] + passphrase.reveal() + iv[:_SALT_LENGTH]).digest()
    decryptor = Cipher(algorithms.AES(key[:_KEY_LENGTH]), modes.CBC(iv)).decryptor()
    padded = decryptor.update(block.data) + decryptor.finalize()
    length = padded[-1]
    if not 1 <= length <= _BLOCK or padded[-length:] != bytes([length]) * length:
        message = "the passphrase does not fit"
        raise ValueError(message)
    return padded[:-length]
