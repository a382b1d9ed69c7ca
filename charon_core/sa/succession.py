"""One IKE_SA takes the place of another one (RFC 7296 1.3.2, 2.8, 2.18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.bus.events import IkeRekeyed
from charon_core.bus.listener import Group, Level
from charon_core.sa.environment import TimerKind
from charon_core.sa.keying import derive_rekeyed
from charon_core.sa.lifetimes import start_life
from charon_core.sa.reports import publish_ike_keys
from charon_core.sa.state import ChildState, IkeState
from charon_core.sa.uniqueness import claim, release

if TYPE_CHECKING:
    from charon_core.config.proposal import Proposal
    from charon_core.sa.ike_sa import IkeSa


@dataclass(frozen=True, slots=True, repr=False)
class Agreement:
    """What a CREATE_CHILD_SA exchange for a new IKE_SA has agreed on.

    Attributes:
        proposal: What was selected, one transform of each type.
        own_spi: The SPI that we chose, 8 octets.
        peer_spi: The one that the peer chose.
        nonce_i: The nonce of the exchange's initiator.
        nonce_r: The nonce of its responder.
        shared: The result of the key exchange.
        we_initiated: Whether we are the exchange's initiator, and so the new IKE_SA's.
        additional: The results of further key exchanges (RFC 9370 2.2.4).
    """

    proposal: Proposal
    own_spi: bytes
    peer_spi: bytes
    nonce_i: bytes
    nonce_r: bytes
    shared: bytes
    we_initiated: bool
    additional: bytes = b""

    @property
    def lowest_nonce(self) -> bytes:
        """What decides between two exchanges that cross (RFC 7296 2.8.1)."""
        return min(self.nonce_i, self.nonce_r)


def make_successor(old: IkeSa, agreed: Agreement) -> IkeSa | None:
    """Return a new IKE_SA beside an old one, without CHILD_SAs; None if there may be none."""
    new = old.env.make_successor(old, agreed.own_spi, agreed.we_initiated)
    if new is None or old.keying is None:
        return None
    if agreed.we_initiated:
        new.responder_spi = agreed.peer_spi
    else:
        new.initiator_spi = agreed.peer_spi
    new.ike_config, new.peer_config = old.ike_config, old.peer_config
    new.local_id, new.remote_id = old.local_id, old.remote_id
    new.traits = old.traits
    new.proposal = agreed.proposal
    new.keying, keys = derive_rekeyed(
        old.keying,
        agreed.proposal,
        nonce_i=agreed.nonce_i,
        nonce_r=agreed.nonce_r,
        shared=agreed.shared,
        initiator_spi=new.initiator_spi,
        responder_spi=new.responder_spi,
        is_initiator=agreed.we_initiated,
        additional=agreed.additional,
    )
    new.leave_handshake()
    publish_ike_keys(new, agreed.proposal, keys)
    new.set_state(IkeState.ESTABLISHED)
    return new


def take_over(new: IkeSa, old: IkeSa) -> None:
    """Give the new IKE_SA all that the old one has, and let that wait for its delete."""
    old.set_state(IkeState.REKEYED)
    new.children, old.children = old.children, []
    new.lingering, old.lingering = old.lingering, []
    new.children_changed = old.children_changed = True
    for child in (*new.children, *new.lingering):
        child.rename_owner(new.ref)
    _watch_children(new)
    if old.is_timed(TimerKind.DESTROY):
        new.start_timer(TimerKind.DESTROY, new.env.parameters.delete_timeout)
    old.cancel_timers()
    old.tasks.drop_follow_ups()
    new.virtual.take_over(old.virtual)
    for task in old.tasks.take_queued():
        task.ike = new
        new.tasks.queue(task)
    new.established_at = new.env.clock()
    new.reauth_at = old.reauth_at
    release(old)
    claim(new)
    new.announced, old.announced = old.announced, False
    start_life(new)
    new.log(
        Group.IKE, Level.AUDIT, "IKE_SA %s rekeyed between %s, replaces %s",
        new, new.ends_text(), old,
    )  # fmt: skip
    new.env.bus.publish(IkeRekeyed(old.ref, new.ref))


def await_delete(ike: IkeSa) -> None:
    """Expect the peer to delete an IKE_SA that another one has replaced."""
    ike.set_state(IkeState.REKEYED)
    ike.start_timer(TimerKind.DESTROY, ike.env.parameters.rekeyed_patience)


def _watch_children(ike: IkeSa) -> None:
    """Start the timers of CHILD_SAs that come from another IKE_SA, where they had some."""
    parameters = ike.env.parameters
    for child in ike.lingering:
        ike.start_timer(TimerKind.CHILD_RETIRE, parameters.rekeyed_linger, child.unique_id)
    for child in ike.children:
        if child.state is ChildState.REKEYED:
            ike.start_timer(TimerKind.CHILD_RETIRE, parameters.rekeyed_patience, child.unique_id)
        elif child.rekey_at is not None and child.rekey_at <= ike.env.clock():
            ike.start_timer(TimerKind.CHILD_REKEY, parameters.rekey_retry, child.unique_id)
