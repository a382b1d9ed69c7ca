"""Traffic selectors between configuration and messages (RFC 7296 2.9, 3.13)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from charon_core.config.traffic_selector import TrafficSelector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from charon_core.encoding.payloads import SelectorSubstructure, TrafficSelectors


def resolve(selectors: Sequence[TrafficSelector], *hosts: str) -> tuple[TrafficSelector, ...]:
    """Put addresses where a selector is dynamic; no selector at all means dynamic.

    Several addresses, virtual ones, make several selectors. `0.0.0.0` and `::` stand for an
    address that is still to be assigned: any one of their family.
    """
    found: list[TrafficSelector] = []
    for selector in selectors or (TrafficSelector.dynamic_of(),):
        found += [_at(selector, host) for host in hosts] if selector.dynamic else [selector]
    return tuple(found)


def _at(selector: TrafficSelector, host: str) -> TrafficSelector:
    if host not in _ANY:
        return selector.with_address(host)
    return replace(selector, dynamic=False, **_ANY[host])


def _any_of(family: int) -> dict[str, Any]:
    anything = TrafficSelector.any_of(family)
    return {"family": family, "start": anything.start, "end": anything.end}


_ANY: Final = {"0.0.0.0": _any_of(4), "::": _any_of(6)}


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
