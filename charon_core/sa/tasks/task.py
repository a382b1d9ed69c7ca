"""What a task is: one job inside an exchange, with a half for each role."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.encoding.message import Message
    from charon_core.encoding.payloads import Payload
    from charon_core.sa.ike_sa import IkeSa

Outgoing = list["Payload"]
"""The payloads of a message that is being built, in order."""


class Outcome(Enum):
    """How a task goes on after one of its steps."""

    DONE = "done"
    """The task has nothing more to do."""
    MORE = "more"
    """The task takes part in the next message as well."""
    RETRY = "retry"
    """The IKE_SA_INIT request has to be sent anew (cookie, other key exchange method)."""
    DESTROY = "destroy"
    """The IKE_SA ends: at once if a task says so when it processes a message, after the message
    is sent if it says so when it builds a response."""


class Task:
    """One job inside an exchange.

    An initiator's task first builds a request, then processes the response; a responder's task
    first processes a request, then builds the response. A task that returns MORE takes part in
    the following exchange too. A task that plays one role only leaves the other half as it is
    here.
    """

    __slots__ = ("ike",)

    name: ClassVar[str]
    """How status output names the task."""

    def __init__(self, ike: IkeSa) -> None:
        self.ike = ike

    def build_request(self, out: Outgoing) -> Outcome:  # noqa: ARG002
        """Add this task's payloads to our request."""
        return Outcome.DONE

    def process_response(self, message: Message) -> Outcome:  # noqa: ARG002
        """Take what concerns this task from the peer's response."""
        return Outcome.DONE

    def process_request(self, message: Message) -> Outcome:  # noqa: ARG002
        """Take what concerns this task from the peer's request."""
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:  # noqa: ARG002
        """Add this task's payloads to our response."""
        return Outcome.DONE

    def checkpoint(self) -> Callable[[], None] | None:
        """Return what puts the task back to how it is now; None if nothing has to be.

        Asked for before each message: its processing may be put off (`NotYet`), and begins anew.
        """
        return None

    def peer_deletes(self) -> None:
        """Learn that the peer deletes the IKE_SA while this task waits for an answer."""

    def abort(self) -> None:
        """Give up: release what is held and tell those who wait. Called at most once."""


class WatchedTask(Task):
    """A task whose end somebody waits for.

    `on_done` is called exactly once, with True where the task reached its goal.
    """

    __slots__ = ("_on_done",)

    def __init__(self, ike: IkeSa, on_done: Callable[[bool], None] | None = None) -> None:
        super().__init__(ike)
        self._on_done = on_done

    def finish(self, reached: bool) -> None:
        """Tell whoever waits how it ended."""
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(reached)

    def take_watch(self) -> Callable[[bool], None] | None:
        """Hand the waiting over to a task that goes on in this one's place."""
        on_done, self._on_done = self._on_done, None
        return on_done

    def abort(self) -> None:
        """Report failure to whoever waits."""
        self.finish(False)
