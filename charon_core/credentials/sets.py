"""Sources of credentials: the contract, and what a shared secret is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from charon_core.config.identification import Identification
from charon_core.credentials.memory import MemorySet
from charon_core.key_enum import KeyEnum

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl
    from charon_core.credentials.keys import PrivateKey, PublicKey
    from charon_core.crypto.secret import Secret

__all__ = [
    "AuthorityUris",
    "ConfiguredUris",
    "CredentialSet",
    "MemorySet",
    "NearestSecrets",
    "SecretKind",
    "SharedSecret",
]


class SecretKind(KeyEnum):
    """What a shared secret is for; the value is the word of log lines."""

    IKE = "IKE"
    """Pre-shared key of an IKE_SA."""
    EAP = "EAP"
    """Password or key of an EAP method."""
    NTLM = "NTLM"
    """NT hash of a password: MD4 of its UTF-16LE octets."""
    PIN = "PIN"
    """Opens a smartcard."""


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A secret that two sides share.

    Attributes:
        kind: What it is for.
        secret: The octets.
        owners: Identities or patterns; one that fits either side is enough. ANY if it is
            everybody's.
    """

    kind: SecretKind
    secret: Secret
    owners: tuple[Identification, ...] = (Identification.any(),)

    def score(self, identity: Identification | None) -> int:
        """Return the best score of an identity against the owners; an unknown one has 0."""
        if identity is None:
            return 0
        return max((identity.matches(owner) for owner in self.owners), default=0)

    def __str__(self) -> str:
        """``IKE secret for moon.example.org sun.example.org``."""
        return f"{self.kind.value} secret for {' '.join(map(str, self.owners)) or '%any'}"


class CredentialSet(Protocol):
    """A source of credentials. Every call may come from any thread, and may raise."""

    @property
    def name(self) -> str:
        """How log lines call this set."""
        ...

    def shared_secrets(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> Iterable[tuple[SharedSecret, int, int]]:
        """Yield secrets that fit one of two identities, each with the scores of both.

        In the order of definition: on equal scores the last one is preferred. Without any
        identity all secrets of the kind are yielded.
        """
        ...

    def private_keys(self, fingerprint: str | None) -> Iterable[PrivateKey]:
        """Yield private keys, all or the one of that fingerprint (see `PublicKey`)."""
        ...

    def certificates(
        self, subject: Identification | None, keyid: str | None
    ) -> Iterable[Certificate]:
        """Yield certificates, trusted or not, that name `subject` and have the key `keyid`."""
        ...

    def trust_anchors(self, subject: Identification | None) -> Iterable[Certificate]:
        """Yield the CA certificates that are trusted, all or those of a subject."""
        ...

    def crls(self, issuer: Identification) -> Iterable[Crl]:
        """Yield the certificate revocation lists of an issuer."""
        ...

    def public_keys(self, identity: Identification) -> Iterable[PublicKey]:
        """Yield raw public keys that are trusted for an identity."""
        ...


@dataclass(frozen=True, slots=True)
class AuthorityUris:
    """Where our configuration says that information about a CA's certificates is.

    Attributes:
        crl: URIs of revocation lists.
        ocsp: URIs of OCSP responders.
        cert_base: With the SHA-1 hash of a certificate behind, in hexadecimal digits, the URI of
            that certificate; empty if they are not published.
    """

    crl: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    cert_base: str = ""


class ConfiguredUris(Protocol):
    """A credential set that knows URIs of CAs, beside those in certificates."""

    def authority_uris(self, issuer: Certificate) -> Iterable[AuthorityUris]:
        """Yield the URIs that are configured for a CA, by its certificate's key."""
        ...


class NearestSecrets(Protocol):
    """A credential set that finds the best secrets without going through all that fit.

    A gateway that names itself in each of thousands of secrets has as many that fit one side.
    """

    def nearest_secrets(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> Iterable[tuple[SharedSecret, int, int]]:
        """Yield those of `CredentialSet.shared_secrets` that score best for the other side.

        More than these may be yielded, too.
        """
        ...
