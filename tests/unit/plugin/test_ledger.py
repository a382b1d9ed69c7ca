"""What plugins register is written down and taken back."""

from __future__ import annotations

import contextlib

import pytest

from charon_core.attributes.manager import AttributeManager
from charon_core.attributes.static import StaticAttributes
from charon_core.plugin.ledger import Ledger
from tests.unit.plugin.support import Registry


def test_everything_is_taken_back_the_last_first() -> None:
    ledger, bus, kernel = Ledger(), Registry("bus"), Registry("kernel")
    watched = ledger.watch(bus)
    watched.add("set")
    watched.add_listener("listener")
    ledger.watch(kernel).register("name", object, rank=1)
    bus.add("of somebody else")
    assert len(ledger) == 3
    assert list(ledger.undo()) == []
    assert bus.items == ["of somebody else"]
    assert kernel.items == []
    assert list(ledger.undo()) == []


def test_what_a_plugin_removes_itself_is_not_removed_again() -> None:
    ledger, bus = Ledger(), Registry("bus")
    watched = ledger.watch(bus)
    first, second = object(), object()
    watched.add_listener(first)
    watched.add_listener(second)
    watched.remove_listener(first)
    watched.register("name", object)
    watched.unregister("na" + "me")
    assert len(ledger) == 1
    assert list(ledger.undo()) == []
    assert bus.items == []


def test_equal_objects_are_told_apart() -> None:
    ledger, registry = Ledger(), Registry("x")
    watched = ledger.watch(registry)
    first, second = [1], [1]
    watched.add(first)
    watched.add(second)
    watched.remove(second)
    assert len(ledger) == 1


def test_what_has_a_name_of_several_parts_is_taken_back_by_all_of_them() -> None:
    class Table(Registry):
        def add(self, kind: tuple[int, int], role: str, factory: object) -> None:  # type: ignore[override]
            self.items.append((kind, role))

        def remove(self, kind: tuple[int, int], role: str) -> None:  # type: ignore[override]
            self.items.remove((kind, role))

    ledger, table = Ledger(), Table("eap")
    watched = ledger.watch(table)
    watched.add((4, 0), "peer", object)
    watched.add((4, 0), "server", object)
    watched.remove((4, 0), "peer")
    assert len(ledger) == 1
    assert list(ledger.undo()) == []
    assert table.items == []


def test_what_is_held_can_be_asked_for() -> None:
    ledger, bus = Ledger(), Registry("bus")
    watched = ledger.watch(bus)
    watched.add_logger("logger")
    watched.add_listener("listener")
    assert ledger.held("remove_logger") == ["logger"]


def test_named_arguments_count_as_well() -> None:
    ledger, registry = Ledger(), Registry("x")
    ledger.watch(registry).register(name="n", factory=object)
    list(ledger.undo())
    assert registry.items == []


def test_one_that_cannot_be_taken_back_does_not_keep_the_others() -> None:
    ledger, registry = Ledger(), Registry("x")
    watched = ledger.watch(registry)
    watched.add("a")
    watched.add("b")
    registry.items.remove("b")
    (error,) = ledger.undo()
    assert isinstance(error, ValueError)
    assert registry.items == []


def test_an_addition_that_fails_is_not_written_down() -> None:
    class Refusing(Registry):
        def add(self, item: object) -> None:
            raise ValueError("full")

    ledger = Ledger()
    watched = ledger.watch(Refusing("x"))
    with contextlib.suppress(ValueError):
        watched.add("a")
    assert len(ledger) == 0


def test_all_else_is_the_registry_itself() -> None:
    registry = Registry("x")
    watched = Ledger().watch(registry)
    registry.items.append(1)
    assert watched.count() == watched.count() == 1
    assert watched.items is registry.items
    registry.number = 7
    assert watched.number == 7
    registry.number = 8
    assert watched.number == 8
    assert watched.register("a", object, rank=5) == 5
    assert repr(watched) == repr(registry)


def test_providers_and_handlers_of_attributes_are_taken_back() -> None:
    class Both(StaticAttributes):
        def requests(self, connection: str) -> tuple[()]:
            asked.append(connection)
            return ()

    asked: list[str] = []
    ledger, attributes, both = Ledger(), AttributeManager(), Both(dns=["10.2.0.53"])
    watched = ledger.watch(attributes)
    watched.add_provider(both)
    watched.add_handler(both)  # type: ignore[arg-type]
    assert len(list(attributes.attributes([], "carol"))) == 1
    assert list(attributes.requests("home")) == []
    assert list(ledger.undo()) == []
    assert list(attributes.attributes([], "carol")) == []
    assert list(attributes.requests("work")) == []
    assert asked == ["home"]


def test_fetchers_are_taken_back() -> None:
    from charon_core.credentials.manager import CredentialManager

    credentials, ledger = CredentialManager(), Ledger()
    watched = ledger.watch(credentials)
    watched.add_fetcher("ldap", lambda request, deadline: b"")
    with pytest.raises(ValueError, match="already"):
        credentials.add_fetcher("ldap", lambda request, deadline: b"")
    assert list(credentials.fetchers) == ["ldap"]
    assert list(ledger.undo()) == []
    assert credentials.fetchers == {}
