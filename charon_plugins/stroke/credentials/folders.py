"""The folders of ipsec.d that are scanned: CA certificates and revocation lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl

#: Octets of a file; bundles of operating systems have some 200 KiB, revocation lists a few MiB.
MAX_FILE: Final = 16 << 20


def ca_certificates(
    folder: Path, report: Callable[[str], None], *, accept_any: bool
) -> list[Certificate]:
    """CA certificates of all files of a folder, whole bundles.

    Args:
        folder: ipsec.d/cacerts.
        report: takes lines for the log.
        accept_any: also take certificates that do not say that they are a CA's.
    """
    found: list[Certificate] = []
    for path, data in _files(folder, report):
        # Only hosts with certificates pay for the import.
        from charon_core.credentials.certificates import load_certificates

        try:
            certificates = load_certificates(data)
        except ValueError as error:
            report(f"loading CA certificate from '{path}' failed: {error}")
            continue
        for certificate in certificates:
            if is_authority(certificate, path, report, accept_any=accept_any):
                report(f"loaded CA certificate {certificate} from '{path}'")
                found.append(certificate)
    return found


def is_authority(
    certificate: Certificate, path: Path, report: Callable[[str], None], *, accept_any: bool
) -> bool:
    """True if a certificate may be trusted as a CA; the log says why not."""
    if certificate.is_ca or accept_any:
        return True
    report(
        f"certificate {certificate} from '{path}' is not trusted: it lacks the CA basic constraint"
    )
    return False


def revocation_lists(folder: Path, report: Callable[[str], None]) -> list[Crl]:
    """Revocation lists of all files of a folder."""
    found: list[Crl] = []
    for path, data in _files(folder, report):
        from charon_core.credentials.crls import load_crls

        try:
            crls = load_crls(data)
        except ValueError as error:
            report(f"loading CRL from '{path}' failed: {error}")
            continue
        found += crls
        report(f"loaded {len(crls)} CRL{'s' if len(crls) != 1 else ''} from '{path}'")
    return found


def _files(folder: Path, report: Callable[[str], None]) -> Iterator[tuple[Path, bytes]]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        report(f"folder '{folder}' cannot be read: {error.strerror}")
        return
    for path in paths:
        try:
            if path.is_file():
                with path.open("rb") as file:
                    yield path, file.read(MAX_FILE)
        except OSError as error:
            report(f"file '{path}' cannot be read: {error.strerror}")
