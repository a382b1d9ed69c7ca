"""Pools of virtual addresses: sizes, stickiness, recycling, bad texts."""

from __future__ import annotations

import pytest

from charon_core.attributes.manager import AttributeManager
from charon_core.attributes.pool import Lease, Pool


@pytest.mark.parametrize(
    ("text", "first", "size"),
    [
        ("10.9.0.0/24", "10.9.0.1", 254),
        ("10.9.0.5/24", "10.9.0.5", 250),
        ("10.9.0.7/32", "10.9.0.7", 1),
        ("10.9.0.0/31", "10.9.0.0", 2),
        ("10.9.0.3-10.9.0.9", "10.9.0.3", 7),
        ("fec0::/120", "fec0::1", 255),
        ("fec0::/32", "fec0::1", 1 << 31),
    ],
)
def test_size_and_first_address(text: str, first: str, size: int) -> None:
    pool = Pool.parse(text)
    assert pool.size == size
    assert pool.acquire("carol") == first


@pytest.mark.parametrize(
    "text", ["", "10.9.0.0/33", "10.9.0", "a-b", "10.9.0.9-10.9.0.3", "10.0.0.1-fec0::1"]
)
def test_what_is_no_pool_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected network/bits or from-to"):
        Pool.parse(text)


def test_an_identity_gets_its_address_back() -> None:
    pool = Pool.parse("10.9.0.0/24")
    carol, dave = pool.acquire("carol"), pool.acquire("dave")
    assert pool.release("carol", carol)
    assert pool.acquire("erin") not in (carol, dave)
    assert pool.acquire("carol") == carol


def test_a_full_pool_recycles_the_oldest_offline_lease_then_refuses() -> None:
    pool = Pool.parse("10.9.0.1-10.9.0.2")
    one, two = pool.acquire("carol"), pool.acquire("dave")
    assert pool.acquire("erin") is None
    pool.release("dave", two)
    pool.release("carol", one)
    assert pool.acquire("erin") == two
    assert pool.acquire("dave") == one
    assert pool.acquire("carol") is None


def test_releases_of_what_is_not_leased_are_refused() -> None:
    pool = Pool.parse("10.9.0.0/24")
    address = pool.acquire("carol")
    assert not pool.release("dave", address)
    assert not pool.release("carol", "10.8.0.1")
    assert not pool.release("carol", "nonsense")
    assert pool.release("carol", address)
    assert not pool.release("carol", address)


def test_leases_are_listed_by_address() -> None:
    pool = Pool.parse("10.9.0.0/24")
    pool.acquire("carol")
    pool.release("dave", pool.acquire("dave"))
    assert list(pool.leases()) == [
        Lease("10.9.0.1", "carol", True),
        Lease("10.9.0.2", "dave", False),
    ]
    assert (pool.online, pool.offline) == (1, 1)


def test_manager_asks_the_pools_in_order() -> None:
    manager = AttributeManager()
    manager.memory.add("10.9.0.1-10.9.0.1")
    manager.memory.add("10.8.0.0/24")
    pools = ("10.9.0.1-10.9.0.1", "10.8.0.0/24")
    assert manager.acquire(pools, "carol", None) == (pools[0], "10.9.0.1")
    assert manager.acquire(pools, "dave", None) == (pools[1], "10.8.0.1")
    assert manager.release(pools[1], "dave", "10.8.0.1")
    assert not manager.release("unknown", "dave", "10.8.0.1")


def test_a_pool_outlives_the_connection_that_named_it() -> None:
    manager = AttributeManager()
    assert manager.memory.add("10.9.0.0/24") is manager.memory.add("10.9.0.0/24")
