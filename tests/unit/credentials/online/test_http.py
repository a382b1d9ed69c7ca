"""HTTP within limits, against servers that are slow, huge, endless, lying, or not there."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from charon_core.credentials.online.http import HttpFetcher
from charon_core.credentials.online.request import (
    AddressPolicy,
    Failure,
    FetchError,
    FetchLimits,
    FetchRequest,
)
from tests.unit.credentials import pki
from tests.unit.credentials.online.server import Server, ok, serving

if TYPE_CHECKING:
    from collections.abc import Callable

# Far more than an answer takes, be the machine ever so busy.
LIMITS = FetchLimits(timeout=10, connect_timeout=5, max_size=1000, addresses=AddressPolicy.ANY)
QUICK = FetchLimits(timeout=0.3, connect_timeout=0.2, max_size=1000, addresses=AddressPolicy.ANY)


def fetch(
    uri: str,
    *,
    limits: FetchLimits = LIMITS,
    addresses: dict[str, list[str]] | None = None,
    **fields: object,
) -> bytes:
    def look_up(host: str, _deadline: float) -> list[str]:
        return (addresses or {}).get(host, [host])

    fetcher = HttpFetcher(limits, look_up)
    request = FetchRequest(uri, max_size=limits.max_size, **fields)
    return fetcher(request, time.monotonic() + limits.timeout)


def failure(uri: str, **fields: object) -> FetchError:
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetch(uri, **fields)
    assert time.monotonic() - began < 5, "the deadline is not kept"
    return caught.value


def test_get() -> None:
    with serving(ok(b"hello")) as server:
        assert fetch(server.uri("/a/b.crl?x=1"), accept="application/pkix-crl") == b"hello"
    (request,) = server.requests
    assert request.startswith(b"GET /a/b.crl?x=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in request
    assert b"Accept: application/pkix-crl\r\n" in request
    assert b"Accept-Encoding: identity\r\n" in request


def test_post() -> None:
    with serving(ok(b"fine")) as server:
        assert fetch(server.uri("", host="127.0.0.1"), body=b"\0x", content_type="a/b") == b"fine"
    (request,) = server.requests
    assert request.startswith(b"POST / HTTP/1.1\r\n")
    assert b"Content-Type: a/b\r\n" in request
    assert request.endswith(b"\r\n\r\n\0x")


def test_chunks() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") as server:
        assert fetch(server.uri()) == b"abcde"


def test_an_answer_without_length_ends_with_the_connection() -> None:
    with serving(b"HTTP/1.0 200 OK\r\n\r\nabc") as server:
        assert fetch(server.uri()) == b"abc"


def test_the_whole_limit_may_be_used() -> None:
    with serving(ok(bytes(1000))) as server:
        assert len(fetch(server.uri())) == 1000


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ok(bytes(1001)), Failure.TOO_LARGE),
        (b"HTTP/1.0 200 OK\r\n\r\n" + bytes(1001), Failure.TOO_LARGE),
        (ok(b"", length=1 << 40), Failure.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         + b"10\r\n0123456789abcdef\r\n" * 100, Failure.TOO_LARGE),
        (ok(b"abc", length=5), Failure.BAD_ANSWER),
        (ok(b"", length=5), Failure.BAD_ANSWER),
        (ok(b""), Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nab", Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Failure.BAD_ANSWER),
        (ok(b"abc", "Content-Encoding: gzip"), Failure.BAD_ANSWER),
        (ok(b"no", status="404 Not Found"), Failure.BAD_ANSWER),
        (ok(b"no", status="500 Oops"), Failure.BAD_ANSWER),
        (ok(b"no", status="204 No Content"), Failure.BAD_ANSWER),
        (ok(b"no", status="206 Partial Content"), Failure.BAD_ANSWER),
        (b"220 smtp.example.org ESMTP\r\n", Failure.BAD_ANSWER),
        (b"HTTP/1.1 abc\r\n\r\n", Failure.BAD_ANSWER),
        (b"\0" * 100, Failure.BAD_ANSWER),
        (b"", Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70000, Failure.BAD_ANSWER),
        (ok(b"", "Location: ", status="302 Found"), Failure.BAD_ANSWER),
        (ok(b"", status="302 Found"), Failure.BAD_ANSWER),
    ],
)  # fmt: skip
def test_bad_answers(answer: bytes, kind: Failure) -> None:
    with serving(answer) as server:
        assert failure(server.uri()).failure is kind


def silence(_request: bytes, connection: socket.socket) -> None:
    connection.recv(1)


def drip(data: Callable[[], bytes]) -> Callable[[bytes, socket.socket], None]:
    def script(_request: bytes, connection: socket.socket) -> None:
        while True:
            connection.sendall(data())
            time.sleep(0.02)

    return script


def flood(data: bytes) -> Callable[[bytes, socket.socket], None]:
    def script(_request: bytes, connection: socket.socket) -> None:
        while True:
            connection.sendall(data)

    return script


def slow_body(_request: bytes, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (silence, Failure.TIMEOUT),
        (slow_body, Failure.TIMEOUT),
        (drip(lambda: b"H"), Failure.TIMEOUT),
        (drip(lambda: b"HTTP/1.1 100 Continue\r\n\r\n"), Failure.TIMEOUT),
        (flood(b"HTTP/1.1 100 Continue\r\n\r\n"), Failure.TOO_LARGE),
        (flood(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000)), Failure.TOO_LARGE),
        (flood(b"a" * 5000), Failure.BAD_ANSWER),
    ],
    ids=["silent", "slow-body", "slow-head", "slow-100", "endless-100", "endless-body", "endless"],
)
def test_servers_that_never_come_to_an_end(
    script: Callable[[bytes, socket.socket], None], kind: Failure
) -> None:
    with serving(script) as server:
        assert failure(server.uri(), limits=QUICK).failure is kind


def test_nobody_there() -> None:
    closed = Server(b"")
    closed.close()
    assert failure(closed.uri()).failure is Failure.UNREACHABLE


def test_a_listener_that_accepts_nothing() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    assert failure(f"http://127.0.0.1:{port}/", limits=QUICK).failure is Failure.TIMEOUT
    for opened in (listener, *fillers):
        opened.close()


def test_the_next_address_is_tried() -> None:
    with serving(ok(b"found")) as server:
        uri = server.uri(host="crl.test")
        assert fetch(uri, addresses={"crl.test": ["127.0.0.99", "127.0.0.1"]}) == b"found"
    assert b"Host: crl.test:" in server.requests[0]


# -- redirects --------------------------------------------------------------------------------


def redirect(place: str, status: str = "302 Found") -> bytes:
    return ok(b"moved", f"Location: {place}", status=status)


def test_a_redirect_is_followed() -> None:
    with serving(ok(b"here")) as target, serving(redirect(target.uri("/new"))) as server:
        assert fetch(server.uri()) == b"here"


def test_a_relative_redirect_is_followed() -> None:
    answers = iter([redirect("../crl/new"), ok(b"here")])
    with serving(lambda _r, connection: connection.sendall(next(answers))) as server:
        assert fetch(server.uri("/old/list")) == b"here"
    assert server.requests[1].startswith(b"GET /crl/new ")


def test_redirects_come_to_an_end() -> None:
    numbers = count()
    with serving(lambda _r, c: c.sendall(redirect(f"/{next(numbers)}"))) as server:
        assert "redirected more than 3 times" in str(failure(server.uri()))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "place", ["https://127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/", "ldap://x/"]
)
def test_no_redirect_leaves_the_scheme(place: str) -> None:
    with serving(redirect(place)) as server:
        assert failure(server.uri()).failure is Failure.FORBIDDEN


def test_a_post_is_not_made_a_get() -> None:
    with serving(redirect("/x", "302 Found")) as server:
        assert failure(server.uri(), body=b"x").failure is Failure.BAD_ANSWER


def test_a_post_may_be_redirected_as_one() -> None:
    answers = iter([redirect("/new", "307 Temporary Redirect"), ok(b"here")])
    with serving(lambda _r, connection: connection.sendall(next(answers))) as server:
        assert fetch(server.uri(), body=b"x") == b"here"
    assert server.requests[1].startswith(b"POST /new ")


def test_a_redirect_to_a_forbidden_address_is_not_followed() -> None:
    """Whoever has a public web server must not reach what only we can reach."""
    with serving(ok(b"secret")) as inner:
        place = f"http://[::ffff:127.0.0.1]:{inner.port}/admin"
        with serving(redirect(place)) as server:
            limits = FetchLimits(timeout=10, max_size=1000, addresses=AddressPolicy.PRIVATE)
            uri = server.uri(host="crl.test")
            # As if the first server had a public address.
            fetcher = HttpFetcher(limits, lambda host, _d: ["127.0.0.1"] if host == "crl.test"
                                  else [host])  # fmt: skip
            import charon_core.credentials.online.http as module

            judge, module.forbidden_reason = (
                module.forbidden_reason,
                (
                    lambda address, policy: (
                        None if address == "127.0.0.1" else judge(address, policy)
                    )
                ),
            )
            try:
                with pytest.raises(FetchError) as caught:
                    fetcher(FetchRequest(uri, max_size=1000), time.monotonic() + 10)
            finally:
                module.forbidden_reason = judge
        assert caught.value.failure is Failure.FORBIDDEN
        assert inner.requests == []


# -- addresses and URIs -----------------------------------------------------------------------


def test_certificates_do_not_lead_to_this_host() -> None:
    with serving(ok(b"secret")) as server:
        limits = FetchLimits(timeout=10, addresses=AddressPolicy.PRIVATE)
        error = failure(server.uri(), limits=limits)
        assert error.failure is Failure.FORBIDDEN
        assert "revocation.addresses" in str(error)
        assert server.requests == []
        assert fetch(server.uri(), limits=limits, configured=True) == b"secret"


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:password@127.0.0.1/", "http:///path", "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/", "http://127.0.0.1/a b", "http://127.0.0.1/\r\nX: y",
        "http://[::1/", "http://127.0.0.1/" + "x" * 3000, "http://127.0.0.1/\xe4", "no-scheme",
    ],
)  # fmt: skip
def test_uris_that_nobody_follows(uri: str) -> None:
    error = failure(uri)
    assert error.failure is Failure.FORBIDDEN
    assert "password" not in str(error)


# -- https ------------------------------------------------------------------------------------


def test_https_demands_a_certificate_that_the_system_trusts() -> None:
    import ssl
    import tempfile
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    own = pki.issue("CN=127.0.0.1", names=("ip:127.0.0.1",), not_before=0, not_after=4e9)
    with tempfile.TemporaryDirectory() as folder:
        key = own.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = Path(folder, "pem")
        file.write_bytes(own.x509.public_bytes(Encoding.PEM) + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as stream:
                stream.sendall(ok(b"x"))
            plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        assert failure(f"https://127.0.0.1:{port}/").failure is Failure.UNREACHABLE
        thread.join(5)


def test_a_silent_https_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        error = failure(f"https://127.0.0.1:{port}/", limits=QUICK)
        assert error.failure is Failure.TIMEOUT
