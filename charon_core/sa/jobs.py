"""Jobs that work on IKE_SAs: they carry identifiers and check out when they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.encoding.registry import ExchangeType, name_of
from charon_core.processing.job import Job, Priority
from charon_core.sa.environment import TimerKind
from charon_core.sa.path import follow_peer
from charon_core.sa.wire import process_packet

if TYPE_CHECKING:
    from charon_core.encoding.header import Header
    from charon_core.network.packet import Endpoint, Packet
    from charon_core.sa.manager import IkeSaManager

_PRIORITIES: Final[dict[int, Priority]] = {
    ExchangeType.INFORMATIONAL: Priority.HIGH,
    ExchangeType.IKE_SA_INIT: Priority.LOW,
    ExchangeType.IKE_AUTH: Priority.LOW,
}
"""INFORMATIONAL is cheap and peers wait for it. IKE_SA_INIT comes from strangers, and IKE_AUTH may
ask databases and certificates: neither may keep established IKE_SAs waiting."""


class ProcessMessage(Job):
    """Takes a datagram to its IKE_SA."""

    __slots__ = ("_header", "_manager", "_packet", "priority")

    def __init__(self, manager: IkeSaManager, packet: Packet, header: Header) -> None:
        self._manager = manager
        self._packet = packet
        self._header = header
        self.priority = _PRIORITIES.get(header.exchange, Priority.MEDIUM)

    def execute(self) -> None:
        """Check the IKE_SA out, have it process the message, check it in."""
        manager = self._manager
        ike = manager.checkout_by_message(self._packet, self._header)
        if ike is None:
            return
        with manager.working_on(ike):
            process_packet(ike, self._packet, self._header)

    def __str__(self) -> str:
        exchange = name_of(ExchangeType, self._header.exchange)
        return f"process {exchange} from {self._packet.source}"


class TimerDue(Job):
    """Tells an IKE_SA that one of its timers has fired."""

    __slots__ = ("_argument", "_kind", "_manager", "_spi", "priority")

    def __init__(self, manager: IkeSaManager, spi: bytes, kind: TimerKind, argument: int) -> None:
        self._manager = manager
        self._spi = spi
        self._kind = kind
        self._argument = argument
        # What was put off is of a kind that may wait (see `_PRIORITIES`).
        self.priority = Priority.LOW if kind is TimerKind.RESUME else Priority.MEDIUM

    def execute(self) -> None:
        """Check the IKE_SA out, unless it is gone, and tell it."""
        ike = self._manager.checkout(self._spi)
        if ike is None:
            return
        with self._manager.working_on(ike):
            ike.on_timer(self._kind, self._argument)

    def __str__(self) -> str:
        return f"{self._kind.value} of IKE_SA {self._spi.hex()}"


class ChildExpired(Job):
    """The kernel says that an SA has reached the end of its life."""

    __slots__ = ("_destination", "_hard", "_manager", "_spi", "priority")

    def __init__(self, manager: IkeSaManager, spi: int, destination: str, *, hard: bool) -> None:
        self._manager = manager
        self._spi = spi
        self._destination = destination
        self._hard = hard
        self.priority = Priority.HIGH

    def execute(self) -> None:
        """Delete the CHILD_SA."""
        ike = self._manager.checkout_by_child_spi(self._spi, self._destination)
        if ike is None:
            return
        with self._manager.working_on(ike):
            ike.child_expired(self._spi, hard=self._hard)

    def __str__(self) -> str:
        return f"expired CHILD_SA {self._spi:08x}"


class MappingChanged(Job):
    """The kernel says that a peer behind a NAT is reached at another endpoint now."""

    __slots__ = ("_manager", "_remote", "_spi", "priority")

    def __init__(self, manager: IkeSaManager, spi: int, remote: Endpoint) -> None:
        self._manager = manager
        self._spi = spi
        self._remote = remote
        self.priority = Priority.HIGH

    def execute(self) -> None:
        """Have the IKE_SA and its children follow."""
        ike = self._manager.checkout_by_child_spi(self._spi)
        if ike is None:
            return
        with self._manager.working_on(ike):
            follow_peer(ike, ike.local, self._remote)

    def __str__(self) -> str:
        return f"follow CHILD_SA {self._spi:08x} to {self._remote}"
