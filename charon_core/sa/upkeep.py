"""What is due from time to time: half-open time-out, lifetime, liveness, NAT keepalive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.sa.environment import TimerKind
from charon_core.sa.lifetimes import may_reauthenticate
from charon_core.sa.state import ChildState, IkeState, Trait
from charon_core.sa.tasks.liveness import Liveness
from charon_core.sa.wire import process_postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.sa.ike_sa import IkeSa

_SHORTEST_WAIT: Final = 0.1
"""Part of the liveness delay that passes at least between two looks."""


def _half_open_too_long(ike: IkeSa, _: int) -> None:
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


def _lifetime_over(ike: IkeSa, _: int) -> None:
    ike.log(Group.IKE, Level.CONTROL, "lifetime of IKE_SA %s is over, deleting it", ike)
    ike.delete()


def _delete_unanswered(ike: IkeSa, _: int) -> None:
    if ike.state is IkeState.DELETING:
        ike.log(Group.IKE, Level.CONTROL, "delete of IKE_SA %s unanswered, destroying it", ike)
        ike.set_state(IkeState.DESTROYING)
    elif ike.state.is_up:
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer does not answer, destroying IKE_SA %s without having deleted it", ike,
        )  # fmt: skip
        ike.set_state(IkeState.DESTROYING)
    elif ike.state is IkeState.REKEYED:
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer has not deleted IKE_SA %s after rekeying, destroying it", ike,
        )  # fmt: skip
        ike.set_state(IkeState.DESTROYING)


def _rekey(ike: IkeSa, _: int) -> None:
    if ike.state is IkeState.ESTABLISHED:
        ike.rekey()


def _reauthenticate(ike: IkeSa, _: int) -> None:
    if ike.state is not IkeState.ESTABLISHED:
        ike.start_timer(TimerKind.REAUTH, ike.env.parameters.rekey_retry)
    elif not may_reauthenticate(ike):
        ike.log(
            Group.IKE, Level.CONTROL,
            "only the initiator can reauthenticate IKE_SA %s, waiting for it", ike,
        )  # fmt: skip
    else:
        ike.reauthenticate()


def _start_queued(ike: IkeSa, _: int) -> None:
    ike.tasks.initiate()


def _check_liveness(ike: IkeSa, _: int) -> None:
    """Ask for a sign of life after silence (RFC 7296 2.4); every answer counts, ESP as well."""
    delay = ike.peer_config.dpd_delay if ike.peer_config is not None else 0.0
    if not delay or not ike.state.is_up:
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


def _keep_nat_mapping(ike: IkeSa, _: int) -> None:
    """Send a NAT keepalive after silence of our own (RFC 3948 4)."""
    interval = ike.env.parameters.keep_alive
    if Trait.NAT_HERE not in ike.traits or not ike.state.is_up:
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


def _rekey_child_again(ike: IkeSa, unique_id: int) -> None:
    child = next((c for c in ike.children if c.unique_id == unique_id), None)
    if child is not None and child.state is ChildState.INSTALLED:
        ike.rekey_child(child)


def _retire_child(ike: IkeSa, unique_id: int) -> None:
    """End the CHILD_SA that lingers, or delete the one that the peer has not deleted."""
    child = next((c for c in (*ike.lingering, *ike.children) if c.unique_id == unique_id), None)
    if child is None:
        return
    if child.state is ChildState.DELETED:
        ike.lingering.remove(child)
        child.destroy()
    elif child.state is ChildState.REKEYED:
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer has not deleted CHILD_SA %s after rekeying, deleting it", child,
        )  # fmt: skip
        child.hand_over()
        ike.delete_child(child)


DUE: Final[dict[TimerKind, Callable[[IkeSa, int], None]]] = {
    TimerKind.HALF_OPEN: _half_open_too_long,
    TimerKind.LIFETIME: _lifetime_over,
    TimerKind.LIVENESS: _check_liveness,
    TimerKind.KEEPALIVE: _keep_nat_mapping,
    TimerKind.DESTROY: _delete_unanswered,
    TimerKind.REKEY: _rekey,
    TimerKind.REAUTH: _reauthenticate,
    TimerKind.QUEUED: _start_queued,
    TimerKind.RETRY: _start_queued,
    TimerKind.CHILD_REKEY: _rekey_child_again,
    TimerKind.CHILD_RETIRE: _retire_child,
}
"""What to do when a timer fires; retransmission is the task manager's affair."""
