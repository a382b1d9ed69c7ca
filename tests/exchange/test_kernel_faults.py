"""A kernel that refuses, a backend that breaks: at whichever call it happens, nothing leaks."""

from __future__ import annotations

import itertools

import pytest

from charon_core.kernel.interface import KernelError
from tests.exchange.world import World, tunnel

OPERATIONS = ["allocate_spi", "add_sa", "add_policy", "delete_sa", "delete_policy", "query_sa"]
REFUSED = KernelError("try", "refused")
BROKEN = RuntimeError("a fault of the backend")


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("side", ["moon", "sun"])
@pytest.mark.parametrize("error", [REFUSED, BROKEN], ids=["refuses", "breaks"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_failing_kernel_leaves_nothing_behind(
    operation: str, error: Exception, side: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    peer = tunnel(world)
    failing = {"moon": world.moon, "sun": world.sun}[side]
    original = getattr(failing.backend, operation)
    calls = itertools.count()

    def call(*arguments: object) -> object:
        if next(calls) >= first:
            raise error
        return original(*arguments)

    monkeypatch.setattr(failing.backend, operation, call)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    for host in (world.moon, world.sun):
        if host.states == ["ESTABLISHED"]:
            host.delete_ike()
            world.run()
    world.elapse(400)
    assert len(outcome) == 1
    for host in (world.moon, world.sun):
        leaks = host.leaks()
        if host is failing and operation.startswith("delete"):
            # What the kernel does not let go cannot be helped; all else has to be gone.
            for what in ("states", "policies", "reserved"):
                leaks.pop(what, None)
        assert leaks == {}
        assert len(host.kernel._reqids) == 0
