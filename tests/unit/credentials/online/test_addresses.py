"""Which addresses certificates may lead to, and names that are looked up in bounded time."""

from __future__ import annotations

import threading
import time

import pytest

from charon_core.credentials.online.addresses import MAX_LOOKUPS, NameLookup, forbidden_reason
from charon_core.credentials.online.request import AddressPolicy, Failure, FetchError

SPECIAL = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "nonsense",
)  # fmt: skip
PRIVATE = ("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1")
PUBLIC = ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", SPECIAL)
@pytest.mark.parametrize("policy", [AddressPolicy.PUBLIC, AddressPolicy.PRIVATE])
def test_special_addresses(address: str, policy: AddressPolicy) -> None:
    assert forbidden_reason(address, policy)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert forbidden_reason(address, AddressPolicy.PRIVATE) is None
    assert forbidden_reason(address, AddressPolicy.PUBLIC)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert forbidden_reason(address, AddressPolicy.PRIVATE) is None
    assert forbidden_reason(address, AddressPolicy.PUBLIC) is None


@pytest.mark.parametrize("address", SPECIAL)
def test_any_address(address: str) -> None:
    assert forbidden_reason(address, AddressPolicy.ANY) is None


def on_thread(job: object) -> bool:
    threading.Thread(target=job.execute, daemon=True).start()
    return True


def soon(seconds: float = 0.05) -> float:
    return time.monotonic() + seconds


def test_addresses_are_not_looked_up() -> None:
    look_up = NameLookup(lambda job: pytest.fail("queued"))
    assert look_up("10.0.0.1", soon()) == ["10.0.0.1"]
    assert look_up("fd00::1", soon()) == ["fd00::1"]


def test_names_are_looked_up() -> None:
    look_up = NameLookup(on_thread, lambda name: ["10.0.0.1", "10.0.0.2"])
    assert look_up("crl.test", soon(2)) == ["10.0.0.1", "10.0.0.2"]


def failing(_name: str) -> list[str]:
    raise OSError(-2, "Name or service not known")


@pytest.mark.parametrize("resolve", [failing, lambda name: []])
def test_names_that_do_not_exist(resolve: object) -> None:
    with pytest.raises(FetchError) as caught:
        NameLookup(on_thread, resolve)("crl.test", soon(2))
    assert caught.value.failure is Failure.UNREACHABLE


def test_a_slow_resolver_holds_nobody_up() -> None:
    release = threading.Event()
    calls: list[str] = []

    def slow(name: str) -> list[str]:
        calls.append(name)
        release.wait(5)
        return ["10.0.0.1"]

    look_up = NameLookup(on_thread, slow)
    for _ in range(3):
        with pytest.raises(FetchError) as caught:
            look_up("a.test", soon())
        assert caught.value.failure is Failure.TIMEOUT
    assert calls == ["a.test"], "a name is looked up once at a time"
    for name in "bcd"[: MAX_LOOKUPS - 1]:
        with pytest.raises(FetchError):
            look_up(f"{name}.test", soon())
    with pytest.raises(FetchError, match="too many names"):
        look_up("e.test", soon())
    assert len(calls) == MAX_LOOKUPS
    release.set()
    assert look_up("a.test", soon(2)) == ["10.0.0.1"]


def test_no_worker_to_look_up() -> None:
    with pytest.raises(FetchError):
        NameLookup(lambda job: False)("a.test", soon())
