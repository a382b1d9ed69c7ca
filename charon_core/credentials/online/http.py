"""HTTP/1.1 within hard limits: time, size, redirects, addresses (RFC 9110, RFC 9112)."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urljoin

from charon_core.credentials.online.addresses import forbidden_reason
from charon_core.credentials.online.request import (
    AddressPolicy,
    Failure,
    FetchError,
    port_of,
    split_uri,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from _typeshed import WriteableBuffer

    from charon_core.credentials.online.request import FetchLimits, FetchRequest

MAX_HEAD: Final = 64 << 10
"""Octets of the status lines and headers of an answer, and of how its chunks are framed."""

_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD: Final = frozenset({307, 308})
_USER_AGENT: Final = "charon"


class HttpFetcher:
    """Fetches by http and https; shared by threads.

    Each fetch has a connection of its own, to an address that was looked up and judged once: a
    name that stands for another address a moment later leads nowhere else.
    """

    def __init__(
        self,
        limits: FetchLimits,
        look_up: Callable[[str, float], list[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            limits: What a fetch may cost, and where it may lead.
            look_up: Returns the addresses of a host until a deadline; see `NameLookup`.
            clock: Monotonic seconds.
        """
        self._limits = limits
        self._look_up = look_up
        self._clock = clock

    def __call__(self, request: FetchRequest, deadline: float) -> bytes:
        """Fetch; see `SchemeFetcher`."""
        uri = request.uri
        for _ in range(self._limits.max_redirects + 1):
            answer = self._exchange(request, split_uri(uri), deadline)
            if isinstance(answer, bytes):
                return answer
            uri = _follow(uri, answer)
        raise FetchError(
            Failure.BAD_ANSWER, f"redirected more than {self._limits.max_redirects} times"
        )

    def _exchange(self, request: FetchRequest, parts: SplitResult, deadline: float) -> bytes | str:
        """Ask one server; return the octets, or the place that it refers to."""
        host = parts.hostname
        if not host:
            raise FetchError(Failure.FORBIDDEN, "the URI names no host")
        try:
            stream = self._connect(request, parts, host, deadline)
            try:
                connection = http.client.HTTPConnection(host, port_of(parts))
                connection.sock = cast("socket.socket", stream)
                return self._talk(connection, request, parts)
            finally:
                stream.shut()
        except TimeoutError:
            raise FetchError(Failure.TIMEOUT, f"no complete answer from '{host}' in time") from None
        except _TooLargeError:
            raise _too_large(request) from None
        except http.client.HTTPException as error:
            text = f"'{host}' does not answer as HTTP: {type(error).__name__}"
            raise FetchError(Failure.BAD_ANSWER, text) from None
        except OSError as error:
            text = f"'{host}': {error.strerror or type(error).__name__}"
            raise FetchError(Failure.UNREACHABLE, text) from None
        except ValueError as error:
            raise FetchError(Failure.BAD_ANSWER, f"'{host}': {error}") from None

    def _connect(
        self, request: FetchRequest, parts: SplitResult, host: str, deadline: float
    ) -> _BoundedSocket:
        policy = AddressPolicy.ANY if request.configured else self._limits.addresses
        forbidden: list[str] = []
        failed: OSError | None = None
        for address in self._look_up(host, deadline)[: self._limits.max_addresses]:
            reason = forbidden_reason(address, policy)
            if reason is not None:
                forbidden.append(reason)
                continue
            patience = min(self._limits.connect_timeout, deadline - self._clock())
            if patience <= 0:
                raise TimeoutError
            try:
                plain = socket.create_connection((address, port_of(parts)), patience)
            except OSError as error:
                failed = error
                continue
            return self._open(plain, request, parts, host, deadline)
        if failed is None:
            text = f"{'; '.join(forbidden)}, where certificates must not lead"
            raise FetchError(Failure.FORBIDDEN, text + " (see revocation.addresses)")
        raise failed

    def _open(
        self,
        plain: socket.socket,
        request: FetchRequest,
        parts: SplitResult,
        host: str,
        deadline: float,
    ) -> _BoundedSocket:
        try:
            stream = plain
            if parts.scheme == "https":
                import ssl

                plain.settimeout(max(0.001, deadline - self._clock()))
                stream = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        return _BoundedSocket(stream, deadline, request.max_size + MAX_HEAD, self._clock)

    @staticmethod
    def _talk(
        connection: http.client.HTTPConnection, request: FetchRequest, parts: SplitResult
    ) -> bytes | str:
        headers = {
            "Accept": request.accept,
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": _USER_AGENT,
        }
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        method = "GET" if request.body is None else "POST"
        connection.request(method, target, request.body, headers)
        with connection.getresponse() as response:
            if response.status in _REDIRECTS:
                if request.body is not None and response.status not in _KEEP_METHOD:
                    text = f"redirected by {response.status}, which would lose what is posted"
                    raise FetchError(Failure.BAD_ANSWER, text)
                place = response.getheader("Location")
                if not place:
                    raise FetchError(Failure.BAD_ANSWER, "redirected to nowhere")
                return place
            if response.status != _OK:
                raise FetchError(Failure.BAD_ANSWER, f"HTTP status {response.status}")
            return _body(response, request)


def _body(response: http.client.HTTPResponse, request: FetchRequest) -> bytes:
    coding = response.getheader("Content-Encoding", "identity")
    if coding.lower() != "identity":
        text = "a content coding that was not asked for"
        raise FetchError(Failure.BAD_ANSWER, text)
    if response.length is not None and response.length > request.max_size:
        raise _too_large(request)
    data = response.read(request.max_size + 1)
    if len(data) > request.max_size:
        raise _too_large(request)
    if response.length:
        raise FetchError(Failure.BAD_ANSWER, f"the answer ends {response.length} octets too early")
    if not data:
        raise FetchError(Failure.BAD_ANSWER, "the answer is empty")
    return data


def _too_large(request: FetchRequest) -> FetchError:
    return FetchError(
        Failure.TOO_LARGE,
        f"the answer has more than {request.max_size} octets (see revocation.max_size)",
    )


def _follow(uri: str, place: str) -> str:
    """Return where a redirect leads; it has to stay with the scheme."""
    target = urljoin(uri, place)
    if split_uri(target).scheme != split_uri(uri).scheme:
        raise FetchError(Failure.FORBIDDEN, "redirected to another scheme")
    return target


class _TooLargeError(Exception):
    """More octets came than an answer may have."""


class _BoundedSocket:
    """What http.client needs of a socket, within a deadline and a number of octets.

    A socket's own time-out begins anew with each octet: a server that sends one now and then would
    hold a worker for ever.
    """

    def __init__(
        self, stream: socket.socket, deadline: float, octets: int, clock: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._deadline = deadline
        self._octets = octets
        self._clock = clock

    def _bound(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        self._stream.settimeout(left)

    def sendall(self, data: bytes) -> None:
        self._bound()
        self._stream.sendall(data)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.receive))

    def receive(self, buffer: WriteableBuffer) -> int:
        if self._octets <= 0:
            raise _TooLargeError
        self._bound()
        count = self._stream.recv_into(buffer)
        self._octets -= count
        return count

    def close(self) -> None:
        """Do nothing: http.client closes sockets whose streams it goes on to read."""

    def shut(self) -> None:
        self._stream.close()


class _Reader(io.RawIOBase):
    """The stream of a `_BoundedSocket`."""

    def __init__(self, receive: Callable[[WriteableBuffer], int]) -> None:
        super().__init__()
        self._receive = receive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._receive(buffer)
