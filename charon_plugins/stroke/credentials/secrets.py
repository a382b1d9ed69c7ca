"""Turns the entries of ipsec.secrets into secrets and keys, and asks for passphrases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config.identification import Identification
from charon_core.credentials.sets import SecretKind, SharedSecret
from charon_core.crypto.secret import Secret
from charon_plugins.stroke.credentials.secrets_file import CONTAINER_TYPE, read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.keys import KeyType, PrivateKey
    from charon_plugins.stroke.credentials.secrets_file import KeyEntry, SharedEntry

#: How often a wrong passphrase may be entered again.
ATTEMPTS: Final = 3

_KINDS: Final = {
    "PSK": SecretKind.IKE,
    "EAP": SecretKind.EAP,
    "XAUTH": SecretKind.EAP,
    "NTLM": SecretKind.NTLM,
}


class Conversation(NamedTuple):
    """How somebody is asked for passphrases.

    Attributes:
        ask: shows a text, asks for a passphrase, returns it; ``None`` if nobody answers.
        tell: shows a line.
    """

    ask: Callable[[str], str | None]
    tell: Callable[[str], object]


@dataclass(slots=True)
class LoadedSecrets:
    """What ipsec.secrets came to.

    Attributes:
        shared: shared secrets, in the order of the file.
        keys: private keys.
        certificates: those that PKCS#12 files brought along.
        by_file: private keys by file, to be kept over a reload that can ask nobody.
    """

    shared: list[SharedSecret] = field(default_factory=list)
    keys: list[PrivateKey] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    by_file: dict[str, tuple[PrivateKey, ...]] = field(default_factory=dict)


class SecretsLoader:
    """Loads one ipsec.secrets, again and again."""

    def __init__(self, path: Path, private: Path, report: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            path: of ipsec.secrets.
            private: folder of the key files.
            report: takes lines for the log.
        """
        self._path = path
        self._private = private
        self._report = report
        self._unlocked: dict[str, tuple[PrivateKey, ...]] = {}

    def load(self, conversation: Conversation | None = None) -> LoadedSecrets:
        """Read the file.

        Args:
            conversation: somebody to ask for passphrases; without it, keys that need to be asked
                for are only there if they were unlocked before.

        Raises:
            OSError: the file cannot be read; what was loaded before should be kept.
        """
        self._report(f"loading secrets from '{self._path}'")
        file = read_secrets(self._path)
        if self._path.stat().st_mode & 0o007:
            self._report(f"'{self._path}' is open to everybody: give it the mode 0600")
        for problem in file.problems:
            self._report(problem)
            if conversation is not None:
                conversation.tell(problem)
        loaded = LoadedSecrets()
        for shared in file.shared:
            self._add_shared(shared, loaded)
        for key in file.keys:
            self._add_key(key, conversation, loaded)
        self._unlocked = loaded.by_file
        return loaded

    def _add_shared(self, entry: SharedEntry, loaded: LoadedSecrets) -> None:
        try:
            owners = tuple(Identification.parse(text) for text in entry.selectors)
        except ValueError as error:
            self._report(f"{entry.line}: expected an identity as selector: {error}")
            return
        kind = _KINDS[entry.kind]
        loaded.shared.append(SharedSecret(kind, entry.secret, owners or (Identification.any(),)))
        names = " ".join(map(str, owners)) or "%any"
        self._report(f"loaded {kind.value} secret for {names}")

    def _add_key(
        self, entry: KeyEntry, conversation: Conversation | None, loaded: LoadedSecrets
    ) -> None:
        path = self._private / entry.file
        try:
            data = _read(path)
            if entry.kind == CONTAINER_TYPE:
                self._add_container(entry, path, data, conversation, loaded)
                return
            key = self._private_key(entry, path, data, conversation)
        except (OSError, ValueError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            text = f"loading private key from '{path}' failed: {reason} ({entry.line})"
            self._report(text)
            if conversation is not None:
                conversation.tell(text)
            return
        if key is not None:
            loaded.keys.append(key)
            loaded.by_file[str(path)] = (key,)
            self._report(f"loaded {key.type.name} private key from '{path}'")
        else:
            self._keep_unlocked(entry, path, loaded)

    def _private_key(
        self, entry: KeyEntry, path: Path, data: bytes, conversation: Conversation | None
    ) -> PrivateKey | None:
        """The key; ``None`` if nobody could be asked for its passphrase.

        Raises:
            ValueError: it cannot be loaded.
        """
        # Only daemons with private keys pay for these imports.
        from charon_core.credentials.loading import load_private_key

        expected = _expected_type(entry.kind)
        passphrase = entry.passphrases[0] if entry.passphrases else None
        if not entry.asks:
            return load_private_key(data, passphrase, expected)
        try:
            return load_private_key(data, None, expected)
        except ValueError:
            pass  # Most likely since it is encrypted; if not, that will show.
        if conversation is None:
            return None
        question = f"Private key '{path}' is encrypted.\n"
        for attempt in range(ATTEMPTS):
            answer = conversation.ask(question if not attempt else "Passphrase invalid!\n")
            if answer is None:
                raise ValueError("nobody entered the passphrase")
            try:
                secret = Secret(answer.encode("utf-8", "surrogateescape"))
                return load_private_key(data, secret, expected)
            except ValueError as error:
                reason = error
        conversation.tell("Passphrase invalid, giving up.")
        raise reason

    def _add_container(
        self,
        entry: KeyEntry,
        path: Path,
        data: bytes,
        conversation: Conversation | None,
        loaded: LoadedSecrets,
    ) -> None:
        from charon_core.credentials.loading import load_pkcs12

        passphrases = list(entry.passphrases)
        if entry.asks:
            question = f"PKCS#12 file '{path}' is encrypted.\n"
            answer = conversation.ask(question) if conversation is not None else None
            if answer is None:
                self._keep_unlocked(entry, path, loaded)
                return
            passphrases.append(Secret(answer.encode("utf-8", "surrogateescape")))
        container = load_pkcs12(data, passphrases)
        loaded.keys += container.keys
        loaded.certificates += container.certificates
        loaded.by_file[str(path)] = container.keys
        self._report(
            f"loaded {len(container.keys)} private keys and {len(container.certificates)} "
            f"certificates from '{path}'"
        )

    def _keep_unlocked(self, entry: KeyEntry, path: Path, loaded: LoadedSecrets) -> None:
        """A key that somebody unlocked before stays, since a reload must not take it away."""
        known = self._unlocked.get(str(path))
        if known is None:
            self._report(
                f"'{path}' needs a passphrase: run rereadsecrets to be asked for it ({entry.line})"
            )
            return
        loaded.keys += known
        loaded.by_file[str(path)] = known
        self._report(f"kept the private key from '{path}', which was unlocked before")


def _expected_type(kind: str) -> KeyType | None:
    from charon_core.credentials.keys import KeyType

    return {"RSA": KeyType.RSA, "ECDSA": KeyType.ECDSA}.get(kind)


def _read(path: Path) -> bytes:
    from charon_plugins.stroke.connections.files import read_file

    return read_file(path)
