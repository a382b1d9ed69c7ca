"""Transport mode between two hosts, through a NAT as well (RFC 7296 1.3.1, 2.23.1).

Behind a NAT a host does not have the address by which the other one knows it. So whoever answers
takes the selectors of the request for what they are at its own end, and answers in the words of
the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.config.child import ChildMode
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from charon_core.config.child import ChildConfig
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing

    Selectors = tuple[TrafficSelector, ...]


@dataclass(frozen=True, slots=True)
class TransportOffer:
    """A request for transport mode that can be granted.

    Attributes:
        local: Selectors of our side, with our address as we know it.
        remote: Selectors of the peer's side, with its address as we know it.
        local_as_sent: Our address as the peer knows it.
        remote_as_sent: The peer's address as it knows it.
    """

    local: Selectors
    remote: Selectors
    local_as_sent: str
    remote_as_sent: str

    def in_its_words(self, local: Selectors, remote: Selectors) -> tuple[Selectors, Selectors]:
        """Return what was agreed on with the addresses that the peer knows."""
        return at_host(local, self.local_as_sent), at_host(remote, self.remote_as_sent)


def offer_of(
    message: Message,
    ike: IkeSa,
    local: Sequence[TrafficSelector],
    remote: Sequence[TrafficSelector],
) -> TransportOffer | None:
    """Return what a request for transport mode amounts to here.

    Args:
        message: The request.
        ike: Its IKE_SA.
        local: Selectors of our side, as sent (TSr).
        remote: Selectors of the peer's side, as sent (TSi).

    Returns:
        None if the request is not for transport mode, or is not one between the two hosts: one
        that has a virtual address is behind the tunnel.
    """
    here, there = _only_host(local), _only_host(remote)
    if message.notify(NotifyType.USE_TRANSPORT_MODE) is None or not here or not there:
        return None
    own, peers = ike.local.host, ike.remote.host
    if ike.local_hosts != (own,) or ike.remote_hosts != (peers,):
        return None
    if (here != own and Trait.NAT_HERE not in ike.traits) or (
        there != peers and Trait.NAT_THERE not in ike.traits
    ):
        return None
    if len({":" in host for host in (here, there, own, peers)}) > 1:
        return None
    return TransportOffer(at_host(local, own), at_host(remote, peers), here, there)


def answer_here(
    ike: IkeSa, local: list[TrafficSelector], remote: list[TrafficSelector]
) -> tuple[list[TrafficSelector], list[TrafficSelector]]:
    """Return the selectors that a grant of transport mode has, with the addresses known here.

    Some responders answer a request through a NAT in their own words.
    """
    if Trait.NAT_HERE in ike.traits and _only_host(local):
        local = list(at_host(local, ike.local.host))
    if Trait.NAT_THERE in ike.traits and _only_host(remote):
        remote = list(at_host(remote, ike.remote.host))
    return local, remote


def mode_between(
    config: ChildConfig,
    hosts: tuple[str, str],
    local: Sequence[TrafficSelector],
    remote: Sequence[TrafficSelector],
) -> ChildMode:
    """Return the mode to ask for: transport mode only between two hosts, and nobody behind them.

    Args:
        config: May be for transport mode.
        hosts: Our address and the peer's.
        local: Selectors of our side.
        remote: Selectors of the peer's side.
    """
    wanted = config.mode is ChildMode.TRANSPORT
    is_between = (_only_host(local), _only_host(remote)) == hosts
    return ChildMode.TRANSPORT if wanted and is_between else ChildMode.TUNNEL


def ask_for_transport(out: Outgoing) -> None:
    """Ask for transport mode, or grant it."""
    out.append(Notify.of(NotifyType.USE_TRANSPORT_MODE))


def at_host(selectors: Iterable[TrafficSelector], host: str) -> Selectors:
    """Return selectors with another address; protocols and ports stay."""
    return tuple(
        TrafficSelector.network(
            host, protocol=selector.protocol, ports=(selector.start_port, selector.end_port)
        )
        for selector in selectors
    )


def _only_host(selectors: Sequence[TrafficSelector]) -> str:
    """Return the one address that all selectors are for; empty if there are others."""
    hosts = {selector.first_address if selector.is_host else "" for selector in selectors}
    return hosts.pop() if len(hosts) == 1 else ""
