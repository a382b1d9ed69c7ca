"""PEM text: every block of a file, not only the first."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Final

MAX_FILE: Final = 16 * 1024 * 1024
"""Octets of a file of keys or certificates; large revocation lists have a few MiB."""

MAX_BLOCKS: Final = 2000
"""Blocks of one file; the bundles of operating systems have a few hundred."""

_BLOCK: Final = re.compile(
    rb"-----BEGIN ([^\r\n-]{1,64})-----[ \t]*\r?\n(.*?)-----END \1-----", re.DOTALL
)
_HEADER: Final = re.compile(rb"\A(?:[A-Za-z0-9-]+:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n)+\r?\n")


@dataclass(frozen=True, slots=True, repr=False)
class PemBlock:
    """One block: it may hold a private key, so it does not show what is inside.

    Attributes:
        label: What stands behind BEGIN.
        data: The decoded octets.
        text: The block as it stands in the file.
        is_encrypted: It has the header of traditional encryption (RFC 1421).
    """

    label: str
    data: bytes
    text: bytes
    is_encrypted: bool

    def __repr__(self) -> str:
        return f"PemBlock({self.label}, {len(self.data)} octets)"


def is_pem(data: bytes) -> bool:
    """Whether there is a PEM block; text may stand around it."""
    return b"-----BEGIN " in data


def read_blocks(data: bytes) -> list[PemBlock]:
    """Return every block of a PEM file, in order.

    Raises:
        ValueError: too large, no complete block, or a block that is not base64.
    """
    if len(data) > MAX_FILE:
        message = f"file of {len(data)} octets, at most {MAX_FILE} are read"
        raise ValueError(message)
    blocks: list[PemBlock] = []
    for number, match in enumerate(_BLOCK.finditer(data), 1):
        if number > MAX_BLOCKS:
            message = f"more than {MAX_BLOCKS} PEM blocks in one file"
            raise ValueError(message)
        label, body = match.group(1).decode("ascii", "replace"), match.group(2)
        header = _HEADER.match(body)
        encrypted = header is not None and b"ENCRYPTED" in header.group()
        try:
            decoded = binascii.a2b_base64(body[header.end() :] if header else body)
        except binascii.Error:
            message = f"PEM block {number} ({label}) is not base64"
            raise ValueError(message) from None
        blocks.append(PemBlock(label, decoded, match.group(), encrypted))
    if not blocks:
        message = "no complete PEM block (-----BEGIN ...----- to -----END ...-----)"
        raise ValueError(message)
    return blocks
