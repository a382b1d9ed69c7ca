"""Providers and handlers that fail or hang: nobody else notices but the log."""

from __future__ import annotations

import threading

import pytest

from charon_core.attributes import guard as guard_module
from charon_core.attributes.guard import MAX_CALLS, PATIENCE, Guard
from charon_core.attributes.manager import AttributeManager
from charon_core.attributes.static import StaticAttributes, domain_name
from charon_core.encoding.payloads import ConfigurationAttribute


def test_what_is_raised_is_a_line_in_the_log() -> None:
    said: list[str] = []
    assert Guard("sql", said.append).call("lease", lambda: 1 // 0, 7) == 7
    assert said == ["'sql' failed to lease: ZeroDivisionError: integer division or modulo by zero"]


def test_only_so_many_calls_can_hang_and_others_go_on_without_an_answer() -> None:
    said: list[str] = []
    now = [0.0]
    guard = Guard("sql", said.append, clock=lambda: now[0])
    inside = threading.Barrier(MAX_CALLS + 1)
    done = threading.Event()

    def hang() -> int:
        inside.wait(5)
        done.wait(5)
        return 1

    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(guard.call("lease", hang, 0)))
        for _ in range(MAX_CALLS)
    ]
    for thread in threads:
        thread.start()
    inside.wait(5)
    now[0] = PATIENCE + 1
    assert guard.call("lease", lambda: 1, 0) == 0
    assert "'sql' is not asked to lease: 4 calls of it have not returned" in said[0]
    done.set()
    for thread in threads:
        thread.join()
    assert results == [1] * MAX_CALLS
    assert guard.call("lease", lambda: 1, 0) == 1


def test_a_place_is_waited_for_no_longer_than_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "PATIENCE", 0.01)
    monkeypatch.setattr(guard_module, "MAX_CALLS", 1)
    guard = Guard("sql", lambda _: None, clock=lambda: 0.0)
    assert guard.call("lease", lambda: guard.call("lease", lambda: 1, 0), 7) == 0


class Provider(StaticAttributes):
    name = "provider"

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.released: list[str] = []

    def acquire(self, pool: str, identity: str, wanted: str | None, search: object) -> str:  # type: ignore[override]
        return self.address

    def release(self, pool: str, identity: str, address: str) -> bool:
        self.released.append(address)
        return True


@pytest.mark.parametrize("address", ["nonsense", "fd09::1"])
def test_addresses_that_are_none_of_the_family_are_given_back(address: str) -> None:
    said: list[str] = []
    manager = AttributeManager(said.append)
    provider = Provider(address)
    manager.add_provider(provider)
    assert manager.acquire(["p"], "carol", "0.0.0.0") is None
    assert set(provider.released) == {address}
    assert address in said[0]
    manager.remove_provider(provider)
    assert manager.acquire(["p"], "carol", "::") is None


@pytest.mark.parametrize(
    "wrong",
    [
        "no attribute",
        ConfigurationAttribute(0x8000, b""),
        ConfigurationAttribute(0, b""),
        ConfigurationAttribute(0x4000, bytes(5000)),
    ],
)
def test_attributes_that_cannot_be_sent_are_the_fault_of_who_provides_them(wrong: object) -> None:
    said: list[str] = []
    manager = AttributeManager(said.append)

    class Bad(Provider):
        def attributes(self, pools: object, identity: str) -> list[object]:  # type: ignore[override]
            return [wrong]

        def requests(self, connection: str) -> list[object]:
            return [wrong]

    manager.add_provider(Bad("10.0.0.1"))
    manager.add_handler(Bad("10.0.0.1"))  # type: ignore[arg-type]
    assert list(manager.attributes(["p"], "carol")) == []
    assert list(manager.requests("home")) == []
    assert len(said) == 2
    assert "expected a" in said[0]


def test_no_provider_can_flood_a_peer() -> None:
    manager = AttributeManager()
    manager.add_provider(StaticAttributes(dns=[f"10.0.{n // 250}.{n % 250}" for n in range(500)]))
    assert len(list(manager.attributes(["p"], "carol"))) == 64


@pytest.mark.parametrize("name", ["example.org", "Example.ORG.", "_x.a-b", "xn--bcher-kva.example"])
def test_domain_names(name: str) -> None:
    assert domain_name(name) == name.lower().rstrip(".")


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "a b", "a\nb", "a\0b", "-a", "a-", "bücher.example", "a" * 64, "a." * 130],
)
def test_what_is_no_domain_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no domain name"):
        domain_name(name)
