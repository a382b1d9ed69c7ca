"""A secret in a file, made when it is first asked for: it outlives the daemon."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


def lasting_secret(file: Path, length: int) -> bytes:
    """Return the secret in a file; make both if there is no such file.

    Args:
        file: Where it is; only its owner may have access to it.
        length: How many octets it has.

    Raises:
        OSError: The file cannot be read or made.
        ValueError: Others have access to it, or it is not of that length.
    """
    try:
        return _read(file, length)
    except FileNotFoundError:
        pass
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileExistsError:
        return _read(file, length)  # another daemon was faster
    secret = os.urandom(length)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secret)
    return secret


def _read(file: Path, length: int) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if os.fstat(descriptor).st_mode & _PRIVATE:
            raise ValueError("others than its owner have access to it; chmod 600")
        secret = stream.read(length + 1)
    if len(secret) != length:
        raise ValueError(f"it has {len(secret)} octets, expected {length}; remove it")
    return secret
