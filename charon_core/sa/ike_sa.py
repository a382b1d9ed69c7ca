"""One IKE_SA: its state, keys, path and children (RFC 7296).

An IKE_SA knows neither sockets nor threads nor the wall clock; it works with the collaborators
in its `Environment`. Whoever calls it has checked it out: one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.events import IkeDown, IkeStateChanged, IkeUp
from charon_core.bus.listener import Group, Level
from charon_core.bus.refs import SaRef
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.kernel.interface import KernelFeature
from charon_core.network.packet import Endpoint
from charon_core.sa.environment import TimerKind
from charon_core.sa.handshake import Handshake
from charon_core.sa.lifetimes import start_life
from charon_core.sa.postponed import is_waiting
from charon_core.sa.renewal import renew
from charon_core.sa.state import ChildState, IkeState, Trait
from charon_core.sa.task_manager import TaskManager
from charon_core.sa.tasks.child_delete import ChildDelete
from charon_core.sa.tasks.child_initiate import ChildInitiate
from charon_core.sa.tasks.child_rekey import ChildRekey
from charon_core.sa.tasks.ike_auth import IkeAuth
from charon_core.sa.tasks.ike_config import ConfigExchange
from charon_core.sa.tasks.ike_crash import CrashTokenExchange
from charon_core.sa.tasks.ike_delete import IkeDelete
from charon_core.sa.tasks.ike_init import IkeInit
from charon_core.sa.tasks.ike_intermediate import IkeIntermediate
from charon_core.sa.tasks.ike_mobike import MobikeSetup
from charon_core.sa.tasks.ike_natd import IkeNatd
from charon_core.sa.tasks.ike_reauth import IkeReauth
from charon_core.sa.tasks.ike_rekey import IkeRekey
from charon_core.sa.tasks.task import WatchedTask
from charon_core.sa.uniqueness import release
from charon_core.sa.upkeep import DUE
from charon_core.sa.virtual_addresses import VirtualAddresses, own_hosts
from charon_core.sa.wire import NO_SPI, process_postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.alert import AlertKind
    from charon_core.config.child import ChildConfig
    from charon_core.config.identification import Identification
    from charon_core.config.ike import IkeConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.config.proposal import Proposal
    from charon_core.encoding.fragments import Reassembler
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.environment import Cancellable, Environment
    from charon_core.sa.keying import IkeKeying
    from charon_core.sa.mobility import Mobility
    from charon_core.sa.peers import Ends
    from charon_core.sa.postponed import Postponed
    from charon_core.sa.tasks.task import Task
    from charon_core.sa.traps import Packet

QUEUED_DELAY: Final = 0.5
"""Seconds that a new IKE_SA's queued tasks wait until the peer knows it, too."""

MAX_LINGERING: Final = 64
"""CHILD_SAs that may receive after they were replaced; the oldest give way."""

_SETUP: Final[tuple[type[Task], ...]] = (
    IkeInit,
    IkeNatd,
    IkeIntermediate,
    IkeAuth,
    ConfigExchange,
    MobikeSetup,
    CrashTokenExchange,
)
"""The tasks of every IKE_SA that we initiate; a CHILD_SA comes beside them."""

_HALF_OPEN: Final = frozenset({IkeState.CREATED, IkeState.CONNECTING})


class IkeSa:
    """One IKE_SA, as initiator or responder."""

    __slots__ = (
        "_handshake",
        "_timers",
        "announced",
        "attempt",
        "children",
        "children_changed",
        "claimed",
        "env",
        "established_at",
        "expires_at",
        "ike_config",
        "initiator_spi",
        "is_initiator",
        "keying",
        "last_inbound",
        "last_outbound",
        "lingering",
        "local",
        "local_id",
        "mobility",
        "next_keying",
        "peer_config",
        "peer_token",
        "postponed",
        "proposal",
        "reassembler",
        "reauth_at",
        "refusals",
        "rekey_at",
        "remote",
        "remote_eap_id",
        "remote_id",
        "replaces",
        "responder_spi",
        "state",
        "tasks",
        "traits",
        "unique_id",
        "virtual",
    )

    def __init__(
        self,
        env: Environment,
        unique_id: int,
        spi: bytes,
        local: Endpoint,
        remote: Endpoint,
        *,
        is_initiator: bool,
    ) -> None:
        self.env = env
        self.unique_id = unique_id
        self.is_initiator = is_initiator
        self.initiator_spi = spi if is_initiator else NO_SPI
        self.responder_spi = NO_SPI if is_initiator else spi
        self.local = local
        self.remote = remote
        self.state = IkeState.CREATED
        self.traits = Trait.NONE
        self.mobility: Mobility | None = None
        """What MOBIKE knows; None where not both sides can."""
        self.ike_config: IkeConfig | None = None
        self.peer_config: PeerConfig | None = None
        self.local_id: Identification | None = None
        self.remote_id: Identification | None = None
        self.remote_eap_id: Identification | None = None
        """Who the peer is inside of EAP, where that has proved it."""
        self.keying: IkeKeying | None = None
        self.peer_token = b""
        """By which the peer can prove that it has lost this IKE_SA (RFC 6290)."""
        self.next_keying: IkeKeying | None = None
        """What takes the place of `keying` once the message at work is sent."""
        self.proposal: Proposal | None = None
        self.children: list[ChildSa] = []
        self.lingering: list[ChildSa] = []
        """CHILD_SAs that were replaced and deleted, and still receive for a moment."""
        self.virtual = VirtualAddresses()
        self.children_changed = False
        self.established_at: float | None = None
        self.rekey_at: float | None = None
        self.reauth_at: float | None = None
        self.expires_at: float | None = None
        self.announced = False
        """Whether listeners know it as up: they are told of its end then."""
        self.claimed: Ends | None = None
        """The identities under which it is in the index of peers."""
        self.replaces = 0
        """Number of the IKE_SA that is to be deleted once this one is up (reauthentication)."""
        self.last_inbound = self.last_outbound = env.clock()
        self.tasks = TaskManager(self)
        self._handshake: Handshake | None = Handshake()
        self.reassembler: Reassembler | None = None
        self.postponed: Postponed | None = None
        self._timers: dict[tuple[TimerKind, int], Cancellable] = {}
        self.attempt = 1
        """Which of the tries is under way, counted from 1."""
        self.refusals = 0
        """How often the peer has refused the IKE_SA."""

    # -- who and what -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The connection's name, as far as it is known."""
        if self.peer_config is not None:
            return self.peer_config.name
        return "(unnamed)"

    @property
    def ref(self) -> SaRef:
        """Names this IKE_SA to listeners and in the log."""
        return SaRef(self.name, self.unique_id)

    def __str__(self) -> str:
        return f"{self.name}[{self.unique_id}]"

    @property
    def own_spi(self) -> bytes:
        """The SPI that we chose, 8 octets."""
        return self.initiator_spi if self.is_initiator else self.responder_spi

    @property
    def is_half_open(self) -> bool:
        """Whether a peer that has not proved who it is occupies this responder."""
        return not self.is_initiator and self.state in _HALF_OPEN

    @property
    def handshake(self) -> Handshake:
        """What is remembered until authentication.

        Raises:
            RuntimeError: It is over: the caller acts in a state that it must not act in.
        """
        if self._handshake is None:
            raise RuntimeError(f"IKE_SA {self} has left its handshake behind")
        return self._handshake

    @property
    def forces_encapsulation(self) -> bool:
        """Whether ESP has to be in UDP although no NAT is on the path."""
        configured = self.ike_config is not None and self.ike_config.force_encap
        return configured or KernelFeature.UDP_ENCAPSULATION_ONLY in self.env.kernel.features

    @property
    def encapsulates(self) -> bool:
        """Whether ESP of this IKE_SA's children is in UDP."""
        return self.traits.nat_anywhere

    @property
    def local_hosts(self) -> tuple[str, ...]:
        """What dynamic selectors of our side stand for; see `selectors.resolve`."""
        return own_hosts(self)

    @property
    def remote_hosts(self) -> tuple[str, ...]:
        """What dynamic selectors of the peer's side stand for."""
        return self.virtual.remote or (self.remote.host,)

    def ends_text(self) -> str:
        """Return both ends as log lines show them: address[identity]...address[identity]."""
        return (
            f"{self.local.host}[{self.local_id or '%any'}]..."
            f"{self.remote.host}[{self.remote_id or '%any'}]"
        )

    # -- commands -----------------------------------------------------------------------------

    def begin(
        self,
        peer: PeerConfig,
        *,
        replaces: int = 0,
        on_done: Callable[[bool], None] | None = None,
    ) -> None:
        """Take the configuration under which this IKE_SA will be initiated.

        Args:
            peer: The configuration.
            replaces: Number of an IKE_SA that is to be deleted once this one is up, 0 for none.
            on_done: Told once whether the IKE_SA came up, with or without CHILD_SA.
        """
        self.replaces = replaces
        self.peer_config = peer
        self.ike_config = peer.ike
        self.env.bus.set_sa(self.ref)
        self._queue_setup(on_done)

    def reset(
        self, spi: bytes, remote: Endpoint, on_done: Callable[[bool], None] | None = None
    ) -> None:
        """Be as at first, as initiator, with another SPI; the configuration stays."""
        self.initiator_spi = spi
        self.responder_spi = NO_SPI
        self.keying = self.next_keying = None
        self.traits = Trait.NONE
        self.remote_id = self.remote_eap_id = None
        self._handshake = Handshake()
        self.reassembler = None
        self.set_state(IkeState.CREATED)
        self.remote = remote
        self.local = Endpoint(self.local.host, self.env.local_port(False))
        self._queue_setup(on_done)

    def _queue_setup(self, on_done: Callable[[bool], None] | None) -> None:
        self.traits |= Trait.WE_BEGAN
        for kind in _SETUP:
            self.tasks.queue(IkeAuth(self, on_done) if kind is IkeAuth else kind(self))

    def initiate_child(
        self,
        config: ChildConfig,
        on_done: Callable[[bool], None] | None = None,
        packet: Packet | None = None,
    ) -> None:
        """Negotiate a CHILD_SA, together with the IKE_SA if that is still to be set up."""
        self.queue_child(config, on_done, packet)
        self.tasks.initiate()

    def queue_child(
        self,
        config: ChildConfig,
        on_done: Callable[[bool], None] | None = None,
        packet: Packet | None = None,
    ) -> None:
        """Have a CHILD_SA negotiated when its turn comes, for a packet that waits for it."""
        self.tasks.queue(ChildInitiate(self, config, on_done=on_done, packet=packet))

    def delete(self, on_done: Callable[[bool], None] | None = None) -> None:
        """Delete the IKE_SA: at once if the peer does not count on it yet, else by exchange."""
        if self.state.is_up:
            # From now on, not from when it is sent: a peer that is dead answers nothing before.
            self.start_timer(TimerKind.DESTROY, self.env.parameters.delete_timeout)
            self.tasks.queue(IkeDelete(self, on_done))
            self.tasks.initiate()
            return
        if self.state in {IkeState.REKEYED, IkeState.DELETING}:
            self.tasks.queue(IkeDelete(self, on_done))
            return
        if self.is_initiator and is_waiting(self):
            # The responder has answered, and takes it for established.
            self.tell_authentication_failed()
        self.log(Group.IKE, Level.CONTROL, "destroying IKE_SA in state %s without notification",
                 self.state.value)  # fmt: skip
        self.set_state(IkeState.DESTROYING)
        if on_done is not None:
            on_done(True)

    def rekey(self, on_done: Callable[[bool], None] | None = None) -> None:
        """Replace the IKE_SA by a new one, which gets the CHILD_SAs."""
        self.tasks.queue(IkeRekey(self, on_done=on_done))
        self.tasks.initiate()

    def reauthenticate(self) -> None:
        """Have both sides prove who they are anew: by a new IKE_SA, after this one or beside it."""
        if not self.env.parameters.make_before_break:
            self.tasks.queue(IkeReauth(self))
            self.tasks.initiate()
            return
        self.log(Group.IKE, Level.AUDIT, "reauthenticating IKE_SA %s by a second one", self)
        renew(self, (child.config for child in self.children), replaces=self.unique_id, anyway=True)

    def start_queued_soon(self) -> None:
        """Start queued tasks in a moment: the peer cannot take requests before our answer."""
        if self.tasks.queued:
            self.start_timer(TimerKind.QUEUED, QUEUED_DELAY)

    def delete_child(self, child: ChildSa, on_done: Callable[[bool], None] | None = None) -> None:
        """Delete one CHILD_SA by exchange."""
        self.tasks.queue(ChildDelete(self, child, on_done))
        self.tasks.initiate()

    # -- the life of the IKE_SA ---------------------------------------------------------------

    def set_state(self, state: IkeState) -> None:
        """Enter a state and tell listeners."""
        old, self.state = self.state, state
        if old is state:
            return
        self.log(Group.IKE, Level.MORE, "IKE_SA %s state change: %s => %s", self, old, state)
        if self.env.bus.listening(IkeStateChanged):
            self.env.bus.publish(IkeStateChanged(self.ref, old.value, state.value))

    def choose_peer_config(self, config: PeerConfig) -> None:
        """Take the configuration that the peer's identity and proof lead to."""
        self.peer_config = config
        self.ike_config = config.ike
        self.env.bus.set_sa(self.ref)

    def establish(self) -> None:
        """Both sides are authenticated: enter ESTABLISHED and start what belongs to it."""
        self.set_state(IkeState.ESTABLISHED)
        self.established_at = self.env.clock()
        if self.keying is not None:
            self.keying.forget_authentication()
        self.cancel_timer(TimerKind.HALF_OPEN)
        self.announced = True
        self.log(Group.IKE, Level.AUDIT, "IKE_SA %s established between %s", self, self.ends_text())
        self.env.bus.publish(IkeUp(self.ref))
        start_life(self)
        if self.replaces:
            self.env.retire(self.replaces)
            self.replaces = 0

    def adopt_keying(self) -> None:
        """Use the keys that follow, if there are some."""
        if self.next_keying is not None:
            self.keying, self.next_keying = self.next_keying, None

    def leave_handshake(self) -> None:
        """Forget what only the handshake needs; called once its last message is built."""
        self._handshake = None

    def finish_deletes(self) -> None:
        """The peer's delete crossed ours: whoever waits for ours is served as well."""
        for task in self.tasks.take_watches():
            if isinstance(task, WatchedTask) and isinstance(task, IkeDelete | ChildDelete):
                task.finish(True)
            else:
                task.abort()

    def destroy(self) -> None:
        """Take everything down without a word to the peer. Called once, by the manager."""
        release(self)
        self.set_state(IkeState.DESTROYING)
        if self.postponed is not None:
            self.postponed.end()
        self.tasks.flush()
        self.cancel_timers()
        for child in list(self.children):
            self.remove_child(child, "IKE_SA ended")
        for child in self.lingering:
            child.destroy()
        self.lingering.clear()
        self.virtual.release(self)
        if self.announced:
            self.env.bus.publish(IkeDown(self.ref))

    # -- children -----------------------------------------------------------------------------

    def add_child(self, child: ChildSa) -> None:
        """Take a CHILD_SA that has been installed."""
        self.children.append(child)
        self.children_changed = True

    def remove_child(self, child: ChildSa, reason: str) -> None:
        """Take a CHILD_SA down and forget it."""
        self._drop_child(child)
        child.destroy(reason)

    def retire_child(self, child: ChildSa) -> None:
        """Take down a CHILD_SA that was replaced; it still receives for a moment."""
        if not child.hand_over() and child.successor in self.children:
            # Our kernel does not take what is to send from now on: better none than half of one.
            self.tasks.queue(ChildDelete(self, child.successor))
        linger = self.env.parameters.rekeyed_linger
        if not linger:
            self.remove_child(child, "rekeyed")
            return
        self._drop_child(child)
        while len(self.lingering) >= MAX_LINGERING:
            self.lingering.pop(0).destroy()
        child.linger()
        self.lingering.append(child)
        self.start_timer(TimerKind.CHILD_RETIRE, linger, child.unique_id)

    def await_delete(self, child: ChildSa) -> None:
        """Expect the peer to delete a CHILD_SA that another one has replaced."""
        child.set_state(ChildState.REKEYED)
        self.start_timer(
            TimerKind.CHILD_RETIRE, self.env.parameters.rekeyed_patience, child.unique_id
        )

    def _drop_child(self, child: ChildSa) -> None:
        self.children.remove(child)
        self.children_changed = True
        self.cancel_timer(TimerKind.CHILD_REKEY, child.unique_id)
        self.cancel_timer(TimerKind.CHILD_RETIRE, child.unique_id)
        for other in self.children:
            if other.successor is child:
                # The new one goes before it has taken over: the old one is needed after all.
                other.successor = None
                if other.state is ChildState.REKEYED:
                    other.set_state(ChildState.INSTALLED)
                    self.cancel_timer(TimerKind.CHILD_RETIRE, other.unique_id)

    def rekey_child(self, child: ChildSa, on_done: Callable[[bool], None] | None = None) -> None:
        """Replace a CHILD_SA by a new one."""
        self.tasks.queue(ChildRekey(self, child, on_done=on_done))
        self.tasks.initiate()

    def child_by_remote_spi(self, protocol: int, spi: int) -> ChildSa | None:
        """Return the CHILD_SA whose outbound SPI that is; IANA security protocol ID."""
        for child in self.children:
            if child.remote_spi == spi and child.config.protocol == protocol:
                return child
        return None

    def child_expired(self, spi: int, *, hard: bool) -> None:
        """The kernel reports that a lifetime of one of the SAs has run out."""
        child = next((c for c in self.children if spi in (c.local_spi, c.remote_spi)), None)
        if child is None or child.state is ChildState.DELETING:
            return
        if hard:
            self.log(
                Group.CHD, Level.CONTROL, "lifetime of CHILD_SA %s is over, deleting it", child
            )
            child.hand_over()
            self.delete_child(child)
        elif child.state is ChildState.INSTALLED:
            self.rekey_child(child)

    def tell_authentication_failed(self) -> None:
        """Tell a responder that takes the IKE_SA for established that it is not."""
        self.tasks.send_last_words([Notify.of(NotifyType.AUTHENTICATION_FAILED)])

    # -- timers -------------------------------------------------------------------------------

    def start_timer(self, kind: TimerKind, delay: float, argument: int = 0) -> Cancellable:
        """Start a timer; of each kind but RETRANSMIT there is one an argument, which is replaced.

        Those of kind RETRANSMIT are the caller's to cancel.
        """
        timer = self.env.start_timer(self.own_spi, kind, argument, delay)
        if kind is not TimerKind.RETRANSMIT:
            self.cancel_timer(kind, argument)
            self._timers[kind, argument] = timer
        return timer

    def is_timed(self, kind: TimerKind) -> bool:
        """Whether a timer of a kind runs."""
        return (kind, 0) in self._timers

    def cancel_timer(self, kind: TimerKind, argument: int = 0) -> None:
        """Stop a timer, if it runs."""
        timer = self._timers.pop((kind, argument), None)
        if timer is not None:
            timer.cancel()

    def cancel_timers(self) -> None:
        """Stop all timers but those of kind RETRANSMIT."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def on_timer(self, kind: TimerKind, argument: int) -> None:
        """Do what is due, if it still is."""
        if self.state is IkeState.DESTROYING:
            return
        if kind is TimerKind.RETRANSMIT:
            self.tasks.retransmit(argument)
            return
        if kind is TimerKind.RESUME:
            process_postponed(self, argument)
            return
        self._timers.pop((kind, argument), None)
        DUE[kind](self, argument)

    # -- telling others -----------------------------------------------------------------------

    def log(self, group: Group, level: Level, message: str, *args: object) -> None:
        """Write a log line; the bus adds which IKE_SA this thread works on."""
        self.env.bus.log(group, level, message, *args)

    def alert(self, kind: AlertKind, text: str, **details: str) -> None:
        """Tell operators about something that they should act on: in the log, and as an event."""
        self.log(Group.IKE, Level.CONTROL, "%s", text)
        details.setdefault("peer", self.remote.host)
        if self.remote_id is not None:
            details.setdefault("identity", str(self.remote_id))
        self.env.bus.alert(kind, text, sa=self.ref, **details)
