"""Has all IKE_SAs look at their paths after a change of addresses or routes, a few at a time."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from charon_core.processing.job import Job, Priority
from charon_core.sa.roaming import on_roam

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.sa.manager import IkeSaManager

AT_ONCE: Final = 32
"""IKE_SAs that one job looks at; then other jobs have their turn."""

PATIENCE: Final = 2.0
"""Seconds that it waits for one that is in use."""


class RoamRounds:
    """Goes through the IKE_SAs, once for each change, with one job at a time.

    However many IKE_SAs there are and however often addresses change, there is one job of it in
    the queue. A change while a round is under way starts another one when that is over.
    """

    def __init__(self, manager: IkeSaManager, submit: Callable[[Job], bool]) -> None:
        """Have nothing to do.

        Args:
            manager: Knows the IKE_SAs.
            submit: Queues a job; False if that is refused.
        """
        self._manager = manager
        self._submit = submit
        # Guards the rest, which the job at work and the kernel's events share.
        self._lock = threading.Lock()
        self._left: deque[int] = deque()
        self._is_running = False
        self._address_change = False
        self._next: bool | None = None
        """Whether addresses have changed since the round began; None: nothing has changed."""

    def begin(self, *, address_change: bool) -> None:
        """Addresses, or else only routes, have changed: start a round, or note to do so."""
        with self._lock:
            if self._is_running:
                self._next = bool(self._next) or address_change
                return
            self._start(address_change)
        self._go_on()

    def _start(self, address_change: bool) -> None:
        self._is_running = True
        self._address_change = address_change
        self._left = deque(self._manager.numbers())

    def _go_on(self) -> None:
        while self._has_work() and not self._submit(RoamStep(self)):
            # The queue is full: better slowly than not at all.
            self.step()

    def _has_work(self) -> bool:
        """Whether there is something left; begins the next round if one is due."""
        with self._lock:
            if not self._left and self._next is not None:
                address_change, self._next = self._next, None
                self._start(address_change)
            if not self._left:
                self._is_running = False
            return self._is_running

    def step(self) -> None:
        """Look at some IKE_SAs."""
        for _ in range(AT_ONCE):
            with self._lock:
                if not self._left:
                    return
                number = self._left.popleft()
                address_change = self._address_change
            ike = self._manager.checkout_by_number(number, PATIENCE)
            with self._manager.working_on(ike):
                if ike is not None:
                    on_roam(ike, address_change=address_change)

    def step_and_go_on(self) -> None:
        """Look at some IKE_SAs, and queue the rest; what fails does not end the round."""
        try:
            self.step()
        finally:
            self._go_on()


class RoamStep(Job):
    """One step of a round."""

    __slots__ = ("_rounds", "priority")

    def __init__(self, rounds: RoamRounds) -> None:
        self._rounds = rounds
        self.priority = Priority.MEDIUM

    def execute(self) -> None:
        """Look at some IKE_SAs, and queue the rest."""
        self._rounds.step_and_go_on()

    def __str__(self) -> str:
        return "look for paths after a change of addresses or routes"
