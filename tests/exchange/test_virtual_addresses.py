"""Virtual addresses between two daemons: asked for, assigned, installed, and given back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import VirtualIpAssigned, VirtualIpReleased
from charon_core.config.peer import UniquePolicy
from charon_core.kernel.interface import KernelError, Route
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.state import IkeState
from tests.exchange.world import PSK, World, auth, child, connection, share_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.config.peer import PeerConfig
    from tests.exchange.world import Host

POOL = "10.9.0.0/24"
POOL6 = "fd09::/120"


def client(world: World, *wanted: str, **settings: object) -> PeerConfig:
    """Have moon ask for addresses: it is the client."""
    share_secret(world.moon)
    settings.setdefault("children", (child(local=(), remote=("10.2.0.0/16", "fd02::/64")),))
    return connection(world, world.moon, virtual_ips=wanted, **settings)


def gateway(world: World, *pools: str, **settings: object) -> PeerConfig:
    """Have sun give addresses of pools in memory: it is the gateway."""
    share_secret(world.sun)
    for pool in pools:
        if "/" in pool or "-" in pool:
            world.sun.attributes.memory.add(pool)
    settings.setdefault("children", (child(local=("10.2.0.0/16", "fd02::/64"), remote=()),))
    return connection(world, world.sun, pools=pools, **settings)


def up(world: World, peer: PeerConfig, host: Host | None = None) -> bool:
    outcome: list[bool] = []
    (host or world.moon).initiate(peer, outcome=outcome)
    world.run()
    assert len(outcome) == 1
    return outcome[0]


def down(world: World) -> None:
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def selectors_of(host: Host) -> tuple[list[str], list[str]]:
    (snapshot,) = host.manager.snapshots()
    (found,) = snapshot.children
    return list(map(str, found.local_ts)), list(map(str, found.remote_ts))


def vips(host: Host) -> tuple[tuple[str, ...], tuple[str, ...]]:
    (snapshot,) = host.manager.snapshots()
    return snapshot.local_vips, snapshot.remote_vips


def held(host: Host) -> list[str]:
    return [address for address, _ in host.net.virtual]


@pytest.mark.parametrize(
    ("wanted", "pools", "expected", "networks"),
    [
        (["0.0.0.0"], [POOL], ["10.9.0.1"], ["10.2.0.0/16"]),
        (["::"], [POOL6], ["fd09::1"], ["fd02::/64"]),
        (
            ["0.0.0.0", "::"],
            [POOL, POOL6],
            ["10.9.0.1", "fd09::1"],
            ["10.2.0.0/16", "fd02::/64"],
        ),
        (["0.0.0.0", "0.0.0.0"], [POOL], ["10.9.0.1", "10.9.0.2"], ["10.2.0.0/16"] * 2),
        (["10.9.0.77"], [POOL], ["10.9.0.77"], ["10.2.0.0/16"]),
        (["10.8.0.77"], [POOL], ["10.9.0.1"], ["10.2.0.0/16"]),
        (["224.0.0.1"], [POOL], ["10.9.0.1"], ["10.2.0.0/16"]),
        # The gateway has none of the other family: what it has is what there is.
        (["0.0.0.0", "::"], [POOL], ["10.9.0.1"], ["10.2.0.0/16"]),
    ],
)
def test_addresses_are_assigned_installed_and_given_back(
    wanted: list[str], pools: list[str], expected: list[str], networks: list[str]
) -> None:
    world = World()
    gateway(world, *pools)
    assert up(world, client(world, *wanted))
    assert held(world.moon) == expected
    assert vips(world.moon) == (tuple(expected), ())
    assert vips(world.sun) == ((), tuple(expected))
    hosts = [f"{host}/{128 if ':' in host else 32}" for host in expected]
    assert selectors_of(world.moon)[0] == hosts
    assert selectors_of(world.sun)[1] == hosts
    # Traffic to the networks behind the gateway has the virtual address as its source.
    routes = [(route.destination, route.source) for route in world.moon.net.routes]
    assert sorted(routes) == sorted(zip(networks, expected, strict=True))
    assert all(route.interface == "eth0" for route in world.moon.net.routes)
    assert world.sun.net.routes == {}
    down(world)


def test_listeners_hear_of_each_address_once() -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    down(world)
    for host, is_local, pool, identity in (
        (world.moon, True, "", ""),
        (world.sun, False, POOL, "moon.example.org"),
    ):
        for kind in (VirtualIpAssigned, VirtualIpReleased):
            (event,) = host.recorder.of(kind)
            assert (event.address, event.is_local) == ("10.9.0.1", is_local)
            assert (event.pool, event.identity) == (pool, identity)


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_each_message_may_get_lost_once(lost: int) -> None:
    world = World()
    gateway(world, POOL)
    peer = client(world, "0.0.0.0")
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    for _ in range(lost):
        world.step()
    world.drop()
    world.elapse(5)
    assert outcome == [True]
    assert held(world.moon) == ["10.9.0.1"]
    assert world.sun.attributes.memory.add(POOL).online == 1
    down(world)


@pytest.mark.parametrize("repeated", [0, 1, 2, 3])
def test_each_message_may_come_twice(repeated: int) -> None:
    world = World()
    gateway(world, POOL)
    world.moon.initiate(client(world, "0.0.0.0"))
    for _ in range(repeated):
        world.step()
    packet = world.step()
    world.deliver(packet)
    world.run()
    assert list(world.moon.net.virtual.values()) == [1]
    assert [lease.address for lease in world.sun.attributes.memory.add(POOL).leases()] == [
        "10.9.0.1"
    ]
    down(world)


def test_an_identity_gets_its_address_back() -> None:
    world = World()
    gateway(world, POOL)
    peer = client(world, "0.0.0.0")
    assert up(world, peer)
    down(world)
    world.sun.attributes.memory.add(POOL).acquire("somebody else")
    assert up(world, peer)
    assert held(world.moon) == ["10.9.0.1"]
    world.sun.attributes.memory.add(POOL).release("somebody else", "10.9.0.2")
    down(world)


@pytest.mark.parametrize("unique", [UniquePolicy.NO, UniquePolicy.REPLACE, UniquePolicy.KEEP])
def test_client_that_crashed_gets_its_address_back(unique: UniquePolicy) -> None:
    world = World()
    gateway(world, POOL, POOL6, unique=unique)
    peer = client(world, "0.0.0.0", "::")
    assert up(world, peer)
    world.moon.with_ike(lambda ike: ike.set_state(IkeState.DESTROYING))
    assert world.moon.leaks() == {}
    assert up(world, peer)
    assert held(world.moon) == ["10.9.0.1", "fd09::1"]
    world.sun.do_jobs()
    world.elapse(60)
    assert world.sun.states == ["ESTABLISHED"]
    assert world.sun.attributes.memory.add(POOL).online == 1
    assert len(world.sun.backend.policies) == 6
    down(world)


def test_two_devices_of_one_identity_have_an_address_each() -> None:
    world = World()
    gateway(world, POOL, unique=UniquePolicy.NEVER)
    peer = client(world, "0.0.0.0")
    assert up(world, peer)
    world.moon.with_ike(lambda ike: ike.set_state(IkeState.DESTROYING))
    assert up(world, peer)
    assert held(world.moon) == ["10.9.0.2"]
    assert world.sun.attributes.memory.add(POOL).online == 2
    world.moon.delete_ike()
    world.run()
    world.sun.delete_ike()
    world.elapse(300)
    world.assert_nothing_left()


# -- no address -------------------------------------------------------------------------------


def assert_no_child(world: World) -> None:
    for host in (world.moon, world.sun):
        assert host.states == ["ESTABLISHED"]
        assert host.backend.states == host.backend.policies == {}
    assert not world.moon.backend.reserved


@pytest.mark.parametrize("pools", [("10.9.0.1-10.9.0.1",), (POOL6,), ("unknown",), ()])
def test_gateway_without_an_address_builds_no_child(pools: tuple[str, ...]) -> None:
    world = World()
    gateway(world, *pools)
    if pools == ("10.9.0.1-10.9.0.1",):
        world.sun.attributes.memory.add(pools[0]).acquire("somebody else")
    peer = client(world, "0.0.0.0")
    assert not up(world, peer)
    assert_no_child(world)
    assert any("INTERNAL_ADDRESS_FAILURE" in text for text in world.moon.recorder.alerts)
    assert any("'moon.example.org'" in text for text in world.sun.recorder.alerts)
    # Nor is one built later: without the address its traffic would be somebody else's.
    assert not up(world, peer)
    assert_no_child(world)
    if pools == ("10.9.0.1-10.9.0.1",):
        assert any("(1 addresses, 1 in use)" in text for text in world.sun.recorder.alerts)
        world.sun.attributes.memory.add(pools[0]).release("somebody else", "10.9.0.1")
    down(world)


def test_client_that_asks_for_none_where_one_is_demanded() -> None:
    world = World()
    gateway(world, POOL)
    peer = client(world)
    assert not up(world, peer)
    assert_no_child(world)
    assert world.moon.recorder.said("received FAILED_CP_REQUIRED notify, no CHILD_SA built")
    assert any("demands it" in text for text in world.sun.recorder.alerts)
    # A CREATE_CHILD_SA is no way around it.
    assert not up(world, peer)
    assert_no_child(world)
    down(world)


def test_kernel_that_refuses_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)

    def refuse(host: str, interface: str) -> None:
        raise KernelError(f"add virtual address {host}", "Operation not permitted")

    monkeypatch.setattr(world.moon.net, "add_address", refuse)
    assert not up(world, client(world, "0.0.0.0"))
    assert any("Operation not permitted" in text for text in world.moon.recorder.alerts)
    assert any("10.9.0.1 cannot be installed; see" in text for text in world.moon.recorder.alerts)
    # The gateway has installed the CHILD_SA: it was told.
    assert_no_child(world)
    down(world)


def test_route_that_cannot_be_installed_takes_the_child_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    gateway(world, POOL)

    def refuse(route: Route) -> None:
        raise KernelError(f"add route to {route.destination}", "Operation not permitted")

    monkeypatch.setattr(world.moon.net, "add_route", refuse)
    assert not up(world, client(world, "0.0.0.0"))
    assert_no_child(world)
    down(world)


# -- selectors --------------------------------------------------------------------------------


def test_dynamic_selectors_keep_protocol_and_ports() -> None:
    world = World()
    gateway(world, POOL, children=(child(local=("10.2.0.0/16",), remote=("%dynamic[tcp/443]",)),))
    peer = client(
        world,
        "0.0.0.0",
        children=(child(local=("%dynamic[tcp/443]",), remote=("10.2.0.0/16",)),),
    )
    assert up(world, peer)
    assert selectors_of(world.moon)[0] == selectors_of(world.sun)[1]
    assert selectors_of(world.moon)[0][0].startswith("10.9.0.1/32[tcp/")
    down(world)


def test_network_beside_the_virtual_address() -> None:
    world = World()
    gateway(
        world,
        POOL,
        children=(child(local=("10.2.0.0/16",), remote=("%dynamic", "10.1.0.0/24")),),
    )
    peer = client(
        world,
        "0.0.0.0",
        children=(child(local=("%dynamic", "10.1.0.0/24"), remote=("10.2.0.0/16",)),),
    )
    assert up(world, peer)
    assert selectors_of(world.moon)[0] == ["10.9.0.1/32", "10.1.0.0/24"]
    assert selectors_of(world.sun)[1] == ["10.9.0.1/32", "10.1.0.0/24"]
    down(world)


def test_second_child_has_the_same_address() -> None:
    world = World()
    children = (child("one", local=(), remote=("10.2.0.0/24",)),
                child("two", local=(), remote=("10.2.1.0/24",)))  # fmt: skip
    mirrored = (child("one", local=("10.2.0.0/24",), remote=()),
                child("two", local=("10.2.1.0/24",), remote=()))  # fmt: skip
    gateway(world, POOL, children=mirrored)
    peer = client(world, "0.0.0.0", children=children)
    assert up(world, peer)
    outcome: list[bool] = []
    world.moon.initiate(peer, "two", outcome)
    world.run()
    assert outcome == [True]
    (snapshot,) = world.moon.manager.snapshots()
    assert [str(found.local_ts[0]) for found in snapshot.children] == ["10.9.0.1/32"] * 2
    assert len(world.moon.net.routes) == 2
    assert list(world.moon.net.virtual.values()) == [1]
    down(world)


def test_gateway_may_build_a_child_to_the_address() -> None:
    world = World()
    gateway(
        world,
        POOL,
        children=(
            child("one", local=("10.2.0.0/24",), remote=()),
            child("two", local=("10.2.1.0/24",), remote=()),
        ),
    )
    peer = client(
        world,
        "0.0.0.0",
        children=(
            child("one", local=(), remote=("10.2.0.0/24",)),
            child("two", local=(), remote=("10.2.1.0/24",)),
        ),
    )
    assert up(world, peer)
    ours = world.sun.connections.peer_by_name("net")
    assert ours is not None
    outcome: list[bool] = []
    world.sun.initiate(ours, "two", outcome)
    world.run()
    assert outcome == [True]
    (snapshot,) = world.sun.manager.snapshots()
    assert [str(found.remote_ts[0]) for found in snapshot.children] == ["10.9.0.1/32"] * 2
    down(world)


# -- pools ------------------------------------------------------------------------------------


def test_client_may_choose_where_the_gateway_says_so() -> None:
    world = World()
    world.sun.attributes.memory.add_grants("net")
    gateway(world, "net")
    assert up(world, client(world, "192.0.2.77"))
    assert held(world.moon) == ["192.0.2.77"]
    down(world)


@pytest.mark.parametrize("chosen", ["0.0.0.0", "10.99.0.2", "127.0.0.1", "255.255.255.255"])
def test_client_may_not_choose_what_cannot_be_its_own(chosen: str) -> None:
    world = World()
    world.sun.attributes.memory.add_grants("net")
    gateway(world, "net")
    assert not up(world, client(world, chosen))
    assert_no_child(world)
    down(world)


def test_own_address_inside_the_pool_is_not_given_away() -> None:
    world = World()
    gateway(world, "10.99.0.2-10.99.0.3")
    assert up(world, client(world, "0.0.0.0"))
    assert held(world.moon) == ["10.99.0.3"]
    down(world)


def test_peer_gets_no_more_addresses_than_allowed() -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, *["0.0.0.0"] * 12))
    assert len(held(world.moon)) == 8
    assert world.sun.recorder.said("asks for 12 virtual addresses, at most 8")
    assert world.moon.recorder.said("got 8 of 12 virtual addresses")
    down(world)


class Foreign:
    """A plugin's pool."""

    name = "foreign"

    def __init__(self) -> None:
        self.leased: list[str] = []
        self.fails = False

    def acquire(self, pool: str, identity: str, wanted: str | None, search: object) -> str | None:
        if self.fails:
            raise RuntimeError("database is gone")
        if pool != "foreign":
            return None
        self.leased.append("10.7.0.1")
        return "10.7.0.1"

    def release(self, pool: str, identity: str, address: str) -> bool:
        if self.fails:
            raise RuntimeError("database is gone")
        if pool != "foreign":
            return False
        self.leased.remove(address)
        return True

    def attributes(self, pools: Iterable[str], identity: str) -> Iterable[object]:
        if self.fails:
            raise RuntimeError("database is gone")
        return ()


def test_pool_of_a_plugin() -> None:
    world = World()
    foreign = Foreign()
    world.sun.attributes.add_provider(foreign)
    gateway(world, "foreign")
    assert up(world, client(world, "0.0.0.0"))
    assert held(world.moon) == foreign.leased == ["10.7.0.1"]
    down(world)
    assert foreign.leased == []


def test_provider_that_raises_is_one_that_has_nothing() -> None:
    world = World()
    foreign = Foreign()
    foreign.fails = True
    world.sun.attributes.add_provider(foreign)
    gateway(world, "foreign", POOL)
    assert up(world, client(world, "0.0.0.0"))
    assert held(world.moon) == ["10.9.0.1"]
    assert any("database is gone" in text for text in world.sun.said_by_others)
    down(world)


def test_identities_that_look_alike_have_addresses_of_their_own() -> None:
    world = World()
    name = "moon.example.org"
    gateway(world, POOL, remote=auth("%any"))
    share_secret(world.sun, PSK, "%any")
    share_secret(world.moon, PSK, "%any")
    assert up(world, client(world, "0.0.0.0"))
    down(world)
    other = client(world, "10.9.0.1", name="other", local=auth(f"@#{name.encode().hex()}"))
    assert up(world, other)
    assert [lease.identity for lease in world.sun.attributes.memory.add(POOL).leases()] == [
        name,
        f"ID_KEY_ID:{name}",
    ]
    down(world)


# -- rekeying and reauthentication ------------------------------------------------------------


def rekey_ike(host: Host) -> None:
    host.with_ike(lambda ike: ike.rekey())


@pytest.mark.parametrize("who", ["moon", "sun"])
def test_new_ike_sa_has_the_addresses_of_the_old_one(who: str) -> None:
    world = World()
    gateway(world, POOL, dns=("10.2.0.53",))
    assert up(world, client(world, "0.0.0.0", request_dns=("0.0.0.0",)))
    rekey_ike(getattr(world, who))
    world.elapse(60)
    assert vips(world.moon) == (("10.9.0.1",), ())
    assert vips(world.sun) == ((), ("10.9.0.1",))
    assert list(world.moon.net.virtual.values()) == [1]
    assert len(world.moon.attributes.installed) == 1
    assert world.sun.attributes.memory.add(POOL).online == 1
    for host in (world.moon, world.sun):
        # Nothing has been given back and acquired anew.
        assert len(host.recorder.of(VirtualIpAssigned)) == 1
        assert host.recorder.of(VirtualIpReleased) == []
    down(world)


def test_both_rekey_the_ike_sa_at_once() -> None:
    for seed in range(1, 7):
        world = World(seed=seed)
        gateway(world, POOL)
        assert up(world, client(world, "0.0.0.0"))
        rekey_ike(world.moon)
        rekey_ike(world.sun)
        world.elapse(100)
        assert vips(world.moon)[0] == vips(world.sun)[1] == ("10.9.0.1",)
        assert list(world.moon.net.virtual.values()) == [1]
        down(world)


@pytest.mark.parametrize("who", ["moon", "sun"])
def test_new_child_has_the_selectors_and_routes_of_the_old_one(who: str) -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    routes = list(world.moon.net.routes)
    getattr(world, who).rekey_child()
    world.elapse(60)
    assert selectors_of(world.moon)[0] == selectors_of(world.sun)[1] == ["10.9.0.1/32"]
    assert list(world.moon.net.routes) == routes
    assert list(world.moon.net.routes.values()) == [1]
    down(world)


def test_second_child_after_rekeying_has_the_address() -> None:
    world = World()
    gateway(
        world,
        POOL,
        children=(
            child("one", local=("10.2.0.0/24",), remote=()),
            child("two", local=("10.2.1.0/24",), remote=()),
        ),
    )
    peer = client(
        world,
        "0.0.0.0",
        children=(
            child("one", local=(), remote=("10.2.0.0/24",)),
            child("two", local=(), remote=("10.2.1.0/24",)),
        ),
    )
    assert up(world, peer)
    rekey_ike(world.sun)
    world.elapse(60)
    outcome: list[bool] = []
    world.moon.initiate(peer, "two", outcome)
    world.run()
    assert outcome == [True]
    (snapshot,) = world.moon.manager.snapshots()
    assert [str(found.local_ts[0]) for found in snapshot.children] == ["10.9.0.1/32"] * 2
    down(world)


def reauthenticate(world: World) -> None:
    (before,) = world.moon.manager.numbers()
    world.moon.with_ike(lambda ike: ike.reauthenticate())
    for _ in range(4):
        world.moon.do_jobs()
        world.run()
    (after,) = world.moon.manager.numbers()
    assert before != after


@pytest.mark.parametrize("is_first_up", [True, False])
def test_reauthentication_keeps_the_address(is_first_up: bool) -> None:
    world = World(parameters=IkeParameters(make_before_break=is_first_up))
    gateway(world, POOL)
    assert up(world, client(world, "10.9.0.44"))
    reauthenticate(world)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert vips(world.moon) == (("10.9.0.44",), ())
    assert list(world.moon.net.virtual.values()) == [1]
    assert list(world.moon.net.routes.values()) == [1]
    assert world.sun.attributes.memory.add(POOL).online == 1
    down(world)


def test_reauthentication_asks_for_what_there_was() -> None:
    world = World(parameters=IkeParameters(make_before_break=True))
    gateway(world, POOL)
    world.sun.attributes.memory.add(POOL).acquire("somebody else")
    assert up(world, client(world, "0.0.0.0"))
    reauthenticate(world)
    assert vips(world.moon) == (("10.9.0.2",), ())
    world.sun.attributes.memory.add(POOL).release("somebody else", "10.9.0.1")
    down(world)


def test_end_by_time_out_gives_everything_back() -> None:
    world = World()
    gateway(world, POOL)
    peer = client(world, "0.0.0.0", dpd_delay=10.0)
    assert up(world, replace(peer))
    world.elapse(300, deliver=False)
    assert world.moon.leaks() == {}
    world.sun.manager.shut_down(lambda: False)
    assert world.sun.leaks() == {}


def test_other_end_may_be_the_initiator_of_the_delete() -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_unauthenticated_peer_gets_no_lease() -> None:
    world = World()
    gateway(world, POOL, remote=auth("somebody.else"))
    outcome: list[bool] = []
    world.moon.initiate(client(world, "0.0.0.0"), outcome=outcome)
    world.run()
    assert outcome == [False]
    assert list(world.sun.attributes.memory.add(POOL).leases()) == []
    world.assert_nothing_left()
