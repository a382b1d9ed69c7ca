"""What unauthenticated peers occupy: all of it counts, none of it leaks, IPv6 subnets are one."""

from __future__ import annotations

import pytest

from charon_core.sa import strangers as module
from charon_core.sa.strangers import FAILURE_MEMORY, Strangers

HOST, OTHER = "192.0.2.1", "192.0.2.2"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strangers(clock: Clock) -> Strangers:
    return Strangers(clock)


def test_a_request_counts_from_its_arrival(strangers: Strangers) -> None:
    strangers.arrive(HOST)
    strangers.arrive(HOST)
    strangers.arrive(OTHER)
    assert strangers.count() == 3
    assert strangers.count(HOST) == 2
    assert strangers.half_open() == 0
    strangers.begin(HOST)
    assert strangers.count(HOST) == 1
    assert strangers.count() == 2


def test_one_that_never_arrived_may_begin(strangers: Strangers) -> None:
    strangers.begin(HOST)
    assert strangers.count() == 0
    strangers.arrive(HOST)
    assert strangers.count() == 1


def test_half_open_ike_sas_count_until_they_are_established(strangers: Strangers) -> None:
    strangers.occupy(HOST)
    assert strangers.count(HOST) == strangers.half_open(HOST) == strangers.half_open() == 1
    strangers.release(HOST, failed=False)
    assert strangers.count(HOST) == strangers.count() == strangers.half_open() == 0


def test_a_failure_counts_for_some_seconds_more(strangers: Strangers, clock: Clock) -> None:
    strangers.occupy(HOST)
    strangers.release(HOST, failed=True)
    assert strangers.half_open() == 0
    clock.now += FAILURE_MEMORY - 0.1
    assert strangers.count(HOST) == strangers.count() == 1
    clock.now += 0.1
    assert strangers.count(HOST) == strangers.count() == 0


def test_failures_are_bounded(
    strangers: Strangers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FAILURES", 10)
    for number in range(100):
        strangers.occupy(f"192.0.2.{number}")
        strangers.release(f"192.0.2.{number}", failed=True)
    assert strangers.count() == 10
    assert strangers.count("192.0.2.99") == 1
    assert strangers.count("192.0.2.89") == 0
    clock.now += FAILURE_MEMORY
    assert strangers.count() == 0


def test_an_ipv6_subnet_is_one_origin(strangers: Strangers) -> None:
    for number in range(1, 6):
        strangers.occupy(f"2001:db8:1:2:{number}::1")
    strangers.occupy("2001:db8:1:3::1")
    assert strangers.count("2001:db8:1:2:ffff::9") == 5
    assert strangers.count("2001:db8:1:3::2") == 1
    assert strangers.count("2001:db8:1:4::1") == 0
    assert strangers.count() == 6


def test_zones_play_no_part(strangers: Strangers) -> None:
    strangers.occupy("fe80::1%lo")
    assert strangers.count("fe80::2") == 1


def test_nothing_is_left_of_many(strangers: Strangers, clock: Clock) -> None:
    for number in range(1000):
        host = f"198.51.{number % 100}.{number % 7}"
        strangers.arrive(host)
        strangers.begin(host)
        strangers.occupy(host)
        strangers.release(host, failed=bool(number % 2))
    clock.now += FAILURE_MEMORY
    assert strangers.count() == 0
    tallies = (strangers._waiting, strangers._half_open, strangers._failed)
    assert [tally.by_origin for tally in tallies] == [{}, {}, {}]
