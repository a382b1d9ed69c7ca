"""One fetch a URI at a time, dead servers left alone, schemes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from charon_core.credentials.online.fetcher import MAX_FAILURES, Fetcher
from charon_core.credentials.online.files import fetch_file
from charon_core.credentials.online.request import (
    Failure,
    FetchError,
    FetchLimits,
    FetchRequest,
)

if TYPE_CHECKING:
    import pathlib

URI = "http://crl.test/x"


class Server:
    """Stands for a scheme; answers with what a test puts into it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.answer: bytes | Exception = b"data"
        self.requests: list[FetchRequest] = []
        self.fetcher = Fetcher(FetchLimits(), {"http": self, "gopher": self}, lambda: self.now)

    def __call__(self, request: FetchRequest, deadline: float) -> bytes:
        self.requests.append(request)
        assert deadline == self.now + 4
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def fetch(self, uri: str = URI, **fields: object) -> bytes:
        return self.fetcher.fetch(FetchRequest(uri, **fields))

    def fails(self, uri: str = URI, **fields: object) -> FetchError:
        with pytest.raises(FetchError) as caught:
            self.fetch(uri, **fields)
        return caught.value


def test_success_is_not_remembered() -> None:
    server = Server()
    assert server.fetch() == server.fetch() == b"data"
    assert len(server.requests) == 2
    assert server.requests[0].max_size == 8 << 20


def test_a_dead_server_costs_one_timeout() -> None:
    server = Server()
    server.answer = FetchError(Failure.TIMEOUT, "no answer")
    assert str(server.fails()) == "no answer"
    for _ in range(10):
        assert "not asked again for 30 s" in str(server.fails())
    # Whatever is posted: it is the server that is dead.
    assert "not asked again" in str(server.fails(body=b"x"))
    assert len(server.requests) == 1
    server.now += 31
    server.fails()
    assert len(server.requests) == 2
    server.now += 31
    assert "29 s" in str(server.fails()), "the second time it waits twice as long"
    server.now += 30
    server.answer = b"alive"
    assert server.fetch() == b"alive"
    server.answer = FetchError(Failure.TIMEOUT, "no answer")
    server.fails()
    assert "not asked again for 30 s" in str(server.fails())


def test_the_back_off_has_a_limit() -> None:
    server = Server()
    server.answer = FetchError(Failure.TIMEOUT, "no answer")
    for _ in range(20):
        server.fails()
        server.now += 1801
    assert len(server.requests) == 20


def test_a_bad_answer_says_nothing_of_other_questions() -> None:
    server = Server()
    server.answer = FetchError(Failure.BAD_ANSWER, "HTTP status 404")
    server.fails(body=b"one")
    server.answer = b"data"
    assert server.fetch(body=b"two") == b"data"
    assert "not asked again" in str(server.fails(body=b"one"))


def test_a_page_that_is_missing_does_not_stop_posts() -> None:
    server = Server()
    server.answer = FetchError(Failure.BAD_ANSWER, "HTTP status 404")
    server.fails()
    server.answer = b"data"
    assert server.fetch(body=b"x") == b"data"
    assert "not asked again" in str(server.fails())


def test_a_forbidden_uri_may_be_configured() -> None:
    server = Server()
    server.answer = FetchError(Failure.FORBIDDEN, "loopback")
    server.fails()
    server.answer = b"data"
    assert server.fetch(configured=True) == b"data"


def test_failures_are_forgotten_on_demand() -> None:
    server = Server()
    server.answer = FetchError(Failure.TIMEOUT, "no answer")
    server.fails()
    server.answer = b"data"
    server.fetcher.forget_failures()
    assert server.fetch() == b"data"


def test_memory_is_bounded() -> None:
    server = Server()
    server.answer = FetchError(Failure.TIMEOUT, "no answer")
    for number in range(MAX_FAILURES + 50):
        server.fails(f"{URI}{number}")
    assert len(server.fetcher._penalties) == MAX_FAILURES


def test_waiters_share_one_fetch() -> None:
    begun, release = threading.Event(), threading.Event()
    calls: list[FetchRequest] = []

    def slow(request: FetchRequest, _deadline: float) -> bytes:
        calls.append(request)
        begun.set()
        release.wait(5)
        return b"data"

    fetcher = Fetcher(FetchLimits(), {"http": slow})
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetcher.fetch(FetchRequest(URI))))
        for _ in range(5)
    ]
    threads[0].start()
    assert begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    # One that is not patient enough goes its way.
    with pytest.raises(FetchError, match="another fetch"):
        fetcher.fetch(FetchRequest(URI), patience=0.01)
    release.set()
    for thread in threads:
        thread.join(5)
    assert results == [b"data"] * 5
    assert len(calls) == 1


@pytest.mark.parametrize("scheme", ["ldap", "ldaps", "ftp", "x-what"])
def test_other_schemes_are_not_supported(scheme: str) -> None:
    error = Server().fails(f"{scheme}://ca.test/cn=CA?certificateRevocationList")
    assert error.failure is Failure.UNSUPPORTED
    assert f"'{scheme}:' is not supported" in str(error)


def test_a_plugin_may_bring_a_scheme() -> None:
    assert Server().fetch("gopher://ca.test/") == b"data"


def test_https_has_to_be_allowed() -> None:
    fetcher = Fetcher(FetchLimits(), {"https": lambda request, deadline: b"data"})
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(FetchRequest("https://ca.test/"))
    assert caught.value.failure is Failure.FORBIDDEN
    assert fetcher.fetch(FetchRequest("https://ca.test/", configured=True)) == b"data"


@pytest.mark.parametrize("fault", [KeyError("secret"), MemoryError(), OSError("x")])
def test_a_fetcher_that_raises(fault: Exception) -> None:
    server = Server()
    server.answer = fault
    error = server.fails()
    assert error.failure is Failure.UNREACHABLE
    assert "secret" not in str(error)


def test_a_fetcher_that_returns_too_much_or_nothing() -> None:
    server = Server()
    server.answer = bytes(11)
    assert server.fails(max_size=10).failure is Failure.TOO_LARGE
    server.answer = b""
    assert server.fails("http://other.test/").failure is Failure.BAD_ANSWER


class TestFiles:
    def fetch(self, uri: str, **fields: object) -> bytes:
        return Fetcher(FetchLimits(max_size=100), {"file": fetch_file}).fetch(
            FetchRequest(uri, **fields)
        )

    def test_configured(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a b.crl").write_bytes(b"list")
        uri = f"file://{tmp_path}/a%20b.crl"
        assert self.fetch(uri, configured=True) == b"list"
        with pytest.raises(FetchError) as caught:
            self.fetch(uri)
        assert caught.value.failure is Failure.FORBIDDEN

    def test_what_is_no_file(self, tmp_path: pathlib.Path) -> None:
        import os

        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "large").write_bytes(bytes(101))
        for name in ("pipe", "large", "missing", ""):
            with pytest.raises(FetchError):
                self.fetch(f"file://{tmp_path}/{name}", configured=True)
        for uri in ("file:///dev/zero", "file://other.test/x"):
            with pytest.raises(FetchError):
                self.fetch(uri, configured=True)
