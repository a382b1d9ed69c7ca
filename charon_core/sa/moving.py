"""How an IKE_SA goes from one path to another, with its CHILD_SAs (RFC 4555 3.5, 3.7, 3.8)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.kernel.interface import KernelError
from charon_core.sa.candidates import is_usable_peer, paths_to_peer
from charon_core.sa.mobility import NATS, ChildPath, Path
from charon_core.sa.nat_detection import note_nats, start_keepalives
from charon_core.sa.parameters import RoutabilityCheck
from charon_core.sa.path import move
from charon_core.sa.state import ChildState, Trait
from charon_core.sa.tasks.child_rekey import ChildRekey

if TYPE_CHECKING:
    from charon_core.network.packet import Endpoint
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.mobility import Mobility
    from charon_core.sa.nat_detection import Detected


# -- the side that decides ------------------------------------------------------------------------


def take(ike: IkeSa, path: Path, *, is_proved: bool) -> None:
    """Use another path from now on; the peer is yet to be told.

    Args:
        ike: The IKE_SA, which we began.
        path: The path.
        is_proved: Whether the peer has answered by it. Until it has, CHILD_SAs do not follow to
            another address of the peer: anybody could be there.
    """
    mobility = ike.mobility
    if mobility is None:
        return
    ike.log(Group.IKE, Level.CONTROL, "using path %s from now on", path)
    mobility.paths = ()
    mobility.is_stale = False
    # What the peer sees of the new address is not known before it has answered.
    mobility.mapping = None
    if is_proved or path.remote.host == _proved_host(ike, mobility):
        _settle(ike, mobility, path)
        return
    _wait(ike, mobility)
    _go(ike, mobility, path)


def confirm(ike: IkeSa, detected: Detected | None) -> None:
    """The peer has followed: now it is known which NATs are on the path."""
    mobility = ike.mobility
    if mobility is None:
        return
    if detected is not None:
        note_nats(ike, detected)
        mobility.mapping = (ike.responder_spi, detected.mapping)
    mobility.nats = ike.traits & NATS
    mobility.settled = None
    _lead(ike, Path(ike.local, ike.remote))


def next_path(ike: IkeSa, refused: Path) -> Path | None:
    """Return the best path but for those that the peer does not accept; None if there is none."""
    if ike.mobility is not None:
        ike.mobility.refused |= {refused}
    return next(iter(paths_to_peer(ike)), None)


def has_mapping_changed(ike: IkeSa, detected: Detected) -> bool:
    """Whether the peer sees us elsewhere than before, or behind a NAT that was not there (3.8)."""
    mobility = ike.mobility
    if mobility is None or mobility.heir:
        return False
    before, now = mobility.mapping, (ike.responder_spi, detected.mapping)
    mobility.mapping = now
    if before is not None and before[0] == now[0]:
        changed = before != now
    else:
        changed = detected.here != (Trait.NAT_HERE in ike.traits)
    if changed:
        ike.log(Group.IKE, Level.CONTROL, "NAT mappings have changed")
    return changed


# -- the side that follows ------------------------------------------------------------------------


def is_acceptable(ike: IkeSa, remote: Endpoint) -> bool:
    """Whether a peer may move to an address: what the settings say, and common sense."""
    host = remote.host
    if host == ike.remote.host:
        return True
    networks = ike.env.parameters.mobike_networks
    if not is_usable_peer(host) or host in ike.virtual.remote:
        return False
    return not networks or any(_contains(network, host) for network in networks)


def relocate(ike: IkeSa, local: Endpoint, remote: Endpoint, detected: Detected | None) -> bool:
    """Follow the peer to where it says it is.

    Args:
        ike: The IKE_SA.
        local: Our end, at which its message came.
        remote: Where the message came from.
        detected: What the message tells of NATs.

    Returns:
        Whether the caller has to see that the peer is there (`RoutabilityCheck`). Unless the
        settings say otherwise, CHILD_SAs wait for that (RFC 4555 3.7).
    """
    mobility = ike.mobility
    if mobility is None:
        return False
    ike.log(
        Group.IKE, Level.CONTROL, "peer moved from %s to %s, our address is %s",
        ike.remote, remote, local,
    )  # fmt: skip
    mode = ike.env.parameters.routability_check
    is_new = remote.host != _proved_host(ike, mobility)
    path = Path(local, remote)
    waits = is_new and mode is RoutabilityCheck.BEFORE
    if waits:
        _wait(ike, mobility)
    if detected is not None:
        note_nats(ike, detected)
    mobility.known = path
    if waits:
        _go(ike, mobility, path)
    else:
        _settle(ike, mobility, path)
    return is_new and mode is not RoutabilityCheck.NEVER


def is_reached(ike: IkeSa, generation: int) -> bool:
    """The peer has proved to be where it was when it was asked; False if it has to be asked again.

    Args:
        ike: The IKE_SA.
        generation: How many changes of path there had been then.
    """
    mobility = ike.mobility
    if mobility is None or mobility.settled is None:
        return True
    if mobility.generation != generation:
        return False
    mobility.settled = None
    _lead(ike, Path(ike.local, ike.remote))
    return True


def waits_for_check(ike: IkeSa) -> bool:
    """Whether CHILD_SAs wait for the peer to prove that it is where it says."""
    return ike.mobility is not None and ike.mobility.settled is not None


# -- both -----------------------------------------------------------------------------------------


def _proved_host(ike: IkeSa, mobility: Mobility) -> str:
    """Return the address of the peer at which it is known to be: where CHILD_SAs are."""
    return mobility.settled.remote.host if mobility.settled is not None else ike.remote.host


def _wait(ike: IkeSa, mobility: Mobility) -> None:
    """Leave CHILD_SAs, those to come as well, where they are."""
    if mobility.settled is None:
        mobility.settled = ChildPath(ike.local, ike.remote, ike.encapsulates)


def _go(ike: IkeSa, mobility: Mobility, path: Path) -> None:
    """Let the IKE_SA alone take a path."""
    ike.local, ike.remote = path
    mobility.generation += 1
    mobility.current, mobility.nats = path, ike.traits & NATS


def _settle(ike: IkeSa, mobility: Mobility, path: Path) -> None:
    """Take a path with all CHILD_SAs."""
    mobility.generation += 1
    mobility.current, mobility.nats = path, ike.traits & NATS
    mobility.settled = None
    _lead(ike, path)


def _lead(ike: IkeSa, path: Path) -> None:
    """Have all that depends on the path follow: CHILD_SAs, virtual addresses, keepalives."""
    former = ike.virtual.rehome(ike, path.local.host)
    move(ike, *path)
    ike.virtual.leave(ike, former)
    start_keepalives(ike)
    for child in ike.children:
        if (child.local, child.remote) != path and child.state is ChildState.INSTALLED:
            # Its SAs cannot be moved: new ones are made where they are needed.
            ike.tasks.queue(ChildRekey(ike, child))


def refresh_routes(ike: IkeSa) -> None:
    """Lead what enters tunnels with virtual addresses by the way that leads to the peer now."""
    if not ike.virtual.local:
        return
    for child in ike.children:
        try:
            child.refresh_routes()
        except KernelError as error:
            ike.log(Group.KNL, Level.CONTROL, "routes of CHILD_SA %s: %s", child, error)


def _contains(network: str, host: str) -> bool:
    return ip_address(host.partition("%")[0]) in ip_network(network)
