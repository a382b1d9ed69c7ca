"""Finding a path to the peer when addresses and routes change, or nothing comes back (RFC 4555)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.network.packet import Endpoint
from charon_core.sa import moving
from charon_core.sa.candidates import (
    has_own_address,
    is_path_usable,
    own_addresses,
    paths_to_peer,
)
from charon_core.sa.mobility import Path
from charon_core.sa.path import follow_peer
from charon_core.sa.state import IkeState, Trait
from charon_core.sa.tasks.liveness import Liveness
from charon_core.sa.tasks.mobike_update import (
    MobikeUpdate,
    PathCheck,
    queue_addresses,
    queue_check,
    queue_update,
)
from charon_core.sa.tries import restart

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.mobility import Mobility
    from charon_core.sa.tasks.task import Task

PATIENT_RETRANSMITS: Final = 2
"""Retransmissions by one path alone; from this one on, other paths are tried as well."""

_UNTOUCHED: Final = frozenset({IkeState.CREATED, IkeState.CONNECTING, IkeState.DESTROYING})


def on_roam(ike: IkeSa, *, address_change: bool) -> None:
    """See whether the path is still there, since addresses or routes of this host have changed."""
    if ike.state in _UNTOUCHED:
        return
    mobility = ike.mobility
    if mobility is None:
        if address_change:
            _without_mobike(ike)
    elif not ike.state.is_up:
        _lead_away(ike)
    elif Trait.WE_BEGAN in ike.traits:
        _as_initiator(ike, mobility, address_change=address_change)
    else:
        _as_responder(ike, mobility, address_change=address_change)


def unanswered(ike: IkeSa, attempt: int) -> None:
    """A request of ours is about to be sent again: try other paths as well, if there are some."""
    mobility = ike.mobility
    if mobility is None or mobility.heir or Trait.WE_BEGAN not in ike.traits:
        return
    if attempt < PATIENT_RETRANSMITS or mobility.paths or not ike.state.is_up:
        return
    paths = paths_to_peer(ike)
    if set(paths) - {Path(ike.local, ike.remote)}:
        ike.log(Group.IKE, Level.CONTROL, "no answer by path %s - %s", ike.local, ike.remote)
        _try(ike, mobility, paths)


def answered(ike: IkeSa) -> None:
    """A response has come: if paths are being tried, that by which it came is the one."""
    mobility = ike.mobility
    if mobility is None or not mobility.paths:
        return
    paths, mobility.paths = mobility.paths, ()
    arrival = mobility.arrival
    current = Path(ike.local, ike.remote)
    if arrival not in paths:
        # Somebody changes addresses on the way: what has come is good, but leads nowhere.
        ike.log(Group.IKE, Level.CONTROL, "answer by path %s, which was not tried", arrival)
        return
    if arrival != current:
        moving.take(ike, arrival, is_proved=True)
    else:
        ike.log(Group.IKE, Level.CONTROL, "keeping path %s", arrival)
    if mobility.known != arrival:
        queue_update(ike)


def sign_of_life(ike: IkeSa) -> Task:
    """Return the task that asks a silent peer, and a NAT before us what it makes of us (3.8)."""
    mobility = ike.mobility
    finds_nats = Trait.WE_BEGAN in ike.traits and Trait.NAT_HERE in ike.traits
    if mobility is not None and not mobility.heir and finds_nats:
        return PathCheck(ike)
    return Liveness(ike)


def peer_addresses_changed(ike: IkeSa, listed: tuple[str, ...], arrival: Path) -> None:
    """Note the peer's further addresses, and leave one that it does not have any more (3.6)."""
    mobility = ike.mobility
    if mobility is None:
        return
    mobility.peer_addresses = listed
    ike.log(Group.IKE, Level.MORE, "further addresses of the peer: %s", ", ".join(listed) or "none")
    if Trait.WE_BEGAN not in ike.traits or Trait.NAT_THERE in ike.traits:
        return
    here = arrival.remote
    if ike.remote.host in {here.host, *listed}:
        return
    ike.log(Group.IKE, Level.CONTROL, "peer has left %s", ike.remote)
    mobility.refused |= {Path(ike.local, ike.remote)}
    mobility.peer_addresses = tuple(dict.fromkeys((here.host, *listed)))
    _find_path(ike, mobility)


def follow_mapping(ike: IkeSa, remote: Endpoint) -> None:
    """Valid ESP of a peer behind a NAT comes from another endpoint (RFC 4555 3.8)."""
    mobility = ike.mobility
    if mobility is None:
        follow_peer(ike, ike.local, remote)
        return
    behind_nat = Trait.NAT_THERE in ike.traits and Trait.NAT_HERE not in ike.traits
    if not behind_nat or remote == ike.remote or moving.waits_for_check(ike) or mobility.heir:
        return
    if moving.is_acceptable(ike, remote):
        if moving.relocate(ike, ike.local, remote, None):
            queue_check(ike)
        ike.tasks.initiate()


# -- inside ---------------------------------------------------------------------------------------


def _without_mobike(ike: IkeSa) -> None:
    """End an IKE_SA that cannot move, where it is to be set up anew then (dpdaction=restart)."""
    if not ike.state.is_up or has_own_address(ike):
        return
    ike.log(
        Group.IKE, Level.CONTROL,
        "%s is not an address of this host any more, and IKE_SA %s cannot move without MOBIKE",
        ike.local.host, ike,
    )  # fmt: skip
    if restart(ike):
        ike.set_state(IkeState.DESTROYING)


def _lead_away(ike: IkeSa) -> None:
    """Have an IKE_SA that ends say so from an address that is there."""
    if is_path_usable(ike):
        return
    path = next(iter(paths_to_peer(ike)), None)
    if path is not None:
        ike.local, ike.remote = path
        ike.tasks.resend()


def _as_initiator(ike: IkeSa, mobility: Mobility, *, address_change: bool) -> None:
    mobility.refused = frozenset()
    if not is_path_usable(ike):
        _find_path(ike, mobility)
        ike.tasks.initiate()
        return
    if address_change:
        queue_addresses(ike)
    if mobility.paths:
        _try(ike, mobility, paths_to_peer(ike))
        ike.tasks.resend()
        return
    way = ike.env.kernel.net.way_to(ike.remote.host)
    if mobility.is_stale or way != mobility.way:
        # The same address by another way: there may be another NAT on it.
        mobility.is_stale, mobility.way = False, way
        moving.refresh_routes(ike)
        if not any(type(task) is PathCheck for task in ike.tasks.queued):
            ike.tasks.queue(PathCheck(ike))
        ike.tasks.resend()
    ike.tasks.initiate()


def _find_path(ike: IkeSa, mobility: Mobility) -> None:
    """Take the only path that is left, or try all that are, at once."""
    paths = paths_to_peer(ike)
    if not paths:
        mobility.paths, mobility.is_stale = (), True
        ike.log(
            Group.IKE, Level.CONTROL,
            "no route found to reach %s, MOBIKE update deferred", ike.remote.host,
        )  # fmt: skip
        return
    ike.log(Group.IKE, Level.CONTROL, "old path is not available anymore, try to find another")
    mobility.is_stale = False
    if len(paths) == 1:
        moving.take(ike, paths[0], is_proved=False)
        queue_update(ike)
    else:
        _try(ike, mobility, paths)
        if ike.tasks.is_idle:
            ike.tasks.queue(Liveness(ike))
    ike.tasks.resend()


def _try(ike: IkeSa, mobility: Mobility, paths: list[Path]) -> None:
    """Have requests sent by several paths from now on, until an answer comes by one of them."""
    for path in paths:
        ike.log(Group.IKE, Level.CONTROL, "checking path %s", path)
    mobility.paths = tuple(paths)
    if any(type(task) is MobikeUpdate for task in ike.tasks.active):
        # Its copies arrive from several addresses: where the peer follows to is anybody's guess.
        mobility.known = None
        mobility.generation += 1


def _as_responder(ike: IkeSa, mobility: Mobility, *, address_change: bool) -> None:
    """Tell the initiator, which decides, from an address that we still have (3.6)."""
    if not address_change:
        return
    if not has_own_address(ike):
        source = ike.env.kernel.net.source_address(ike.remote.host)
        if source is not None and source in own_addresses(ike):
            ike.log(
                Group.IKE, Level.CONTROL, "%s is not our address any more, asking from %s",
                ike.local.host, source,
            )  # fmt: skip
            ike.local = Endpoint(source, ike.local.port)
            mobility.told = None
            ike.tasks.resend()
    queue_addresses(ike)
    ike.tasks.initiate()
