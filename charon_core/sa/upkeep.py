"""What is due from time to time: half-open time-out, lifetime, liveness, NAT keepalive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.sa.environment import TimerKind
from charon_core.sa.state import IkeState, Trait
from charon_core.sa.tasks.liveness import Liveness
from charon_core.sa.wire import process_postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.sa.ike_sa import IkeSa

_SHORTEST_WAIT: Final = 0.1
"""Part of the liveness delay that passes at least between two looks."""


def _half_open_too_long(ike: IkeSa) -> None:
    # The peer has no part in what its message waits for: it gets its answer.
    process_postponed(ike)
    if not ike.is_half_open:
        return
    ike.alert(
        AlertKind.HALF_OPEN_TIMEOUT,
        f"{ike.remote} has not authenticated itself within "
        f"{ike.env.parameters.half_open_timeout:g} s, forgetting its IKE_SA",
    )
    ike.set_state(IkeState.DESTROYING)


def _lifetime_over(ike: IkeSa) -> None:
    ike.log(Group.IKE, Level.CONTROL, "lifetime of IKE_SA %s is over, deleting it", ike)
    ike.delete()


def _delete_unanswered(ike: IkeSa) -> None:
    if ike.state is IkeState.DELETING:
        ike.log(Group.IKE, Level.CONTROL, "delete of IKE_SA %s unanswered, destroying it", ike)
        ike.set_state(IkeState.DESTROYING)


def _check_liveness(ike: IkeSa) -> None:
    """Ask for a sign of life after silence (RFC 7296 2.4); every answer counts, ESP as well."""
    delay = ike.peer_config.dpd_delay if ike.peer_config is not None else 0.0
    if not delay or ike.state is not IkeState.ESTABLISHED:
        return
    latest = ike.last_inbound
    for child in ike.children:
        latest = max(latest, child.usage()[0].last_use or 0.0)
    idle = ike.env.clock() - latest
    if idle >= delay:
        idle = 0.0
        if ike.tasks.is_idle:
            ike.log(Group.IKE, Level.CONTROL, "sending DPD request")
            ike.tasks.queue(Liveness(ike))
            ike.tasks.initiate()
    ike.start_timer(TimerKind.LIVENESS, max(delay - idle, delay * _SHORTEST_WAIT))


def _keep_nat_mapping(ike: IkeSa) -> None:
    """Send a NAT keepalive after silence of our own (RFC 3948 4)."""
    interval = ike.env.parameters.keep_alive
    if Trait.NAT_HERE not in ike.traits or ike.state is not IkeState.ESTABLISHED:
        return
    latest = ike.last_outbound
    for child in ike.children:
        latest = max(latest, child.usage()[1].last_use or 0.0)
    silence = ike.env.clock() - latest
    if silence >= interval:
        ike.log(Group.IKE, Level.CONTROL, "sending keep alive to %s", ike.remote)
        ike.env.keepalive(ike.local, ike.remote)
        ike.last_outbound = ike.env.clock()
        silence = 0.0
    ike.start_timer(TimerKind.KEEPALIVE, interval - silence)


DUE: Final[dict[TimerKind, Callable[[IkeSa], None]]] = {
    TimerKind.HALF_OPEN: _half_open_too_long,
    TimerKind.LIFETIME: _lifetime_over,
    TimerKind.LIVENESS: _check_liveness,
    TimerKind.KEEPALIVE: _keep_nat_mapping,
    TimerKind.DESTROY: _delete_unanswered,
}
"""What to do when a timer fires; retransmission is the task manager's affair."""
