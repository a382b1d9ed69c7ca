"""AES-XCBC-MAC (RFC 3566) and AES-CMAC (RFC 4493), untruncated; PRFs and integrity build on them.

`cryptography` is imported on first use: most daemons never negotiate these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK: Final = 16
_XCBC_CONSTANTS: Final = b"\x01" * BLOCK + b"\x02" * BLOCK + b"\x03" * BLOCK
_ZERO_IV: Final = bytes(BLOCK)


def keyed_xcbc(key: bytes) -> Callable[[bytes], bytes]:
    """Return the function that computes AES-XCBC-MAC (RFC 3566 section 4) under a 16-octet key."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - three constants
    derived = ecb.update(_XCBC_CONSTANTS)
    cbc = Cipher(algorithms.AES(derived[:16]), modes.CBC(_ZERO_IV))
    mask_of_full_block = int.from_bytes(derived[16:32], "big")
    mask_of_padded_block = int.from_bytes(derived[32:48], "big")

    def mac(data: bytes) -> bytes:
        rest = len(data) % BLOCK
        mask = mask_of_full_block
        if rest or not data:
            data += b"\x80" + bytes(BLOCK - 1 - rest)
            mask = mask_of_padded_block
        last = int.from_bytes(data[-BLOCK:], "big") ^ mask
        return cbc.encryptor().update(data[:-BLOCK] + last.to_bytes(BLOCK, "big"))[-BLOCK:]

    return mac


def keyed_cmac(key: bytes) -> Callable[[bytes], bytes]:
    """Return the function that computes AES-CMAC (RFC 4493) under a 16-octet key."""
    from cryptography.hazmat.primitives.ciphers import algorithms
    from cryptography.hazmat.primitives.cmac import CMAC

    keyed = CMAC(algorithms.AES(key))

    def mac(data: bytes) -> bytes:
        context = keyed.copy()
        context.update(data)
        return context.finalize()

    return mac
