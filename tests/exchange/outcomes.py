"""Bringing a connection up from moon, all of the way or a part of it, and how that may end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.bus.events import IkeUp

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from tests.exchange.world import World


def bring_up(world: World, peer: PeerConfig) -> bool:
    """Initiate, and return how it ended: it must end exactly once."""
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert len(outcome) == 1
    return outcome[0]


def refused(world: World) -> None:
    """Nobody got in, and nothing is left once the half-open one is forgotten."""
    assert not world.sun.recorder.of(IkeUp)
    assert not world.moon.recorder.of(IkeUp)
    world.elapse(31)
    world.assert_nothing_left()


def begin(world: World, peer: PeerConfig, steps: int) -> None:
    """Initiate, and deliver so many datagrams."""
    world.moon.initiate(peer)
    for _ in range(steps):
        world.step()
