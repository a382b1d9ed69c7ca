"""Marks and XFRM interfaces: fixed and unique ones, in kernel and reqid, kept by rekeying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from charon_core.config.child import MARK_UNIQUE, MARK_UNIQUE_DIRECTION, Mark
from charon_core.kernel.interface import KernelFeature, PolicyDirection
from tests.exchange.world import World, child, connection, share_secret

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from tests.exchange.world import Host


def marked(world: World, **settings: Any) -> PeerConfig:
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun)
    return connection(world, world.moon, children=(child(**settings),))


def in_kernel(host: Host) -> tuple[set[Any], set[Any]]:
    """Return (mark, interface) of what is inbound, and of what is outbound."""
    inbound = {(sa.mark, sa.if_id) for sa in host.backend.states.values() if sa.inbound}
    outbound = {(sa.mark, sa.if_id) for sa in host.backend.states.values() if not sa.inbound}
    for policy in host.backend.policies.values():
        is_out = policy.direction is PolicyDirection.OUT
        (outbound if is_out else inbound).add((policy.mark, policy.if_id))
    return inbound, outbound


def test_fixed_ones() -> None:
    world = World()
    peer = marked(world, mark_in=Mark(1, 0xFF), mark_out=Mark(2), if_id_in=7, if_id_out=8)
    assert world.moon.routing.route(peer, peer.children[0])
    world.moon.packet()
    world.run()
    assert in_kernel(world.moon) == ({(Mark(1, 0xFF), 7)}, {(Mark(2), 8)})
    (established,) = world.moon.children
    assert established.reqid == world.moon.traps.all()[0].reqid


@pytest.mark.parametrize("per_direction", [False, True])
def test_unique_ones(per_direction: bool) -> None:
    world = World()
    value = MARK_UNIQUE_DIRECTION if per_direction else MARK_UNIQUE
    peer = marked(world, mark_in=Mark(value), mark_out=Mark(value, 0xFFFF))
    world.moon.initiate(peer)
    world.run()
    ((mark_in, _),), ((mark_out, _),) = before = in_kernel(world.moon)
    assert {mark_in.value, mark_out.value}.isdisjoint({MARK_UNIQUE, MARK_UNIQUE_DIRECTION})
    assert (mark_in.value != mark_out.value) is per_direction
    assert mark_out.mask == 0xFFFF
    world.moon.rekey_child()
    world.run()
    world.elapse(10)
    assert in_kernel(world.moon) == before
    world.sun.rekey_child()
    world.run()
    world.elapse(10)
    assert in_kernel(world.moon) == before
    (first,) = world.moon.children
    world.moon.initiate(peer)
    world.run()
    _, second = world.moon.children
    assert second.marks != first.marks
    assert second.reqid != first.reqid
    assert not world.moon.routing.route(peer, peer.children[0])


@pytest.mark.parametrize(
    ("feature", "settings"),
    [(KernelFeature.MARK, {"mark_in": Mark(1)}), (KernelFeature.INTERFACE_ID, {"if_id_out": 1})],
)
def test_a_kernel_without_them(feature: KernelFeature, settings: dict[str, Any]) -> None:
    world = World()
    world.moon.backend.features = world.moon.backend.features - {feature}
    outcome: list[bool] = []
    world.moon.initiate(marked(world, **settings), outcome=outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.backend.is_empty
