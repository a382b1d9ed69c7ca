"""All credentials of the daemon: who is asked, which secret fits, whose keys are trusted."""

from __future__ import annotations

from hashlib import sha1
from threading import Lock
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from charon_core.config.identification import Identification
    from charon_core.config.peer import AuthConfig
    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl
    from charon_core.credentials.keys import PrivateKey, PublicKey
    from charon_core.credentials.online.request import SchemeFetcher
    from charon_core.credentials.online.service import RevocationService
    from charon_core.credentials.peer_trust import PeerTrust
    from charon_core.credentials.sets import (
        AuthorityUris,
        ConfiguredUris,
        CredentialSet,
        NearestSecrets,
        SecretKind,
        SharedSecret,
    )
    from charon_core.credentials.verdict import Verdict

_Item = TypeVar("_Item")


class CredentialManager:
    """Asks all credential sets; one that fails is reported and skipped."""

    def __init__(
        self,
        report: Callable[[str], object] = lambda _text: None,
        make_online: Callable[[], RevocationService] | None = None,
    ) -> None:
        """Start without sets.

        Args:
            report: Is given one line of text for each failure of a set.
            make_online: Makes what asks servers about revocation, when it is first needed; without
                it nobody is asked.
        """
        self._report = report
        self._make_online = make_online
        self._online: RevocationService | None = None
        self._caches_lists = self._looks_up = False
        self.fetchers: dict[str, SchemeFetcher] = {}
        """Who fetches by which scheme, beside the built-in ones."""
        self._lock = Lock()  # guards the replacement of the tuple, which readers use as it is
        self._sets: tuple[CredentialSet, ...] = ()
        self._trust: PeerTrust | None = None

    @property
    def sets(self) -> tuple[CredentialSet, ...]:
        """The sets, in the order in which they are asked."""
        return self._sets

    def add(self, credential_set: CredentialSet) -> None:
        """Ask this set, too, from now on."""
        with self._lock:
            if not any(known is credential_set for known in self._sets):
                self._sets = (*self._sets, credential_set)

    def remove(self, credential_set: CredentialSet) -> None:
        """Do not ask this set any more; unknown ones are ignored."""
        with self._lock:
            self._sets = tuple(known for known in self._sets if known is not credential_set)

    # --- what servers are asked ---

    @property
    def online(self) -> RevocationService | None:
        """What asks servers about revocation; None if the settings do not want it."""
        if self._online is None and self._make_online is not None:
            with self._lock:
                self._online = self._online or self._make_online()
        return self._online

    @property
    def online_in_use(self) -> RevocationService | None:
        """The same, but None as long as nobody has needed it."""
        return self._online

    @property
    def caches_lists(self) -> bool:
        """Whether revocation lists that were fetched are kept on the disk, too."""
        return self._caches_lists

    def cache_lists(self, on: bool) -> None:
        """Keep revocation lists that are fetched from now on on the disk, or not."""
        self._caches_lists = on

    @property
    def looks_up_certificates(self) -> bool:
        """Whether certificates are fetched that peers send as a hash and a URL."""
        return self._looks_up and self._make_online is not None

    def look_up_certificates(self, on: bool) -> None:
        """Follow the URLs of peers from now on, or not."""
        self._looks_up = on

    def published_at(self, certificate: Certificate) -> str:
        """Return the URI at which a certificate of ours is published, empty if it is not."""
        for source in (self.trust_anchors, self.certificates):
            for issuer in source(certificate.issuer):
                for uris in self.authority_uris(issuer):
                    if uris.cert_base:
                        return uris.cert_base + sha1(certificate.der).hexdigest()
        return ""

    def add_fetcher(self, scheme: str, fetcher: SchemeFetcher) -> None:
        """Have URIs of a scheme (lower case, such as ``ldap``) fetched; see `SchemeFetcher`.

        Raises:
            ValueError: Somebody does that already.
        """
        with self._lock:
            if scheme in self.fetchers:
                message = f"there is a fetcher for '{scheme}:' already"
                raise ValueError(message)
            self.fetchers[scheme] = fetcher

    def remove_fetcher(self, scheme: str) -> None:
        """Do not fetch URIs of a scheme any more; unknown ones are ignored."""
        with self._lock:
            self.fetchers.pop(scheme, None)

    def authority_uris(self, issuer: Certificate) -> Iterator[AuthorityUris]:
        """Yield the URIs that are configured for a CA."""

        def ask(source: CredentialSet) -> Iterable[AuthorityUris]:
            if hasattr(source, "authority_uris"):
                return cast("ConfiguredUris", source).authority_uris(issuer)
            return ()

        return self._ask(ask)

    # --- shared secrets: nothing in this part may need the library of certificates ---

    def shared_secret(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> SharedSecret | None:
        """Return the secret that fits two identities best, or None.

        The one that fits the other side best wins, then the one that fits us best, then the one
        that was defined last.
        """
        best: SharedSecret | None = None
        best_scores = (-1, -1)
        for secret, mine, theirs in self._nearest(kind, me, other):
            if (theirs, mine) >= best_scores:
                best, best_scores = secret, (theirs, mine)
        return best

    def shared_secrets(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> list[SharedSecret]:
        """Return every secret that fits one of two identities, best first, for verification."""
        found = list(self._scored(kind, me, other))
        found.reverse()
        found.sort(key=lambda entry: (entry[2], entry[1]), reverse=True)
        return [entry[0] for entry in found]

    def proving_secrets(
        self, kind: SecretKind, me: Identification, other: Identification
    ) -> list[SharedSecret]:
        """Return the secrets whose knowledge proves the other side to be who it says, best first.

        Of all that fit one of the two, only those count that name the other side best: who has
        the secret of ``gate bob`` or of everybody must not pass for an alice who has one of her
        own. Where none names the other side, not even as anybody, those are left that name
        nobody but us; ``gate bob`` proves bob alone.
        """
        found = list(self._nearest(kind, me, other))
        found.reverse()
        found.sort(key=lambda entry: (entry[2], entry[1]), reverse=True)
        best = found[0][2] if found else 0
        if best:
            return [secret for secret, _, theirs in found if theirs == best]
        return [secret for secret, _, _ in found if all(map(me.matches, secret.owners))]

    def _scored(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> Iterator[tuple[SharedSecret, int, int]]:
        return self._ask(lambda s: s.shared_secrets(kind, me, other))

    def _nearest(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> Iterator[tuple[SharedSecret, int, int]]:
        """Yield at least the secrets that score best for the other side."""

        def ask(source: CredentialSet) -> Iterable[tuple[SharedSecret, int, int]]:
            # Not isinstance(): that costs as much as the look-up where a protocol is asked for.
            if hasattr(source, "nearest_secrets"):
                return cast("NearestSecrets", source).nearest_secrets(kind, me, other)
            return source.shared_secrets(kind, me, other)

        return self._ask(ask)

    # --- keys and certificates ---

    def private_keys(self, fingerprint: str | None = None) -> Iterator[PrivateKey]:
        """Yield the private keys of all sets, or those of one fingerprint."""
        return self._ask(lambda s: s.private_keys(fingerprint))

    def certificates(
        self, subject: Identification | None = None, keyid: str | None = None
    ) -> Iterator[Certificate]:
        """Yield the certificates of all sets that name `subject` and have the key `keyid`."""
        return self._ask(lambda s: s.certificates(subject, keyid))

    def trust_anchors(self, subject: Identification | None = None) -> Iterator[Certificate]:
        """Yield the trusted CA certificates of all sets, all or those of a subject."""
        return self._ask(lambda s: s.trust_anchors(subject))

    def crls(self, issuer: Identification) -> Iterator[Crl]:
        """Yield the revocation lists of an issuer."""
        return self._ask(lambda s: s.crls(issuer))

    def public_keys(self, identity: Identification) -> Iterator[PublicKey]:
        """Yield raw public keys that are trusted for an identity."""
        return self._ask(lambda s: s.public_keys(identity))

    def ca_hashes(self) -> tuple[bytes, ...]:
        """Return the SHA-1 of each trust anchor's key, for CERTREQ (RFC 7296 section 3.7)."""
        return tuple(
            dict.fromkeys(bytes.fromhex(ca.public_key.keyid) for ca in self.trust_anchors())
        )

    def private_key_for(
        self, auth: AuthConfig
    ) -> tuple[PrivateKey, tuple[Certificate, ...]] | None:
        """Return the private key to authenticate us with, and the certificates to send.

        First the keys of the configured certificates and raw keys count, then those of any
        certificate that names our identity. The certificates begin with our own and end below
        the root, which the peer must have anyway; there are none for a raw key.
        """
        return self._trusting().private_key_for(auth)

    def trusted_keys(
        self,
        identity: Identification,
        presented: Sequence[Certificate],
        auth: AuthConfig,
        now: float,
        may_ask: Callable[[PublicKey], bool] = lambda _key: False,
    ) -> Verdict:
        """Find the keys that are trusted to be a peer's.

        Args:
            identity: Who the peer claims to be.
            presented: The certificates that it sent, its own first.
            auth: What the connection demands of the peer.
            now: Seconds since 1970.
            may_ask: Whether servers may be asked about the owner of a key whose chain is trusted:
                the peer has proved that the key is its own, and it can wait.

        Raises:
            NotYet: They have to be asked first.
        """
        return self._trusting().trusted_keys(identity, presented, auth, now, may_ask)

    def flush(self) -> None:
        """Forget which signatures were verified."""
        if self._trust is not None:
            self._trust.relations.clear()

    def _trusting(self) -> PeerTrust:
        if self._trust is None:
            # Daemons that only know pre-shared keys never get here.
            from charon_core.credentials.peer_trust import PeerTrust

            with self._lock:
                self._trust = self._trust or PeerTrust(self)
        return self._trust

    def _ask(self, ask: Callable[[CredentialSet], Iterable[_Item]]) -> Iterator[_Item]:
        """Yield what each set offers until it fails; the others are asked all the same."""
        for credential_set in self._sets:
            try:
                yield from ask(credential_set)
            except Exception as error:  # noqa: BLE001 - one plugin's fault must not stop others
                kind = type(error).__name__
                # The text of a foreign exception might hold what must not be logged.
                self._report(f"credential set '{credential_set.name}' failed: {kind}")
