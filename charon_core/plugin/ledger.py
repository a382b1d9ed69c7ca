"""Writes down what a plugin registers, so that the host can take it back."""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

# What adds to a registry, and what takes the same back; the latter's parameters are the first
# ones of the former.
_OPPOSITES = {
    "add": "remove",
    "add_fetcher": "remove_fetcher",
    "add_handler": "remove_handler",
    "add_listener": "remove_listener",
    "add_logger": "remove_logger",
    "add_provider": "remove_provider",
    "register": "unregister",
}
_REMOVALS = frozenset(_OPPOSITES.values())


class Ledger:
    """What one plugin has in the registries of the daemon."""

    def __init__(self) -> None:
        # Guards _entries: plugins may register from worker threads as well.
        self._lock = threading.Lock()
        self._entries: list[tuple[object, str, tuple[Any, ...]]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def watch(self, registry: T) -> T:
        """Return a stand-in for a registry that writes down what is added through it.

        It has all attributes of the registry, and its type for the type checker.
        """
        return cast("T", _Watched(registry, self))

    def added(self, registry: object, removal: str, key: tuple[Any, ...]) -> None:
        """Note that ``registry.removal(*key)`` would undo what was done."""
        with self._lock:
            self._entries.append((registry, removal, key))

    def removed(self, registry: object, removal: str, key: tuple[Any, ...]) -> None:
        """Note that the plugin itself took something back."""
        with self._lock:
            for index in range(len(self._entries) - 1, -1, -1):
                entry = self._entries[index]
                if entry[:2] == (registry, removal) and _same(entry[2], key):
                    del self._entries[index]
                    return

    def held(self, removal: str) -> list[Any]:
        """Return what is registered, of the kind that the method `removal` would take back."""
        with self._lock:
            return [key[0] for _, name, key in self._entries if name == removal]

    def undo(self) -> Iterator[Exception]:
        """Take everything back, the last first; yields what went wrong, and goes on."""
        while True:
            with self._lock:
                if not self._entries:
                    return
                registry, removal, key = self._entries.pop()
            try:
                getattr(registry, removal)(*key)
            except Exception as error:  # noqa: BLE001 - the rest has to be taken back, too
                yield error


class _Watched:
    """Stands for a registry; everything but adding and removing goes straight to it."""

    def __init__(self, registry: object, ledger: Ledger) -> None:
        self._registry = registry
        self._ledger = ledger

    def __repr__(self) -> str:
        return repr(self._registry)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._registry, name)
        if name in _OPPOSITES:
            value = self._adding(value, _OPPOSITES[name])
        elif name in _REMOVALS:
            value = self._removing(value, name)
        elif not callable(value) or getattr(value, "__self__", None) is not self._registry:
            # Data may change: it is asked for each time. Methods do not, and are kept, so that
            # the next call costs no more than one on the registry itself.
            return value
        self.__dict__[name] = value
        return value

    def _adding(self, add: Callable[..., Any], removal: str) -> Callable[..., Any]:
        count = len(inspect.signature(getattr(self._registry, removal)).parameters)

        def adding(*arguments: Any, **named: Any) -> Any:
            result = add(*arguments, **named)
            values = (*arguments, *named.values())
            self._ledger.added(self._registry, removal, values[:count])
            return result

        return adding

    def _removing(self, remove: Callable[..., Any], removal: str) -> Callable[..., Any]:
        def removing(*arguments: Any, **named: Any) -> Any:
            result = remove(*arguments, **named)
            self._ledger.removed(self._registry, removal, (*arguments, *named.values()))
            return result

        return removing


def _same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    """Compare by identity, or by value where text and numbers name what was added."""
    return all(
        a is b or (isinstance(a, str | int | tuple) and a == b)
        for a, b in zip(first, second, strict=False)
    )
