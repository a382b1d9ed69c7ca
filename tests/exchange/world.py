"""Two daemons' IKE_SAs in one process, on a virtual network and a virtual clock.

Nothing sleeps and nothing is threaded: each datagram is delivered by hand, or by `World.run`, and
time passes only when the test says so. Every order, loss and repetition of messages is a test.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from charon_core.attributes.manager import AttributeManager
from charon_core.bus import Group, Level, LogRecord
from charon_core.bus.bus import Bus
from charon_core.bus.events import AlertRaised, Event
from charon_core.config.backend import BackendManager
from charon_core.config.child import ChildConfig
from charon_core.config.identification import Identification
from charon_core.config.ike import IkeConfig
from charon_core.config.keywords import parse_proposals
from charon_core.config.memory import ConnectionTable
from charon_core.config.peer import AuthClass, AuthConfig, PeerConfig
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.control.jobs import Oblivion, Renew, Termination
from charon_core.control.routing import Routing, TrapInitiation
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.sets import MemorySet, SecretKind, SharedSecret
from charon_core.crypto.secret import Secret
from charon_core.eap.registry import EapRegistry
from charon_core.encoding.errors import ParseError
from charon_core.encoding.header import MAJOR_VERSION, Header
from charon_core.encoding.registry import ProtocolId
from charon_core.kernel.interface import PolicyDirection
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.kernel.static_net import StaticNet
from charon_core.network.packet import Endpoint, Packet
from charon_core.sa.crash_detection import CrashTokens
from charon_core.sa.environment import Environment, TimerKind
from charon_core.sa.jobs import ProcessMessage, TimerDue
from charon_core.sa.kernel_events import KernelEventHandler
from charon_core.sa.manager import IkeSaManager
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.shunts import ShuntManager
from charon_core.sa.traps import TrapManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.kernel.interface import SaSpec
    from charon_core.processing.job import Job
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.renewal import Renewal
    from charon_core.sa.traps import Demand

PSK = b"correct horse battery staple"
IKE_PROPOSAL = "aes128gcm16-prfsha256-x25519!"
ESP_PROPOSAL = "aes128gcm16!"
EPOCH = 1_800_000_000.0


class Drbg:
    """Random octets that are the same in every run of a test."""

    def __init__(self, seed: int) -> None:
        import random

        self._random = random.Random(seed)

    def bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)


@dataclass(order=True)
class VirtualTimer:
    time: float
    number: int
    action: Callable[[], object] = field(compare=False)
    kind: TimerKind | None = field(compare=False, default=None)
    """What an IKE_SA started it for; None: it is the kernel's."""
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class LivingKernel(NullBackend):
    """A kernel in which the lifetimes of SAs run, on the world's clock."""

    def __init__(self, host: Host, seed: int) -> None:
        super().__init__(random=Drbg(seed))
        self._host = host

    def add_sa(self, spec: SaSpec) -> None:
        super().add_sa(spec)
        for seconds, hard in ((spec.soft_seconds, False), (spec.hard_seconds, True)):
            if seconds:
                self._host.after(seconds, partial(self._end, spec, hard))

    def _end(self, spec: SaSpec, hard: bool) -> None:
        if any(state.encryption_key is spec.encryption_key for state in self.states.values()):
            self.inject_expire(spec.id, hard=hard)


class Recorder:
    """Keeps what a daemon says: log lines, events, alerts."""

    name = "recorder"
    events = (Event,)

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.happened: list[Event] = []

    def level(self, group: Group) -> Level:
        return Level.MORE

    def log(self, record: LogRecord) -> None:
        self.lines.append(record.text)

    def on_event(self, event: Event) -> None:
        self.happened.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.happened if isinstance(event, kind)]

    @property
    def alerts(self) -> list[str]:
        return [event.alert.text for event in self.happened if isinstance(event, AlertRaised)]

    def said(self, fragment: str) -> bool:
        return any(fragment in line for line in self.lines)


class Host:
    """One daemon, as far as the protocol is concerned."""

    def __init__(
        self, world: World, name: str, address: str, seed: int, parameters: IkeParameters
    ) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.bus = Bus(clock=lambda: EPOCH + world.now)
        self.recorder = Recorder()
        self.said_by_others: list[str] = []
        self.bus.add_logger(self.recorder)
        self.bus.add_listener(self.recorder)
        self.connections = ConnectionTable("test")
        self.secrets = MemorySet("test")
        self.backend = LivingKernel(self, seed + 1)
        backends = BackendManager()
        backends.add(self.connections)
        self.credentials = CredentialManager()
        self.credentials.add(self.secrets)
        self.net = StaticNet({address: "eth0"})
        self.kernel = KernelInterface(self.backend, self.net)
        self.attributes = AttributeManager(self.said_by_others.append)
        self.keepalives: list[tuple[Endpoint, Endpoint]] = []
        self.timers: list[VirtualTimer] = []
        self.jobs: list[Job] = []
        self.random = Drbg(seed)
        child_ids = itertools.count(1)
        self.traps = TrapManager(
            self.kernel,
            self.bus,
            initiate=self._serve_trap,
            after=self.after,
            clock=lambda: world.now,
            number=child_ids.__next__,
        )
        self.shunts = ShuntManager(self.kernel, self.bus)
        self.routing = Routing(
            self.shunts, self.traps, self, self.bus, features=self.kernel.features
        )
        self.env = Environment(
            bus=self.bus,
            backends=backends,
            credentials=self.credentials,
            kernel=self.kernel,
            attributes=self.attributes,
            eap=EapRegistry(),
            random=self.random,
            parameters=parameters,
            send=lambda packet: world.send(self, packet),
            keepalive=lambda local, remote: self.keepalives.append((local, remote)),
            start_timer=self._start_timer,
            clock=lambda: world.now,
            wall_clock=lambda: EPOCH + world.now,
            local_port=lambda natt: 4500 if natt else 500,
            new_spi=lambda: self.manager.new_spi(),  # noqa: PLW0108 - it is made below
            reindex=lambda ike: self.manager.reindex(ike),  # noqa: PLW0108
            make_successor=lambda *args: self.manager.make_successor(*args),  # noqa: PLW0108
            borrow=lambda number: self.manager.borrow(number),  # noqa: PLW0108
            renew=self.renew,
            retire=lambda number: self.soon(Termination(self.manager, ike=number)),
            forget=lambda number: self.soon(Oblivion(self.manager, ike=number)),
            hold=self.traps.hold,
            remote_endpoint=lambda config: Endpoint(config.remote[0], config.remote_port),
            child_ids=child_ids,
            crash_tokens=CrashTokens(self.random.bytes(32)) if world.detects_crashes else None,
        )
        self.manager = IkeSaManager(self.env)
        self.kernel.add_listener(
            KernelEventHandler(self.manager, self.bus, self._submit, self.traps)
        )
        self.backend.start(self.kernel)
        self.net.start(self.kernel)

    def _serve_trap(self, demand: Demand) -> bool:
        self.soon(TrapInitiation(self.manager, self, demand))
        return True

    def _submit(self, job: Job) -> bool:
        job.execute()
        return True

    def _start_timer(
        self, spi: bytes, kind: TimerKind, argument: int, delay: float
    ) -> VirtualTimer:
        return self.after(delay, TimerDue(self.manager, spi, kind, argument).execute, kind)

    def after(
        self, delay: float, action: Callable[[], object], kind: TimerKind | None = None
    ) -> VirtualTimer:
        """Have something done when time has passed."""
        timer = VirtualTimer(self.world.now + delay, next(self.world.numbers), action, kind)
        heapq.heappush(self.timers, timer)
        return timer

    def renew(self, renewal: Renewal) -> None:
        self.soon(Renew(self.manager, self, renewal))

    def find(self, config: IkeConfig) -> tuple[Endpoint, Endpoint] | None:
        """Be the path finder of this daemon."""
        if not config.remote_hosts:
            return None
        return Endpoint(self.address, 500), Endpoint(config.remote[0], config.remote_port)

    def packet(self, source: str = "10.1.0.1", destination: str = "10.2.0.1") -> None:
        """Have a packet leave; the strongest policy that it meets may lack an SA."""
        packet = (TrafficSelector.parse(source), TrafficSelector.parse(destination))
        policies = [
            policy
            for policy in self.backend.policies.values()
            if policy.direction is PolicyDirection.OUT
            and policy.source.contains(packet[0])
            and policy.destination.contains(packet[1])
        ]
        reqid = min(policies, key=lambda policy: policy.strength).template.reqid
        outbound = [sa for sa in self.backend.states.values() if not sa.inbound]
        if not any(sa.reqid == reqid for sa in outbound):
            self.backend.inject_acquire(reqid, *packet)
        self.do_jobs()

    def soon(self, job: Job) -> None:
        """Have a job done on another thread."""
        self.jobs.append(job)

    def do_jobs(self) -> None:
        """Do what the other threads are to do."""
        while self.jobs:
            self.jobs.pop(0).execute()

    # -- what a test does ---------------------------------------------------------------------

    def receive(self, packet: Packet) -> None:
        """Take a datagram, as the receiver and a worker would."""
        try:
            header = Header.parse(packet.data)
        except ParseError:
            return
        if header.version[0] == MAJOR_VERSION and self.manager.admit(packet, header):
            self.work_off(packet)

    def work_off(self, packet: Packet) -> None:
        """Process a datagram that was admitted, as a worker would."""
        ProcessMessage(self.manager, packet, Header.parse(packet.data)).execute()

    def change_addresses(self, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Gain and lose addresses, and have the kernel tell the daemon."""
        for address in remove:
            del self.net.addresses[address], self.world.hosts[address]
        for address in add:
            self.net.addresses[address] = "eth0"
            self.world.hosts[address] = self
        self.net.inject_roam()
        self.do_jobs()

    def initiate(
        self, peer: PeerConfig, child: str | None = None, outcome: list[bool] | None = None
    ) -> None:
        """Bring a CHILD_SA up, in the IKE_SA that is there or in a new one."""
        config = next(iter(peer.children), None) if child is None else peer.child(child)
        done = outcome.append if outcome is not None else None
        numbers = self.manager.numbers_by_name(peer.name)
        if numbers and config is not None:
            with self.manager.working_on(self.manager.checkout_by_number(numbers[0])) as ike:
                ike.initiate_child(config, done)
            return
        local = Endpoint(self.address, 500)
        remote = Endpoint(peer.ike.remote[0], peer.ike.remote_port)
        with self.manager.working_on(self.manager.create_initiator(local, remote)) as ike:
            if config is None:
                ike.begin(peer, on_done=done)
                ike.tasks.initiate()
                return
            ike.begin(peer)
            ike.initiate_child(config, done)

    def with_ike(self, action: Callable[[IkeSa], object]) -> None:
        """Work on the only IKE_SA, checked out."""
        (number,) = self.manager.numbers()
        with self.manager.working_on(self.manager.checkout_by_number(number)) as ike:
            action(ike)

    def delete_ike(self) -> None:
        self.with_ike(lambda ike: ike.delete())

    def rekey_child(self, outcome: list[bool] | None = None) -> None:
        """Rekey the oldest CHILD_SA of the only IKE_SA."""
        done = outcome.append if outcome is not None else None
        self.with_ike(lambda ike: ike.rekey_child(ike.children[0], done))

    def delete_child(self) -> None:
        self.with_ike(lambda ike: ike.delete_child(ike.children[0]))

    # -- what a test looks at -----------------------------------------------------------------

    @property
    def children(self) -> list[ChildSa]:
        """The CHILD_SAs of all IKE_SAs, those that linger left out."""
        found: list[ChildSa] = []
        for number in self.manager.numbers():
            with self.manager.working_on(self.manager.checkout_by_number(number)) as ike:
                found += ike.children
        return found

    def sends_by(self) -> set[int]:
        """Return the SPIs of the SAs that packets of the outbound policies take.

        Of several with the reqid of a policy, a kernel takes the newest.
        """
        outbound = [state for state in self.backend.states.values() if not state.inbound]
        newest = {state.reqid: state.id.spi for state in outbound}
        return {
            newest.get(policy.template.reqid, 0)
            for policy in self.backend.policies.values()
            if policy.direction is PolicyDirection.OUT
        }

    def receives_by(self) -> set[int]:
        """Return the SPIs of the inbound SAs."""
        return {state.id.spi for state in self.backend.states.values() if state.inbound}

    @property
    def waits(self) -> bool:
        """Whether a request of an IKE_SA is unanswered."""
        for number in self.manager.numbers():
            with self.manager.working_on(self.manager.checkout_by_number(number)) as ike:
                if not ike.tasks.is_idle:
                    return True
        return False

    @property
    def sas(self) -> list[object]:
        return list(self.manager.snapshots())

    @property
    def states(self) -> list[str]:
        return [snapshot.state for snapshot in self.manager.snapshots()]

    def leaks(self) -> dict[str, object]:
        """Return what is left where nothing should be."""
        found = {
            "states": self.backend.states,
            "policies": self.backend.policies,
            "reserved": self.backend.reserved,
            "virtual addresses": self.net.virtual,
            "routes": self.net.routes,
            "leases": [
                lease
                for pool in self.attributes.memory.all()
                for lease in pool.leases()
                if lease.online
            ],
            "attributes": self.attributes.installed,
            "IKE_SAs": self.states,
            "half-open": self.manager.count(),
            "timers": [
                timer
                for timer in self.timers
                if not timer.cancelled and timer.kind not in {None, TimerKind.RETRANSMIT}
            ],
        }
        return {what: left for what, left in found.items() if left}


class World:
    """The network between two hosts, moon and sun, and the time."""

    def __init__(
        self,
        *,
        parameters: IkeParameters | None = None,
        ipv6: bool = False,
        seed: int = 1,
        detects_crashes: bool = False,
    ) -> None:
        self.detects_crashes = detects_crashes
        self.now = 1000.0
        self.numbers = itertools.count()
        self.in_flight: list[Packet] = []
        self.sent: list[Packet] = []
        parameters = parameters or IkeParameters()
        addresses = ("2001:db8::1", "2001:db8::2") if ipv6 else ("10.99.0.1", "10.99.0.2")
        self.moon = Host(self, "moon", addresses[0], 10 * seed, parameters)
        self.sun = Host(self, "sun", addresses[1], 20 * seed, parameters)
        self.hosts = {host.address: host for host in (self.moon, self.sun)}
        self.nat: Callable[[Packet], Packet] | None = None
        self.watch: Callable[[], object] = lambda: None
        """Called whenever a datagram was processed."""

    def send(self, host: Host, packet: Packet) -> None:
        if packet.source.host not in host.net.addresses:
            return  # No kernel sends from an address that it does not have.
        self.sent.append(packet)
        self.in_flight.append(packet)

    def deliver(self, packet: Packet) -> None:
        """Take one datagram to its destination, through the NAT if there is one."""
        if self.nat is not None:
            packet = self.nat(packet)
        host = self.hosts.get(packet.destination.host)
        if host is not None:
            host.receive(packet)
            host.do_jobs()
        self.watch()

    def step(self) -> Packet:
        """Deliver the oldest datagram in flight."""
        packet = self.in_flight.pop(0)
        self.deliver(packet)
        return packet

    def drop(self) -> Packet:
        """Lose the oldest datagram in flight."""
        return self.in_flight.pop(0)

    def run(self, limit: int = 200) -> None:
        """Deliver until nothing is in flight any more."""
        while self.in_flight:
            limit -= 1
            assert limit, "the two sides never fall silent"
            self.step()

    def elapse(self, seconds: float, *, deliver: bool = True, keep: bool = False) -> None:
        """Let time pass; timers fire when they are due, datagrams arrive at once or never.

        With ``keep`` they stay in flight.
        """
        end = self.now + seconds
        while True:
            due = min(
                (
                    (host.timers[0], host)
                    for host in (self.moon, self.sun)
                    if host.timers and host.timers[0].time <= end
                ),
                default=None,
                key=lambda entry: entry[0],
            )
            if due is None:
                break
            timer, host = due
            heapq.heappop(host.timers)
            if timer.cancelled:
                continue
            self.now = max(self.now, timer.time)
            timer.action()
            host.do_jobs()
            if deliver:
                self.run()
            elif not keep:
                self.in_flight.clear()
        self.now = end

    def assert_traffic_flows(self) -> None:
        """Whatever one side sends, the other one has an SA for."""
        for here, there in ((self.moon, self.sun), (self.sun, self.moon)):
            spis = here.sends_by()
            assert spis, f"{here.name} has no policy to send by"
            assert spis <= there.receives_by(), f"what {here.name} sends is lost"

    def assert_nothing_left(self) -> None:
        assert self.moon.leaks() == {}
        assert self.sun.leaks() == {}


def auth(identity: str, kind: AuthClass = AuthClass.PSK, **settings: object) -> AuthConfig:
    return AuthConfig(auth_class=kind, identity=Identification.parse(identity), **settings)


def selectors(*texts: str) -> tuple[TrafficSelector, ...]:
    return tuple(map(TrafficSelector.parse, texts))


def child(
    name: str = "net",
    *,
    local: Iterable[str] = ("10.1.0.0/16",),
    remote: Iterable[str] = ("10.2.0.0/16",),
    esp: str = ESP_PROPOSAL,
    **settings: object,
) -> ChildConfig:
    return ChildConfig(
        name=name,
        proposals=parse_proposals(esp, ProtocolId.ESP),
        local_ts=selectors(*local),
        remote_ts=selectors(*remote),
        **settings,
    )


def connection(
    world: World,
    host: Host,
    *,
    name: str = "net",
    ike: str = IKE_PROPOSAL,
    children: tuple[ChildConfig, ...] | None = None,
    local: AuthConfig | tuple[AuthConfig, ...] | None = None,
    remote: AuthConfig | tuple[AuthConfig, ...] | None = None,
    ike_settings: dict[str, object] | None = None,
    **settings: object,
) -> PeerConfig:
    """Give a host a connection to the other one, and return it.

    Several rounds of a side are a tuple.
    """
    other = world.sun if host is world.moon else world.moon
    if children is None:
        mirrored = host is world.sun
        here, there = ("10.2.0.0/16", "10.1.0.0/16") if mirrored else ("10.1.0.0/16", "10.2.0.0/16")
        children = (child(local=(here,), remote=(there,)),)
    peer = PeerConfig(
        name=name,
        ike=IkeConfig(
            name=name,
            local=(host.address,),
            remote=(other.address,),
            proposals=parse_proposals(ike, ProtocolId.IKE),
            **(ike_settings or {}),
        ),
        local=_rounds(local or auth(f"{host.name}.example.org")),
        remote=_rounds(remote or auth(f"{other.name}.example.org")),
        children=children,
        **settings,
    )
    host.connections.add(peer)
    return peer


def _rounds(auths: AuthConfig | tuple[AuthConfig, ...]) -> tuple[AuthConfig, ...]:
    return auths if isinstance(auths, tuple) else (auths,)


def share_secret(host: Host, secret: bytes = PSK, *owners: str) -> None:
    names = owners or ("moon.example.org", "sun.example.org")
    host.secrets.add_secret(
        SharedSecret(SecretKind.IKE, Secret(secret), tuple(map(Identification.parse, names)))
    )


def tunnel(world: World, **settings: object) -> PeerConfig:
    """Configure both hosts for a tunnel by a shared secret; returns moon's connection."""
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, **settings)
    return connection(world, world.moon, **settings)


def establish(world: World, **settings: object) -> PeerConfig:
    """Bring a tunnel up from moon to sun."""
    peer = tunnel(world, **settings)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True], world.moon.recorder.lines
    return peer
