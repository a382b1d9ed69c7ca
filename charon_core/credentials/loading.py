"""Keys from files and configurations, in every form in which they are found."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from charon_core.credentials import pem, traditional
from charon_core.credentials.certificates import Certificate, CertificateError
from charon_core.credentials.keys import PrivateKey, PublicKey
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from charon_core.credentials.keys import KeyType

_IGNORED_KEYS: Final = frozenset({"", "%cert", "%dns"})
_SSH_LABEL: Final = "OPENSSH PRIVATE KEY"


class KeyLoadError(ValueError):
    """A key that cannot be loaded; the text says why and holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class KeyContainer:
    """What a PKCS#12 file holds.

    Attributes:
        keys: Private keys.
        certificates: Certificates, the one of the private key first.
    """

    keys: tuple[PrivateKey, ...]
    certificates: tuple[Certificate, ...]


def load_private_key(
    data: bytes, passphrase: Secret | None = None, expected: KeyType | None = None
) -> PrivateKey:
    """Load a private key: PKCS#1, SEC 1 or PKCS#8, in DER or PEM, encrypted or not.

    PEM may be encrypted in the traditional way (``Proc-Type: 4,ENCRYPTED``), too, and OpenSSH's
    own format is understood.

    Args:
        data: The file.
        passphrase: Opens an encrypted key; not needed for others.
        expected: The kind of key that it must be, None for any.

    Raises:
        KeyLoadError: malformed, encrypted with another or no passphrase, of another kind, weak.
    """
    # Only daemons that authenticate by signatures need the library's asymmetric half.
    from cryptography.hazmat.primitives import serialization

    if len(data) > pem.MAX_FILE:
        message = f"key file of {len(data)} octets, at most {pem.MAX_FILE} are read"
        raise KeyLoadError(message)
    if pem.is_pem(data):
        block = _private_block(data)
        loader: Callable[..., Any] = serialization.load_pem_private_key
        if block.label == _SSH_LABEL:
            loader = serialization.load_ssh_private_key
        elif traditional.is_aes_192(block):
            loader = partial(_load_aes_192, block)
        # The library wants the end of the line behind the last dashes.
        key = _open(loader, block.text + b"\n", passphrase)
    else:
        key = _open(serialization.load_der_private_key, data, passphrase)
    return _usable(key, expected)


def _private_block(data: bytes) -> pem.PemBlock:
    try:
        blocks = pem.read_blocks(data)
    except ValueError as error:
        raise KeyLoadError(str(error)) from None
    for block in blocks:
        if block.label.endswith("PRIVATE KEY"):
            return block
    labels = ", ".join(block.label for block in blocks[:4])
    message = f"no private key in the file, only {labels}"
    raise KeyLoadError(message)


def _open(loader: Callable[..., Any], data: bytes, passphrase: Secret | None) -> Any:
    """Call a loader of the library, with the passphrase only where it is needed."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        try:
            return loader(data, None)
        except TypeError:
            # That is how the library says that the key is encrypted.
            if passphrase is None:
                message = "the key is encrypted, but no passphrase is given"
                raise KeyLoadError(message) from None
            return loader(data, passphrase.reveal())
    except KeyLoadError:
        raise
    except UnsupportedAlgorithm as error:
        message = f"the key is of an unsupported kind: {error}"
        raise KeyLoadError(message) from None
    except (ValueError, TypeError):
        # The library's own text is left out: it might quote what it could not read.
        hint = " or the passphrase does not fit" if passphrase is not None else ""
        message = f"the file is no private key that can be read{hint}"
        raise KeyLoadError(message) from None


def _load_aes_192(block: pem.PemBlock, _data: bytes, passphrase: bytes | None) -> Any:
    """Load as the library's loaders do, which raise TypeError for want of a passphrase."""
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    if passphrase is None:
        raise TypeError
    return load_der_private_key(traditional.decrypt(block, Secret(passphrase)), None)


def _usable(key: Any, expected: KeyType | None) -> PrivateKey:
    try:
        private = PrivateKey(key)
        private.public_key.require_strong()
    except (CryptoError, ValueError) as error:
        raise KeyLoadError(str(error)) from None
    if expected is not None and private.type is not expected:
        message = f"expected a key of type {expected.name}, this one is {private.type.name}"
        raise KeyLoadError(message)
    return private


def load_pkcs12(data: bytes, passphrases: Sequence[Secret] = ()) -> KeyContainer:
    """Load a PKCS#12 container: its private key and all its certificates.

    Args:
        data: The file, DER.
        passphrases: Tried one after the other; none means an empty one.

    Raises:
        KeyLoadError: malformed, or no passphrase fits.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

    attempts: list[bytes | None] = [secret.reveal() for secret in passphrases] or [None, b""]
    for attempt in attempts:
        try:
            loaded = pkcs12.load_pkcs12(data, attempt)
        except (ValueError, TypeError):
            continue
        holders = [loaded.cert, *loaded.additional_certs]
        try:
            certificates = tuple(
                Certificate(holder.certificate.public_bytes(Encoding.DER))
                for holder in holders
                if holder is not None
            )
        except CertificateError as error:
            raise KeyLoadError(str(error)) from None
        keys = () if loaded.key is None else (_usable(loaded.key, None),)
        return KeyContainer(keys, certificates)
    tried = f"{len(passphrases)} given" if passphrases else "none given"
    message = f"the file is no PKCS#12 container, or its passphrase ({tried}) does not fit"
    raise KeyLoadError(message)


def load_public_key(data: bytes) -> PublicKey:
    """Load a public key: SubjectPublicKeyInfo or PKCS#1 in DER or PEM, a certificate, or SSH.

    Raises:
        KeyLoadError: none of these, or a weak key.
    """
    from cryptography.hazmat.primitives import serialization

    if not pem.is_pem(data):
        if data.lstrip().startswith((b"ssh-", b"ecdsa-")):
            return _load_public(serialization.load_ssh_public_key, data.strip())
        return _load_public(serialization.load_der_public_key, data)
    try:
        block = pem.read_blocks(data)[0]
        if "CERTIFICATE" in block.label:
            return _strong(Certificate(block.data).public_key)
    except ValueError as error:
        raise KeyLoadError(str(error)) from None
    return _load_public(serialization.load_pem_public_key, block.text + b"\n")


def _load_public(loader: Callable[[bytes], Any], data: bytes) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return _strong(PublicKey.of(loader(data)))
    except KeyLoadError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"not a public key that can be used: {error}"
        raise KeyLoadError(message) from None


def _strong(key: PublicKey) -> PublicKey:
    try:
        key.require_strong()
    except (CryptoError, ValueError) as error:
        raise KeyLoadError(str(error)) from None
    return key


def parse_public_key(text: str, read_file: Callable[[str], bytes]) -> PublicKey | None:
    """Take a raw public key as connections write it.

    ``0x...`` and ``0s...`` are DER in hexadecimal or base64, with ``dns:`` in front RSA key data
    of RFC 3110, with ``ssh:`` in front SSH's wire format. Anything else names a file.

    Args:
        text: The key as written.
        read_file: Returns the content of a file by its name; may raise OSError.

    Returns:
        The key, or None for an empty text, ``%cert`` and ``%dns``.

    Raises:
        KeyLoadError: the key cannot be used.
        OSError: the file cannot be read.
    """
    text = text.strip()
    if text in _IGNORED_KEYS:
        return None
    form, colon, written = text.partition(":")
    if colon and form in {"dns", "ssh"}:
        data = _decode(written)
        return _from_dns(data) if form == "dns" else _from_ssh(data)
    if text[:2].lower() in {"0x", "0s"}:
        return load_public_key(_decode(text))
    return load_public_key(read_file(text))


def _decode(text: str) -> bytes:
    """Decode ``0x`` hexadecimal or ``0s`` base64."""
    prefix, digits = text[:2].lower(), text[2:]
    try:
        if prefix == "0x":
            return bytes.fromhex(digits.replace(":", ""))
        if prefix == "0s":
            return binascii.a2b_base64(digits, strict_mode=True)
    except ValueError:
        pass
    message = "a raw key is written 0x and hexadecimal digits, or 0s and base64"
    raise KeyLoadError(message)


def _from_dns(data: bytes) -> PublicKey:
    """Take RSA key data: length of the exponent, exponent, modulus (RFC 3110 section 2)."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    length, start = (data[0], 1) if data else (0, 0)
    if data[:1] == b"\0" and len(data) >= 3:
        length, start = int.from_bytes(data[1:3], "big"), 3
    modulus = data[start + length :]
    if not length or not modulus:
        message = f"RSA key data of {len(data)} octets does not hold an exponent and a modulus"
        raise KeyLoadError(message)
    exponent = int.from_bytes(data[start : start + length], "big")
    try:
        key = RSAPublicNumbers(exponent, int.from_bytes(modulus, "big")).public_key()
    except ValueError as error:
        message = f"not an RSA key: {error}"
        raise KeyLoadError(message) from None
    return _strong(PublicKey.of(key))


def _from_ssh(data: bytes) -> PublicKey:
    """Take a key in SSH's wire format (RFC 4253 section 6.6)."""
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    length = int.from_bytes(data[:4], "big")
    kind = data[4 : 4 + length]
    if not kind or len(kind) != length:
        message = f"SSH key of {len(data)} octets does not begin with the name of its kind"
        raise KeyLoadError(message)
    line = kind + b" " + binascii.b2a_base64(data, newline=False)
    return _load_public(load_ssh_public_key, line)
