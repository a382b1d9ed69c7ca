"""AES-XCBC-MAC (RFC 3566) and AES-CMAC (RFC 4493), untruncated; PRFs and integrity build on them.

`cryptography` is imported on first use: most daemons never negotiate these.
"""

from __future__ import annotations

from typing import Final

BLOCK: Final = 16
_XCBC_CONSTANTS: Final = b"\x01" * BLOCK + b"\x02" * BLOCK + b"\x03" * BLOCK
_ZERO_IV: Final = bytes(BLOCK)


def aes_xcbc(key: bytes, data: bytes) -> bytes:
    """Return the 16-octet AES-XCBC-MAC of `data` under a 16-octet key (RFC 3566 section 4)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - three constants
    derived = ecb.update(_XCBC_CONSTANTS)
    rest = len(data) % BLOCK
    if rest or not data:
        data += b"\x80" + bytes(BLOCK - 1 - rest)
        mask = derived[32:48]
    else:
        mask = derived[16:32]
    last = int.from_bytes(data[-BLOCK:], "big") ^ int.from_bytes(mask, "big")
    cbc = Cipher(algorithms.AES(derived[:16]), modes.CBC(_ZERO_IV)).encryptor()
    return cbc.update(data[:-BLOCK] + last.to_bytes(BLOCK, "big"))[-BLOCK:]


def aes_cmac(key: bytes, data: bytes) -> bytes:
    """Return the 16-octet AES-CMAC of `data` under a 16-octet key (RFC 4493)."""
    from cryptography.hazmat.primitives.ciphers import algorithms
    from cryptography.hazmat.primitives.cmac import CMAC

    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()
