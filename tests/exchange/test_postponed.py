"""Messages that wait for an answer from elsewhere: nothing is lost, and nobody waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from charon_core.processing.errand import NotYet
from charon_core.sa.postponed import MAX_POSTPONEMENTS, is_waiting, may_wait
from tests.exchange.world import Host, World, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.sa.ike_sa import IkeSa


class Errand:
    """An errand that the test completes by hand."""

    def __init__(self) -> None:
        self.waiters: list[Callable[[], None]] = []

    def __str__(self) -> str:
        return "the answer of an oracle"

    def begin(self, on_done: Callable[[], None]) -> None:
        self.waiters.append(on_done)

    def complete(self) -> None:
        waiters, self.waiters = self.waiters, []
        for on_done in waiters:
            on_done()


class Oracle:
    """Makes a host wait before it knows a secret; `known` says whether the oracle has spoken."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.known = False
        self.errand = Errand()
        self.asked = 0
        self.gave_up = 0
        self._ask = host.credentials.proving_secrets
        host.credentials.proving_secrets = self._secrets

    @property
    def ike(self) -> IkeSa:
        (number,) = self.host.manager.numbers()
        ike = self.host.manager.checkout_by_number(number)
        assert ike is not None
        self.host.manager.checkin(ike)
        return ike

    def _secrets(self, *arguments: object) -> object:
        self.asked += 1
        if not self.known:
            (entry,) = self.host.manager._in_use
            if may_wait(entry.ike):
                raise NotYet(self.errand)
            self.gave_up += 1
            return []
        return self._ask(*arguments)


def begin(judge: str) -> tuple[World, Oracle, list[bool]]:
    """Bring two hosts to where one of them waits."""
    world = World()
    peer = tunnel(world)
    oracle = Oracle(world.sun if judge == "sun" else world.moon)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == []
    return world, oracle, outcome


both_roles = pytest.mark.parametrize("judge", ["moon", "sun"])


@both_roles
def test_the_message_is_taken_up_when_the_answer_is_there(judge: str) -> None:
    world, oracle, outcome = begin(judge)
    assert oracle.ike.state.value == "CONNECTING"
    assert is_waiting(oracle.ike)
    oracle.known = True
    oracle.errand.complete()
    world.elapse(0)
    assert outcome == [True]
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert oracle.asked == 2
    assert not is_waiting(oracle.ike)
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


@both_roles
def test_the_ike_sa_is_as_it_was_before_the_message(judge: str) -> None:
    world, oracle, _ = begin(judge)
    ike = oracle.ike
    assert ike.remote_id is None
    assert ike.children == []
    if judge == "sun":
        assert ike.peer_config is None
        assert ike.local_id is None
    assert oracle.host.backend.states == {} or judge == "moon"
    world.elapse(200)
    world.assert_nothing_left()


def test_the_initiator_does_not_repeat_a_request_that_is_answered() -> None:
    world, _oracle, _ = begin("moon")
    sent = len(world.sent)
    world.elapse(9)
    assert len(world.sent) == sent
    world.elapse(200)


def test_repetitions_of_a_request_are_dropped_meanwhile() -> None:
    world, oracle, outcome = begin("sun")
    request = world.sent[-1]
    lines = len(world.sun.recorder.lines)
    for _ in range(600):
        world.sun.receive(request)
    world.elapse(5)
    assert oracle.asked == 1
    assert len(world.sun.recorder.lines) == lines
    oracle.known = True
    oracle.errand.complete()
    world.elapse(0)
    assert outcome == [True]
    # Afterwards it is a repetition like any other.
    sent = len(world.sent)
    world.sun.receive(request)
    assert len(world.sent) == sent + 1


def test_duplicates_that_wait_for_a_worker_are_dropped_as_well() -> None:
    world = World()
    peer = tunnel(world)
    oracle = Oracle(world.sun)
    world.moon.initiate(peer)
    world.step()
    world.step()
    request = world.in_flight[0]
    from charon_core.encoding.header import Header

    assert world.sun.manager.admit(request, Header.parse(request.data))
    world.run()
    world.sun.work_off(request)
    assert oracle.asked == 1
    world.elapse(200)
    world.assert_nothing_left()


@both_roles
def test_an_answer_that_never_comes_counts_as_none(judge: str) -> None:
    world, oracle, outcome = begin(judge)
    world.elapse(9.9)
    assert outcome == []
    world.elapse(0.2)
    assert outcome == [False]
    assert oracle.gave_up == 1
    world.elapse(200)
    world.assert_nothing_left()
    # What comes too late disturbs nobody.
    oracle.errand.complete()
    world.elapse(1)


def test_a_half_open_ike_sa_answers_before_it_is_forgotten() -> None:
    world, _oracle, outcome = begin("sun")
    from charon_core.sa.environment import TimerKind

    timer = next(t for t in world.sun.timers if t.kind is TimerKind.HALF_OPEN)
    world.sun.timers.remove(timer)
    timer.action()
    world.run()
    assert outcome == [False]
    assert world.sun.states == []


@both_roles
def test_several_errands_for_one_message_share_its_time(judge: str) -> None:
    world, oracle, outcome = begin(judge)
    for _ in range(3):
        oracle.errand.complete()
        world.elapse(3)
    assert oracle.asked == 4
    assert outcome == []
    world.elapse(1.5)
    assert outcome == [False]
    world.elapse(200)
    world.assert_nothing_left()


def test_a_message_is_not_put_off_without_end() -> None:
    world, oracle, outcome = begin("sun")
    for _ in range(MAX_POSTPONEMENTS + 5):
        oracle.errand.complete()
        world.elapse(0)
    assert outcome == [False]
    assert oracle.asked == MAX_POSTPONEMENTS + 1


@both_roles
def test_an_ike_sa_may_end_meanwhile(judge: str) -> None:
    world, oracle, outcome = begin(judge)
    oracle.host.delete_ike()
    assert oracle.host.states == []
    assert oracle.host.leaks() == {}
    oracle.errand.complete()
    world.elapse(200)
    assert outcome == [False]
    world.assert_nothing_left()


def test_an_errand_may_end_at_once() -> None:
    world = World()
    peer = tunnel(world)
    oracle = Oracle(world.sun)

    def begin_and_end(on_done: Callable[[], None]) -> None:
        oracle.known = True
        on_done()

    oracle.errand.begin = begin_and_end
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    world.elapse(0)
    assert outcome == [True]


def test_who_disregards_that_the_time_is_over_ends_the_ike_sa() -> None:
    world, oracle, _ = begin("sun")

    def stubborn(*_: object) -> object:
        raise NotYet(oracle.errand)

    world.sun.credentials.proving_secrets = stubborn
    with pytest.raises(RuntimeError, match="cannot wait any longer"):
        world.elapse(11)
    assert world.sun.states == []
