"""Everything that stroke knows of credentials: three sets, filled from files."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from charon_core.credentials.sets import AuthorityUris, MemorySet
from charon_plugins.stroke.credentials.folders import (
    ca_certificates,
    is_authority,
    revocation_lists,
)
from charon_plugins.stroke.credentials.secrets import Conversation, SecretsLoader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.sets import CredentialSet
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.settings import StrokeSettings


class Section(NamedTuple):
    """A ca section: its name, the file of its certificate, and what is published where."""

    name: str
    cacert: str
    uris: AuthorityUris = AuthorityUris()


class CredentialStore:
    """Fills three credential sets: secrets and keys, authorities, and what connections name.

    They are apart since each is replaced as a whole on its own occasion.
    """

    def __init__(
        self,
        secrets_file: Path,
        folder: Path,
        settings: Callable[[], StrokeSettings],
        report: Callable[[str], None],
    ) -> None:
        """Prepare; `load` reads.

        Args:
            secrets_file: ipsec.secrets.
            folder: ipsec.d.
            settings: the plugin's settings as they are now.
            report: takes lines for the log.
        """
        self._folder = folder
        self._settings = settings
        self._report = report
        self._secrets = MemorySet("stroke secrets")
        self._authorities = MemorySet("stroke cacerts")
        self._named = MemorySet("stroke certs")
        self._loader = SecretsLoader(secrets_file, folder / "private", report)
        self._sections: dict[str, Section] = {}
        # Reading again is several steps; two of them must not mix. Not held while asking.
        self._lock = Lock()

    @property
    def sets(self) -> tuple[CredentialSet, ...]:
        """The sets to register."""
        return self._secrets, self._authorities, self._named

    def load(self) -> None:
        """Read everything, asking nobody."""
        self.load_authorities()
        self.load_revocation_lists()
        self.load_secrets()

    def keep(self, certificates: Iterable[Certificate]) -> None:
        """Take certificates that a connection names, to build chains with; they are not trusted.

        Raw keys and pinned certificates are trusted by the connection itself, and by no other.
        """
        for certificate in certificates:
            self._named.add_certificate(certificate)

    def load_secrets(self, channel: Channel | None = None) -> None:
        """Read ipsec.secrets, asking the user behind ``channel`` for passphrases."""
        conversation = None
        if channel is not None:
            conversation = Conversation(
                lambda text: channel.ask(text, "Passphrase"), channel.write_line
            )
        try:
            loaded = self._loader.load(conversation)
        except FileNotFoundError:
            self._tell(channel, "there is no file of secrets: those loaded before are kept")
            return
        except OSError as error:
            file = error.filename or "a file of secrets"
            self._tell(
                channel,
                f"'{file}' cannot be read, secrets loaded before are kept: "
                f"{error.strerror or error}{self._hint(error)}",
            )
            return
        with self._lock:
            self._secrets.replace_secrets(loaded.shared, loaded.keys)
            for certificate in loaded.certificates:
                if certificate.is_ca:
                    self._secrets.add_trust_anchor(certificate)
                else:
                    self._secrets.add_certificate(certificate)

    def _tell(self, channel: Channel | None, text: str) -> None:
        self._report(text)
        if channel is not None:
            channel.write_line(text)

    def _hint(self, error: OSError) -> str:
        if not isinstance(error, PermissionError):
            return ""
        return f"; let the daemon's user (number {os.geteuid()}) read it, e.g. by its group"

    def load_authorities(self) -> None:
        """Read the CA certificates: those of ca sections first, then the folder."""
        accept_any = self._settings().ignore_missing_ca_basic_constraint
        folder = self._folder / "cacerts"
        with self._lock:
            found = [
                certificate
                for section in self._sections.values()
                for certificate in self._section_certificates(section)
            ]
            found += ca_certificates(folder, self._report, accept_any=accept_any)
            self._authorities.replace_trust_anchors(found)

    def load_revocation_lists(self) -> None:
        """Read the folder of CRLs; newer ones replace older ones."""
        for crl in revocation_lists(self._folder / "crls", self._report):
            self._named.add_crl(crl)

    def add_section(self, section: Section) -> None:
        """Trust the certificate of a ca section, and ask at its URIs about what it has issued.

        Args:
            section: One of the same name is replaced; `cacert` is a file in ipsec.d/cacerts, or
                an absolute path.
        """
        name = section.name
        certificates = self._section_certificates(section)
        if not certificates:
            self._report(f"ca '{name}' refused: it has no CA certificate")
            return
        with self._lock:
            self._sections[name] = section
            self._authorities.drop_authority_uris(name)
            for certificate in certificates:
                self._authorities.add_trust_anchor(certificate)
                self._authorities.set_authority_uris(name, certificate, section.uris)

    def remove_section(self, name: str) -> bool:
        """Forget a ca section; False if there is none of that name."""
        with self._lock:
            known = self._sections.pop(name, None)
            self._authorities.drop_authority_uris(name)
        if known is not None:
            # The same certificate may lie in the folder, or belong to another section.
            self.load_authorities()
        return known is not None

    def _section_certificates(self, section: Section) -> list[Certificate]:
        if not section.cacert:
            self._report(f"ca '{section.name}': cacert is missing; expected a certificate file")
            return []
        from charon_core.credentials.certificates import load_certificates
        from charon_plugins.stroke.connections.files import read_file, reason_of

        path = self._folder / "cacerts" / section.cacert
        try:
            found = load_certificates(read_file(path))
        except (OSError, ValueError) as error:
            text = f"expected a CA certificate in '{path}': {reason_of(error)}"
            self._report(f"ca '{section.name}': cacert = {section.cacert!r}: {text}")
            return []
        accept_any = self._settings().ignore_missing_ca_basic_constraint
        return [c for c in found if is_authority(c, path, self._report, accept_any=accept_any)]
