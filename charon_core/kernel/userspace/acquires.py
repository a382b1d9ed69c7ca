"""Packets that wait for an SA become acquire events, few of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.userspace.flow import PORT_UNKNOWN, parse_flow
from charon_core.kernel.userspace.selector import ADDRESS_BITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.flow import Flow

INTERVAL: Final = 1.0
"""Seconds between two events of one reqid."""

REQIDS_LIMIT: Final = 4096
"""Reqids whose last event is remembered; beyond that all are forgotten."""

_ANY_PORTS: Final = (0, 0xFFFF)


class Acquires:
    """Decides which packet without an SA is worth an event (RFC 4301 section 4.4.1).

    The packets themselves are dropped: a queue for traffic that waits for IKE would be one that
    strangers can fill.
    """

    def __init__(
        self,
        report: Callable[[int, TrafficSelector, TrafficSelector], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call ``report`` with reqid and the selectors of the packet."""
        self._report = report
        self._clock = clock
        # Guards _last.
        self._lock = threading.Lock()
        self._last: dict[int, float] = {}

    def packet(self, reqid: int, packet: bytes) -> bool:
        """Report a packet unless the last report of its reqid is recent; tell whether it was."""
        now = self._clock()
        with self._lock:
            last = self._last.get(reqid)
            if last is not None and now - last < INTERVAL:
                return False
            if len(self._last) >= REQIDS_LIMIT:
                self._last.clear()
            self._last[reqid] = now
        flow = parse_flow(packet)
        if flow is None:
            return False
        self._report(
            reqid,
            _selector(flow, flow.source, flow.source_port),
            _selector(flow, flow.destination, flow.destination_port),
        )
        return True

    def forget(self, reqid: int) -> None:
        """Report the next packet of a reqid at once, for instance since its SA is gone."""
        with self._lock:
            self._last.pop(reqid, None)


def _selector(flow: Flow, address: int, port: int) -> TrafficSelector:
    packed = address.to_bytes(ADDRESS_BITS[flow.family] // 8, "big")
    ports = _ANY_PORTS if port == PORT_UNKNOWN else (port, port)
    return TrafficSelector(flow.family, flow.protocol, *ports, packed, packed)
