"""Shunts and traps on command, and what a packet in a trap sets off."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.control.jobs import Initiation
from charon_core.sa.selectors import are_within
from charon_core.sa.tasks.child_create import obstacle
from charon_core.sa.tasks.child_initiate import ChildInitiate

if TYPE_CHECKING:
    from charon_core.bus.bus import Bus
    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.control.paths import PathFinder
    from charon_core.kernel.interface import KernelFeature
    from charon_core.network.packet import Endpoint
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.manager import IkeSaManager
    from charon_core.sa.shunts import ShuntManager
    from charon_core.sa.traps import Demand, TrapManager


class Unrouted(Enum):
    """What it was that has been removed."""

    SHUNT = "shunt"
    TRAP = "trap"


class Routing:
    """Installs policies that wait for traffic: shunts, and traps where SAs are wanted.

    Attributes:
        features: What the kernel backend can do.
        shunts: What passes, and what is dropped.
        traps: What brings CHILD_SAs up.
    """

    def __init__(
        self,
        shunts: ShuntManager,
        traps: TrapManager,
        paths: PathFinder,
        bus: Bus,
        *,
        features: frozenset[KernelFeature],
    ) -> None:
        self.features = features
        self.shunts = shunts
        self.traps = traps
        self._paths = paths
        self._bus = bus

    def route(self, peer: PeerConfig, child: ChildConfig) -> bool:
        """Install the shunt or trap of a CHILD_SA's configuration; names may be looked up."""
        if child.mode.is_shunt:
            return self.shunts.install(child)
        problem = obstacle(child, self.features)
        if problem:
            self._bus.log(Group.CFG, Level.CONTROL, "cannot trap '%s': %s", child.name, problem)
            return False
        path = self._paths.find(peer.ike)
        return path is not None and self.traps.install(peer, child, *path)

    def unroute(self, name: str) -> Unrouted | None:
        """Remove the shunt, or else the trap, of that name; None if there is neither."""
        if self.shunts.uninstall(name):
            return Unrouted.SHUNT
        return Unrouted.TRAP if self.traps.uninstall(name) else None


class TrapInitiation(Initiation):
    """Brings up what a packet in a trap asks for."""

    __slots__ = ("_demand",)

    def __init__(self, manager: IkeSaManager, paths: PathFinder, demand: Demand) -> None:
        super().__init__(manager, paths, demand.trap.peer, demand.trap.child)
        self._demand = demand

    def __str__(self) -> str:
        return f"initiate '{self._demand.trap.name}' for its trap"

    def end(self, succeeded: bool) -> None:
        """Tell the trap, once."""
        if not self.ended.is_set():
            super().end(succeeded)
            self._demand.done(succeeded)

    def _path(self) -> tuple[Endpoint, Endpoint] | None:
        """Where the connection says, or else where the peer was when the trap was installed."""
        trap = self._demand.trap
        found = self._paths.find(trap.peer.ike) if trap.peer.ike.remote_hosts else None
        return found or (trap.local, trap.remote)

    def _begin_child(self, ike: IkeSa, child: ChildConfig) -> None:
        ike.initiate_child(child, self.end, self._demand.packet)

    def _joins(self, ike: IkeSa) -> bool:
        """Join as any initiation, but do not ask twice, nor beside one that only pauses."""
        if ike.peer_config == self._peer and ike.is_initiator and not ike.state.is_up:
            tasks = (*ike.tasks.active, *ike.tasks.queued)
            asked = (task for task in tasks if isinstance(task, ChildInitiate))
            if any(task.is_for(self._demand.trap.child) for task in asked):
                ike.log(
                    Group.IKE, Level.CONTROL, "CHILD_SA %s is being established already",
                    self._demand.trap.name,
                )  # fmt: skip
                self.end(False)
                return True
        return super()._joins(ike)

    def _is_twin(self, child: ChildSa) -> bool:
        """A CHILD_SA for less than the trap may leave the packet out."""
        packet = self._demand.packet
        return super()._is_twin(child) and (
            packet is None
            or (are_within(packet[:1], child.local_ts) and are_within(packet[1:], child.remote_ts))
        )

    def _refuse_twin(self, ike: IkeSa, twin: ChildSa) -> None:
        """The packet was faster than the news of the CHILD_SA."""
        ike.log(Group.IKE, Level.MORE, "CHILD_SA %s is there already", twin)
        self.end(True)
