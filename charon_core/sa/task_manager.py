"""Requests and responses of one IKE_SA: message IDs, retransmission, the tasks at work.

The window is one request each way (RFC 7296 2.3): a request of ours waits for the response to
the one before it, and of the peer's requests only the next one is processed; the one before it
gets the same response again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.encoding.registry import ExchangeType
from charon_core.sa.environment import TimerKind
from charon_core.sa.state import Arrival, IkeState
from charon_core.sa.tasks.table import ESTABLISHED_ORDER, RESPONDER, SETUP_ORDER, goes_on
from charon_core.sa.tasks.task import Outcome, Outgoing, Task
from charon_core.sa.tries import give_up, refused
from charon_core.sa.wire import answer, protect, send

if TYPE_CHECKING:
    from charon_core.encoding.header import Header
    from charon_core.encoding.message import Message
    from charon_core.network.packet import Packet
    from charon_core.sa.environment import Cancellable
    from charon_core.sa.ike_sa import IkeSa

_FIRST_INFORMATIVE_ATTEMPT = 1

_WORKING: Final = frozenset({IkeState.ESTABLISHED, IkeState.REKEYED, IkeState.DELETING})
"""Where queued tasks may begin, one at a time."""

_MAX_FOLLOW_UPS: Final = 4
"""Exchanges of the peer that may wait for further key exchanges at the same time."""

_MAX_STRANGER_REPEATS = 8
"""How often an IKE_SA_INIT response is sent again: its address may be a victim's, not the peer's.
Initiators repeat a request five times or so."""


class _Request:
    """A request of ours that waits for its response."""

    __slots__ = ("attempt", "datagrams", "exchange", "message_id", "timer")

    def __init__(self, message_id: int, exchange: ExchangeType, datagrams: list[bytes]) -> None:
        self.message_id = message_id
        self.exchange = exchange
        self.datagrams = datagrams
        self.attempt = 0
        self.timer: Cancellable | None = None


_Checkpoint = tuple[_Request | None, tuple[Task, ...], tuple[Task, ...], ExchangeType]


class TaskManager:
    """Runs the tasks of one IKE_SA, in both roles."""

    __slots__ = (
        "_active",
        "_expected_id",
        "_follow_ups",
        "_ike",
        "_passive",
        "_queued",
        "_repeats",
        "_request",
        "_request_id",
        "_response",
        "_response_to",
        "exchange",
    )

    def __init__(self, ike: IkeSa) -> None:
        self._ike = ike
        self._queued: list[Task] = []
        self._active: list[Task] = []
        self._passive: list[Task] = []
        self._follow_ups: dict[bytes, Task] = {}
        self._request: _Request | None = None
        self._request_id = 0
        self._expected_id = 0
        self._response: list[bytes] = []
        self._response_to = 0
        self._repeats = 0
        self.exchange = ExchangeType.IKE_SA_INIT
        """The exchange of the message that is being built or processed."""

    @property
    def is_idle(self) -> bool:
        """Whether no request of ours is under way or waiting."""
        return self._request is None and not self._active and not self._queued

    @property
    def queued(self) -> list[Task]:
        """Tasks that wait for their turn."""
        return self._queued

    @property
    def active(self) -> list[Task]:
        """Tasks of ours that are at work."""
        return self._active

    @property
    def passive(self) -> list[Task]:
        """Tasks that serve the peer and want its next request."""
        return self._passive

    # -- requests of ours ---------------------------------------------------------------------

    def queue(self, task: Task) -> None:
        """Add a task; `initiate` starts it when its turn comes."""
        self._queued.append(task)

    def initiate(self) -> None:
        """Send the next request if there is something to ask and nothing outstanding."""
        while self._request is None and self._ike.state is not IkeState.DESTROYING:
            if not self._active and not self._activate():
                return
            out: Outgoing = []
            for task in tuple(self._active):
                outcome = task.build_request(out)
                if outcome is Outcome.DONE:
                    self._active.remove(task)
                elif outcome is Outcome.DESTROY:
                    self._ike.set_state(IkeState.DESTROYING)
                    return
            if self._active or out:
                self._send_request(out)

    def _activate(self) -> bool:
        state = self._ike.state
        if state is IkeState.CREATED:
            # One of each: the IKE_AUTH exchange has room for a single CHILD_SA.
            first = {type(task): task for task in reversed(self._queued)}
            self._active = [first[kind] for kind in SETUP_ORDER if kind in first]
            self._queued = [task for task in self._queued if task not in self._active]
            self.exchange = ExchangeType.IKE_SA_INIT
            return bool(self._active)
        if self._queued and state in _WORKING:
            for kind, exchange in ESTABLISHED_ORDER:
                for task in self._queued:
                    if type(task) is kind:
                        self._queued.remove(task)
                        self._active = [task]
                        self.exchange = exchange
                        return True
        return False

    def _send_request(self, out: Outgoing) -> None:
        ike = self._ike
        if ike.state is IkeState.CREATED:
            ike.set_state(IkeState.CONNECTING)
        datagrams = protect(ike, self.exchange, self._request_id, out, is_response=False)
        self._request = _Request(self._request_id, self.exchange, datagrams)
        self._transmit(self._request)

    def _transmit(self, request: _Request) -> None:
        ike = self._ike
        send(ike, request.datagrams)
        parameters = ike.env.parameters
        jitter = 0.0
        if parameters.retransmit_jitter:
            jitter = int.from_bytes(ike.env.random.bytes(2), "big") / 0xFFFF
        delay = parameters.retransmit_delay(request.attempt, jitter)
        request.timer = ike.start_timer(TimerKind.RETRANSMIT, delay, request.message_id)

    def retransmit(self, message_id: int) -> None:
        """Send a request again if it is still unanswered, or give the peer up."""
        request = self._request
        if request is None or request.message_id != message_id:
            return
        ike = self._ike
        tries = ike.env.parameters.retransmit_tries
        if request.attempt >= tries:
            ike.log(Group.IKE, Level.CONTROL, "giving up after %d retransmits", tries)
            request.timer = None
            give_up(ike)
            return
        request.attempt += 1
        ike.log(
            Group.IKE, Level.CONTROL, "retransmit %d of request with message ID %d",
            request.attempt, message_id,
        )  # fmt: skip
        if request.attempt == _FIRST_INFORMATIVE_ATTEMPT:
            ike.env.bus.alert(
                AlertKind.RETRANSMIT,
                f"{ike.remote} has not answered request {message_id}, sending it again",
                sa=ike.ref,
                message_id=str(message_id),
            )
        self._transmit(request)

    def process_response(self, message: Message) -> None:
        """Hand the response to the tasks that asked, and go on."""
        request = self._request
        if request is None:
            return
        if request.timer is not None:
            request.timer.cancel()
        self._request = None
        self.exchange = request.exchange
        for task in tuple(self._active):
            outcome = task.process_response(message)
            if outcome is Outcome.DONE:
                self._active.remove(task)
            elif outcome is Outcome.RETRY:
                self.initiate()
                return
            elif outcome is Outcome.DESTROY:
                refused(self._ike)
                return
        self._request_id += 1
        if self._ike.state is IkeState.CONNECTING:
            is_due = bool(self._ike.handshake.additional)
            self.exchange = ExchangeType.IKE_INTERMEDIATE if is_due else ExchangeType.IKE_AUTH
        else:
            self._ike.leave_handshake()
        self.initiate()

    # -- requests of the peer -----------------------------------------------------------------

    def judge(self, header: Header) -> Arrival:
        """Say from its header alone whether a message is to be opened at all."""
        if header.is_response:
            request = self._request
            fits = (
                request is not None
                and request.message_id == header.message_id
                and request.exchange == header.exchange
            )
            return Arrival.WANTED if fits else Arrival.UNWANTED
        if header.message_id == self._expected_id:
            key = (self._ike.state, header.exchange)
            if key in RESPONDER or (self._passive and goes_on(self._ike, header.exchange)):
                return Arrival.WANTED
            return Arrival.UNWANTED
        if self._response and header.message_id == self._expected_id - 1:
            return Arrival.REPEATED
        return Arrival.UNWANTED

    def repeat_response(self, packet: Packet) -> None:
        """Answer a repeated request, if it is the very datagram that was answered.

        Comparing keeps an attacker, who cannot know it, from making us send (RFC 7383 2.6.1
        asks for the same with fragments: only one of them triggers the response).
        """
        if hash(packet.data) != self._response_to:
            return
        ike = self._ike
        if ike.is_half_open:
            self._repeats += 1
            if self._repeats > _MAX_STRANGER_REPEATS:
                return
        ike.log(
            Group.IKE, Level.CONTROL,
            "received retransmit of request with ID %d, retransmitting response",
            self._expected_id - 1,
        )  # fmt: skip
        answer(ike, self._response, packet)

    def process_request(self, message: Message, packet: Packet) -> None:
        """Serve the peer's next request.

        Args:
            message: The request.
            packet: The datagram that completed it, by which a repetition is known again.
        """
        ike = self._ike
        self.exchange = ExchangeType(message.exchange)
        begin = RESPONDER.get((ike.state, message.exchange))
        if begin is not None:
            self._passive = begin(ike, message)
        for task in tuple(self._passive):
            outcome = task.process_request(message)
            if outcome is Outcome.DONE:
                self._passive.remove(task)
            elif outcome is Outcome.DESTROY:
                ike.set_state(IkeState.DESTROYING)
                return
        ends = False
        out: Outgoing = []
        for task in tuple(self._passive):
            outcome = task.build_response(out)
            if outcome is Outcome.DONE:
                self._passive.remove(task)
            elif outcome is Outcome.DESTROY:
                ends = True
                break
        self.respond(message.exchange, message.message_id, out, packet, refused=ends)
        ike.adopt_keying()
        if ends:
            ike.set_state(IkeState.DESTROYING)
            return
        if ike.state is not IkeState.CONNECTING:
            ike.leave_handshake()
        self.initiate()

    def respond(
        self, exchange: int, message_id: int, out: Outgoing, packet: Packet, *, refused: bool
    ) -> None:
        """Send a response to where its request came from; keep it for repetitions of that."""
        ike = self._ike
        self._response = protect(ike, exchange, message_id, out, is_response=True, refused=refused)
        self._response_to = hash(packet.data)
        self._expected_id = message_id + 1
        answer(ike, self._response, packet)

    def last_answer(self) -> tuple[int, tuple[bytes, ...]]:
        """Return the hash of the request that was answered last, and what was sent."""
        return self._response_to, tuple(self._response)

    # -- additional key exchanges ---------------------------------------------------------------

    def keep_follow_up(self, link: bytes, task: Task) -> None:
        """Keep a task whose next request names a link (RFC 9370 2.2.4); the oldest gives way."""
        self._follow_ups[link] = task
        while len(self._follow_ups) > _MAX_FOLLOW_UPS:
            self._follow_ups.pop(next(iter(self._follow_ups))).abort()

    def take_follow_up(self, link: bytes) -> Task | None:
        """Return the task that a link stands for, once."""
        return self._follow_ups.pop(link, None)

    def drop_follow_ups(self) -> None:
        """Give up what waits for further requests."""
        tasks, self._follow_ups = self._follow_ups, {}
        for task in tasks.values():
            task.abort()

    # -- what is put off ----------------------------------------------------------------------

    def checkpoint(self) -> object:
        """Return what `roll_back` puts back."""
        return self._request, tuple(self._active), tuple(self._passive), self.exchange

    def roll_back(self, checkpoint: object) -> None:
        """Be as before a message was processed that has to wait (`NotYet`).

        A request of ours that the message answers is not sent again: the answer is there.
        """
        request, active, passive, exchange = cast("_Checkpoint", checkpoint)
        self._request = request
        self._active, self._passive = list(active), list(passive)
        self.exchange = exchange

    # -- the end ------------------------------------------------------------------------------

    def take_watches(self) -> list[Task]:
        """Hand out all tasks of ours and forget them; the caller goes on with them or aborts."""
        tasks = [*self._active, *self._queued]
        self._active, self._queued = [], []
        return tasks

    def take_queued(self) -> list[Task]:
        """Hand out the tasks that have not begun, and forget them: another IKE_SA does them."""
        tasks, self._queued = self._queued, []
        return tasks

    def restart(self) -> None:
        """Begin again with message ID 0; tasks have to be queued anew."""
        self._cancel_request()
        self._request_id = 0
        self.exchange = ExchangeType.IKE_SA_INIT

    def send_last_words(self, out: Outgoing) -> None:
        """Send an INFORMATIONAL request whose answer nobody waits for: the IKE_SA ends."""
        exchange, message_id = ExchangeType.INFORMATIONAL, self._request_id + 1
        send(self._ike, protect(self._ike, exchange, message_id, out, is_response=False))

    def flush(self) -> None:
        """Abort all tasks: the IKE_SA ends."""
        self._cancel_request()
        self.drop_follow_ups()
        passive, self._passive = self._passive, []
        for task in (*self.take_watches(), *passive):
            task.abort()

    def _cancel_request(self) -> None:
        if self._request is not None and self._request.timer is not None:
            self._request.timer.cancel()
        self._request = None
