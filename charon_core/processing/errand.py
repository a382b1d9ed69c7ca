"""Work that is done elsewhere while nobody holds what needs its result: the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Errand(Protocol):
    """Something that has to be asked of others: a server, a database.

    ``str(errand)`` says what it is about, for the log.
    """

    def begin(self, on_done: Callable[[], object]) -> None:
        """Have the work begun; never waits for it.

        Args:
            on_done: Called once when it has come to its end, whatever that is, on any thread,
                perhaps before this returns. It never blocks. The result is where whoever needs it
                looks again. Where too many wait it may not be called: everybody has a deadline.
        """
        ...


class NotYet(Exception):  # noqa: N818 - it is no error: the answer comes later
    """What is asked for depends on an errand; whoever asked has it begun and asks again after it.

    Whoever raises it has changed nothing, and raises it only to those who said that they can
    wait.
    """

    def __init__(self, errand: Errand) -> None:
        super().__init__(str(errand))
        self.errand = errand
