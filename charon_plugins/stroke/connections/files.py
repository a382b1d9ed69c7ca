"""Certificates and raw public keys that connections name: files in ipsec.d/certs, or inline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.connections.ends import items
from charon_plugins.stroke.connections.problems import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.keys import PublicKey

#: Octets of a certificate or key file.
MAX_FILE: Final = 1 << 20
_SHOWN: Final = 60


def certificates(key: str, value: str | None, folder: Path) -> list[Sequence[Certificate]]:
    """Certificates of a list of files, for each file all that are in it, end entity first.

    Raises:
        SettingError: a file cannot be read or has no certificate.
    """
    return [_certificate_file(key, item, folder) for item in items(value)]


def _certificate_file(key: str, item: str, folder: Path) -> Sequence[Certificate]:
    # Only connections with certificates pay for the import.
    from charon_core.credentials.certificates import load_certificates

    if item.startswith("%smartcard"):
        raise SettingError(key, item, "expected a file: smartcards are not supported")
    path = folder / item
    try:
        return load_certificates(read_file(path))
    except (OSError, ValueError) as error:
        raise SettingError(
            key, item, f"expected a certificate in {str(path)!r}: {reason_of(error)}"
        ) from None


def public_key(key: str, value: str | None, folder: Path) -> PublicKey | None:
    """A raw public key; ``None`` if the value names none.

    Raises:
        SettingError: the value is no key, or its file cannot be read.
    """
    if not value:
        return None
    # Raw keys are rare: the library is loaded for those who use them.
    from charon_core.credentials.loading import parse_public_key

    try:
        return parse_public_key(value, lambda name: read_file(folder / name))
    except (OSError, ValueError) as error:
        shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        raise SettingError(
            key,
            shown,
            f"expected a DER key as 0x..., 0s..., dns:0s..., ssh:0s..., or a file: "
            f"{reason_of(error)}",
        ) from None


def read_file(path: Path) -> bytes:
    """Content of a file of reasonable size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"the file is larger than {MAX_FILE} octets")
    return data


def reason_of(error: Exception) -> str:
    """What went wrong, without the file's name, which the caller tells."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
