"""Messages that are changed by somebody who holds the keys of the side that sends them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from charon_core.encoding.message import open_message, seal_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.encoding.payloads import Payload
    from tests.exchange.world import Host, World


def twist(
    world: World, change: Callable[[tuple[Payload, ...]], Iterable[Payload]], at: int = 0
) -> None:
    """Change the payloads of a datagram in flight, and seal it again with its sender's keys."""
    packet = world.in_flight[at]
    sender: Host = world.hosts[packet.source.host]
    (entry,) = sender.manager._by_spi.values()
    keying = entry.ike.keying
    assert keying is not None
    message = open_message(packet.data, keying.outbound)
    changed = replace(message, payloads=tuple(change(message.payloads)))
    world.in_flight[at] = replace(packet, data=seal_message(changed, keying.outbound))


def without(*kinds: type[Payload]) -> Callable[[tuple[Payload, ...]], Iterable[Payload]]:
    """Leave payloads of these kinds out."""
    return lambda payloads: [p for p in payloads if not isinstance(p, kinds)]


def plus(*added: Payload) -> Callable[[tuple[Payload, ...]], Iterable[Payload]]:
    """Add payloads."""
    return lambda payloads: (*payloads, *added)


def without_notify(kind: int) -> Callable[[tuple[Payload, ...]], Iterable[Payload]]:
    """Leave notifies of one type out."""
    return lambda payloads: [p for p in payloads if getattr(p, "notify_type", None) != kind]
