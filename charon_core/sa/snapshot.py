"""What can be shown of IKE_SAs and CHILD_SAs: values that outlive the checkout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.encoding.registry import EsnId, TransformType
from charon_core.sa.state import IkeState

if TYPE_CHECKING:
    from charon_core.config.identification import Identification
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.network.packet import Endpoint
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSaSnapshot:
    """A CHILD_SA at one moment. Spans are seconds, None where there is nothing to count."""

    name: str
    unique_id: int
    state: str
    mode: str
    reqid: int
    protocol: str
    """ESP or AH."""
    udp_encap: bool
    spi_in: int
    spi_out: int
    proposal: str
    """Algorithms, without the protocol in front; ESN is named where it is in use."""
    bytes_in: int
    packets_in: int
    idle_in: float | None
    """Since the last inbound packet."""
    bytes_out: int
    packets_out: int
    idle_out: float | None
    rekey_in: float | None
    expires_in: float | None
    age: float
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeSaSnapshot:
    """An IKE_SA at one moment. Spans are seconds, None where there is nothing to count."""

    name: str
    unique_id: int
    state: str
    version: int
    is_initiator: bool
    initiator_spi: bytes
    responder_spi: bytes
    local: Endpoint
    remote: Endpoint
    local_id: Identification | None
    remote_id: Identification | None
    remote_eap_id: Identification | None
    established_at: float | None
    """On the monotonic clock."""
    age: float | None
    """Since it was established."""
    rekey_in: float | None
    reauth_in: float | None
    expires_in: float | None
    proposal: str
    """Algorithms, without the protocol in front; empty while there are none."""
    tasks_active: tuple[str, ...]
    tasks_queued: tuple[str, ...]
    tasks_passive: tuple[str, ...]
    local_vips: tuple[str, ...]
    remote_vips: tuple[str, ...]
    half_open: bool
    """Whether it is still being set up, by either side."""
    children: tuple[ChildSaSnapshot, ...]


def snapshot_of(ike: IkeSa) -> IkeSaSnapshot:
    """Return an IKE_SA as it is now; the caller has checked it out."""
    now = ike.env.clock()
    age = None if ike.established_at is None else now - ike.established_at
    tasks = ike.tasks
    return IkeSaSnapshot(
        name=ike.name,
        unique_id=ike.unique_id,
        state=ike.state.value,
        version=2,
        is_initiator=ike.is_initiator,
        initiator_spi=ike.initiator_spi,
        responder_spi=ike.responder_spi,
        local=ike.local,
        remote=ike.remote,
        local_id=ike.local_id,
        remote_id=ike.remote_id,
        remote_eap_id=ike.remote_eap_id,
        established_at=ike.established_at,
        age=age,
        rekey_in=_until(ike.rekey_at, now),
        reauth_in=_until(ike.reauth_at, now),
        expires_in=_until(ike.expires_at, now),
        proposal=ike.proposal.algorithms() if ike.proposal is not None else "",
        tasks_active=tuple(task.name for task in tasks.active),
        tasks_queued=tuple(task.name for task in tasks.queued),
        tasks_passive=tuple(task.name for task in tasks.passive),
        local_vips=ike.virtual.local,
        remote_vips=ike.virtual.remote,
        half_open=ike.state in {IkeState.CREATED, IkeState.CONNECTING},
        children=tuple(_child(child, now) for child in ike.children),
    )


def _child(child: ChildSa, now: float) -> ChildSaSnapshot:
    inbound, outbound = child.usage()
    return ChildSaSnapshot(
        name=child.config.name,
        unique_id=child.unique_id,
        state=child.state.value,
        mode=child.mode.value,
        reqid=child.reqid,
        protocol=child.protocol.name,
        udp_encap=child.encapsulated,
        spi_in=child.local_spi,
        spi_out=child.remote_spi,
        proposal=_child_algorithms(child),
        bytes_in=inbound.bytes,
        packets_in=inbound.packets,
        idle_in=_since(inbound.last_use, now),
        bytes_out=outbound.bytes,
        packets_out=outbound.packets,
        idle_out=_since(outbound.last_use, now),
        rekey_in=_until(child.rekey_at, now),
        expires_in=_until(child.expires_at, now),
        age=now - child.established_at,
        local_ts=child.local_ts,
        remote_ts=child.remote_ts,
    )


def _child_algorithms(child: ChildSa) -> str:
    """Return cipher, integrity, key exchange, and ESN where sequence numbers are extended."""
    if child.proposal is None:
        return ""
    esn = child.proposal.first(TransformType.ESN)
    names = child.proposal.without(frozenset({TransformType.ESN})).algorithms()
    return f"{names}/ESN" if esn is not None and esn.id == EsnId.ESN else names


def _until(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, moment - now)


def _since(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)
