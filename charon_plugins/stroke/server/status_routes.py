"""Block C of 'status': shunts and traps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.sa.shunts import Shunt
    from charon_core.sa.traps import Trap


def routes(shunts: Iterable[Shunt], traps: Iterable[Trap], name: str | None) -> Iterator[str]:
    """Lines of all shunts and traps, or of those that have the given name; none for none."""
    passing = [shunt for shunt in shunts if name in (None, shunt.name)]
    if passing:
        yield "Shunted Connections:"
    for shunt in passing:
        selectors = _selectors(shunt.local_ts, shunt.remote_ts)
        yield f"{shunt.name:>12}:  {selectors} {shunt.mode.value}"
    waiting = [trap for trap in traps if name in (None, trap.name, trap.peer.name)]
    if waiting:
        yield "Routed Connections:"
    for trap in waiting:
        label = f"{trap.name:>12}{{{trap.unique_id}}}:  "
        yield f"{label}ROUTED, {trap.mode.value}, reqid {trap.reqid}"
        yield f"{label} {_selectors(trap.local_ts, trap.remote_ts)}"


def _selectors(local: Iterable[TrafficSelector], remote: Iterable[TrafficSelector]) -> str:
    return f"{' '.join(map(str, local))} === {' '.join(map(str, remote))}"
