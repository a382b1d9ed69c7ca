"""Reads ipsec.secrets: lines of selectors, type and arguments, with included files in place.

Every line stands for itself: one that is wrong is reported with file and line, and the others
count all the same.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.crypto.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

#: Files that include one another, down to this depth.
MAX_INCLUDE_DEPTH: Final = 10
#: Files that are read altogether: files that include each other end here.
MAX_FILES: Final = 1000
#: Octets of one file.
MAX_FILE: Final = 16 << 20

SHARED_TYPES: Final = ("PSK", "EAP", "XAUTH", "NTLM", "PPK")
KEY_TYPES: Final = ("RSA", "ECDSA", "PKCS8")
CONTAINER_TYPE: Final = "P12"
_REFUSED_TYPES: Final = {
    "PIN": "smartcards are not supported; use a key file",
    "BLISS": "BLISS keys are not supported; use RSA, ECDSA or PKCS8",
}
_PROMPT: Final = "%prompt"

_BLANKS = " \t"
_ENTRY = re.compile(r"([A-Za-z0-9]+)[ \t]+(?=[^ \t])")


class Line(NamedTuple):
    """Where an entry stands."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}"


@dataclass(frozen=True, slots=True)
class SharedEntry:
    """A shared secret.

    Attributes:
        kind: one of `SHARED_TYPES`.
        selectors: whose it is; nobody's in particular if there are none.
        secret: the octets.
        line: where it stands.
    """

    kind: str
    selectors: tuple[str, ...]
    secret: Secret
    line: Line


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A file with a private key.

    Attributes:
        kind: one of `KEY_TYPES`, or `CONTAINER_TYPE`.
        file: its name.
        passphrases: what opens it.
        asks: the passphrase is to be asked for.
        line: where the entry stands.
    """

    kind: str
    file: str
    passphrases: tuple[Secret, ...]
    asks: bool
    line: Line


@dataclass(slots=True)
class SecretsFile:
    """What a file and those that it includes hold.

    Attributes:
        shared: shared secrets, in order.
        keys: private keys, in order.
        problems: lines that are wrong, with what was expected.
    """

    shared: list[SharedEntry] = field(default_factory=list)
    keys: list[KeyEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _LineError(Exception):
    """A line is wrong; the text holds nothing of a secret."""


def read_secrets(path: Path, read: Callable[[Path], bytes] | None = None) -> SecretsFile:
    """Read a file.

    Raises:
        OSError: the file itself cannot be read; for included ones this is a problem among others.
    """
    reader = _Reader(read or _read_file)
    reader.read(path, 0)
    return reader.result


class _Reader:
    def __init__(self, read: Callable[[Path], bytes]) -> None:
        self._read = read
        self._files = 0
        self.result = SecretsFile()

    def read(self, path: Path, depth: int) -> None:
        self._files += 1
        # Octets that are not UTF-8 survive; a line ends with LF or CR LF.
        text = self._read(path).decode("utf-8", "surrogateescape")
        for number, content in enumerate(text.split("\n"), 1):
            line = Line(str(path), number)
            try:
                self._line(path, content.removesuffix("\r").lstrip(_BLANKS), line, depth)
            except _LineError as error:
                self.result.problems.append(f"{line}: {error}")

    def _line(self, path: Path, text: str, line: Line, depth: int) -> None:
        if not text or text.startswith("#"):
            return
        if text.startswith("include "):
            self._include(path, text, line, depth)
            return
        if text.startswith(": "):
            selectors, entry = "", text[2:]
        else:
            selectors, separator, entry = text.partition(" : ")
            if not separator:
                raise _LineError(
                    "expected blank, colon, blank between the selectors and the type, "
                    "as in 'moon sun : PSK \"...\"'"
                )
        self._entry(_words(selectors), entry.lstrip(_BLANKS), line)

    def _include(self, path: Path, text: str, line: Line, depth: int) -> None:
        if depth >= MAX_INCLUDE_DEPTH:
            raise _LineError(
                f"includes are nested more than {MAX_INCLUDE_DEPTH} deep; "
                "does a file include itself?"
            )
        pattern = re.split("[ \t]", text.removeprefix("include "), maxsplit=1)[0]
        found = sorted(glob(str(path.parent / pattern))) if pattern else []  # noqa: PTH207 -- the pattern may be absolute
        if not found:
            raise _LineError(f"include: no file matches {pattern!r}")
        for name in found:
            if self._files >= MAX_FILES:
                raise _LineError(f"more than {MAX_FILES} files are included")
            try:
                self.read(Path(name), depth + 1)
            except OSError as error:
                self.result.problems.append(
                    f"{line}: include: cannot read {name!r}: {error.strerror or error}"
                )

    def _entry(self, selectors: tuple[str, ...], entry: str, line: Line) -> None:
        found = _ENTRY.match(entry)
        if found is None:
            raise _LineError("expected a type such as PSK, a blank, and a secret or a file")
        kind, arguments = found[1], entry[found.end() :]
        if kind in SHARED_TYPES:
            secret, _ = _secret(arguments)
            self.result.shared.append(SharedEntry(kind, selectors, secret, line))
        elif kind in KEY_TYPES or kind == CONTAINER_TYPE:
            self.result.keys.append(_key_entry(kind, arguments, line))
        elif kind in _REFUSED_TYPES:
            raise _LineError(f"type {kind}: {_REFUSED_TYPES[kind]}")
        else:
            # Not with the word itself: it may be a secret whose type was forgotten.
            known = (*SHARED_TYPES, *KEY_TYPES, CONTAINER_TYPE)
            hint = f"; write {kind.upper()} in capitals" if kind.upper() in known else ""
            raise _LineError(f"unknown type; expected one of {', '.join(known)}{hint}")


def _key_entry(kind: str, arguments: str, line: Line) -> KeyEntry:
    file, rest = _word(arguments)
    passphrases: list[Secret] = []
    asks = False
    # A container may have one passphrase for its checksum and another for its keys.
    for _ in range(2 if kind == CONTAINER_TYPE else 1):
        rest = rest.lstrip(_BLANKS)
        if not rest or rest.startswith("#"):
            break
        if re.split("[ \t]", rest, maxsplit=1)[0] == _PROMPT:
            asks = True
            rest = rest.removeprefix(_PROMPT)
        else:
            secret, rest = _secret(rest)
            passphrases.append(secret)
    return KeyEntry(kind, file, tuple(passphrases), asks, line)


def _words(text: str) -> tuple[str, ...]:
    """Selectors: words, or quoted strings, between blanks."""
    words: list[str] = []
    rest = text.lstrip(_BLANKS)
    while rest:
        word, rest = _word(rest)
        words.append(word)
        rest = rest.lstrip(_BLANKS)
    return tuple(words)


def _word(text: str) -> tuple[str, str]:
    """First word of a text, without its quotes, and the rest."""
    if text[:1] in ('"', "'"):
        word, closing, rest = text[1:].partition(text[0])
        if not closing:
            raise _LineError(f"the closing {text[0]} is missing on this line")
        return word, rest
    found = re.match(r"[^ \t]*", text)
    end = found.end() if found is not None else 0
    return text[:end], text[end:]


def _secret(text: str) -> tuple[Secret, str]:
    """A secret value: quoted text as it is, ``0x`` hexadecimal, ``0s`` base64, or a word."""
    is_quoted = text[:1] in ('"', "'")
    word, rest = _word(text)
    if not is_quoted and word[:2].lower() in ("0x", "0s"):
        return Secret(_decoded(word)), rest
    return Secret(word.encode("utf-8", "surrogateescape")), rest


def _decoded(word: str) -> bytes:
    prefix, digits = word[:2].lower(), word[2:]
    try:
        if prefix == "0s":
            padding = "=" * (-len(digits) % 4)
            return binascii.a2b_base64(digits + padding, strict_mode=True)
        digits = digits.replace(":", "")
        return bytes.fromhex("0" + digits if len(digits) % 2 else digits)
    except ValueError:
        # Not with the error's own text, which may quote the secret.
        kind = "base64" if prefix == "0s" else "hexadecimal digits"
        raise _LineError(
            f"what follows {prefix} in the secret is not {kind}; put it into quotes if it is text"
        ) from None


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise OSError(f"the file is larger than {MAX_FILE} octets")
    return data
