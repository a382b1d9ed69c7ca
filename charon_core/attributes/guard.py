"""Keeps a provider or handler that fails or hangs from taking IKE down with it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MAX_CALLS: Final = 4
"""Workers that one provider may occupy at once: a database that hangs must not have them all."""

PATIENCE: Final = 2.0
"""Seconds to wait for a place, and after which a call that runs counts as hanging."""


class Guard:
    """Calls somebody else's code: what it raises, or that it hangs, is a line in the log.

    A thread cannot be taken out of foreign code. So it is bounded how many are in there; who
    finds no place in time goes on without an answer.
    """

    def __init__(
        self,
        name: str,
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Guard nothing yet.

        Args:
            name: Of whose code it is, for the log.
            report: Takes a line for the log.
            clock: Monotonic seconds.
        """
        self._name = name
        self._report = report
        self._clock = clock
        # Guards _running: when each call that has not returned began.
        self._room = threading.Condition()
        self._running: dict[object, float] = {}

    def call(self, operation: str, function: Callable[[], T], otherwise: T) -> T:
        """Return what the function returns, or `otherwise` if it cannot or must not be called."""
        with self._place() as has_place:
            if not has_place:
                self._report(
                    f"'{self._name}' is not asked to {operation}: {MAX_CALLS} calls of it have "
                    f"not returned for {PATIENCE:g} s; see what it waits for"
                )
                return otherwise
            try:
                return function()
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                self._report(
                    f"'{self._name}' failed to {operation}: {type(error).__name__}: {error}"
                )
                return otherwise

    @contextmanager
    def _place(self) -> Iterator[bool]:
        token = object()
        with self._room:
            hangs = (
                len(self._running) >= MAX_CALLS
                and self._clock() - min(self._running.values()) > PATIENCE
            )
            found = not hangs and self._room.wait_for(
                lambda: len(self._running) < MAX_CALLS, PATIENCE
            )
            if found:
                self._running[token] = self._clock()
        try:
            yield found
        finally:
            if found:
                with self._room:
                    del self._running[token]
                    self._room.notify()
