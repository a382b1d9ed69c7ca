"""Traffic selectors between configuration and messages (RFC 7296 2.9, 3.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.config.traffic_selector import TrafficSelector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from charon_core.encoding.payloads import SelectorSubstructure, TrafficSelectors


def resolve(selectors: Sequence[TrafficSelector], host: str) -> tuple[TrafficSelector, ...]:
    """Put the host's address where a selector is dynamic; no selector at all means dynamic."""
    if not selectors:
        return (TrafficSelector.network(host),)
    return tuple(ts.with_address(host) if ts.dynamic else ts for ts in selectors)


def to_wire(selectors: Iterable[TrafficSelector]) -> tuple[SelectorSubstructure, ...]:
    """Return the selectors as a TS payload has them."""
    return tuple(selector.to_wire() for selector in selectors)


def from_wire(payload: TrafficSelectors) -> list[TrafficSelector]:
    """Return the selectors of a payload that are of a kind known here.

    Raises:
        ParseError: One of them cannot be, such as a range that ends before it begins.
    """
    selectors = (TrafficSelector.from_wire(selector) for selector in payload.selectors)
    return [selector for selector in selectors if selector is not None]


def are_within(answered: Sequence[TrafficSelector], offered: Sequence[TrafficSelector]) -> bool:
    """Whether an answer is not empty and stays inside what was offered."""
    return bool(answered) and all(
        any(outer.contains(inner) for outer in offered) for inner in answered
    )


def led_by_packet(
    packet: tuple[TrafficSelector, TrafficSelector] | None,
    local: tuple[TrafficSelector, ...],
    remote: tuple[TrafficSelector, ...],
) -> tuple[tuple[TrafficSelector, ...], tuple[TrafficSelector, ...]]:
    """Put the packet that an SA is wanted for before the selectors offered (RFC 7296 2.9).

    A responder that has to narrow them then knows what must not be left out.
    """
    if packet is None or not (are_within(packet[:1], local) and are_within(packet[1:], remote)):
        return local, remote
    return (
        local if packet[0] in local else (packet[0], *local),
        remote if packet[1] in remote else (packet[1], *remote),
    )


def pairs(local: Sequence[TrafficSelector], remote: Sequence[TrafficSelector]) -> int:
    """Return of how many pairs of selectors the policies of a CHILD_SA are made."""
    families = [selector.family for selector in remote]
    return sum(families.count(selector.family) for selector in local)


def text_of(selectors: Sequence[TrafficSelector]) -> str:
    """Return selectors as log lines show them."""
    return " ".join(map(str, selectors)) or "(nothing)"
