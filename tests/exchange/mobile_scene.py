"""A tunnel with MOBIKE from moon, which has further addresses, to sun."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.config.ike import IkeConfig
from charon_core.sa.parameters import IkeParameters, RoutabilityCheck
from tests.exchange.world import World, child, connection, share_secret

if TYPE_CHECKING:
    from charon_core.encoding.registry import NotifyType
    from tests.exchange.world import Host

OLD, NEW, OTHER = "10.99.0.1", "10.99.0.3", "10.99.0.4"
SUN, SUN_TOO = "10.99.0.2", "10.99.0.22"
CHECKS = pytest.mark.parametrize("check", RoutabilityCheck, ids=lambda check: check.value)


def mobile(
    *,
    moons: tuple[str, ...] = (NEW,),
    suns: tuple[str, ...] = (),
    parameters: IkeParameters | None = None,
    seed: int = 1,
    suns_mobike: bool = True,
    child_settings: dict[str, object] | None = None,
    **settings: object,
) -> World:
    """Return a world with a tunnel from moon, which has further addresses, to sun."""
    world = World(seed=seed, parameters=parameters)
    for host, addresses in ((world.moon, moons), (world.sun, suns)):
        host.change_addresses(add=addresses)
        share_secret(host)
    here, there = ("10.1.0.0/16",), ("10.2.0.0/16",)
    more = child_settings or {}
    suns_peer = connection(
        world,
        world.sun,
        children=(child(local=there, remote=here, **more),),
        **{**settings, "mobike": suns_mobike},
    )
    # Moon may come from anywhere.
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=suns_peer.ike.proposals)
    world.sun.connections.add(replace(suns_peer, ike=anywhere))
    peer = connection(
        world, world.moon, children=(child(local=here, remote=there, **more),), **settings
    )
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"], world.moon.recorder.lines
    for host in (world.moon, world.sun):
        host.recorder.happened.clear()
    world.sent.clear()
    return world


def assert_between(world: World, moon: str, sun: str = SUN, *, udp: bool = False) -> None:
    """IKE_SA, SAs and policies of both sides are at these addresses, and traffic flows."""
    for host, (local, remote) in ((world.moon, (moon, sun)), (world.sun, (sun, moon))):
        (ike,) = host.sas
        assert (ike.local.host, ike.remote.host) == (local, remote), host.name
        for state in host.backend.states.values():
            ends = (remote, local) if state.inbound else (local, remote)
            assert (state.id.source, state.id.destination) == ends, host.name
            assert (state.encapsulation is not None) == udp
        for policy in host.backend.policies.values():
            ends = {policy.template.source, policy.template.destination}
            assert ends == {local, remote}, host.name
        assert not host.waits
    world.assert_traffic_flows()


def finish(world: World) -> None:
    """Delete the IKE_SA: nothing stays."""
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def notifies(world: World, host: Host, kind: NotifyType) -> int:
    return sum(f"{kind.name}" in line for line in host.recorder.lines)


def lose_address(world: World) -> None:
    world.moon.change_addresses(remove=(OLD,))
