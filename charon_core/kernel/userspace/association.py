"""The SAs of the data path: sequence numbers, counters, limits and the way to the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import SaUsage
from charon_core.kernel.userspace.algorithms import create_transform
from charon_core.kernel.userspace.flow import IPPROTO_IPV4, IPPROTO_IPV6
from charon_core.kernel.userspace.replay import ReplayWindow
from charon_core.kernel.userspace.selector import Selector, SelectorPair
from charon_core.network.packet import Endpoint

if TYPE_CHECKING:
    from charon_core.kernel.interface import Encapsulation, SaSpec
    from charon_core.kernel.userspace.flow import Flow
    from charon_core.kernel.userspace.types import Buffer

FLOWS_LIMIT: Final = 4096
"""Flows whose verdict is remembered; beyond that all are forgotten."""

REKEY_SEQUENCE: Final = 0xF0000000
"""Packets after which an SA without ESN asks to be rekeyed, before its sequence numbers run out."""

_NEVER: Final = 1 << 80


def _padding(alignment: int) -> dict[int, tuple[bytes, ...]]:
    """Trailers by next header, then by (length + 2) mod alignment (RFC 4303 section 2.4)."""
    ramp = bytes(range(1, alignment))
    return {
        protocol: tuple(
            ramp[: -rest % alignment] + bytes((-rest % alignment, protocol))
            for rest in range(alignment)
        )
        for protocol in (IPPROTO_IPV4, IPPROTO_IPV6)
    }


_TRAILERS: Final = {alignment: _padding(alignment) for alignment in (4, 16)}


def endpoint_pair(
    source: str, destination: str, encapsulation: Encapsulation | None
) -> tuple[Endpoint, Endpoint]:
    """Return both ends of an SA on the wire; without encapsulation the ports are 0."""
    ports = encapsulation or (0, 0)
    return Endpoint(source, ports[0]), Endpoint(destination, ports[1])


class Association:
    """What SAs of both directions have.

    Attributes:
        spec: What the SA was installed with; `move` replaces its addresses.
        source: Where its packets come from on the wire.
        destination: Where they go to.
        packets: Inner packets that it carried.
        octets: Octets of these.
        last_use: When it last carried one, on the monotonic clock.
        limit_near: `packets` or `octets` have reached a limit that was not yet reported.
    """

    __slots__ = (
        "_octets_mark",
        "_packets_mark",
        "_soft_packets",
        "_soft_reported",
        "destination",
        "encapsulated",
        "last_use",
        "octets",
        "packets",
        "reqid",
        "source",
        "spec",
        "spi",
        "transform",
    )

    def __init__(self, spec: SaSpec) -> None:
        """Make the SA.

        Raises:
            AlgorithmNotSupported: See `create_transform`.
        """
        self.spec = spec
        self.spi = spec.id.spi
        self.reqid = spec.reqid
        self.transform = create_transform(spec)
        self.encapsulated = spec.encapsulation is not None
        self.source, self.destination = endpoint_pair(
            spec.id.source, spec.id.destination, spec.encapsulation
        )
        self.packets = 0
        self.octets = 0
        self.last_use: float | None = None
        self._soft_reported = False
        self._soft_packets = spec.soft_packets
        if not spec.inbound and not spec.esn:
            self._soft_packets = min(spec.soft_packets or _NEVER, REKEY_SEQUENCE)
        self._packets_mark = _nearest(self._soft_packets, spec.hard_packets)
        self._octets_mark = _nearest(spec.soft_bytes, spec.hard_bytes)

    @property
    def usage(self) -> SaUsage:
        """The counters."""
        return SaUsage(self.octets, self.packets, self.last_use)

    def account(self, packets: int, octets: int, now: float) -> bool:
        """Count what was carried; True when `reached` has news."""
        self.packets += packets
        self.octets += octets
        self.last_use = now
        return self.packets >= self._packets_mark or self.octets >= self._octets_mark

    def reached(self) -> str:
        """Return which limit was newly reached: "soft", "hard" or ""."""
        spec = self.spec
        if 0 < spec.hard_packets <= self.packets or 0 < spec.hard_bytes <= self.octets:
            self._packets_mark = self._octets_mark = _NEVER
            return "hard"
        self._packets_mark = spec.hard_packets or _NEVER
        self._octets_mark = spec.hard_bytes or _NEVER
        if self._soft_reported:
            return ""
        self._soft_reported = True
        return "soft"


def _nearest(*limits: int) -> int:
    """Return the lowest limit of those that are set."""
    return min((limit for limit in limits if limit), default=_NEVER)


class OutboundSa(Association):
    """An SA that we send on.

    Attributes:
        sequence: The last sequence number that was used.
        sequence_limit: The last one that there is (RFC 4303 section 3.3.3: it never wraps).
    """

    __slots__ = (
        "_selectors",
        "_trailers",
        "exhausted_reported",
        "padded_to",
        "sequence",
        "sequence_limit",
    )

    def __init__(self, spec: SaSpec, mtu: int) -> None:
        super().__init__(spec)
        self.sequence = 0
        self.sequence_limit = (1 << 64) - 1 if spec.esn else (1 << 32) - 1
        self.exhausted_reported = False
        self.padded_to = mtu if spec.tfc < 0 else min(spec.tfc, mtu)
        self._trailers = _TRAILERS[self.transform.alignment]
        self._selectors = SelectorPair(
            tuple(Selector.of(selector) for selector in spec.local_ts),
            tuple(Selector.of(selector) for selector in spec.remote_ts),
        )

    def admits(self, flow: Flow) -> bool:
        """Tell whether a packet is within the selectors; without any, policies alone decide."""
        sources, destinations = self._selectors
        return not (sources or destinations) or self._selectors.matches(flow)

    def take(self, count: int) -> int:
        """Reserve ``count`` sequence numbers; return the first, or 0 if there are not so many."""
        first = self.sequence + 1
        if first + count - 1 > self.sequence_limit:
            return 0
        self.sequence += count
        return first

    def trailer(self, length: int, version: int) -> bytes:
        """Return padding, pad length and next header after an inner packet of ``length``."""
        trailers = self._trailers[IPPROTO_IPV4 if version == 4 else IPPROTO_IPV6]
        return trailers[(length + 2) % len(trailers)]

    def seal(self, sequence: int, packet: Buffer) -> bytes:
        """Return the ESP packet with one inner packet in it, padded to the TFC length."""
        size, version = len(packet), packet[0] >> 4
        if size < self.padded_to:
            packet = bytes(packet).ljust(self.padded_to, b"\0")
            size = self.padded_to
        return self.transform.seal(sequence, b"".join((packet, self.trailer(size, version))))


class InboundSa(Association):
    """An SA that we receive on.

    Attributes:
        window: The sequence numbers that have come.
        selectors: What packets in it may have as source (the peer's side) and destination.
        accepted: Keys of flows that are known to be within the selectors.
        reported: The endpoint whose packets were last reported as a changed mapping.
    """

    __slots__ = ("accepted", "reported", "selectors", "window")

    def __init__(self, spec: SaSpec) -> None:
        super().__init__(spec)
        self.window = ReplayWindow(spec.replay_window, extended=spec.esn)
        self.selectors = SelectorPair(
            tuple(Selector.of(selector) for selector in spec.remote_ts),
            tuple(Selector.of(selector) for selector in spec.local_ts),
        )
        self.accepted: set[bytes] = set()
        self.reported: Endpoint | None = None

    def admits(self, key: bytes, flow: Flow | None) -> bool:
        """Tell whether a flow is within the selectors, and remember it under ``key`` if it is."""
        if flow is None or not self.selectors.matches(flow):
            return False
        if key:
            if len(self.accepted) >= FLOWS_LIMIT:
                self.accepted.clear()
            self.accepted.add(key)
        return True
