"""Cookies against floods of IKE_SA_INIT: no state is kept for whoever cannot be reached."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.encoding.chain import GENERIC_HEADER
from charon_core.encoding.cursor import Cursor
from charon_core.encoding.errors import ParseError
from charon_core.encoding.header import HEADER_LENGTH
from charon_core.encoding.payloads import MAX_PAYLOADS
from charon_core.encoding.registry import NotifyType, PayloadType

if TYPE_CHECKING:
    from collections.abc import Callable

LIFETIME: Final = 10.0
"""Seconds for which a cookie is accepted."""

SECRET_LIFETIME: Final = 120.0
"""Seconds after which a new secret is drawn; the one before stays valid for old cookies."""

SECRET_LENGTH: Final = 32
MAC_LENGTH: Final = 16
NONCE_LENGTHS: Final = range(16, 257)
"""Octets of a nonce (RFC 7296 section 3.9)."""

_PREFIX: Final = Struct("!BI")
"""Version of the secret, and when the cookie was made."""

COOKIE_LENGTH: Final = _PREFIX.size + MAC_LENGTH

_TICKS: Final = 1000
"""Ticks of the cookie's time a second."""

_NOTIFY_HEADER: Final = Struct("!BBH")
_NOTIFY: Final = int(PayloadType.NOTIFY)
_NONCE: Final = int(PayloadType.NONCE)
_COOKIE: Final = int(NotifyType.COOKIE)


class InitRequest(NamedTuple):
    """What the cookie check has to know of an IKE_SA_INIT request.

    Attributes:
        nonce: Ni.
        cookie: The data of the COOKIE notify if that is the first payload (RFC 7296 section
            2.6), else None.
    """

    nonce: bytes
    cookie: bytes | None


def read_init_request(data: bytes, first_payload: int) -> InitRequest | None:
    """Find cookie and nonce in an IKE_SA_INIT request, looking at nothing else.

    Args:
        data: The message.
        first_payload: Next payload of its header.

    Returns:
        None if the message has no nonce of legal length, or its chain of payloads breaks before.
    """
    cursor = Cursor(data, "IKE_SA_INIT")
    cookie: bytes | None = None
    current = first_payload
    try:
        cursor.skip(HEADER_LENGTH)
        for position in range(MAX_PAYLOADS):
            if not current:
                return None
            following, _, length = cursor.unpack(GENERIC_HEADER)
            body = cursor.take(length - GENERIC_HEADER.size)
            if current == _NONCE:
                return InitRequest(body, cookie) if len(body) in NONCE_LENGTHS else None
            if current == _NOTIFY and position == 0:
                cookie = _cookie_of(body)
            current = following
    except ParseError:
        return None
    return None


def _cookie_of(body: bytes) -> bytes | None:
    """Return the data of a notify if it is a COOKIE."""
    cursor = Cursor(body, "N")
    _, spi_length, kind = cursor.unpack(_NOTIFY_HEADER)
    cursor.skip(spi_length)
    return cursor.rest() if kind == _COOKIE else None


class CookieJar:
    """Makes cookies and knows its own again, without keeping them.

    A cookie is as RFC 7296 section 2.6 recommends: the version of the secret, then a hash over
    Ni, the initiator's address, SPIi and the secret; and here also the time, under the hash, so
    that a cookie lives `LIFETIME` whenever the secret changes. For one thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        lifetime: float = LIFETIME,
        secret_lifetime: float = SECRET_LIFETIME,
    ) -> None:
        """Draw the first secret.

        Args:
            clock: Monotonic seconds.
            random: Returns so many random octets.
            lifetime: Seconds for which a cookie is accepted.
            secret_lifetime: Seconds for which a secret makes new cookies; longer than a cookie's
                life.

        Raises:
            ValueError: A secret would not outlive its cookies.
        """
        if not 0 < lifetime <= secret_lifetime:
            raise ValueError(
                f"cookies live {lifetime} s and their secrets {secret_lifetime} s, expected a "
                "positive time for the former, and no less for the latter"
            )
        self._clock = clock
        self._random = random
        self._lifetime = lifetime
        self._secret_lifetime = secret_lifetime
        self._version = random(1)[0]
        self._secret = random(SECRET_LENGTH)
        self._previous: bytes | None = None
        self._since = clock()
        # Hides for how long this host has been up.
        self._offset = int.from_bytes(random(4), "big")

    def __repr__(self) -> str:
        return f"CookieJar(version={self._version})"

    def make(self, nonce: bytes, host: str, spi: bytes) -> bytes:
        """Return the cookie for a request.

        Args:
            nonce: Ni.
            host: The address from which the request comes.
            spi: SPIi.
        """
        self._rotate()
        prefix = _PREFIX.pack(self._version, self._ticks())
        return prefix + _mac(self._secret, prefix, nonce, host, spi)

    def check(self, cookie: bytes, nonce: bytes, host: str, spi: bytes) -> bool:
        """Whether a cookie was made here, for this request, and not too long ago."""
        if len(cookie) != COOKIE_LENGTH:
            return False
        self._rotate()
        version, made = _PREFIX.unpack_from(cookie)
        if version == self._version:
            secret: bytes | None = self._secret
        elif version == (self._version - 1) % 256:
            secret = self._previous
        else:
            secret = None
        if secret is None:
            return False
        age = (self._ticks() - made) % (1 << 32)
        if age > self._lifetime * _TICKS:
            return False
        prefix = cookie[: _PREFIX.size]
        return hmac.compare_digest(cookie[_PREFIX.size :], _mac(secret, prefix, nonce, host, spi))

    def _ticks(self) -> int:
        return (int(self._clock() * _TICKS) + self._offset) % (1 << 32)

    def _rotate(self) -> None:
        age = self._clock() - self._since
        if age < self._secret_lifetime:
            return
        # After a long pause no cookie of the last secret is alive either.
        self._previous = self._secret if age < 2 * self._secret_lifetime else None
        self._secret = self._random(SECRET_LENGTH)
        self._version = (self._version + 1) % 256
        self._since = self._clock()


def _mac(secret: bytes, prefix: bytes, nonce: bytes, host: str, spi: bytes) -> bytes:
    # Keyed BLAKE2s (RFC 7693) is a MAC in one pass, and a third of the price of an HMAC here.
    # All parts have a fixed length but nonce and host, and the host ends at the first octet that
    # an address cannot have.
    data = b"".join((prefix, spi, host.encode(), b"\0", nonce))
    return hashlib.blake2s(data, key=secret, digest_size=MAC_LENGTH).digest()
