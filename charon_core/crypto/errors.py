"""Exceptions of the cryptographic layer; none of their texts contains key material."""

from __future__ import annotations


class CryptoError(Exception):
    """Base of everything that this package raises on account of a peer or of the configuration."""


class UnsupportedAlgorithm(CryptoError):  # noqa: N818 - reads as what happened
    """An algorithm was asked for that is unknown, or that the installed libraries do not offer."""


class InvalidPublicValue(CryptoError):  # noqa: N818 - reads as what happened
    """A key exchange public value was refused (RFC 6989, RFC 8031, FIPS 203); the text says why."""


class InvalidSignature(CryptoError):  # noqa: N818 - reads as what happened
    """A signature does not verify, is malformed, or is of a scheme that is not accepted here."""


class WeakKey(CryptoError):  # noqa: N818 - reads as what happened
    """A public or private key falls short of what is accepted for signatures."""


class OpenError(ValueError):
    """A protected message failed its integrity check or is malformed: it is dropped silently.

    It is a ValueError so that the wire format, which knows nothing of this package, can catch it.
    """
