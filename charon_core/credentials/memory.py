"""Credentials kept in memory, under the indexes by which they are looked up."""

from __future__ import annotations

from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

from charon_core.config.identification import SCORE_ANY

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from charon_core.config.identification import Identification
    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.crls import Crl
    from charon_core.credentials.keys import PrivateKey, PublicKey
    from charon_core.credentials.sets import AuthorityUris, SecretKind, SharedSecret


class _SecretIndex:
    """Secrets of one kind: by exact owner, and apart those whose owners are patterns or ANY."""

    __slots__ = ("_any", "_by_owner", "_numbers", "_patterns", "_secrets")

    def __init__(self) -> None:
        self._numbers = count()
        self._secrets: dict[int, SharedSecret] = {}
        self._by_owner: dict[Hashable, list[int]] = {}
        self._patterns: list[int] = []
        self._any: dict[int, None] = {}

    def add(self, secret: SharedSecret) -> None:
        number = next(self._numbers)
        self._secrets[number] = secret
        patterns = False
        for owner in secret.owners:
            if owner.is_any:
                self._any[number] = None
            elif owner.is_pattern:
                patterns = True
            else:
                self._by_owner.setdefault(owner.match_key, []).append(number)
        if patterns:
            self._patterns.append(number)

    def find(
        self, me: Identification | None, other: Identification | None
    ) -> list[tuple[SharedSecret, int, int]]:
        if me is None and other is None:
            return [(secret, 0, 0) for secret in self._secrets.values()]
        scored: dict[int, tuple[SharedSecret, int, int]] = {}
        # Without a more exact owner, ANY scores the same for every such entry.
        mine, theirs = (SCORE_ANY if side is not None else 0 for side in (me, other))
        for number in self._any:
            scored[number] = self._secrets[number], mine, theirs
        for number in (*self._patterns, *self._owned_by(me), *self._owned_by(other)):
            secret = self._secrets[number]
            scores = secret.score(me), secret.score(other)
            if any(scores):
                scored[number] = secret, *scores
        return [scored[number] for number in sorted(scored)]

    def nearest(
        self, me: Identification | None, other: Identification | None
    ) -> list[tuple[SharedSecret, int, int]]:
        """Return those of `find` that name the other side best, without going through the rest."""
        named = sorted({*self._patterns, *self._owned_by(other)})
        scored = [
            (secret, secret.score(me), secret.score(other))
            for secret in map(self._secrets.__getitem__, named)
        ]
        best = max((theirs for _, _, theirs in scored), default=0)
        if best > SCORE_ANY:
            return [entry for entry in scored if entry[2] == best]
        return self.find(me, other)

    def _owned_by(self, identity: Identification | None) -> list[int]:
        return [] if identity is None else self._by_owner.get(identity.match_key, [])


class MemorySet:
    """An indexed `CredentialSet` in memory; whatever is added twice is kept once."""

    def __init__(self, name: str = "memory") -> None:
        """Start empty; `name` is how log lines call this set."""
        self._name = name
        self._lock = Lock()  # guards everything below
        self._secrets: dict[SecretKind, _SecretIndex] = {}
        self._private_keys: dict[str, PrivateKey] = {}
        self._certificates: dict[bytes, Certificate] = {}
        self._by_name: dict[Hashable, dict[bytes, Certificate]] = {}
        self._by_keyid: dict[Hashable, dict[bytes, Certificate]] = {}
        self._anchors: dict[bytes, Certificate] = {}
        self._crls: dict[Hashable, dict[bytes, Crl]] = {}
        self._public_keys: list[tuple[Identification, PublicKey]] = []
        self._uris: dict[bytes, dict[str, AuthorityUris]] = {}

    @property
    def name(self) -> str:
        """How log lines call this set."""
        return self._name

    def add_secret(self, secret: SharedSecret) -> None:
        """Add a secret behind the others: on equal scores it is preferred to them."""
        with self._lock:
            self._secrets.setdefault(secret.kind, _SecretIndex()).add(secret)

    def add_private_key(self, key: PrivateKey) -> None:
        """Add a private key."""
        fingerprint = key.fingerprint
        with self._lock:
            self._private_keys[fingerprint] = key

    def replace_secrets(
        self, secrets: Iterable[SharedSecret], keys: Iterable[PrivateKey] = ()
    ) -> None:
        """Exchange all secrets and private keys at once, as rereading the secrets does."""
        indexes: dict[SecretKind, _SecretIndex] = {}
        for secret in secrets:
            indexes.setdefault(secret.kind, _SecretIndex()).add(secret)
        private_keys = {key.fingerprint: key for key in keys}
        with self._lock:
            self._secrets = indexes
            self._private_keys = private_keys

    def add_certificate(self, certificate: Certificate) -> Certificate:
        """Add a certificate that is not trusted by itself; return the one that is kept."""
        with self._lock:
            return self._add(certificate)

    def add_trust_anchor(self, certificate: Certificate) -> Certificate:
        """Add a CA certificate that is trusted; return the one that is kept."""
        with self._lock:
            kept = self._add(certificate)
            self._anchors[kept.der] = kept
            return kept

    def replace_trust_anchors(self, certificates: Iterable[Certificate]) -> None:
        """Exchange all trusted CA certificates at once."""
        wanted = {certificate.der: certificate for certificate in certificates}
        with self._lock:
            for old in [self._anchors[key] for key in self._anchors if key not in wanted]:
                self._drop(old)
            self._anchors = {key: self._add(certificate) for key, certificate in wanted.items()}

    def remove_certificate(self, certificate: Certificate) -> bool:
        """Forget a certificate, trusted or not; False if it is not there."""
        with self._lock:
            return self._drop(certificate)

    def add_crl(self, crl: Crl) -> bool:
        """Add a revocation list; False if a newer one of the same kind is there already."""
        with self._lock:
            place = self._crls.setdefault(crl.issuer.match_key, {})
            for key, known in list(place.items()):
                if not known.same_scope(crl):
                    continue
                if known.is_newer_than(crl):
                    return False
                del place[key]
            place[crl.der] = crl
            return True

    def add_public_key(self, identity: Identification, key: PublicKey) -> None:
        """Trust a raw public key for an identity, or for all that fit a pattern."""
        with self._lock:
            if (identity, key) not in self._public_keys:
                self._public_keys.append((identity, key))

    def set_authority_uris(self, name: str, issuer: Certificate, uris: AuthorityUris) -> None:
        """Say where information about a CA's certificates is; replaces what this `name` said."""
        with self._lock:
            self._uris.setdefault(issuer.public_key.spki, {})[name] = uris

    def drop_authority_uris(self, name: str) -> None:
        """Forget what was said under this name, of whatever CA."""
        with self._lock:
            for place in self._uris.values():
                place.pop(name, None)
            self._uris = {key: place for key, place in self._uris.items() if place}

    def authority_uris(self, issuer: Certificate) -> list[AuthorityUris]:
        """Return what was said of a CA."""
        with self._lock:
            return list(self._uris.get(issuer.public_key.spki, {}).values())

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for table in (
                self._secrets,
                self._private_keys,
                self._certificates,
                self._by_name,
                self._by_keyid,
                self._anchors,
                self._crls,
                self._public_keys,
                self._uris,
            ):
                table.clear()

    def shared_secrets(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> list[tuple[SharedSecret, int, int]]:
        """Return the secrets that fit one of two identities, with the scores of both."""
        with self._lock:
            index = self._secrets.get(kind)
            return index.find(me, other) if index else []

    def nearest_secrets(
        self, kind: SecretKind, me: Identification | None, other: Identification | None
    ) -> list[tuple[SharedSecret, int, int]]:
        """Return those of `shared_secrets` that name the other side best."""
        with self._lock:
            index = self._secrets.get(kind)
            return index.nearest(me, other) if index else []

    def private_keys(self, fingerprint: str | None = None) -> list[PrivateKey]:
        """Return all private keys, or the one of that fingerprint."""
        with self._lock:
            if fingerprint is None:
                return list(self._private_keys.values())
            key = self._private_keys.get(fingerprint)
            return [] if key is None else [key]

    def certificates(
        self, subject: Identification | None = None, keyid: str | None = None
    ) -> list[Certificate]:
        """Return the certificates that name `subject` and have the key `keyid`."""
        with self._lock:
            found = self._by_keyid.get(keyid, {}) if keyid is not None else self._certificates
            if subject is None:
                return list(found.values())
            if not subject.is_pattern:
                named = self._by_name.get(subject.match_key, {})
                return [certificate for key, certificate in named.items() if key in found]
            return [c for c in found.values() if c.has_identity(subject)]

    def trust_anchors(self, subject: Identification | None = None) -> list[Certificate]:
        """Return the trusted CA certificates, all or those of a subject."""
        with self._lock:
            if subject is None:
                return list(self._anchors.values())
            named = self._by_name.get(subject.match_key, {})
            return [
                certificate
                for key, certificate in named.items()
                if key in self._anchors and certificate.subject.matches(subject)
            ]

    def crls(self, issuer: Identification) -> list[Crl]:
        """Return the revocation lists of an issuer."""
        with self._lock:
            return list(self._crls.get(issuer.match_key, {}).values())

    def all_crls(self) -> list[Crl]:
        """Return every revocation list."""
        with self._lock:
            return [crl for place in self._crls.values() for crl in place.values()]

    def public_keys(self, identity: Identification) -> list[PublicKey]:
        """Return the raw public keys that are trusted for an identity."""
        with self._lock:
            return [key for owner, key in self._public_keys if identity.matches(owner)]

    def all_public_keys(self) -> list[tuple[Identification, PublicKey]]:
        """Return every raw public key with its owner."""
        with self._lock:
            return list(self._public_keys)

    def _add(self, certificate: Certificate) -> Certificate:
        key = certificate.der
        known = self._certificates.get(key)
        if known is not None:
            return known
        self._certificates[key] = certificate
        for identity in certificate.identities:
            self._by_name.setdefault(identity.match_key, {})[key] = certificate
        self._by_keyid.setdefault(certificate.public_key.keyid, {})[key] = certificate
        return certificate

    def _drop(self, certificate: Certificate) -> bool:
        key = certificate.der
        self._anchors.pop(key, None)
        if self._certificates.pop(key, None) is None:
            return False
        for identity in certificate.identities:
            _forget(self._by_name, identity.match_key, key)
        _forget(self._by_keyid, certificate.public_key.keyid, key)
        return True


def _forget(index: dict[Hashable, dict[bytes, Certificate]], value: Hashable, key: bytes) -> None:
    place = index.get(value, {})
    place.pop(key, None)
    if not place:
        index.pop(value, None)
