"""What becomes of several IKE_SAs with the same peer (RFC 7296 2.4, 2.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.peer import UniquePolicy
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.peers import Member

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.peers import Ends
    from charon_core.sa.tasks.task import Outgoing

CROSSING: Final = 10.0
"""Seconds within which an IKE_SA of each side counts as one initiative of both, which crossed."""


def claim(ike: IkeSa) -> None:
    """Enter an IKE_SA as one with its peer."""
    if ike.local_id is not None and ike.remote_id is not None and not ike.remote_id.is_any:
        ike.claimed = (ike.local_id, ike.remote_id)
        ike.env.peers.claim(ike.claimed, _member(ike))


def release(ike: IkeSa) -> None:
    """Strike an IKE_SA off, which is about to end; harmless if it is not entered."""
    ends, ike.claimed = ike.claimed, None
    if ends is not None:
        ike.env.peers.release(ends, ike.unique_id)


def add_initial_contact(ike: IkeSa, ends: Ends, out: Outgoing) -> None:
    """Tell the peer that we know of no IKE_SA with it, if that is so (RFC 7296 2.4)."""
    config = ike.peer_config
    if config is None or config.unique is UniquePolicy.NEVER or ends[1].is_any:
        return
    if not ends[1].is_pattern and not ike.env.peers.knows(ends):
        out.append(Notify.of(NotifyType.INITIAL_CONTACT))


def settle(ike: IkeSa, message: Message) -> bool:
    """Decide between a peer that has just been authenticated and the IKE_SAs that it has.

    Returns:
        Whether the new one may live.
    """
    policy = ike.peer_config.unique if ike.peer_config is not None else UniquePolicy.NEVER
    is_first = message.notify(NotifyType.INITIAL_CONTACT) is not None
    claim(ike)
    is_indifferent = policy is UniquePolicy.NEVER or (policy is UniquePolicy.NO and not is_first)
    if ike.claimed is None or is_indifferent:
        return True
    others = [
        member
        for member in ike.env.peers.others(ike.claimed, ike.unique_id)
        if member.unique_id != ike.replaces
    ]
    if not others:
        return True
    if policy is UniquePolicy.KEEP and not ike.is_initiator and not is_first:
        ike.alert(
            AlertKind.UNIQUE_KEPT,
            f"'{ike.remote_id}' has IKE_SA [{others[0].unique_id}] already, refusing another one "
            "(uniqueids=keep); delete that, or set uniqueids=replace",
        )
        return False
    mine = _member(ike)
    for other in others:
        if _cross(mine, other):
            # Each side would take the other one's for the old one, and both would be lost.
            loser = min(mine, other, key=lambda member: member.spis)
            if policy is UniquePolicy.REPLACE or is_first:
                _replace(ike, loser.unique_id, "both sides have initiated at once")
        elif is_first:
            ike.log(
                Group.IKE, Level.CONTROL,
                "received INITIAL_CONTACT: '%s' knows IKE_SA [%d] no more, destroying it",
                ike.remote_id, other.unique_id,
            )  # fmt: skip
            ike.env.forget(other.unique_id)
        elif policy is UniquePolicy.REPLACE:
            _replace(ike, other.unique_id, f"IKE_SA {ike} takes its place")
    return True


def _replace(ike: IkeSa, unique_id: int, why: str) -> None:
    ike.alert(
        AlertKind.UNIQUE_REPLACED,
        f"deleting duplicate IKE_SA [{unique_id}] with '{ike.remote_id}' (uniqueids): {why}",
    )
    ike.env.retire(unique_id)


def _cross(mine: Member, other: Member) -> bool:
    is_recent = mine.established_at - other.established_at < CROSSING
    return is_recent and mine.we_initiated is not other.we_initiated


def _member(ike: IkeSa) -> Member:
    spis = ike.initiator_spi + ike.responder_spi
    return Member(ike.unique_id, ike.env.clock(), ike.is_initiator, spis)
