"""Files as a source, for URIs of our own configuration; and files that are written safely."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from charon_core.credentials.online.request import Failure, FetchError, split_uri

if TYPE_CHECKING:
    from charon_core.credentials.online.request import FetchRequest


def fetch_file(request: FetchRequest, _deadline: float) -> bytes:
    """Read a ``file:`` URI; see `SchemeFetcher`."""
    parts = split_uri(request.uri)
    if not request.configured:
        raise FetchError(Failure.FORBIDDEN, "certificates must not name files")
    if request.body is not None or parts.netloc not in {"", "localhost"}:
        raise FetchError(Failure.FORBIDDEN, "a file can only be read, and on this host")
    try:
        return read_regular(Path(unquote(parts.path)), request.max_size)
    except OSError as error:
        raise FetchError(Failure.UNREACHABLE, error.strerror or str(error)) from None


def read_regular(path: Path, max_size: int, *, follow: bool = True) -> bytes:
    """Read a regular file: never a device or pipe that would block or never end.

    Args:
        path: The file.
        max_size: Octets that it may have.
        follow: Whether the last part of the path may be a symbolic link.

    Raises:
        OSError: It cannot be read, is too large, or is something else.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, "not a regular file", str(path))
        data = file.read(max_size + 1)
    if len(data) > max_size:
        raise OSError(None, f"more than {max_size} octets", str(path))
    return data


def write_atomically(folder: int, name: str, data: bytes) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    The file is readable by everybody and writable by its owner alone; a symbolic link in its place
    is replaced, not followed.

    Args:
        folder: Open descriptor of the directory.
        name: Of the file.
        data: Its content.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    temporary = f".{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)
    descriptor = os.open(temporary, flags, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
