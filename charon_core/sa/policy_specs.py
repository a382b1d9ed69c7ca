"""The policies of CHILD_SAs, traps and shunts as values (RFC 4301 4.4.1)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from charon_core.config.child import ChildMode
from charon_core.kernel.interface import (
    PolicyAction,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from charon_core.config.child import Mark
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import IpsecProtocol
    from charon_core.sa.marks import Marks


class Protection(NamedTuple):
    """Which SAs are to protect, of both directions.

    Attributes:
        here: Our address.
        there: The peer's address.
        protocol: ESP or AH.
        reqid: Ties SAs and policies together.
    """

    here: str
    there: str
    protocol: IpsecProtocol
    reqid: int


def protecting(
    marks: Marks,
    mode: ChildMode,
    by: Protection,
    local_ts: Sequence[TrafficSelector],
    remote_ts: Sequence[TrafficSelector],
    *,
    routed: bool = False,
) -> Iterator[PolicySpec]:
    """Yield the policies that want SAs, of each pair of selectors of one family.

    Args:
        marks: Of both directions.
        mode: That of the SAs.
        by: The SAs.
        local_ts: Our side.
        remote_ts: The peer's side.
        routed: They are a trap: weaker than those of a CHILD_SA.
    """
    here, there, protocol, reqid = by
    outward = PolicyTemplate(here, there, protocol, reqid, mode)
    inward = PolicyTemplate(there, here, protocol, reqid, mode)
    for local, remote in product(local_ts, remote_ts):
        if local.family != remote.family:
            continue
        outgoing = PolicySpec(
            source=local,
            destination=remote,
            direction=PolicyDirection.OUT,
            template=outward,
            mark=marks.mark_out,
            if_id=marks.if_id_out,
            routed=routed,
        )
        yield outgoing
        # The priority is that of the pair, whichever comes first in it.
        directions = [PolicyDirection.IN]
        if mode is ChildMode.TUNNEL:
            directions.append(PolicyDirection.FORWARD)
        for direction in directions:
            yield PolicySpec(
                source=remote,
                destination=local,
                direction=direction,
                priority=outgoing.priority,
                template=inward,
                mark=marks.mark_in,
                if_id=marks.if_id_in,
                routed=routed,
            )


def exempting(
    action: PolicyAction,
    local_ts: Sequence[TrafficSelector],
    remote_ts: Sequence[TrafficSelector],
    *,
    mark_in: Mark | None = None,
    mark_out: Mark | None = None,
) -> Iterator[PolicySpec]:
    """Yield the policies of a shunt, which lets packets pass or drops them."""
    for local, remote in product(local_ts, remote_ts):
        if local.family != remote.family:
            continue
        outgoing = PolicySpec(
            source=local,
            destination=remote,
            direction=PolicyDirection.OUT,
            action=action,
            mark=mark_out,
        )
        yield outgoing
        for direction in (PolicyDirection.IN, PolicyDirection.FORWARD):
            yield PolicySpec(
                source=remote,
                destination=local,
                direction=direction,
                action=action,
                priority=outgoing.priority,
                mark=mark_in,
            )
