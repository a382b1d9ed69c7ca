"""Every order in which the datagrams of a scene can arrive, and every loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.exchange.world import World

MAX_STEPS = 60


def orders(scene: Callable[[], World], *, losses: int = 0) -> Iterator[World]:
    """Play a scene in each order of arrival, and yield the world when it has fallen silent.

    Args:
        scene: Makes a world with datagrams in flight; the same one each time.
        losses: How many datagrams may be lost on the way, one of them at each point.
    """
    choices: list[int] = []
    while True:
        world = scene()
        options = _play(world, choices, losses)
        yield world
        while options and choices[-1] + 1 >= options[-1]:
            options.pop()
            choices.pop()
        if not options:
            return
        choices[-1] += 1


def _play(world: World, choices: list[int], losses: int) -> list[int]:
    """Follow the choices, and then the first option; return how many options each step had."""
    options: list[int] = []
    for step in range(MAX_STEPS):
        waiting = len(world.in_flight)
        if not waiting:
            if not _lost_something(world):
                return options
            world.elapse(4.1, deliver=False, keep=True)
            continue
        here = waiting * 2 if losses else waiting
        position = len(options)
        if position == len(choices):
            choices.append(0)
        options.append(here)
        choice = choices[position]
        packet = world.in_flight.pop(choice % waiting)
        if choice < waiting:
            world.deliver(packet)
        else:
            losses -= 1
        assert step < MAX_STEPS - 1, "the two sides never fall silent"
    return options


def _lost_something(world: World) -> bool:
    """Whether a side still waits for an answer."""
    return any(host.waits for host in (world.moon, world.sun))
