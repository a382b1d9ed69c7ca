"""Traffic selectors as the data path holds them: ranges of numbers, compared in no time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.userspace.flow import Flow

ADDRESS_BITS: Final = {4: 32, 6: 128}

_LAST_PORT: Final = 0xFFFF


class Selector(NamedTuple):
    """One side's range of addresses and ports (RFC 7296 section 3.13.1), both ends inclusive.

    Protocol 0 is any. Ports 65535..0 (OPAQUE) fit packets alone that do not show their ports.
    """

    family: int
    start: int
    end: int
    protocol: int
    start_port: int
    end_port: int

    @classmethod
    def of(cls, selector: TrafficSelector) -> Selector:
        """Take the values of a configured or negotiated selector."""
        return cls(
            selector.family,
            int.from_bytes(selector.start, "big"),
            int.from_bytes(selector.end, "big"),
            selector.protocol,
            selector.start_port,
            selector.end_port,
        )

    def matches(self, family: int, address: int, protocol: int, port: int) -> bool:
        """Tell whether one side of a packet is within; ``port`` may be PORT_UNKNOWN."""
        if family != self.family or not self.start <= address <= self.end:
            return False
        if self.protocol not in (0, protocol):
            return False
        if port < 0:
            return self.start_port in (0, _LAST_PORT) and self.end_port == _LAST_PORT - (
                self.start_port
            )
        return self.start_port <= port <= self.end_port

    def cidrs(self) -> Iterator[tuple[int, int]]:
        """Yield the networks that make up the range, as (first address, prefix length)."""
        bits = ADDRESS_BITS[self.family]
        start = self.start
        while start <= self.end:
            # The largest block that starts here: bounded by alignment and by what is left.
            size = (start & -start).bit_length() - 1 if start else bits
            size = min(size, (self.end - start + 1).bit_length() - 1)
            yield start, bits - size
            start += 1 << size

    def surrounding(self) -> tuple[int, int]:
        """Return the smallest network around the range, as (prefix length, these first bits)."""
        free = (self.start ^ self.end).bit_length()
        return ADDRESS_BITS[self.family] - free, self.start >> free


class SelectorPair(NamedTuple):
    """What an SA may carry: any of the sources to any of the destinations."""

    sources: tuple[Selector, ...]
    destinations: tuple[Selector, ...]

    def matches(self, flow: Flow) -> bool:
        """Tell whether a packet is within; without selectors nothing is."""
        family, protocol = flow.family, flow.protocol
        for selector in self.sources:
            if selector.matches(family, flow.source, protocol, flow.source_port):
                break
        else:
            return False
        return any(
            selector.matches(family, flow.destination, protocol, flow.destination_port)
            for selector in self.destinations
        )
