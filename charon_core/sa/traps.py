"""Traps: policies without SAs, whose first packet brings the CHILD_SA up (RFC 4301 4.4.1).

A trap stays below the policies of its CHILD_SA. When these go, whatever the reason, it holds what
comes then: nothing leaves in the clear while there is a trap.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.encoding.registry import ProtocolId
from charon_core.kernel.interface import IpsecProtocol, KernelError, KernelFeature
from charon_core.sa.marks import Marks, has_unique_marks
from charon_core.sa.policy_specs import Protection, protecting
from charon_core.sa.selectors import resolve, text_of
from charon_core.sa.transport import mode_between

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from charon_core.bus.bus import Bus
    from charon_core.config.child import ChildConfig, ChildMode
    from charon_core.config.peer import PeerConfig
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.manager import KernelInterface
    from charon_core.network.packet import Endpoint

    Packet = tuple[TrafficSelector, TrafficSelector]
    """Selectors of one packet: source, destination."""

MAX_INITIATING: Final = 64
"""Initiations by traps under way at once; beyond that a packet has to come again."""

FIRST_PAUSE: Final = 2.0
"""Seconds before a trap initiates again after a failure; each further one takes twice as long."""

LONGEST_PAUSE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Trap:
    """An installed trap.

    Attributes:
        unique_id: Its number, of the same row as those of CHILD_SAs.
        peer: The connection.
        child: What a packet brings up.
        local: Our endpoint.
        remote: The peer's.
        reqid: A CHILD_SA of the same selectors has the same.
        local_ts: Our side, as installed.
        remote_ts: The peer's side.
    """

    unique_id: int
    peer: PeerConfig
    child: ChildConfig
    local: Endpoint
    remote: Endpoint
    reqid: int
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]

    @property
    def name(self) -> str:
        """The name of its configuration."""
        return self.child.name

    @property
    def mode(self) -> ChildMode:
        """The mode that its CHILD_SA will ask for."""
        hosts = self.local.host, self.remote.host
        return mode_between(self.child, hosts, self.local_ts, self.remote_ts)

    @property
    def policies(self) -> Iterator[PolicySpec]:
        """Its policies."""
        protocol = _PROTOCOLS[self.child.protocol]
        marks = Marks(
            self.child.mark_in, self.child.mark_out, self.child.if_id_in, self.child.if_id_out
        )
        by = Protection(self.local.host, self.remote.host, protocol, self.reqid)
        return protecting(marks, self.mode, by, self.local_ts, self.remote_ts, routed=True)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a packet in a trap asks for.

    Attributes:
        trap: The trap.
        packet: The packet's selectors, as far as the kernel tells.
        done: To be called once, with whether there is a CHILD_SA for the packet.
    """

    trap: Trap
    packet: Packet | None
    done: Callable[[bool], None]


class _Entry:
    """A trap at work. Guarded by the manager's lock."""

    __slots__ = ("failures", "is_initiating", "is_postponed", "not_before", "packet", "trap")

    def __init__(self, trap: Trap) -> None:
        self.trap = trap
        self.is_initiating = False
        self.is_postponed = False
        self.failures = 0
        self.not_before = 0.0
        self.packet: Packet | None = None


class TrapManager:
    """Installs and removes traps, each known by the name of its configuration. Thread-safe."""

    def __init__(
        self,
        kernel: KernelInterface,
        bus: Bus,
        *,
        initiate: Callable[[Demand], bool],
        after: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        number: Callable[[], int],
    ) -> None:
        """Connect.

        Args:
            kernel: Takes the policies.
            bus: Takes log lines.
            initiate: Starts to serve a demand, and returns at once; False if it cannot now.
            after: Calls a function after so many seconds.
            clock: Monotonic seconds.
            number: The next number of the CHILD_SAs' row.
        """
        self._kernel = kernel
        self._bus = bus
        self._initiate = initiate
        self._after = after
        self._clock = clock
        self._number = number
        # Keeps the order of changes in the kernel that of the commands; taken before the other.
        self._changing = threading.Lock()
        # Guards the tables and the entries; never held while the kernel works.
        self._lock = threading.Lock()
        self._by_name: dict[str, _Entry] = {}
        self._by_reqid: dict[int, list[_Entry]] = {}
        self._initiating = 0

    # -- installing ---------------------------------------------------------------------------

    def install(
        self, peer: PeerConfig, child: ChildConfig, local: Endpoint, remote: Endpoint
    ) -> bool:
        """Install a trap, in the place of one that has its name; False if that did not work.

        Args:
            peer: The connection.
            child: What a packet is to bring up.
            local: Our endpoint.
            remote: The peer's.
        """
        if KernelFeature.ACQUIRE not in self._kernel.features or not child.install_policy:
            self._say("'%s' cannot be trapped: nobody installs policies for it", child.name)
            return False
        if has_unique_marks(child):
            self._say("'%s' cannot be trapped: its marks are not known before it is up", child.name)
            return False
        with self._changing:
            before = self._by_name.get(child.name)
            if before is not None and _is_same(before.trap, peer, child, local, remote):
                return True
            trap = self._make(peer, child, local, remote)
            if not self._add(trap):
                self._kernel.release_reqid(trap.reqid)
                return False
            self._enter(_Entry(trap))
            if before is not None:
                # The new ones are there already: nothing leaves unguarded meanwhile.
                self._take_out(before)
        self._say(
            "trap '%s' installed for %s === %s, reqid %d",
            trap.name, text_of(trap.local_ts), text_of(trap.remote_ts), trap.reqid,
        )  # fmt: skip
        return True

    def hold(self, peer: PeerConfig, child: ChildConfig, local: Endpoint, remote: Endpoint) -> bool:
        """Have a trap of that name, whoever installed it; False if there is none after that."""
        return child.name in self._by_name or self.install(peer, child, local, remote)

    def uninstall(self, name: str) -> bool:
        """Remove the trap of that name; False if there is none. What is established stays up."""
        with self._changing:
            with self._lock:
                entry = self._by_name.pop(name, None)
            if entry is None:
                return False
            self._take_out(entry)
        return True

    def all(self) -> list[Trap]:
        """Return what is installed, in the order of installation."""
        with self._lock:
            return [entry.trap for entry in self._by_name.values()]

    def _make(
        self, peer: PeerConfig, child: ChildConfig, local: Endpoint, remote: Endpoint
    ) -> Trap:
        local_ts = resolve(child.local_ts, local.host)
        remote_ts = resolve(child.remote_ts, remote.host)
        reqid = self._kernel.acquire_reqid(
            local_ts,
            remote_ts,
            fixed=child.reqid,
            mark_in=child.mark_in,
            mark_out=child.mark_out,
            if_id=child.if_id_out,
        )
        return Trap(self._number(), peer, child, local, remote, reqid, local_ts, remote_ts)

    def _add(self, trap: Trap) -> bool:
        done: list[PolicySpec] = []
        try:
            for policy in trap.policies:
                self._kernel.add_policy(policy)
                done.append(policy)
        except KernelError as error:
            self._remove(trap, done)
            self._say("installing trap '%s' failed: %s", trap.name, error)
            return False
        if not done:
            self._say("trap '%s' is for no packet: its selectors are not of one family", trap.name)
        return bool(done)

    def _enter(self, entry: _Entry) -> None:
        with self._lock:
            self._by_name[entry.trap.name] = entry
            self._by_reqid.setdefault(entry.trap.reqid, []).append(entry)

    def _take_out(self, entry: _Entry) -> None:
        trap = entry.trap
        with self._lock:
            others = self._by_reqid[trap.reqid]
            others.remove(entry)
            if not others:
                del self._by_reqid[trap.reqid]
        self._remove(trap, tuple(trap.policies))
        self._kernel.release_reqid(trap.reqid)

    def _remove(self, trap: Trap, policies: Sequence[PolicySpec]) -> None:
        for policy in policies:
            try:
                self._kernel.delete_policy(policy)
            except KernelError as error:
                self._say("removing trap '%s': %s", trap.name, error)

    # -- packets ------------------------------------------------------------------------------

    def acquire(
        self,
        reqid: int,
        source: TrafficSelector | None,
        destination: TrafficSelector | None,
    ) -> None:
        """A packet has met a policy without an SA: have a CHILD_SA initiated, unless one is.

        After a failure the trap pauses, ever longer, so that traffic to a dead peer is no storm of
        initiations. A packet that comes meanwhile has one initiated when the pause is over.
        """
        packet = (source, destination) if source is not None and destination is not None else None
        with self._lock:
            entries = self._by_reqid.get(reqid)
            entry = entries[0] if entries else None
            if entry is not None:
                entry.packet = packet
        if entry is None:
            self._bus.log(
                Group.KNL, Level.MORE, "ignoring acquire for reqid %d, %s === %s: there is no trap",
                reqid, source, destination,
            )  # fmt: skip
            return
        self._serve(entry)

    def _serve(self, entry: _Entry) -> None:
        trap = entry.trap
        with self._lock:
            packet = entry.packet
            wait = entry.not_before - self._clock()
            is_full = self._initiating >= MAX_INITIATING
            if entry.is_initiating or entry.is_postponed:
                return
            if wait > 0:
                entry.is_postponed = True
            elif not is_full:
                entry.is_initiating = True
                self._initiating += 1
        if wait > 0:
            self._after(wait, partial(self._serve_late, entry))
            return
        if is_full:
            self._say(
                "trap '%s' waits: %d initiations by traps are under way", trap.name, MAX_INITIATING
            )
            return
        source, destination = packet or (text_of(trap.local_ts), text_of(trap.remote_ts))
        self._bus.log(
            Group.KNL, Level.CONTROL, "creating acquire job for policy %s === %s with reqid {%d}",
            source, destination, trap.reqid,
        )  # fmt: skip
        if not self._initiate(Demand(trap, packet, partial(self._done, entry))):
            self._done(entry, False)

    def _serve_late(self, entry: _Entry) -> None:
        with self._lock:
            entry.is_postponed = False
            is_current = self._by_name.get(entry.trap.name) is entry
        if is_current:
            self._serve(entry)

    def _done(self, entry: _Entry, succeeded: bool) -> None:
        with self._lock:
            entry.is_initiating = False
            self._initiating -= 1
            if succeeded:
                entry.failures = 0
                return
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(entry.failures, 10))
            entry.failures += 1
            entry.not_before = self._clock() + pause
        self._say("trap '%s' could not be served, it pauses for %d s", entry.trap.name, pause)

    def _say(self, message: str, *args: object) -> None:
        self._bus.log(Group.CHD, Level.CONTROL, message, *args)


def _is_same(
    trap: Trap, peer: PeerConfig, child: ChildConfig, local: Endpoint, remote: Endpoint
) -> bool:
    return (trap.peer, trap.child, trap.local, trap.remote) == (peer, child, local, remote)


_PROTOCOLS: Final = {ProtocolId.ESP: IpsecProtocol.ESP, ProtocolId.AH: IpsecProtocol.AH}
