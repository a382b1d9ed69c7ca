"""The null backend behaves like a kernel towards its caller."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from charon_core.config.child import Mark
from charon_core.kernel.interface import (
    SPI_MAXIMUM,
    SPI_MINIMUM,
    Encapsulation,
    IpsecProtocol,
    KernelError,
    KernelFeature,
    SaExists,
    SaNotFound,
    SaUsage,
)
from charon_core.kernel.null import NullBackend
from tests.unit.kernel.factories import (
    HERE,
    THERE,
    Recorder,
    Surroundings,
    gcm_sa,
    policy,
    sa_id,
)

ESP = IpsecProtocol.ESP


class Dice:
    """Random bytes that are known."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)

    def bytes(self, n: int) -> bytes:
        return self.values.pop(0).to_bytes(n)


@pytest.fixture
def null() -> NullBackend:
    backend = NullBackend()
    backend.probe()
    return backend


def test_spis_are_random_distinct_and_in_range(null: NullBackend) -> None:
    spis = [null.allocate_spi(THERE, HERE, ESP) for _ in range(2000)]
    assert len(set(spis)) == 2000
    assert all(SPI_MINIMUM <= spi <= SPI_MAXIMUM for spi in spis)
    assert spis != sorted(spis)


def test_taken_spis_are_drawn_again() -> None:
    null = NullBackend(random=Dice(1, 1, 2, 2, 3))
    first = null.allocate_spi(THERE, HERE, ESP)
    null.add_sa(gcm_sa(first))
    assert null.allocate_spi(THERE, HERE, ESP) == first + 1
    assert null.allocate_spi(THERE, HERE, ESP) == first + 2


def test_same_spi_for_another_destination_is_free() -> None:
    null = NullBackend(random=Dice(1, 1))
    assert null.allocate_spi(THERE, HERE, ESP) == null.allocate_spi(THERE, "192.0.2.9", ESP)


def test_exhausted_range_is_an_error() -> None:
    null = NullBackend(Surroundings(spi_range=(0x100, 0x101)).context)
    assert {null.allocate_spi(THERE, HERE, ESP) for _ in range(2)} == {0x100, 0x101}
    with pytest.raises(KernelError, match="no free SPI found"):
        null.allocate_spi(THERE, HERE, ESP)


def test_reservation_ends_with_the_sa_or_with_delete(null: NullBackend) -> None:
    one, two = (null.allocate_spi(THERE, HERE, ESP) for _ in range(2))
    null.add_sa(gcm_sa(one))
    null.delete_sa(sa_id(two))
    assert not null.reserved
    with pytest.raises(SaNotFound, match="No such process"):
        null.delete_sa(sa_id(two))


def test_double_add_and_double_delete(null: NullBackend) -> None:
    null.add_sa(gcm_sa())
    with pytest.raises(SaExists, match="File exists"):
        null.add_sa(gcm_sa())
    null.delete_sa(sa_id())
    with pytest.raises(SaNotFound):
        null.delete_sa(sa_id())
    null.add_policy(policy())
    null.delete_policy(policy())
    with pytest.raises(SaNotFound, match="No such file"):
        null.delete_policy(policy())
    assert null.is_empty


def test_policy_with_the_same_selectors_is_replaced(null: NullBackend) -> None:
    null.add_policy(policy(priority=1))
    null.add_policy(policy(priority=2))
    null.add_policy(policy(priority=3, mark=Mark(1)))
    assert sorted(spec.priority or 0 for spec in null.policies.values()) == [2, 3]


def test_counters(null: NullBackend) -> None:
    null.add_sa(gcm_sa())
    assert null.query_sa(sa_id()) == SaUsage(0, 0, None)
    null.inject_traffic(sa_id(), 100, 2, now=1.0)
    null.inject_traffic(sa_id(), 50, now=2.0)
    assert null.query_sa(sa_id()) == SaUsage(150, 3, 2.0)
    null.delete_sa(sa_id())
    for ask in (null.query_sa, null.delete_sa):
        with pytest.raises(SaNotFound):
            ask(sa_id())
    with pytest.raises(SaNotFound):
        null.inject_traffic(sa_id(), 1)
    null.add_sa(gcm_sa())
    assert null.query_sa(sa_id()).bytes == 0


def test_policy_use(null: NullBackend) -> None:
    with pytest.raises(SaNotFound):
        null.query_policy(policy())
    null.add_policy(policy())
    assert null.query_policy(policy()) is None
    null.inject_policy_use(policy(), 3.0)
    assert null.query_policy(policy()) == 3.0


def test_update_moves_spec_and_counters(null: NullBackend) -> None:
    null.add_sa(gcm_sa())
    null.inject_traffic(sa_id(), 10, now=1.0)
    null.update_sa(sa_id(), "192.0.2.8", "192.0.2.9", Encapsulation(1, 2))
    moved = sa_id(source="192.0.2.8", destination="192.0.2.9")
    (spec,) = null.states.values()
    assert (spec.id, spec.encapsulation) == (moved, Encapsulation(1, 2))
    assert null.query_sa(moved).bytes == 10
    null.add_sa(gcm_sa())
    with pytest.raises(SaExists):
        null.update_sa(sa_id(), "192.0.2.8", "192.0.2.9", None)
    with pytest.raises(SaNotFound):
        null.update_sa(sa_id(0xC0000001), THERE, HERE, None)
    null.update_sa(sa_id(), "192.0.2.7", HERE, None)
    assert len(null.states) == 2


def test_hard_expire_removes_the_sa(null: NullBackend) -> None:
    told = Recorder()
    null.start(told)
    null.add_sa(gcm_sa())
    null.inject_expire(sa_id(), hard=False)
    null.inject_expire(sa_id(), hard=True)
    assert told.seen == [
        ("expire", ESP, 0xC1234567, HERE, False),
        ("expire", ESP, 0xC1234567, HERE, True),
    ]
    assert null.is_empty
    with pytest.raises(SaNotFound):
        null.inject_expire(sa_id(), hard=True)


def test_flush(null: NullBackend) -> None:
    null.allocate_spi(THERE, HERE, ESP)
    null.add_sa(gcm_sa())
    null.add_policy(policy())
    null.flush()
    assert null.is_empty


def test_features_are_those_of_a_kernel(null: NullBackend) -> None:
    assert KernelFeature.ESN in null.features
    assert KernelFeature.UDP_ENCAPSULATION_ONLY not in null.features


def test_thousands_of_sas_cost_little_memory(null: NullBackend) -> None:
    specs = [gcm_sa(0xC0000000 + number) for number in range(2000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for spec in specs:
        null.add_sa(spec)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / len(specs) < 300, "octets for each SA beside the spec itself"
    assert sys.getsizeof(specs[0]) < 400
