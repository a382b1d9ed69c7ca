"""What a CHILD_SA carries, told to firewalls and the like."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from charon_core.bus.events import ChildTraffic, TrafficPair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.bus.refs import SaRef
    from charon_core.sa.child_sa import ChildSa

MAX_PAIRS: Final = 256
"""Pairs of networks of a CHILD_SA that are told; a peer may choose odd ranges."""


def traffic_of(child: ChildSa, owner: SaRef, *, begins: bool) -> ChildTraffic:
    """Return the event that a CHILD_SA begins or ceases to carry traffic."""
    config = child.config
    local_id, remote_id = child.identities
    return ChildTraffic(
        sa=owner,
        child=child.ref,
        begins=begins,
        command=config.updown or "",
        host_access=config.hostaccess,
        protocol=child.protocol.name.lower(),
        mode=child.mode.value,
        local=child.local.host,
        remote=child.remote.host,
        remote_port=child.remote.port if child.encapsulated else 0,
        local_id=local_id,
        remote_id=remote_id,
        marks=(child.marks.mark_in, child.marks.mark_out),
        pairs=tuple(islice(_pairs(child), MAX_PAIRS)),
    )


def _pairs(child: ChildSa) -> Iterator[TrafficPair]:
    for local in child.local_ts:
        for remote in child.remote_ts:
            if local.family != remote.family:
                continue
            ports = (local.start_port, local.end_port), (remote.start_port, remote.end_port)
            for here in local.to_cidrs():
                for there in remote.to_cidrs():
                    yield TrafficPair(
                        f"{here[0]}/{here[1]}",
                        f"{there[0]}/{there[1]}",
                        local.protocol or remote.protocol,
                        *ports,
                    )
