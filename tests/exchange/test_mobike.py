"""MOBIKE (RFC 4555): addresses come and go, NATs change, and the tunnel stays."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import ChildDown, IkeDown, IkeMoved
from charon_core.config.child import Action
from charon_core.config.ike import IkeConfig
from charon_core.encoding.mobike import NoNatsAllowed
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.kernel.interface import KernelError
from charon_core.network.packet import Endpoint
from charon_core.sa.jobs import MappingChanged
from charon_core.sa.parameters import IkeParameters, RoutabilityCheck
from charon_core.sa.tasks.mobike_update import PathCheck
from charon_core.sa.tasks.task import Outcome, Task
from tests.exchange.orders import orders
from tests.exchange.world import World, child, connection, share_secret

if TYPE_CHECKING:
    from charon_core.network.packet import Packet
    from charon_core.sa.ike_sa import IkeSa
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


def test_both_sides_agree_and_tell_their_addresses() -> None:
    world = mobile(suns=(SUN_TOO,))
    for host, others in ((world.moon, (SUN_TOO,)), (world.sun, (NEW,))):
        assert host.recorder.said("peer supports MOBIKE")
        host.with_ike(lambda ike, others=others: check_addresses(ike, others))
    finish(world)


def check_addresses(ike: IkeSa, others: tuple[str, ...]) -> None:
    assert ike.mobility is not None
    assert ike.mobility.peer_addresses == others


@pytest.mark.parametrize(("moons", "suns"), [(True, False), (False, True), (False, False)])
def test_no_mobike_unless_both_allow_it(moons: bool, suns: bool) -> None:
    world = mobile(mobike=moons, suns_mobike=suns)
    for host in (world.moon, world.sun):
        assert not host.recorder.said("peer supports MOBIKE")
        host.with_ike(lambda ike: check_immobile(ike))  # noqa: PLW0108
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert world.sent == []
    assert world.moon.states == ["ESTABLISHED"]


def check_immobile(ike: IkeSa) -> None:
    assert ike.mobility is None


@CHECKS
def test_a_lost_address_is_replaced(check: RoutabilityCheck) -> None:
    world = mobile(parameters=IkeParameters(routability_check=check))
    before = {state.id.spi for state in world.moon.backend.states.values()}
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert_between(world, NEW)
    assert {state.id.spi for state in world.moon.backend.states.values()} == before
    for host in (world.moon, world.sun):
        assert [event.remote for event in host.recorder.of(IkeMoved)]
        assert host.recorder.of(ChildDown) == host.recorder.of(IkeDown) == []
    assert world.moon.recorder.said("old path is not available anymore, try to find another")
    assert world.moon.recorder.said("requesting address change using MOBIKE")
    asked = world.sun.recorder.said("checking that the peer can be reached at")
    assert asked == (check is not RoutabilityCheck.NEVER)
    finish(world)


def test_traffic_waits_for_the_peer_to_prove_where_it_is() -> None:
    world = mobile()
    world.moon.change_addresses(remove=(OLD,))
    world.step()
    sent_to = {s.id.destination for s in world.sun.backend.states.values() if not s.inbound}
    assert sent_to == {OLD}
    (ike,) = world.sun.sas
    assert ike.remote.host == NEW
    world.run()
    assert_between(world, NEW)


def test_who_says_to_be_elsewhere_and_is_not_gets_no_traffic() -> None:
    world = mobile()
    world.moon.change_addresses(remove=(OLD,))
    world.step()
    world.moon.change_addresses(remove=(NEW,))
    world.elapse(600, deliver=True)
    assert world.sun.states == []
    assert world.sun.recorder.of(IkeDown)


def test_a_cookie_that_comes_back_changed_ends_the_ike_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    world = mobile()
    monkeypatch.setattr(
        "charon_core.sa.tasks.mobike_serve.parse_cookie2", lambda _: b"something else"
    )
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert any("COOKIE2 is another one" in alert for alert in world.moon.recorder.alerts)
    assert world.moon.leaks() == {}


def test_addresses_come_and_go_many_times() -> None:
    world = mobile()
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    for there, gone in ((OLD, NEW), (OTHER, OLD), (NEW, OTHER)):
        world.moon.change_addresses(add=(there,), remove=(gone,))
        world.run()
        assert_between(world, there)
    finish(world)


def test_the_old_path_is_kept_while_it_is_there() -> None:
    world = mobile(moons=())
    world.moon.change_addresses(add=(NEW,))
    world.run()
    assert_between(world, OLD)
    world.sun.with_ike(lambda ike: check_addresses(ike, (NEW,)))
    world.moon.change_addresses(remove=(NEW,))
    world.run()
    world.sun.with_ike(lambda ike: check_addresses(ike, ()))
    finish(world)


def test_no_path_at_all_waits_for_one() -> None:
    world = mobile(moons=())
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert world.moon.recorder.said("MOBIKE update deferred")
    world.elapse(3600)
    world.moon.change_addresses(add=(OTHER,))
    world.run()
    assert_between(world, OTHER)
    world.moon.change_addresses(remove=(OTHER,))
    world.moon.change_addresses(add=(OTHER,))
    world.run()
    assert_between(world, OTHER)
    finish(world)


def test_the_responders_other_address_is_found_when_one_falls_silent() -> None:
    world = mobile(moons=(), suns=(SUN_TOO,), dpd_delay=10)
    del world.hosts[SUN]
    world.elapse(60)
    assert world.moon.recorder.said("no answer by path")
    assert_between(world, OLD, SUN_TOO)
    finish(world)


def test_the_responder_says_that_an_address_is_gone() -> None:
    world = mobile(moons=(), suns=(SUN_TOO,))
    world.sun.change_addresses(remove=(SUN,))
    world.run()
    assert_between(world, OLD, SUN_TOO)
    finish(world)


def test_the_responder_tells_what_comes_and_goes() -> None:
    world = mobile(moons=())
    world.sun.change_addresses(add=(SUN_TOO,))
    world.run()
    world.moon.with_ike(lambda ike: check_addresses(ike, (SUN_TOO,)))
    world.sun.change_addresses(remove=(SUN_TOO,))
    world.run()
    world.moon.with_ike(lambda ike: check_addresses(ike, ()))
    assert_between(world, OLD)


def test_a_request_under_way_goes_by_the_new_path() -> None:
    world = mobile()
    world.moon.rekey_child()
    world.drop()
    world.moon.change_addresses(remove=(OLD,))
    assert {packet.source.host for packet in world.in_flight} == {NEW}
    world.run()
    world.elapse(10)
    assert_between(world, NEW)
    assert len(world.moon.children) == 1
    finish(world)


def test_an_answer_that_is_lost_on_the_old_path_comes_by_the_new_one() -> None:
    world = mobile()
    world.moon.rekey_child()
    world.step()
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    world.elapse(10)
    assert_between(world, NEW)
    finish(world)


def test_peers_may_move_where_the_settings_allow_it() -> None:
    world = mobile(moons=(NEW, OTHER), parameters=IkeParameters(mobike_networks=(f"{OTHER}/32",)))
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert any("UNACCEPTABLE_ADDRESSES" in alert for alert in world.moon.recorder.alerts)
    assert_between(world, OTHER)
    finish(world)


def test_nowhere_else_is_allowed() -> None:
    world = mobile(parameters=IkeParameters(mobike_networks=("192.0.2.0/24",)))
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert world.moon.recorder.said("staying until addresses or routes change")
    assert world.sun.sas[0].remote.host == OLD
    world.moon.change_addresses(add=(OLD,))
    world.run()
    world.moon.change_addresses(remove=(NEW,))
    world.run()
    assert_between(world, OLD)


# -- NATs --


class Nat:
    """Hides moon; its mappings and its address may change."""

    def __init__(self, world: World, outside: str = "198.51.100.9") -> None:
        self.outside = outside
        self.base = 40000
        self.is_there = True
        self._world = world
        self._inside: dict[Endpoint, Endpoint] = {}
        world.nat = self

    def change(self, outside: str, base: int) -> None:
        """Forget all mappings, and make others from now on."""
        self.outside, self.base = outside, base
        self._inside.clear()

    def __call__(self, packet: Packet) -> Packet:
        source, destination = packet.source, packet.destination
        if self.is_there and source.host in self._world.moon.net.addresses:
            inside, source = source, Endpoint(self.outside, self.base + source.port)
            self._inside[source] = inside
        destination = self._inside.get(destination, destination)
        return replace(packet, source=source, destination=destination)


def behind_nat(**settings: object) -> tuple[World, Nat]:
    world = mobile(**settings)
    nat = Nat(world)
    # It was not there when the tunnel came up.
    world.moon.net.inject_roam(address_change=False)
    world.run()
    return world, nat


def assert_mapped(world: World, nat: Nat) -> None:
    port = nat.base + 4500
    (ike,) = world.sun.sas
    assert ike.remote == Endpoint(nat.outside, port)
    for state in world.sun.backend.states.values():
        inward, outward = (nat.outside, SUN), (SUN, nat.outside)
        assert (state.id.source, state.id.destination) == (inward if state.inbound else outward)
        assert state.encapsulation == ((port, 4500) if state.inbound else (4500, port))
    assert all(state.encapsulation == (4500, 4500) for state in world.moon.backend.states.values())
    world.assert_traffic_flows()


def test_a_nat_that_appears_makes_esp_go_in_udp_and_back() -> None:
    world, nat = behind_nat()
    assert_mapped(world, nat)
    world.elapse(100)
    assert world.moon.keepalives
    nat.is_there = False
    world.moon.with_ike(lambda ike: (ike.tasks.queue(PathCheck(ike)), ike.tasks.initiate()))
    world.run()
    assert_between(world, OLD)
    world.elapse(60)
    world.moon.keepalives.clear()
    world.elapse(100)
    assert world.moon.keepalives == []
    finish(world)


def test_another_mapping_is_noticed_by_liveness_checks() -> None:
    world, nat = behind_nat(dpd_delay=30)
    world.elapse(100)
    nat.change(nat.outside, 50000)
    world.elapse(100)
    assert world.moon.recorder.said("NAT mappings have changed")
    assert_mapped(world, nat)
    nat.change("198.51.100.10", 50000)
    world.elapse(100)
    assert_mapped(world, nat)
    finish(world)


def test_moving_behind_a_nat_and_out_of_it() -> None:
    world = mobile()
    nat = Nat(world)
    world.moon.change_addresses(remove=(OLD,))
    world.run()
    assert_mapped(world, nat)
    nat.is_there = False
    world.moon.change_addresses(add=(OTHER,), remove=(NEW,))
    world.run()
    assert_between(world, OTHER)
    finish(world)


@pytest.mark.parametrize("host_changes", [True, False])
def test_esp_from_another_mapping_is_followed(host_changes: bool) -> None:
    world, nat = behind_nat()
    nat.change("198.51.100.10" if host_changes else nat.outside, 50000)
    world.sun.recorder.lines.clear()
    nat(replace(world.sent[-1], source=Endpoint(OLD, 4500)))
    (inbound,) = (s for s in world.sun.backend.states.values() if s.inbound)
    MappingChanged(
        world.sun.manager, inbound.id.spi, Endpoint(nat.outside, nat.base + 4500)
    ).execute()
    world.run()
    assert_mapped(world, nat)
    assert world.sun.recorder.said("checking that the peer can be reached at") == host_changes


def test_ike_messages_alone_do_not_move_a_mobile_peer() -> None:
    """RFC 4555 3.8: dynamic updates are not for IKE messages."""
    world, nat = behind_nat()
    nat.base = 50000
    world.moon.rekey_child()
    world.run()
    assert world.sun.sas[0].remote == Endpoint(nat.outside, 44500)


@pytest.mark.parametrize("later", [False, True])
def test_nats_can_be_forbidden(later: bool) -> None:
    parameters = IkeParameters(mobike_no_nats=True)
    if later:
        world = mobile(parameters=parameters)
        Nat(world)
        world.moon.change_addresses(remove=(OLD,))
        world.run()
        assert any("UNEXPECTED_NAT_DETECTED" in alert for alert in world.moon.recorder.alerts)
        assert world.sun.sas[0].remote.host == OLD
        return
    world = World(parameters=parameters)
    Nat(world)
    share_secret(world.moon)
    share_secret(world.sun)
    peer = connection(world, world.sun)
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=peer.ike.proposals)
    world.sun.connections.add(replace(peer, ike=anywhere))
    world.moon.initiate(connection(world, world.moon))
    world.run()
    assert world.sun.states == []
    assert world.sun.recorder.said("does not allow that")
    assert world.moon.recorder.said("UNEXPECTED_NAT_DETECTED")


# -- crossings: each in every order of arrival, with and without a loss --


def lose_address(world: World) -> None:
    world.moon.change_addresses(remove=(OLD,))


def cross(action: str, who: str, check: RoutabilityCheck) -> World:
    """Return a world in which moon moves while something else is under way."""
    world = mobile(parameters=IkeParameters(routability_check=check))
    host: Host = getattr(world, who)
    if action == "rekey-ike":
        host.with_ike(lambda ike: ike.rekey())
    elif action == "rekey-child":
        host.rekey_child()
    elif action == "delete-ike":
        host.delete_ike()
    elif action == "delete-child":
        host.delete_child()
    # What was sent before is still on its way: only the address to come back to is gone.
    lose_address(world)
    return world


CROSSINGS = [
    pytest.param(action, who, losses, check, id=f"{action}-{who}-{losses}-{check.value}")
    for action in ("none", "rekey-ike", "rekey-child", "delete-ike", "delete-child")
    for who in ("moon", "sun")
    for losses in (0, 1)
    for check in (RoutabilityCheck.BEFORE, RoutabilityCheck.NEVER)
]

MOST = 80
"""Orders of one scene that are played: some scenes have thousands."""


@pytest.mark.parametrize(("action", "who", "losses", "check"), CROSSINGS)
def test_moving_crosses_other_exchanges(
    action: str, who: str, losses: int, check: RoutabilityCheck
) -> None:
    for world in islice(orders(partial(cross, action, who, check), losses=losses), MOST):
        world.elapse(200)
        if action == "delete-child":
            for host in (world.moon, world.sun):
                assert host.children == []
                assert host.sas[0].state == "ESTABLISHED"
        elif action != "delete-ike":
            assert_between(world, NEW)
            assert len(world.moon.children) == len(world.sun.children) == 1
        if world.moon.states:
            world.moon.delete_ike()
            world.run()
        world.assert_nothing_left()


@pytest.mark.parametrize("losses", [0, 1])
def test_moving_again_before_the_first_move_is_answered(losses: int) -> None:
    def scene() -> World:
        world = mobile(moons=(NEW, OTHER))
        lose_address(world)
        world.moon.change_addresses(remove=(NEW,))
        return world

    for world in islice(orders(scene, losses=losses), MOST):
        world.elapse(200)
        assert_between(world, OTHER)
        finish(world)


def test_the_first_initiator_decides_after_the_responder_has_rekeyed() -> None:
    world = mobile()
    world.sun.with_ike(lambda ike: ike.rekey())
    world.run()
    assert world.sun.sas[0].is_initiator
    lose_address(world)
    world.run()
    assert_between(world, NEW)
    world.moon.with_ike(lambda ike: check_addresses(ike, ()))
    finish(world)


# -- what peers must not do --


class Request(Task):
    """Sends what a test wants to."""

    def __init__(self, ike: IkeSa, *payloads: Notify) -> None:
        super().__init__(ike)
        self.payloads = payloads
        self.answer: list[Notify] = []

    def build_request(self, out: list[object]) -> Outcome:
        out += self.payloads
        return Outcome.MORE

    def process_response(self, message: object) -> Outcome:
        self.answer = message.all(Notify)
        return Outcome.DONE


def ask(world: World, host: Host, monkeypatch: pytest.MonkeyPatch, *payloads: Notify) -> list[int]:
    """Have a host send a request with these payloads; return what notifies come back."""
    order = ((Request, ExchangeType.INFORMATIONAL),)
    monkeypatch.setattr("charon_core.sa.task_manager.ESTABLISHED_ORDER", order)
    sent: list[Request] = []

    def begin(ike: IkeSa) -> None:
        sent.append(Request(ike, *payloads))
        ike.tasks.queue(sent[0])
        ike.tasks.initiate()

    host.with_ike(begin)
    world.run()
    monkeypatch.undo()
    return [notify.notify_type for notify in sent[0].answer]


def test_the_responder_may_not_move_us(monkeypatch: pytest.MonkeyPatch) -> None:
    world = mobile(suns=(SUN_TOO,))
    update = Notify.of(NotifyType.UPDATE_SA_ADDRESSES)
    assert ask(world, world.sun, monkeypatch, update) == []
    assert world.moon.recorder.said("as initiator we decide on the addresses")
    assert_between(world, OLD)


@pytest.mark.parametrize("length", [8, 64])
def test_cookies_come_back_from_everybody(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = mobile(mobike=False)
    cookie = Notify.of(NotifyType.COOKIE2, bytes(length))
    for host in (world.moon, world.sun):
        assert ask(world, host, monkeypatch, cookie) == [NotifyType.COOKIE2]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (NotifyType.COOKIE2, bytes(7)),
        (NotifyType.COOKIE2, bytes(65)),
        (NotifyType.ADDITIONAL_IP4_ADDRESS, bytes(5)),
        (NotifyType.ADDITIONAL_IP6_ADDRESS, bytes(4)),
    ],
)
def test_malformed_notifies_end_the_ike_sa(
    kind: NotifyType, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = mobile()
    assert ask(world, world.moon, monkeypatch, Notify.of(kind, data)) == [NotifyType.INVALID_SYNTAX]
    assert world.sun.states == []


def test_lists_are_bounded_and_senseless_addresses_never_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = mobile()
    listed = [
        Notify.of(NotifyType.ADDITIONAL_IP4_ADDRESS, bytes((224, 0, 0, n))) for n in range(50)
    ]
    ask(world, world.sun, monkeypatch, *listed)
    world.moon.with_ike(check_bounded)
    lose_address(world)
    world.run()
    assert_between(world, NEW)


def check_bounded(ike: IkeSa) -> None:
    assert ike.mobility is not None
    assert len(ike.mobility.peer_addresses) == 32


def test_without_mobike_an_ike_sa_whose_address_is_gone_is_set_up_anew() -> None:
    world = mobile(mobike=False, child_settings={"dpd_action": Action.START})
    old = world.moon.sas[0].initiator_spi
    world.moon.change_addresses(remove=(OLD,))
    assert world.moon.recorder.said("cannot move without MOBIKE")
    assert world.moon.sas[0].initiator_spi != old


def test_no_nats_allowed_is_read_as_it_is_written() -> None:
    for value in (
        NoNatsAllowed("192.0.2.1", 500, "192.0.2.2", 4500),
        NoNatsAllowed("2001:db8::1", 1, "2001:db8::2", 65535),
    ):
        assert NoNatsAllowed.parse(value.encode()) == value


# -- what has to follow, and what fails on the way --


def test_virtual_addresses_and_routes_follow_to_another_interface() -> None:
    world = World()
    world.moon.change_addresses(add=(NEW,))
    world.moon.net.addresses[NEW] = "eth1"
    share_secret(world.moon)
    share_secret(world.sun)
    world.sun.attributes.memory.add("10.9.0.0/24")
    suns = connection(
        world,
        world.sun,
        pools=("10.9.0.0/24",),
        children=(child(local=("10.2.0.0/16",), remote=()),),
    )
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=suns.ike.proposals)
    world.sun.connections.add(replace(suns, ike=anywhere))
    world.moon.initiate(
        connection(
            world, world.moon, virtual_ips=("0.0.0.0",),
            children=(child(local=(), remote=("10.2.0.0/16",)),),
        )
    )  # fmt: skip
    world.run()
    assert list(world.moon.net.virtual) == [("10.9.0.1", "eth0")]
    lose_address(world)
    world.run()
    assert world.moon.net.virtual == {("10.9.0.1", "eth1"): 1}
    (route,) = world.moon.net.routes
    assert (route.interface, route.source) == ("eth1", "10.9.0.1")
    assert_between(world, NEW)
    # The same address by another way: routes follow, and nothing else changes.
    world.moon.net.addresses[NEW] = "eth2"
    world.moon.net.inject_roam(address_change=False)
    world.run()
    (route,) = world.moon.net.routes
    assert route.interface == "eth2"
    finish(world)


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("side", ["moon", "sun"])
@pytest.mark.parametrize("operation", ["update_sa", "add_policy"])
def test_a_kernel_that_cannot_move_sas_gets_new_ones(
    operation: str, side: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = mobile()
    host: Host = getattr(world, side)
    original = getattr(host.backend, operation)
    calls = count()

    def call(*arguments: object) -> object:
        if next(calls) == first:
            raise KernelError("try", "refused")
        return original(*arguments)

    monkeypatch.setattr(host.backend, operation, call)
    lose_address(world)
    world.run()
    monkeypatch.undo()
    world.elapse(30)
    assert_between(world, NEW)
    assert len(world.moon.children) == len(world.sun.children) == 1
    finish(world)
