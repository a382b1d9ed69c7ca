from __future__ import annotations

import os
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from charon_core.kernel.userspace.waiter import FIRST_REST, LONGEST_REST, Waiter
from charon_core.processing.loop import FIRST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Iterator


class World:
    """A waiter on a clock of its own, whose descriptors are readable once they are `ready`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiter = Waiter(lambda: self.now)
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.descriptors: dict[str, int] = {}

    def add(self, name: str, *, ready: bool) -> None:
        descriptor = os.eventfd(int(ready), os.EFD_NONBLOCK)
        self.descriptors[name] = descriptor

        def handle(_events: int) -> None:
            self.calls.append(name)
            if name in self.failing:
                raise OSError(f"{name} is gone")

        self.waiter.add(descriptor, handle)

    def turn(self) -> list[str]:
        """Run one turn; return whose handlers were called."""
        self.calls.clear()
        # A turn that has nothing to wait for would wait for ever.
        self.waiter.nudge()
        self.waiter.turn()
        return sorted(self.calls)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.waiter.close(lambda: None)
    for descriptor in made.descriptors.values():
        os.close(descriptor)


def test_a_turn_calls_the_handlers_of_what_can_be_read(world: World) -> None:
    world.add("one", ready=True)
    world.add("two", ready=True)
    world.add("silent", ready=False)
    assert world.turn() == ["one", "two"]


def test_a_handler_is_told_of_errors() -> None:
    waiter, events = Waiter(), []
    reader, writer = os.pipe()
    waiter.add(reader, events.append)
    os.close(writer)
    waiter.turn()
    waiter.close(lambda: os.close(reader))
    assert events[0]


def test_what_raises_does_not_keep_the_others_waiting(world: World) -> None:
    for name in ("before", "broken", "behind"):
        world.add(name, ready=True)
    world.failing.add("broken")
    with pytest.raises(OSError, match="broken is gone"):
        world.turn()
    assert sorted(world.calls) == ["before", "behind", "broken"]
    for _ in range(3):
        assert world.turn() == ["before", "behind"]


def test_what_raises_is_tried_again_ever_more_rarely(world: World) -> None:
    assert FIRST_REST > FIRST_PAUSE, "or the pauses of the loop add up, and all descriptors wait"
    world.add("broken", ready=True)
    world.failing.add("broken")
    tries = []
    while world.now < 30:
        try:
            world.turn()
        except OSError:
            tries.append(world.now)
        world.now += 0.25
    gaps = [then - before for before, then in pairwise(tries)]
    assert gaps[:4] == [0.5, 1, 2, 4]
    assert set(gaps[4:]) == {LONGEST_REST}
    world.failing.clear()
    world.now += LONGEST_REST
    assert world.turn() == ["broken"]
    # All is forgiven.
    world.failing.add("broken")
    with pytest.raises(OSError, match="gone"):
        world.turn()
    world.now += FIRST_REST
    with pytest.raises(OSError, match="gone"):
        world.turn()


def test_a_turn_waits_no_longer_than_the_rest(world: World) -> None:
    world.add("broken", ready=True)
    world.failing.add("broken")
    with pytest.raises(OSError, match="gone"):
        world.waiter.turn()
    world.now += FIRST_REST - 0.01
    world.waiter.turn()
    assert world.calls == ["broken"]


def test_what_was_closed_while_it_rested_is_forgotten(world: World) -> None:
    world.add("broken", ready=True)
    world.failing.add("broken")
    with pytest.raises(OSError, match="gone"):
        world.turn()
    os.close(world.descriptors.pop("broken"))
    world.now += FIRST_REST
    assert world.turn() == []
    assert world.turn() == []


def test_what_its_handler_closes_is_no_fault_of_its_own(world: World) -> None:
    world.add("broken", ready=True)
    descriptor = world.descriptors.pop("broken")

    def fail(_events: int) -> None:
        os.close(descriptor)
        raise OSError("the device is gone")

    world.waiter._handlers[descriptor] = fail
    with pytest.raises(OSError, match="the device is gone"):
        world.turn()


def test_a_descriptor_may_come_while_the_loop_waits() -> None:
    waiter, called = Waiter(), threading.Event()
    thread = threading.Thread(target=waiter.turn)
    thread.start()
    descriptor = os.eventfd(1)
    waiter.add(descriptor, lambda _: called.set())
    thread.join(5)
    assert called.is_set()
    waiter.close(lambda: os.close(descriptor))


def test_closing_waits_for_the_turn_and_the_loop_for_its_end() -> None:
    waiter = Waiter()
    order: list[str] = []
    in_turn, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    descriptor = os.eventfd(1)

    def handle(_events: int) -> None:
        in_turn.set()
        go_on.wait(5)
        order.append("handled")

    def loop() -> None:
        while not ended.is_set():
            waiter.turn()

    waiter.add(descriptor, handle)
    thread = threading.Thread(target=loop)
    thread.start()
    assert in_turn.wait(5)
    closer = threading.Thread(target=waiter.close, args=(lambda: order.append("closed"),))
    closer.start()
    go_on.set()
    closer.join(5)
    assert waiter.is_closing
    assert order[-1] == "closed"
    ended.set()
    waiter.end_loop()
    thread.join(5)
    assert not thread.is_alive()
    assert order[-1] == "closed"
    waiter.turn()
    waiter.nudge()
    os.close(descriptor)
