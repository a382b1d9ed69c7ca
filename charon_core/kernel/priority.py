"""How strong a security policy is, computed from its selectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.config.traffic_selector import TrafficSelector

PRIORITY_EXCEPTION: Final = 100_000
"""PASS and DROP policies: exceptions, stronger than any PROTECT policy."""

PRIORITY_INSTALLED: Final = 200_000
"""PROTECT policies of an installed CHILD_SA."""

PRIORITY_ROUTED: Final = 300_000
"""Trap policies, which wait for traffic."""

_PER_FREE_BIT: Final = 256
_ANY_PROTOCOL: Final = 128
_PER_FREE_PORT_BIT: Final = 2


def _free_address_bits(selector: TrafficSelector) -> int:
    """Bits in which the ends of the address range differ: 0 for a host, 32 or 128 for any."""
    start, end = int.from_bytes(selector.start), int.from_bytes(selector.end)
    return (start ^ end).bit_length()


def _free_port_bits(selector: TrafficSelector) -> int:
    """0 for one port (or OPAQUE, RFC 7296 section 3.13.1), 16 for any."""
    if selector.start_port > selector.end_port:
        return 0
    return (selector.start_port ^ selector.end_port).bit_length()


def policy_priority(base: int, source: TrafficSelector, destination: TrafficSelector) -> int:
    """Return the priority of a policy of one class (``base``); the lower, the stronger.

    Three classes of 100,000 each: exceptions (PASS, DROP), installed, routed. Within a class the
    more specific selector wins, in this order: the address bits that both selectors leave free
    (256 each, at most 65,536), then whether any protocol matches (128), then the port bits left
    free (2 each, at most 64). So 10.1.0.0/16 === 10.2.0.0/16 of an installed CHILD_SA has
    200,000 + 32 * 256 + 128 + 64 = 208,384, and the same for TCP only is 128 stronger.
    """
    bits = _free_address_bits(source) + _free_address_bits(destination)
    port_bits = _free_port_bits(source) + _free_port_bits(destination)
    protocol = 0 if source.protocol or destination.protocol else _ANY_PROTOCOL
    return base + bits * _PER_FREE_BIT + protocol + port_bits * _PER_FREE_PORT_BIT
