"""A message whose processing needs an answer from elsewhere: it is put off, and taken up again.

A worker that waits for the network while it holds an IKE_SA would keep both from their work. So
whoever finds while a message is processed that something has to be asked first (is the peer's
certificate revoked?) raises `NotYet`. The IKE_SA is put back to how it was, keeps the message, has
the errand begun, and is checked in. When the errand has come to its end, or the time is over, the
same message is processed anew from the beginning; what was asked for is in a cache then, or counts
as not to be had.

What comes for the IKE_SA meanwhile is dropped: it is the message that is kept, sent again, or one
that the peer will send again. Timers and commands go their way, and the IKE_SA may end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.bus.listener import Group, Level
from charon_core.sa.environment import TimerKind

if TYPE_CHECKING:
    from charon_core.encoding.header import Header
    from charon_core.encoding.message import Message
    from charon_core.network.packet import Packet
    from charon_core.processing.errand import Errand
    from charon_core.sa.environment import Cancellable
    from charon_core.sa.ike_sa import IkeSa

MAX_POSTPONEMENTS: Final = 16
"""How often one message is put off: once for each certificate of a chain, and then some."""

SHORTEST_WAIT: Final = 0.1
"""Seconds that have to be left for a message to be put off once more."""


class Kept(NamedTuple):
    """A message with what it came in."""

    message: Message
    packet: Packet
    header: Header


class Postponed:
    """The message of one IKE_SA that is put off, if there is one."""

    __slots__ = ("_deadline", "_kept", "_ticket", "_timer", "_times")

    def __init__(self) -> None:
        self._kept: Kept | None = None
        self._ticket = 0
        """Numbers the postponements, so that what ends late takes up nothing but its own."""
        self._times = 0
        self._deadline = 0.0
        self._timer: Cancellable | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a message is kept."""
        return self._kept is not None

    def may_wait(self, now: float) -> bool:
        """Whether the message that is being processed may be put off (once more)."""
        return not self._times or (
            self._times < MAX_POSTPONEMENTS and self._deadline - now > SHORTEST_WAIT
        )

    def put_off(self, ike: IkeSa, errand: Errand, kept: Kept) -> None:
        """Keep a message until the errand has come to its end.

        Raises:
            RuntimeError: It has been put off for long enough: whoever asks for it disregards that.
        """
        env = ike.env
        now = env.clock()
        if not self.may_wait(now):
            raise RuntimeError(f"IKE_SA {ike} cannot wait any longer for: {errand}")
        if not self._times:
            # A half-open IKE_SA ends by itself: time has to be left for the rest of the exchange.
            parameters = env.parameters
            self._deadline = now + min(parameters.patience, parameters.half_open_timeout / 2)
        self._times += 1
        self._ticket += 1
        self._kept = kept
        spi, ticket = ike.own_spi, self._ticket
        # Should the errand's end be lost, this timer takes the message up.
        self._timer = env.start_timer(spi, TimerKind.RESUME, ticket, self._deadline - now)
        ike.log(
            Group.IKE, Level.CONTROL, "message %d waits up to %.1f s for: %s",
            kept.header.message_id, self._deadline - now, errand,
        )  # fmt: skip
        errand.begin(lambda: env.start_timer(spi, TimerKind.RESUME, ticket, 0.0))

    def take(self, ticket: int) -> Kept | None:
        """Return the message that was put off under this number, if it still waits."""
        return self._take() if ticket == self._ticket else None

    def take_for_good(self) -> Kept | None:
        """Return the message, if there is one; it cannot be put off again."""
        self._times = MAX_POSTPONEMENTS
        return self._take()

    def _take(self) -> Kept | None:
        kept, self._kept = self._kept, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return kept

    def end(self) -> None:
        """The message was processed, or nobody wants it any more."""
        self._take()
        self._times = 0


def may_wait(ike: IkeSa) -> bool:
    """Whether the message that is being processed may be put off: who raises `NotYet` asks this."""
    return ike.postponed is None or ike.postponed.may_wait(ike.env.clock())


def is_waiting(ike: IkeSa) -> bool:
    """Whether a message of this IKE_SA is put off; may be asked without having checked it out."""
    return ike.postponed is not None and ike.postponed.is_waiting


class Checkpoint:
    """How an IKE_SA was before a message was processed.

    Tasks that act before the one that raises `NotYet` must not have changed more than this.
    """

    __slots__ = ("_ike", "_ike_config", "_local_id", "_peer_config", "_remote_id", "_tasks")

    def __init__(self, ike: IkeSa) -> None:
        self._ike = ike
        self._tasks = ike.tasks.checkpoint()
        self._ike_config = ike.ike_config
        self._peer_config = ike.peer_config
        self._local_id = ike.local_id
        self._remote_id = ike.remote_id

    def restore(self) -> None:
        """Put the IKE_SA back."""
        ike = self._ike
        ike.tasks.roll_back(self._tasks)
        ike.ike_config = self._ike_config
        ike.peer_config = self._peer_config
        ike.local_id = self._local_id
        ike.remote_id = self._remote_id
        ike.env.bus.set_sa(ike.ref)
