"""Pools of virtual addresses: sizes, stickiness, recycling, bad texts."""

from __future__ import annotations

import pytest

from charon_core.attributes.grants import Grants
from charon_core.attributes.manager import AttributeManager
from charon_core.attributes.pool import Lease, Pool, Search


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


def test_two_texts_for_the_same_addresses_are_one_pool() -> None:
    pools = AttributeManager().memory
    pool = pools.add("10.9.0.0/24")
    assert pools.add("10.9.0.1-10.9.0.254") is pool
    assert pools.all() == (pool,)


def test_pools_that_have_addresses_in_common_are_known() -> None:
    pools = AttributeManager().memory
    pools.add("10.9.0.0/24")
    pools.add("fd09::/120")
    assert pools.overlapping(pools.add("10.9.0.128/25")) == ("10.9.0.0/24",)
    assert pools.overlapping(pools.add("10.9.1.0/24")) == ()


@pytest.mark.parametrize("wanted", ["::", "fd09::1"])
def test_a_pool_of_the_other_family_has_nothing(wanted: str) -> None:
    assert Pool.parse("10.9.0.0/24").acquire("carol", wanted) is None


def test_a_free_address_may_be_chosen() -> None:
    pool = Pool.parse("10.9.0.1-10.9.0.4")
    assert pool.acquire("carol", "10.9.0.3") == "10.9.0.3"
    assert pool.acquire("dave", "10.9.0.3") == "10.9.0.1"
    assert [pool.acquire(name) for name in ("erin", "frank", "grace")] == [
        "10.9.0.2",
        "10.9.0.4",
        None,
    ]


def test_what_another_identity_had_cannot_be_chosen() -> None:
    pool = Pool.parse("10.9.0.1-10.9.0.3")
    pool.release("carol", pool.acquire("carol"))
    assert pool.acquire("dave", "10.9.0.1") == "10.9.0.2"


def test_an_identity_may_share_the_address_that_it_asks_for() -> None:
    """As who authenticates anew does, before its old IKE_SA goes."""
    pool = Pool.parse("10.9.0.0/24")
    assert pool.acquire("carol") == "10.9.0.1"
    assert pool.acquire("carol", "10.9.0.1") == "10.9.0.1"
    assert pool.release("carol", "10.9.0.1")
    assert pool.online == 1
    assert pool.release("carol", "10.9.0.1")
    assert pool.online == 0


def test_former_leases_of_any_pool_come_before_free_addresses() -> None:
    manager = AttributeManager()
    pools = ("10.9.0.0/24", "10.8.0.0/24")
    for pool in pools:
        manager.memory.add(pool)
    assert manager.acquire(pools[1:], "carol", None) == (pools[1], "10.8.0.1")
    manager.release(pools[1], "carol", "10.8.0.1")
    assert manager.acquire(pools, "carol", "0.0.0.0") == (pools[1], "10.8.0.1")


def test_recycling_waits_for_the_free_addresses_of_all_pools() -> None:
    manager = AttributeManager()
    pools = ("10.9.0.1-10.9.0.1", "10.8.0.0/24")
    for pool in pools:
        manager.memory.add(pool)
    manager.acquire(pools, "carol", None)
    manager.release(pools[0], "carol", "10.9.0.1")
    assert manager.acquire(pools, "dave", None) == (pools[1], "10.8.0.1")


def test_grants_have_what_is_asked_for_and_nobody_else_has() -> None:
    grants = Grants("home")
    assert grants.acquire("carol", "192.0.2.7") == "192.0.2.7"
    assert grants.acquire("carol", "192.0.2.7") == "192.0.2.7"
    assert grants.acquire("dave", "192.0.2.7") is None
    for nothing in (None, "0.0.0.0", "::", "nonsense"):
        assert grants.acquire("dave", nothing) is None
    assert grants.acquire("dave", "192.0.2.8", Search.RECYCLED) is None
    assert not grants.release("dave", "192.0.2.7")
    assert list(grants.leases()) == [Lease("192.0.2.7", "carol", True)]
    assert grants.release("carol", "192.0.2.7")
    assert grants.acquire("dave", "192.0.2.7") is None
    assert grants.release("carol", "192.0.2.7")
    assert not grants.release("carol", "192.0.2.7")
    assert grants.acquire("dave", "192.0.2.7") == "192.0.2.7"
    assert (grants.size, grants.online, grants.offline) == (0, 1, 0)
