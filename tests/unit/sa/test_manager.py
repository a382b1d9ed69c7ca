"""Checkout and checkin: one thread at a time, bounded waiting, half-open counts, no leaks."""

from __future__ import annotations

import threading
import time

import pytest

from charon_core.encoding.header import Header
from charon_core.network.packet import Endpoint, Packet
from charon_core.sa import manager as manager_module
from charon_core.sa.manager import IkeSaManager
from charon_core.sa.state import IkeState
from tests.exchange.world import World, establish, tunnel

LOCAL, REMOTE = Endpoint("10.99.0.1", 500), Endpoint("10.99.0.2", 500)


def initiated(world: World):
    manager = world.moon.manager
    ike = manager.create_initiator(LOCAL, REMOTE)
    assert ike is not None
    return manager, ike


def test_checkout_waits_for_checkin() -> None:
    manager, ike = initiated(World())
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(manager.checkout(ike.own_spi)))
    waiting.start()
    time.sleep(0.05)
    assert got == []
    manager.checkin(ike)
    waiting.join(5)
    assert got == [ike]


def test_waiting_ends_without_result_when_the_ike_sa_is_destroyed() -> None:
    manager, ike = initiated(World())
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(manager.checkout(ike.own_spi)))
    waiting.start()
    time.sleep(0.05)
    ike.set_state(IkeState.DESTROYING)
    manager.checkin(ike)
    waiting.join(5)
    assert got == [None]
    assert len(manager) == 0


def test_waiting_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "CHECKOUT_TIMEOUT", 0.01)
    manager, ike = initiated(World())
    assert manager.checkout(ike.own_spi) is None
    manager.checkin(ike)
    assert manager.checkout(ike.own_spi) is ike


def test_waiters_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "MAX_WAITERS", 2)
    manager, ike = initiated(World())
    threads = [threading.Thread(target=manager.checkout, args=(ike.own_spi,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    begun = time.monotonic()
    assert manager.checkout(ike.own_spi) is None
    assert time.monotonic() - begun < manager_module.CHECKOUT_TIMEOUT / 2
    ike.set_state(IkeState.DESTROYING)
    manager.checkin(ike)
    for thread in threads:
        thread.join(5)


def test_only_one_thread_has_an_ike_sa_at_a_time() -> None:
    manager, ike = initiated(World())
    spi = ike.own_spi
    manager.checkin(ike)
    inside = 0
    most = 0
    turns = 0

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(200):
            mine = manager.checkout(spi)
            if mine is None:
                continue
            inside += 1
            most = max(most, inside)
            turns += 1
            inside -= 1
            manager.checkin(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 1
    assert turns == 800


def test_unknown_spi_is_nobody() -> None:
    manager, ike = initiated(World())
    assert manager.checkout(bytes(8)) is None
    assert manager.checkout_by_number(ike.unique_id + 1) is None
    assert manager.checkout_by_child_spi(0x12345678) is None


def test_duplicate_of_the_message_at_work_is_dropped() -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    packet = world.drop()
    header = Header.parse(packet.data)
    manager = world.sun.manager
    ike = manager.checkout_by_message(packet, header)
    assert ike is not None
    assert manager.checkout_by_message(packet, header) is None
    manager.checkin(ike)
    again = manager.checkout_by_message(packet, header)
    assert again is ike
    manager.checkin(ike)


@pytest.mark.parametrize(
    ("change", "value"),
    [("message_id", 1), ("initiator_spi", bytes(8)), ("is_initiator", False)],
)
def test_ike_sa_init_that_cannot_be_one_makes_nothing(change: str, value: object) -> None:

    world = World()
    world.moon.initiate(tunnel(world))
    packet = world.drop()
    header = Header.parse(packet.data)._replace(**{change: value})
    assert world.sun.manager.checkout_by_message(packet, header) is None
    assert world.sun.manager.count() == 0


def test_half_open_counts_follow_the_peer() -> None:
    world = World()
    establish(world)
    assert world.sun.manager.count() == 0
    for number in range(3):
        world.moon.initiate(tunnel(world, name=f"more{number}"))
        world.deliver(world.in_flight.pop())
    assert world.sun.manager.count() == world.sun.manager.count("10.99.0.1") == 3
    assert world.sun.manager.count("10.99.0.9") == 0


def test_spis_carry_the_prefix() -> None:
    world = World()
    manager = IkeSaManager(world.moon.env, spi_bits=12, spi_value=0xABC)
    spis = {manager.new_spi() for _ in range(50)}
    assert len(spis) == 50
    assert {spi[:2].hex()[:3] for spi in spis} == {"abc"}


def test_limit_of_all_ike_sas() -> None:
    world = World()
    manager = IkeSaManager(world.moon.env, limit=2)
    assert manager.create_initiator(LOCAL, REMOTE) is not None
    assert manager.create_initiator(LOCAL, REMOTE) is not None
    assert manager.create_initiator(LOCAL, REMOTE) is None


def test_an_error_in_the_work_ends_the_ike_sa_and_leaves_nothing() -> None:
    world = World()
    establish(world)
    manager = world.moon.manager
    (number,) = manager.numbers()
    with pytest.raises(ZeroDivisionError), manager.working_on(manager.checkout_by_number(number)):
        1 / 0  # noqa: B018
    assert world.moon.leaks() == {}
    assert world.moon.bus.current_sa is None


def test_child_spis_lead_to_the_ike_sa_until_the_child_is_gone() -> None:
    world = World()
    establish(world)
    child = world.moon.sas[0].children[0]
    for spi, destination in ((child.spi_in, "10.99.0.1"), (child.spi_out, "10.99.0.2")):
        ike = world.moon.manager.checkout_by_child_spi(spi, destination)
        assert ike is not None
        world.moon.manager.checkin(ike)
    world.moon.delete_child()
    world.run()
    assert world.moon.manager.checkout_by_child_spi(child.spi_in) is None


def test_shut_down_tells_peers_and_leaves_nothing() -> None:
    world = World()
    establish(world)
    world.moon.manager.shut_down(lambda: True)
    assert world.moon.leaks() == {}
    assert world.moon.manager.create_initiator(LOCAL, REMOTE) is None
    world.run()
    assert world.sun.leaks() == {}


def test_shut_down_without_time_is_silent() -> None:
    world = World()
    establish(world)
    world.sent.clear()
    world.moon.manager.shut_down(lambda: False)
    assert world.sent == []
    assert world.moon.leaks() == {}


def test_shut_down_does_not_wait_for_what_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "SHUTDOWN_PATIENCE", 0.01)
    world = World()
    establish(world)
    manager = world.moon.manager
    stuck = [manager.create_initiator(LOCAL, REMOTE) for _ in range(3)]
    assert all(stuck)
    begun = time.monotonic()
    manager.shut_down(lambda: True)
    assert time.monotonic() - begun < manager_module.CHECKOUT_TIMEOUT
    assert world.moon.backend.is_empty
    assert len(manager) == 3


def test_a_look_at_all_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "SNAPSHOT_PATIENCE", 0.01)
    world = World()
    establish(world)
    assert world.moon.manager.create_initiator(LOCAL, REMOTE) is not None
    assert [ike.unique_id for ike in world.moon.sas] == [1]
    assert [ike.unique_id for ike in world.moon.manager.snapshots(wait=False)] == [1]


def test_retransmitted_init_request_reaches_the_same_ike_sa() -> None:
    world = World()
    world.moon.initiate(tunnel(world))
    packet: Packet = world.drop()
    world.deliver(packet)
    world.deliver(packet)
    assert world.sun.manager.count() == 1
    first, second = world.in_flight
    assert first.data == second.data


def test_datagrams_for_unknown_spis_are_told_apart_without_a_job() -> None:
    world = World()
    world.moon.initiate(tunnel(world))
    request = world.in_flight[0]
    assert world.sun.manager.admit(request, Header.parse(request.data))
    world.step()
    answer = world.in_flight[0]
    assert world.moon.manager.admit(answer, Header.parse(answer.data))
    assert not world.sun.manager.admit(answer, Header.parse(answer.data))


def half_open(world: World) -> tuple[IkeSaManager, Header]:
    """Have sun answer an IKE_SA_INIT; returns the header of a message to its IKE_SA."""
    world.moon.initiate(tunnel(world))
    world.step()
    world.step()
    request = world.in_flight[0]
    return world.sun.manager, Header.parse(request.data)


def test_requests_for_new_ike_sas_count_while_they_wait() -> None:
    world = World()
    world.moon.initiate(tunnel(world))
    packet = world.drop()
    header = Header.parse(packet.data)
    manager = world.sun.manager
    for _ in range(4):
        assert manager.admit(packet, header)
    assert manager.strangers.count("10.99.0.1") == 4
    manager.dismiss(packet, header)
    assert manager.strangers.count("10.99.0.1") == 3
    for _ in range(3):
        world.sun.work_off(packet)
    # One IKE_SA, and two repetitions.
    assert manager.strangers.count("10.99.0.1") == manager.count() == 1


def test_responses_and_odd_requests_do_not_count() -> None:

    world = World()
    world.moon.initiate(tunnel(world))
    packet = world.drop()
    header = Header.parse(packet.data)
    manager = world.sun.manager
    assert not manager.admit(packet, header._replace(is_response=True))
    assert not manager.admit(packet, header._replace(exchange=37))
    assert manager.strangers.count() == 0


def test_a_try_that_fails_counts_for_a_while() -> None:
    world = World()
    peer = tunnel(world, ike="aes128-sha256-modp2048!")
    world.sun.connections.remove("net")
    world.moon.initiate(peer)
    world.step()
    assert world.sun.manager.count() == 0
    assert world.sun.manager.strangers.count("10.99.0.1") == 1
    world.elapse(10)
    assert world.sun.manager.strangers.count("10.99.0.1") == 0


def test_an_established_ike_sa_leaves_no_count() -> None:
    world = World()
    establish(world)
    assert world.sun.manager.strangers.count() == 0


@pytest.mark.parametrize("exchange", [34, 36, 37, 43, 240])
def test_a_half_open_ike_sa_is_only_sent_what_it_can_want(exchange: int) -> None:

    world = World()
    manager, header = half_open(world)
    packet = world.in_flight[0]
    assert manager.admit(packet, header)
    assert not manager.admit(packet, header._replace(exchange=exchange))


def test_datagrams_of_one_ike_sa_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "MAX_WAITING", 3)
    world = World()
    manager, header = half_open(world)
    packet = world.in_flight[0]
    assert [manager.admit(packet, header) for _ in range(5)] == [True, True, True, False, False]
    manager.dismiss(packet, header)
    assert manager.admit(packet, header)
    world.sun.work_off(packet)
    assert manager.admit(packet, header)


def test_what_came_for_an_old_spi_does_not_count_for_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manager_module, "MAX_WAITING", 2)
    world = World()
    peer = tunnel(world, keyingtries=0)
    world.moon.initiate(peer)
    manager = world.moon.manager
    answer = Packet(REMOTE, LOCAL, b"")
    for _ in range(3):
        header = Header.parse(world.in_flight.pop().data)
        response = Header(header.initiator_spi, b"12345678", 0, (2, 0), 34, False, True, 0, 28)
        assert manager.admit(answer, response)
        assert manager.admit(answer, response)
        assert not manager.admit(answer, response)
        world.in_flight.clear()
        world.elapse(200, deliver=False)
        world.moon.with_ike(lambda ike: ike.tasks.retransmit(0))


def test_a_peer_cannot_take_the_place_of_anothers_spi() -> None:
    """An outbound SPI is the peer's choice: it may well be one of ours (class 4)."""
    world = World()
    establish(world)
    manager = world.moon.manager
    child = world.moon.sas[0].children[0]
    stranger = manager.create_initiator(LOCAL, Endpoint("10.99.0.3", 500))
    assert stranger is not None
    ike = manager.checkout_by_number(1)
    assert ike is not None
    own = ike.children[0]
    fake = type(own)(ike.env, own.config, stranger.ref, LOCAL, stranger.remote, encapsulated=False)
    fake.local_spi, fake.remote_spi = 0xC0FFEE01, child.spi_in
    manager.checkin(ike)
    stranger.add_child(fake)
    manager.checkin(stranger)
    for destination in ("", "10.99.0.1"):
        found = manager.checkout_by_child_spi(child.spi_in, destination)
        assert found is ike
        manager.checkin(found)
    found = manager.checkout_by_child_spi(child.spi_in, "10.99.0.3")
    assert found is stranger
    stranger.children.clear()
    stranger.set_state(IkeState.DESTROYING)
    manager.checkin(stranger)
    assert manager.checkout_by_child_spi(child.spi_in) is ike
    manager.checkin(ike)
