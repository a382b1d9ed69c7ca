"""Traffic selectors as XFRM selectors, which know prefixes and masks but no ranges."""

from __future__ import annotations

import socket
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.interface import KernelError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SELECTORS: Final = 64
"""XFRM policies that one pair of traffic selectors may become at most."""

_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_ICMP: Final = frozenset({socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6})
_PORT_BITS: Final = 16
_PORT_MASK: Final = 0xFFFF
_OPAQUE: Final = (0, _PORT_MASK)
"""Of packets whose ports cannot be seen (fragments) the kernel takes the ports for 0."""

Block = tuple[int, int]
"""(value, mask) of 16 bits."""


def expand(source: TrafficSelector, destination: TrafficSelector) -> list[dict[str, Any]]:
    """Return the XFRM selectors that together match exactly what the two selectors match.

    Usually it is one. A range of addresses or ports becomes several, since the kernel compares
    under masks.

    Raises:
        KernelError: there would be more than MAX_SELECTORS, or the selectors are dynamic.
    """
    operation = f"turn {source} === {destination} into XFRM selectors"
    ports = _port_blocks(source, destination, operation)
    sources, destinations = source.to_cidrs(), destination.to_cidrs()
    count = len(sources) * len(destinations) * len(ports)
    if not 0 < count <= MAX_SELECTORS:
        raise KernelError(
            operation,
            f"expected 1..{MAX_SELECTORS} selectors, they would be {count}",
            "use subnets instead of address ranges, and single ports or all ports",
        )
    family = _FAMILIES[source.family]
    protocol = source.protocol or destination.protocol
    return [
        {
            "family": family,
            "proto": protocol,
            "saddr": source_net[0],
            "prefixlen_s": source_net[1],
            "daddr": destination_net[0],
            "prefixlen_d": destination_net[1],
            "sport": sport[0],
            "sport_mask": sport[1],
            "dport": dport[0],
            "dport_mask": dport[1],
        }
        for source_net, destination_net, (sport, dport) in product(sources, destinations, ports)
    ]


def from_kernel(selector: Mapping[str, Any]) -> tuple[TrafficSelector, TrafficSelector]:
    """Return the traffic selectors (source, destination) of a packet in an acquire event.

    Raises:
        ValueError: the selector has no addresses.
    """
    protocol = selector["proto"]
    sport, dport = _range(selector, "sport"), _range(selector, "dport")
    if protocol in _ICMP and selector["sport_mask"]:
        code = selector["dport"] & 0xFF if selector["dport_mask"] else 0
        kind = selector["sport"] << 8
        last = kind | (code if selector["dport_mask"] else 0xFF)
        sport = dport = (kind | code, last)
    return (
        TrafficSelector.network(
            selector["saddr"], selector["prefixlen_s"], protocol=protocol, ports=sport
        ),
        TrafficSelector.network(
            selector["daddr"], selector["prefixlen_d"], protocol=protocol, ports=dport
        ),
    )


def _range(selector: Mapping[str, Any], name: str) -> tuple[int, int]:
    mask = selector[f"{name}_mask"]
    first = selector[name] & mask
    return first, first | (~mask & _PORT_MASK)


def _port_blocks(
    source: TrafficSelector, destination: TrafficSelector, operation: str
) -> list[tuple[Block, Block]]:
    """Pairs of (source port, destination port) blocks."""
    if (source.protocol or destination.protocol) in _ICMP:
        return _icmp_blocks(source, destination, operation)
    return list(product(_blocks_of(source), _blocks_of(destination)))


def _icmp_blocks(
    source: TrafficSelector, destination: TrafficSelector, operation: str
) -> list[tuple[Block, Block]]:
    """The kernel sees the ICMP type as source port, the code as destination port."""
    if source.is_opaque or destination.is_opaque:
        return [(_OPAQUE, _OPAQUE)]
    first = max(source.start_port, destination.start_port)
    last = min(source.end_port, destination.end_port)
    if first > last:
        raise KernelError(operation, "the two sides name different ICMP types")
    return [
        ((value >> 8, mask >> 8), (value & 0xFF, mask & 0xFF))
        for value, mask in port_blocks(first, last)
    ]


def _blocks_of(selector: TrafficSelector) -> list[Block]:
    if selector.is_opaque:
        return [_OPAQUE]
    return port_blocks(selector.start_port, selector.end_port)


def port_blocks(first: int, last: int) -> list[Block]:
    """Return the (value, mask) blocks that cover a range of 16-bit numbers exactly."""
    blocks: list[Block] = []
    while first <= last:
        aligned = (first & -first).bit_length() - 1 if first else _PORT_BITS
        free = min(aligned, (last - first + 1).bit_length() - 1)
        blocks.append((first, _PORT_MASK & ~((1 << free) - 1)))
        first += 1 << free
    return blocks
