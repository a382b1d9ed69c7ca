"""Revocation lists that survive the daemon: one file a CA, written whole, trusted by nobody."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from charon_core.credentials.crls import Crl, CrlError
from charon_core.credentials.online.files import read_regular, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from charon_core.credentials.certificates import Certificate

MAX_FILES: Final = 256
"""Files that this cache fills a folder with; further ones are not written."""


class DiskCache:
    """A folder of ``<key identifier of the CA>.crl``, delta lists with ``_delta``.

    What is read from it is verified like what comes from a server. The folder must not be writable
    by everybody, and a symbolic link in the place of a file is not followed.
    """

    def __init__(self, folder: Path, max_size: int, report: Callable[[str], object]) -> None:
        """Use a folder, which is made when it is first needed.

        Args:
            folder: Where the files are.
            max_size: Octets of a list.
            report: Takes lines for the log.
        """
        self._folder = folder
        self._max_size = max_size
        self._report = report

    def load(self, issuer: Certificate) -> list[Crl]:
        """Return the lists that lie there for a CA; their signatures are not verified yet."""
        found: list[Crl] = []
        for is_delta in (False, True):
            path = self._folder / _name(issuer, is_delta=is_delta)
            try:
                found.append(Crl(read_regular(path, self._max_size, follow=False)))
            except FileNotFoundError:
                continue
            except (OSError, CrlError) as error:
                self._report(f"cached CRL '{path}' is not used: {_text(error)}")
        return found

    def save(self, issuer: Certificate, crl: Crl) -> None:
        """Write a list; what goes wrong is a line in the log."""
        name = _name(issuer, is_delta=crl.is_delta)
        try:
            folder = self._open()
        except OSError as error:
            self._report(f"CRL is not cached: folder '{self._folder}': {_text(error)}")
            return
        try:
            names = {path.name for path in self._folder.iterdir()}
            if name not in names and len(names) >= MAX_FILES:
                self._report(f"CRL is not cached: '{self._folder}' has {MAX_FILES} files already")
                return
            write_atomically(folder, name, crl.der)
        except OSError as error:
            self._report(f"CRL is not cached: '{self._folder / name}': {_text(error)}")
        else:
            self._report(f"wrote CRL of '{issuer.subject}' to '{self._folder / name}'")
        finally:
            os.close(folder)

    def _open(self) -> int:
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o755, parents=True)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mode = os.fstat(descriptor).st_mode
        if mode & stat.S_IWOTH:
            os.close(descriptor)
            raise OSError(None, "it is writable by everybody; take that away (chmod o-w)")
        return descriptor


def _name(issuer: Certificate, *, is_delta: bool) -> str:
    key = issuer.subject_key_id.hex()[:64] or issuer.public_key.fingerprint
    return f"{key}{'_delta' if is_delta else ''}.crl"


def _text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
