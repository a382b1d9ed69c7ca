"""Between which addresses an IKE_SA and its CHILD_SAs talk (RFC 7296 2.11, 2.23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.events import IkeMoved
from charon_core.bus.listener import Group, Level
from charon_core.kernel.interface import KernelError
from charon_core.network.packet import Endpoint
from charon_core.sa.mobility import Path
from charon_core.sa.state import IkeState, Trait

if TYPE_CHECKING:
    from charon_core.network.packet import Packet
    from charon_core.sa.ike_sa import IkeSa

IKE_PORT: Final = 500


def follow_packet(ike: IkeSa, packet: Packet) -> None:
    """Answer where an authenticated message came from (RFC 7296 2.11, 2.23).

    A peer that can MOBIKE says when it moves: nothing else makes us follow (RFC 4555 3.8).
    """
    if ike.mobility is not None:
        ike.mobility.arrival = Path(packet.destination, packet.source)
        return
    if packet.source == ike.remote and packet.destination == ike.local:
        return
    if ike.state in {IkeState.CREATED, IkeState.CONNECTING}:
        if not ike.is_initiator:
            ike.local, ike.remote = packet.destination, packet.source
        return
    follow_peer(ike, packet.destination, packet.source)


def follow_peer(ike: IkeSa, local: Endpoint, remote: Endpoint) -> None:
    """Take a peer's new endpoint, if it is a NAT before it that may have changed it."""
    if (local, remote) == (ike.local, ike.remote):
        return
    if Trait.NAT_THERE in ike.traits and Trait.NAT_HERE not in ike.traits:
        ike.log(Group.NET, Level.CONTROL, "peer behind NAT moved from %s to %s", ike.remote, remote)
        move(ike, ike.local, remote)


def move_to_natt_port(ike: IkeSa) -> None:
    """Use port 4500 from now on (RFC 7296 2.23)."""
    ordinary = ike.env.local_port(False)
    if ike.local.port == ordinary:
        ike.local = Endpoint(ike.local.host, ike.env.local_port(True))
    if ike.ike_config is not None and ike.remote.port == ike.ike_config.remote_port == IKE_PORT:
        ike.remote = Endpoint(ike.remote.host, ike.env.parameters.natt_port)


def move(ike: IkeSa, local: Endpoint, remote: Endpoint) -> None:
    """Take new addresses, with all CHILD_SAs."""
    target = local, remote, ike.encapsulates
    children = [child for child in (*ike.children, *ike.lingering) if child.state.is_in_kernel]
    apart = [c for c in children if (c.local, c.remote, c.encapsulated) != target]
    if (ike.local, ike.remote) == (local, remote) and not apart:
        return
    ike.local, ike.remote = local, remote
    ike.children_changed = True
    for child in apart:
        try:
            child.move(local, remote, encapsulated=ike.encapsulates)
        except KernelError as error:
            ike.alert(
                AlertKind.KERNEL_FAILURE,
                f"CHILD_SA {child} cannot follow to {remote}: {error}",
                operation=error.operation,
            )
    ike.env.bus.publish(IkeMoved(ike.ref, str(local), str(remote)))


def path_of_children(ike: IkeSa) -> tuple[Endpoint, Endpoint, bool]:
    """Return where CHILD_SAs belong now, and whether their ESP is in UDP."""
    if ike.mobility is not None and ike.mobility.settled is not None:
        return ike.mobility.settled
    return ike.local, ike.remote, ike.encapsulates
