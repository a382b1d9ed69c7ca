"""Commands to the daemon: results, log streams, time-outs; with real workers."""

from __future__ import annotations

import threading
import time

import pytest

from charon_core.bus import Level, LogRecord
from charon_core.control.controller import Controller, Result
from charon_core.network.packet import Endpoint
from charon_core.processing.processor import Processor
from charon_core.processing.scheduler import Scheduler
from tests.exchange.world import World, child, tunnel


class Paths:
    """Finds the other host of the virtual network."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.works = True

    def find(self, config: object) -> tuple[Endpoint, Endpoint] | None:
        if not self.works:
            return None
        return Endpoint(self.world.moon.address, 500), Endpoint(self.world.sun.address, 500)


class Bench:
    """A controller at moon, and a thread that delivers what is in flight."""

    def __init__(self) -> None:
        self.world = World()
        self.paths = Paths(self.world)
        self.processor = Processor(4)
        self.processor.start()
        moon = self.world.moon
        self.scheduler = Scheduler(self.processor)
        self.scheduler.start()
        self.controller = Controller(
            moon.manager, moon.bus, self.paths, self.processor.queue, self.scheduler.schedule
        )
        self.delivers = True
        self._stop = threading.Event()
        self._courier = threading.Thread(target=self._deliver)
        self._courier.start()

    def _deliver(self) -> None:
        while not self._stop.wait(0.001):
            while self.delivers and self.world.in_flight:
                self.world.step()

    def close(self) -> None:
        self._stop.set()
        self._courier.join(5)
        self.processor.stop(5)


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.close()


def test_initiate_streams_the_log_of_its_ike_sa_and_succeeds(bench: Bench) -> None:
    peer = tunnel(bench.world)
    lines: list[str] = []
    result = bench.controller.initiate(
        peer, on_log=lambda record: lines.append(record.text) is None, timeout=10
    )
    assert result is Result.SUCCESS
    assert lines[0].startswith("initiating IKE_SA net[1]")
    assert any("CHILD_SA net{1} established" in line for line in lines)


def test_level_limits_the_stream(bench: Bench) -> None:
    peer = tunnel(bench.world)
    levels: set[int] = set()
    bench.controller.initiate(
        peer,
        on_log=lambda record: levels.add(record.level) is None,
        level=Level.AUDIT,
        timeout=10,
    )
    assert levels == {Level.AUDIT}


def test_initiate_in_the_background_returns_at_once(bench: Bench) -> None:
    bench.delivers = False
    assert bench.controller.initiate(tunnel(bench.world)) is Result.SUCCESS


def test_initiate_that_takes_too_long_goes_on(bench: Bench) -> None:
    bench.delivers = False
    peer = tunnel(bench.world)
    result = bench.controller.initiate(peer, on_log=lambda _record: True, timeout=0.05)
    assert result is Result.TIMEOUT
    bench.delivers = True
    deadline = time.monotonic() + 5
    while bench.world.moon.states != ["ESTABLISHED"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bench.world.moon.states == ["ESTABLISHED"]


def test_a_caller_who_goes_away_does_not_stop_it(bench: Bench) -> None:
    peer = tunnel(bench.world)
    result = bench.controller.initiate(peer, on_log=lambda _record: False, timeout=10)
    assert result is Result.TIMEOUT


def test_initiate_without_a_path_fails(bench: Bench) -> None:
    bench.paths.works = False
    result = bench.controller.initiate(tunnel(bench.world), on_log=lambda _record: True, timeout=10)
    assert result is Result.FAILED


def test_second_child_of_the_same_kind_is_not_established(bench: Bench) -> None:
    peer = tunnel(bench.world)
    assert bench.controller.initiate(peer, on_log=lambda _r: True, timeout=10) is Result.SUCCESS
    lines: list[str] = []
    result = bench.controller.initiate(
        peer, on_log=lambda record: lines.append(record.text) is None, timeout=10
    )
    assert result is Result.FAILED
    assert any("due to existing duplicate {1}" in line for line in lines)


def test_peer_without_children_is_nothing_to_initiate(bench: Bench) -> None:
    peer = tunnel(bench.world, children=())
    assert bench.controller.initiate(peer, on_log=lambda _r: True, timeout=10) is Result.NOT_FOUND


def test_named_child_of_several(bench: Bench) -> None:
    children = (child("one"), child("two", local=("10.11.0.0/16",)))
    mirrored = (
        child("one", local=("10.2.0.0/16",), remote=("10.1.0.0/16",)),
        child("two", local=("10.2.0.0/16",), remote=("10.11.0.0/16",)),
    )
    from tests.exchange.world import connection, share_secret

    share_secret(bench.world.moon)
    share_secret(bench.world.sun)
    connection(bench.world, bench.world.sun, children=mirrored)
    peer = connection(bench.world, bench.world.moon, children=children)
    for config in peer.children:
        result = bench.controller.initiate(peer, config, on_log=lambda _r: True, timeout=10)
        assert result is Result.SUCCESS
    (snapshot,) = bench.controller.list_ike_sas()
    assert {c.name for c in snapshot.children} == {"one", "two"}


def test_terminate_both_kinds(bench: Bench) -> None:
    peer = tunnel(bench.world)
    bench.controller.initiate(peer, on_log=lambda _r: True, timeout=10)
    (snapshot,) = bench.controller.list_ike_sas()
    lines: list[str] = []
    result = bench.controller.terminate_child(
        snapshot.children[0].unique_id,
        on_log=lambda record: lines.append(record.text) is None,
        timeout=10,
    )
    assert result is Result.SUCCESS
    assert any("CHILD_SA closed" in line for line in lines)
    result = bench.controller.terminate_ike(snapshot.unique_id, on_log=lambda _r: True, timeout=10)
    assert result is Result.SUCCESS
    assert bench.controller.list_ike_sas() == []


def test_rekey_both_kinds(bench: Bench) -> None:
    peer = tunnel(bench.world)
    bench.controller.initiate(peer, on_log=lambda _r: True, timeout=10)
    (before,) = bench.controller.list_ike_sas()
    result = bench.controller.rekey_child(
        before.children[0].unique_id, on_log=lambda _r: True, timeout=10
    )
    assert result is Result.SUCCESS
    result = bench.controller.rekey_ike(before.unique_id, on_log=lambda _r: True, timeout=10)
    assert result is Result.SUCCESS
    bench.world.run()
    after = bench.controller.list_ike_sas()[0]
    assert after.unique_id != before.unique_id
    assert after.initiator_spi != before.initiator_spi
    assert bench.controller.rekey_child(99, on_log=lambda _r: True) is Result.NOT_FOUND


def test_terminate_what_is_not_there(bench: Bench) -> None:
    assert (
        bench.controller.terminate_ike(99, on_log=lambda _r: True, timeout=10) is Result.NOT_FOUND
    )
    assert (
        bench.controller.terminate_child(99, on_log=lambda _r: True, timeout=10) is Result.NOT_FOUND
    )


class Follower:
    """Takes lines and the result of a command that nobody waits for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.results: list[Result] = []
        self.is_over = threading.Event()

    def take(self, record: LogRecord) -> bool:
        self.lines.append(record.text)
        return True

    def end(self, result: Result) -> None:
        self.results.append(result)
        self.is_over.set()


def test_with_on_result_nobody_waits(bench: Bench) -> None:
    follower = Follower()
    peer = tunnel(bench.world)
    begun = bench.controller.initiate(peer, on_log=follower.take, on_result=follower.end)
    assert begun is Result.SUCCESS
    assert follower.is_over.wait(10)
    assert follower.results == [Result.SUCCESS]
    assert any("CHILD_SA net{1} established" in line for line in follower.lines)


def test_many_wait_for_dead_peers_and_a_deletion_ends_them(bench: Bench) -> None:
    bench.delivers = False
    peer = tunnel(bench.world)
    # More than there are workers.
    followers = [Follower() for _ in range(12)]
    for follower in followers:
        bench.controller.initiate(peer, on_log=follower.take, on_result=follower.end)
    deadline = time.monotonic() + 10
    while not bench.controller.list_ike_sas() and time.monotonic() < deadline:
        time.sleep(0.01)
    while snapshots := bench.controller.list_ike_sas():
        ended = Follower()
        bench.controller.terminate_ike(
            snapshots[0].unique_id, on_log=ended.take, on_result=ended.end
        )
        assert ended.is_over.wait(10)
        assert ended.results == [Result.SUCCESS]
        time.sleep(0.05)
    for follower in followers:
        assert follower.is_over.wait(10)
        assert follower.results == [Result.FAILED]


def test_following_ends_with_its_time_or_its_listener(bench: Bench) -> None:
    bench.delivers = False
    late, gone = Follower(), Follower()
    bench.controller.initiate(
        tunnel(bench.world), on_log=late.take, on_result=late.end, timeout=0.05
    )
    assert late.is_over.wait(10)
    bench.controller.initiate(tunnel(bench.world), on_log=lambda _record: False, on_result=gone.end)
    # It joins the IKE_SA of the first, which says something when its peer answers.
    bench.delivers = True
    assert gone.is_over.wait(10)
    assert late.results == gone.results == [Result.TIMEOUT]


def test_following_does_not_begin_when_the_daemon_stops(bench: Bench) -> None:
    follower = Follower()
    bench.processor.stop(5)
    begun = bench.controller.initiate(
        tunnel(bench.world), on_log=follower.take, on_result=follower.end
    )
    assert begun is Result.FAILED
    assert follower.results == []
