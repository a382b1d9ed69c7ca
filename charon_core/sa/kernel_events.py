"""What the kernel reports, turned into jobs on the IKE_SAs concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.sa.jobs import ChildExpired, MappingChanged
from charon_core.sa.roam_rounds import RoamRounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.bus import Bus
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import IpsecProtocol
    from charon_core.network.packet import Endpoint
    from charon_core.processing.job import Job
    from charon_core.sa.manager import IkeSaManager
    from charon_core.sa.traps import TrapManager


class KernelEventHandler:
    """A listener of the kernel interface; each call returns at once."""

    def __init__(
        self,
        manager: IkeSaManager,
        bus: Bus,
        submit: Callable[[Job], bool],
        traps: TrapManager,
    ) -> None:
        self._manager = manager
        self._traps = traps
        self._bus = bus
        self._submit = submit
        self._rounds = RoamRounds(manager, submit)

    def acquire(
        self,
        reqid: int,
        source_ts: TrafficSelector | None,
        destination_ts: TrafficSelector | None,
    ) -> None:
        """Traffic hit a policy without an SA."""
        self._traps.acquire(reqid, source_ts, destination_ts)

    def expire(self, protocol: IpsecProtocol, spi: int, destination: str, hard: bool) -> None:
        """A lifetime of an SA ran out."""
        self._bus.log(
            Group.KNL, Level.CONTROL, "%s lifetime of %s SA %08x to %s is over",
            "hard" if hard else "soft", protocol.name, spi, destination,
        )  # fmt: skip
        self._submit(ChildExpired(self._manager, spi, destination, hard=hard))

    def mapping(self, reqid: int, spi: int, source: Endpoint, new: Endpoint) -> None:
        """Valid ESP of a peer behind a NAT comes from another endpoint now (RFC 7296 2.23)."""
        self._bus.log(
            Group.KNL, Level.CONTROL, "NAT mapping of SA %08x (reqid %d) changed from %s to %s",
            spi, reqid, source, new,
        )  # fmt: skip
        self._submit(MappingChanged(self._manager, spi, new))

    def roam(self, address_change: bool) -> None:
        """Addresses or routes of this host changed: each IKE_SA looks whether it has to move."""
        self._bus.log(
            Group.KNL, Level.MORE, "%s of this host changed",
            "addresses" if address_change else "routes",
        )  # fmt: skip
        self._rounds.begin(address_change=address_change)
