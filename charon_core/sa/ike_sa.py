"""One IKE_SA: its state, keys, path and children (RFC 7296).

An IKE_SA knows neither sockets nor threads nor the wall clock; it works with the collaborators
in its `Environment`. Whoever calls it has checked it out: one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.events import IkeDown, IkeStateChanged, IkeUp
from charon_core.bus.listener import Group, Level
from charon_core.bus.refs import SaRef
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.kernel.interface import KernelError, KernelFeature
from charon_core.network.packet import Endpoint
from charon_core.sa.environment import TimerKind
from charon_core.sa.handshake import Handshake
from charon_core.sa.postponed import is_waiting
from charon_core.sa.state import ChildState, IkeState, Trait
from charon_core.sa.task_manager import TaskManager
from charon_core.sa.tasks.child_delete import ChildDelete
from charon_core.sa.tasks.child_initiate import ChildInitiate
from charon_core.sa.tasks.ike_auth import IkeAuth
from charon_core.sa.tasks.ike_delete import IkeDelete
from charon_core.sa.tasks.ike_init import IkeInit
from charon_core.sa.tasks.ike_natd import IkeNatd
from charon_core.sa.tasks.task import WatchedTask
from charon_core.sa.upkeep import DUE
from charon_core.sa.wire import NO_SPI, process_postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.child import ChildConfig
    from charon_core.config.identification import Identification
    from charon_core.config.ike import IkeConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.config.proposal import Proposal
    from charon_core.encoding.fragments import Reassembler
    from charon_core.network.packet import Packet
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.environment import Cancellable, Environment
    from charon_core.sa.keying import IkeKeying
    from charon_core.sa.postponed import Postponed

IKE_PORT: Final = 500
_FOR_EVER: Final = 0


class IkeSa:
    """One IKE_SA, as initiator or responder."""

    __slots__ = (
        "_handshake",
        "_timers",
        "_try",
        "children",
        "children_changed",
        "env",
        "established_at",
        "expires_at",
        "ike_config",
        "initiator_spi",
        "is_initiator",
        "keying",
        "last_inbound",
        "last_outbound",
        "local",
        "local_id",
        "peer_config",
        "postponed",
        "proposal",
        "reassembler",
        "remote",
        "remote_id",
        "responder_spi",
        "state",
        "tasks",
        "traits",
        "unique_id",
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
        self.ike_config: IkeConfig | None = None
        self.peer_config: PeerConfig | None = None
        self.local_id: Identification | None = None
        self.remote_id: Identification | None = None
        self.keying: IkeKeying | None = None
        self.proposal: Proposal | None = None
        self.children: list[ChildSa] = []
        self.children_changed = False
        self.established_at: float | None = None
        self.expires_at: float | None = None
        self.last_inbound = self.last_outbound = env.clock()
        self.tasks = TaskManager(self)
        self._handshake: Handshake | None = Handshake()
        self.reassembler: Reassembler | None = None
        self.postponed: Postponed | None = None
        self._timers: dict[TimerKind, Cancellable] = {}
        self._try = 1

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
        return not self.is_initiator and self.state in {IkeState.CREATED, IkeState.CONNECTING}

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

    def ends_text(self) -> str:
        """Return both ends as log lines show them: address[identity]...address[identity]."""
        return (
            f"{self.local.host}[{self.local_id or '%any'}]..."
            f"{self.remote.host}[{self.remote_id or '%any'}]"
        )

    # -- commands -----------------------------------------------------------------------------

    def begin(self, peer: PeerConfig) -> None:
        """Take the configuration under which this IKE_SA will be initiated."""
        self.peer_config = peer
        self.ike_config = peer.ike
        self.env.bus.set_sa(self.ref)
        for task in (IkeInit, IkeNatd, IkeAuth):
            self.tasks.queue(task(self))

    def initiate_child(
        self, config: ChildConfig, on_done: Callable[[bool], None] | None = None
    ) -> None:
        """Negotiate a CHILD_SA, together with the IKE_SA if that is still to be set up."""
        self.tasks.queue(ChildInitiate(self, config, on_done=on_done))
        self.tasks.initiate()

    def delete(self, on_done: Callable[[bool], None] | None = None) -> None:
        """Delete the IKE_SA: at once if the peer does not count on it yet, else by exchange."""
        if self.state is IkeState.ESTABLISHED:
            self.tasks.queue(IkeDelete(self, on_done))
            self.tasks.initiate()
            return
        if self.state is IkeState.DELETING:
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
        self.log(
            Group.IKE, Level.MORE, "IKE_SA %s state change: %s => %s", self, old.value, state.value
        )
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
        self._cancel(TimerKind.HALF_OPEN)
        self.log(Group.IKE, Level.AUDIT, "IKE_SA %s established between %s", self, self.ends_text())
        self.env.bus.publish(IkeUp(self.ref))
        self._start_lifetime()
        if self.peer_config is not None and self.peer_config.dpd_delay:
            self.start_timer(TimerKind.LIVENESS, self.peer_config.dpd_delay)
        if Trait.NAT_HERE in self.traits and self.env.parameters.keep_alive:
            self.start_timer(TimerKind.KEEPALIVE, self.env.parameters.keep_alive)

    def leave_handshake(self) -> None:
        """Forget what only the handshake needs; called once its last message is built."""
        self._handshake = None

    def _start_lifetime(self) -> None:
        config = self.peer_config
        if config is None:
            return
        due = min((t for t in (config.rekey_time, config.reauth_time) if t), default=0.0)
        if not due:
            return
        lifetime = due + config.over_time
        self.expires_at = self.env.clock() + lifetime
        self.log(Group.IKE, Level.CONTROL, "maximum IKE_SA lifetime %ds", lifetime)
        self.start_timer(TimerKind.LIFETIME, lifetime)

    def give_up(self) -> None:
        """The peer does not answer: start over if tries are left, else end."""
        self.alert(
            AlertKind.PEER_UNREACHABLE,
            f"{self.remote} does not answer; check that it runs, and that UDP ports 500 and "
            "4500 pass in both directions",
            remote=str(self.remote),
        )
        if self.state is IkeState.CONNECTING and self.is_initiator:
            tries = self.peer_config.keyingtries if self.peer_config is not None else 1
            if tries == _FOR_EVER or self._try < tries:
                self._try += 1
                self.log(
                    Group.IKE, Level.CONTROL, "peer not responding, trying again (%d/%d)",
                    self._try, tries,
                )  # fmt: skip
                self._start_over()
                return
            self.log(Group.IKE, Level.CONTROL, "establishing IKE_SA failed, peer not responding")
        self.set_state(IkeState.DESTROYING)

    def _start_over(self) -> None:
        """Begin the IKE_SA anew, with a fresh SPI and the peer's name resolved again."""
        waiting = [task for task in self.tasks.take_watches() if isinstance(task, ChildInitiate)]
        for child in list(self.children):
            self.remove_child(child, "starting over")
        self.tasks.restart()
        self.initiator_spi = self.env.new_spi()
        self.responder_spi = NO_SPI
        self.keying = None
        self.traits = Trait.NONE
        self._handshake = Handshake()
        self.reassembler = None
        self.set_state(IkeState.CREATED)
        remote = self.env.remote_endpoint(self.ike_config) if self.ike_config is not None else None
        if remote is not None:
            self.remote = remote
        self.local = Endpoint(self.local.host, self.env.local_port(False))
        for task in (IkeInit, IkeNatd, IkeAuth):
            self.tasks.queue(task(self))
        for old in waiting:
            self.tasks.queue(old.again())
        self.tasks.initiate()

    def finish_deletes(self) -> None:
        """The peer's delete crossed ours: whoever waits for ours is served as well."""
        for task in self.tasks.take_watches():
            if isinstance(task, WatchedTask) and isinstance(task, IkeDelete | ChildDelete):
                task.finish(True)
            else:
                task.abort()

    def destroy(self) -> None:
        """Take everything down without a word to the peer. Called once, by the manager."""
        was_up = self.established_at is not None
        self.set_state(IkeState.DESTROYING)
        if self.postponed is not None:
            self.postponed.end()
        self.tasks.flush()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for child in list(self.children):
            self.remove_child(child, "IKE_SA ended")
        if was_up:
            self.env.bus.publish(IkeDown(self.ref))

    # -- the path -----------------------------------------------------------------------------

    def follow_path(self, packet: Packet) -> None:
        """Answer where an authenticated message came from (RFC 7296 2.11, 2.23)."""
        if packet.source == self.remote and packet.destination == self.local:
            return
        if self.state in {IkeState.CREATED, IkeState.CONNECTING}:
            if not self.is_initiator:
                self.local, self.remote = packet.destination, packet.source
            return
        self.follow_peer(packet.destination, packet.source)

    def follow_peer(self, local: Endpoint, remote: Endpoint) -> None:
        """Take a peer's new endpoint, if it is a NAT before it that may have changed it."""
        if (local, remote) == (self.local, self.remote):
            return
        if Trait.NAT_THERE in self.traits and Trait.NAT_HERE not in self.traits:
            self.log(
                Group.NET, Level.CONTROL, "peer behind NAT moved from %s to %s",
                self.remote, remote,
            )  # fmt: skip
            self.move(self.local, remote)

    def move_to_natt_port(self) -> None:
        """Use port 4500 from now on (RFC 7296 2.23)."""
        ordinary = self.env.local_port(False)
        if self.local.port == ordinary:
            self.local = Endpoint(self.local.host, self.env.local_port(True))
        if (
            self.ike_config is not None
            and self.remote.port == self.ike_config.remote_port == IKE_PORT
        ):
            self.remote = Endpoint(self.remote.host, self.env.parameters.natt_port)

    def move(self, local: Endpoint, remote: Endpoint) -> None:
        """Take new addresses, with all CHILD_SAs."""
        self.local, self.remote = local, remote
        self.children_changed = True
        for child in self.children:
            if child.state is ChildState.INSTALLED:
                try:
                    child.move(local, remote, encapsulated=self.encapsulates)
                except KernelError as error:
                    self.alert(
                        AlertKind.KERNEL_FAILURE,
                        f"CHILD_SA {child} cannot follow to {remote}: {error}",
                        operation=error.operation,
                    )

    # -- children -----------------------------------------------------------------------------

    def add_child(self, child: ChildSa) -> None:
        """Take a CHILD_SA that has been installed."""
        self.children.append(child)
        self.children_changed = True

    def remove_child(self, child: ChildSa, reason: str) -> None:
        """Take a CHILD_SA down and forget it."""
        self.children.remove(child)
        self.children_changed = True
        child.destroy(reason)

    def child_by_remote_spi(self, protocol: int, spi: int) -> ChildSa | None:
        """Return the CHILD_SA whose outbound SPI that is; IANA security protocol ID."""
        for child in self.children:
            if child.remote_spi == spi and child.config.protocol == protocol:
                return child
        return None

    def child_expired(self, spi: int, *, hard: bool) -> None:
        """The kernel reports that a lifetime of one of the SAs has run out."""
        child = next((c for c in self.children if spi in (c.local_spi, c.remote_spi)), None)
        if child is None or child.state is not ChildState.INSTALLED or not hard:
            return
        self.log(Group.CHD, Level.CONTROL, "lifetime of CHILD_SA %s is over, deleting it", child)
        self.delete_child(child)

    def tell_authentication_failed(self) -> None:
        """Tell a responder that takes the IKE_SA for established that it is not."""
        self.tasks.send_last_words([Notify.of(NotifyType.AUTHENTICATION_FAILED)])

    # -- timers -------------------------------------------------------------------------------

    def start_timer(self, kind: TimerKind, delay: float, argument: int = 0) -> Cancellable:
        """Start a timer; of each kind but RETRANSMIT there is one, which is replaced."""
        timer = self.env.start_timer(self.own_spi, kind, argument, delay)
        if kind is not TimerKind.RETRANSMIT:
            self._cancel(kind)
            self._timers[kind] = timer
        return timer

    def start_delete_timer(self) -> None:
        """Bound the time that our own delete may take."""
        self.start_timer(TimerKind.DESTROY, self.env.parameters.delete_timeout)

    def _cancel(self, kind: TimerKind) -> None:
        timer = self._timers.pop(kind, None)
        if timer is not None:
            timer.cancel()

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
        self._timers.pop(kind, None)
        DUE[kind](self)

    # -- telling others -----------------------------------------------------------------------

    def log(self, group: Group, level: Level, message: str, *args: object) -> None:
        """Write a log line; the bus adds which IKE_SA this thread works on."""
        self.env.bus.log(group, level, message, *args)

    def alert(self, kind: AlertKind, text: str, **details: str) -> None:
        """Tell operators about something that they should act on: in the log, and as an event."""
        self.log(Group.IKE, Level.CONTROL, "%s", text)
        self.env.bus.alert(kind, text, sa=self.ref, **details)
