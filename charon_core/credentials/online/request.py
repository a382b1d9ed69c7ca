"""What is fetched, within which limits, and how it can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, urlsplit

MAX_URI: Final = 2048
"""Characters of a URI."""

_PORTS: Final = {"http": 80, "https": 443}


class Failure(Enum):
    """Why something could not be fetched; the value is the word of log lines."""

    UNSUPPORTED = "not supported"
    """Nobody here fetches by this scheme."""
    FORBIDDEN = "forbidden"
    """The settings do not allow it."""
    UNREACHABLE = "unreachable"
    """The name cannot be resolved, or nobody answers there."""
    TIMEOUT = "timeout"
    """It took too long."""
    TOO_LARGE = "too large"
    """The answer has more octets than are taken."""
    BAD_ANSWER = "bad answer"
    """The server answers, but not with what was asked for."""


class FetchError(Exception):
    """Something could not be fetched; the text says what went wrong, without the URI."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


class AddressPolicy(Enum):
    """To which addresses URIs may lead that stand in certificates."""

    PUBLIC = "public"
    """Those of the Internet only."""
    PRIVATE = "private"
    """Those of private networks as well, but not loopback, link-local and the like."""
    ANY = "any"
    """Every address."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Times in seconds, sizes in octets."""

    timeout: float = 4.0
    """From the look-up of the name to the last octet."""
    connect_timeout: float = 3.0
    """For each address that is tried."""
    max_size: int = 8 << 20
    """Of an answer."""
    max_redirects: int = 3
    max_addresses: int = 4
    """Addresses of one name that are tried."""
    addresses: AddressPolicy = AddressPolicy.PRIVATE
    schemes: frozenset[str] = frozenset({"http"})
    """Which ones may stand in certificates."""
    retry: float = 30.0
    """A server that failed is asked again after this time; after each further failure, twice as
    long."""
    retry_limit: float = 1800.0


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One thing to fetch.

    Attributes:
        uri: Where it is.
        body: What to post; None to get.
        content_type: Of the body.
        accept: Media type that is wanted; answers of others are taken all the same, since servers
            label them badly, and what is fetched proves itself by a signature or a hash.
        max_size: Octets of the answer; 0 for the daemon's limit.
        configured: The URI comes from our own configuration: no address is forbidden, and files
            may be read.
    """

    uri: str
    body: bytes | None = None
    content_type: str = ""
    accept: str = "*/*"
    max_size: int = 0
    configured: bool = False


SchemeFetcher = Callable[[FetchRequest, float], bytes]
"""Fetches by one scheme: is given the request and a deadline (`time.monotonic` seconds), returns
the octets or raises `FetchError`. Blocks, on a worker of its own; it keeps to the deadline and to
``request.max_size``, which is filled in."""


def split_uri(uri: str) -> SplitResult:
    """Take a URI apart.

    Raises:
        FetchError: It is too long, malformed, or holds what has no place in it.
    """
    if len(uri) > MAX_URI:
        raise FetchError(Failure.FORBIDDEN, f"a URI of {len(uri)} characters, at most {MAX_URI}")
    if not uri.isascii() or any(char <= " " or char == "\x7f" for char in uri):
        raise FetchError(Failure.FORBIDDEN, "the URI holds what is not printable ASCII")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise FetchError(Failure.FORBIDDEN, f"the URI is malformed: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise FetchError(Failure.FORBIDDEN, "the URI holds a user name")
    if not parts.scheme or port == 0:
        raise FetchError(Failure.FORBIDDEN, "the URI has no scheme, or port 0")
    return parts


def port_of(parts: SplitResult) -> int:
    """Return the port of an http or https URI."""
    return parts.port or _PORTS[parts.scheme]
