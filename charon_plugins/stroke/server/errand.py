"""A request that waits for peers: what it began goes on, and no worker is kept meanwhile."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from charon_core.control.result import Result
from charon_plugins.stroke.server.commands import log_level, log_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_plugins.stroke.server.channel import Channel


class Step(NamedTuple):
    """One command to the daemon of which the client awaits the end.

    Attributes:
        begin: a method of the controller, with what it is about; takes `timeout`, `level`,
            `on_log` and `on_result`.
        tell: gives the lines for the client about a result.
    """

    begin: Callable[..., Result]
    tell: Callable[[Result], Iterable[str]]


class Errand:
    """Steps, one after the other, each with its log lines and its result to the client.

    Lines come from the threads that write the log, so the client is never waited for: one that
    does not read loses the reply.
    """

    def __init__(
        self,
        channel: Channel,
        steps: Iterable[Step],
        verbosity: int,
        timeout: float | None,
    ) -> None:
        """Prepare; `begin` begins.

        Args:
            channel: to the client.
            steps: what is to be done.
            verbosity: the highest level of the log lines that the client sees.
            timeout: seconds to wait for each step; ``None`` for as long as it takes.
        """
        self.channel = channel
        self._steps = deque(steps)
        self._verbosity = verbosity
        self._timeout = timeout
        self._on_end: Callable[[], None] | None = None

    def begin(self, on_end: Callable[[], None]) -> None:
        """Begin with the first step; `on_end` is called once, on any thread."""
        self._on_end = on_end
        self.channel.never_wait()
        self._go_on()

    def _go_on(self) -> None:
        while self._steps:
            step = self._steps.popleft()
            result = step.begin(
                timeout=self._timeout,
                level=log_level(self._verbosity),
                on_log=log_to(self.channel, self._verbosity),
                on_result=lambda result, step=step: self._ended(step, result),
            )
            if result is Result.SUCCESS:
                return
            self.channel.write_lines(step.tell(result))
        if self._on_end is not None:
            self._on_end()

    def _ended(self, step: Step, result: Result) -> None:
        self.channel.write_lines(step.tell(result))
        self._go_on()
