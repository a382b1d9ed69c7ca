"""What happens as time passes: liveness checks, lifetimes, deletes that nobody answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.events import ChildDown, IkeDown
from charon_core.bus.listener import Level
from charon_core.config.ike import IkeConfig
from charon_core.kernel.interface import PolicyDirection
from charon_core.network.packet import Endpoint
from charon_core.sa.environment import TimerKind
from charon_core.sa.jobs import ChildExpired
from charon_core.sa.tasks.liveness import Liveness
from tests.exchange.test_init import masquerade
from tests.exchange.world import Recorder, World, child, connection, establish, share_secret

if TYPE_CHECKING:
    from charon_core.bus.listener import Group
    from charon_core.network.packet import Packet
    from charon_core.sa.ike_sa import IkeSa
    from tests.exchange.world import Host


def test_silent_peer_is_asked_after_the_delay_and_answers() -> None:
    world = World()
    establish(world, dpd_delay=30)
    world.sent.clear()
    world.elapse(29)
    assert world.sent == []
    world.elapse(2)
    assert len(world.sent) >= 2
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    world.elapse(300)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


def test_traffic_is_a_sign_of_life() -> None:
    world = World()
    establish(world, dpd_delay=30)
    world.sent.clear()
    for _ in range(10):
        world.elapse(20)
        for host in (world.moon, world.sun):
            for state in list(host.backend.states.values()):
                if state.inbound:
                    host.backend.inject_traffic(state.id, packets=1, octets=100, now=world.now)
    assert world.sent == []


def forget_last_use(host: Host) -> None:
    """Have the kernel count packets of SAs without noting when, as Linux 6.1 does."""
    query = host.backend.query_sa
    host.backend.query_sa = lambda sa: query(sa)._replace(last_use=None)


def test_traffic_is_a_sign_of_life_where_only_policies_tell_its_time() -> None:
    world = World()
    establish(world, dpd_delay=30)
    hosts = world.moon, world.sun
    for host in hosts:
        forget_last_use(host)
        for state in list(host.backend.states.values()):
            host.backend.inject_traffic(state.id, packets=1, octets=100, now=world.now)
    world.sent.clear()
    for _ in range(10):
        world.elapse(20)
        for host in hosts:
            for policy in list(host.backend.policies.values()):
                if policy.direction is PolicyDirection.FORWARD:
                    host.backend.inject_policy_use(policy, world.now)
    assert world.sent == []
    world.elapse(9)
    ((snapshot,),) = (sa.children for sa in world.moon.sas)
    assert snapshot.idle_in == pytest.approx(9)
    assert snapshot.idle_out is None


def test_counters_are_shown_even_if_policies_tell_nothing() -> None:
    world = World()
    establish(world)
    forget_last_use(world.moon)
    for state in list(world.moon.backend.states.values()):
        world.moon.backend.inject_traffic(state.id, packets=1, octets=100)
    world.moon.backend.policies.clear()
    (snapshot,) = world.moon.sas[0].children
    assert (snapshot.bytes_in, snapshot.idle_in) == (100, None)


def test_dead_peer_is_given_up_and_everything_goes() -> None:
    world = World()
    establish(world, dpd_delay=30)
    world.sun.manager.shut_down(lambda: False)
    world.in_flight.clear()
    world.elapse(240)
    assert world.moon.states == []
    assert world.moon.recorder.of(IkeDown)
    assert world.moon.recorder.of(ChildDown)
    assert any("does not answer" in text for text in world.moon.recorder.alerts)
    world.assert_nothing_left()


def test_no_liveness_checks_where_they_are_off() -> None:
    world = World()
    establish(world)
    world.sent.clear()
    world.elapse(3600)
    assert world.sent == []


def test_ike_sa_that_nobody_rekeys_is_deleted_at_the_end_of_its_life() -> None:
    world = World()
    establish(world, rekey_time=600.0, over_time=60.0)
    assert world.moon.recorder.said("maximum IKE_SA lifetime 660s")
    assert world.moon.sas[0].expires_in == pytest.approx(660)
    for host in (world.moon, world.sun):
        host.with_ike(lambda ike: ike.cancel_timer(TimerKind.REKEY))
    world.elapse(661)
    world.run()
    world.assert_nothing_left()


def test_delete_that_nobody_answers_ends_after_its_time() -> None:
    world = World()
    establish(world)
    world.sun.manager.shut_down(lambda: False)
    world.in_flight.clear()
    world.moon.delete_ike()
    assert world.moon.states == ["DELETING"]
    world.elapse(31, deliver=False)
    world.assert_nothing_left()


def test_child_whose_hard_lifetime_is_over_is_deleted_on_both_sides() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, children=(child(local=("10.2.0.0/16",), remote=("10.1.0.0/16",)),))
    peer = connection(world, world.moon, children=(child(life_time=3600.0),))
    world.moon.initiate(peer)
    world.run()
    (snapshot,) = world.moon.sas[0].children
    states = world.moon.backend.states.values()
    assert {state.hard_seconds for state in states} == {3600.0}
    ChildExpired(world.moon.manager, snapshot.spi_in, "10.99.0.1", hard=True).execute()
    world.run()
    for host in (world.moon, world.sun):
        assert host.states == ["ESTABLISHED"]
        assert not host.backend.states
        assert not host.backend.policies


class AtControlLevel(Recorder):
    """Takes what administrators see without asking for more."""

    def level(self, group: Group) -> Level:
        return Level.CONTROL


def test_removal_of_what_the_kernel_has_dropped_is_no_failure() -> None:
    world = World()
    establish(world)
    (snapshot,) = world.moon.sas[0].children
    by_default = AtControlLevel()
    world.moon.bus.add_logger(by_default)
    world.moon.backend.states.clear()
    ChildExpired(world.moon.manager, snapshot.spi_in, "10.99.0.1", hard=True).execute()
    world.run()
    assert not world.moon.backend.policies
    assert by_default.said("lifetime of CHILD_SA")
    assert not by_default.said("No such process")


def test_expiry_of_an_unknown_spi_is_nobodys_affair() -> None:
    world = World()
    establish(world)
    ChildExpired(world.moon.manager, 0x1234, "10.99.0.1", hard=True).execute()
    assert len(world.moon.backend.states) == 2


def test_retransmissions_follow_the_reference_timing() -> None:
    world = World()
    establish(world)
    world.sun.manager.shut_down(lambda: False)
    world.in_flight.clear()
    world.sent.clear()
    world.moon.delete_child()
    times = [world.now] * len(world.sent)
    begun = world.now
    while world.moon.states and world.now - begun < 400:
        before = len(world.sent)
        world.elapse(0.1, deliver=False)
        times += [world.now] * (len(world.sent) - before)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([4.0 * 1.8**n for n in range(5)], abs=0.11)
    assert world.now - begun == pytest.approx(165, abs=1.5)
    world.assert_nothing_left()


# -- where answers go, and how long a delete may take --


def ask(ike: IkeSa) -> None:
    ike.tasks.queue(Liveness(ike))
    ike.tasks.initiate()


def test_an_answer_goes_to_where_its_request_came_from() -> None:
    """RFC 7296 2.11, whether or not the IKE_SA follows the peer there."""
    world = World()
    establish(world)
    world.moon.with_ike(ask)
    request = world.in_flight.pop()
    world.sent.clear()
    elsewhere = Endpoint(request.source.host, 40000)
    world.sun.receive(replace(request, source=elsewhere))
    assert [packet.destination for packet in world.sent] == [elsewhere]
    again = Endpoint(request.source.host, 40001)
    world.sun.receive(replace(request, source=again))
    assert world.sent[-1].destination == again, "and so does its repetition"


def test_the_answer_of_an_ike_sa_that_is_gone_goes_there_as_well() -> None:
    world = World()
    establish(world)
    world.moon.delete_ike()
    request = world.in_flight.pop()
    world.sun.receive(request)
    world.sent.clear()
    elsewhere = Endpoint(request.source.host, 40000)
    world.sun.receive(replace(request, source=elsewhere))
    assert [packet.destination for packet in world.sent] == [elsewhere]


def test_a_mapping_that_changes_before_the_answer_comes_is_survived() -> None:
    world = World()
    masquerade(world)
    share_secret(world.moon)
    share_secret(world.sun)
    suns = connection(world, world.sun)
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=suns.ike.proposals)
    world.sun.connections.add(replace(suns, ike=anywhere))
    world.moon.initiate(connection(world, world.moon))
    world.run()
    old = world.nat
    assert old is not None
    world.moon.with_ike(ask)
    world.step()
    world.drop()  # The request has arrived; the answer is lost, and the NAT starts anew.
    outside = "198.51.100.9"

    def new(packet: Packet) -> Packet:
        if packet.destination == Endpoint(outside, 55555):
            return replace(packet, destination=Endpoint(world.moon.address, 4500))
        if packet.destination.host == outside:
            return replace(packet, destination=Endpoint("203.0.113.99", 1))
        packet = old(packet)
        if packet.source.host == outside:
            return replace(packet, source=Endpoint(outside, 55555))
        return packet

    world.nat = new
    world.elapse(400)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


def test_a_delete_behind_an_unanswered_request_is_bounded() -> None:
    world = World()
    establish(world)
    world.moon.with_ike(ask)
    world.in_flight.clear()
    done: list[bool] = []
    world.moon.with_ike(lambda ike: ike.delete(done.append))
    world.elapse(31, deliver=False)
    assert done == [True]
    assert world.moon.states == []
