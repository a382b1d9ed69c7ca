"""The backend manager: ranking, order, and backends that fail."""

from __future__ import annotations

import pytest

from charon_core.config.backend import AddressedBackend, BackendManager
from charon_core.config.hosts import HostNames
from charon_core.config.identification import Identification
from charon_core.config.memory import ConnectionTable
from tests.unit.config.factories import peer

ME, PEER = "10.0.0.1", "10.0.0.2"
ID = Identification.parse


class Plain:
    """A backend without any index, as a plugin might write it."""

    name = "plain"

    def __init__(self, *peers):
        self.peers = peers

    def ike_candidates(self, local_host, remote_host):
        return [peer.ike for peer in self.peers]

    def peer_candidates(self, local_id, remote_id):
        return self.peers

    def peer_by_name(self, name):
        named = [p for p in self.peers if p.name == name]
        return next(iter(named + [p for p in self.peers if p.child(name)]), None)

    def all_peers(self):
        return self.peers


def table(*peers):
    connections = ConnectionTable()
    for connection in peers:
        connections.add(connection)
    return connections


@pytest.fixture(params=[Plain, table], ids=["plain", "indexed"])
def manager_of(request):
    def make(*peers):
        manager = BackendManager()
        manager.add(request.param(*peers))
        return manager

    return make


def found(manager, my_id=None, other_id=None, me=ME, other=PEER):
    ids = [None if text is None else ID(text) for text in (my_id, other_id)]
    return [p.name for p in manager.find_peer_configs(me, other, *ids)]


def test_the_table_is_asked_by_address_too():
    assert isinstance(ConnectionTable(), AddressedBackend)
    assert not isinstance(Plain(), AddressedBackend)


def test_the_best_address_wins(manager_of):
    manager = manager_of(
        peer("any"),
        peer("net", right="10.0.0.0/24"),
        peer("exact", right=PEER),
        peer("local", left=ME),
        peer("other", right="10.0.0.9"),
    )
    assert manager.find_ike_config(ME, PEER).name == "exact"
    assert manager.find_ike_config("10.0.0.5", "10.0.0.77").name == "net"
    assert manager.find_ike_config(ME, "10.0.0.77").name == "local"
    assert manager.find_ike_config(ME, "192.0.2.1").name == "local"
    assert manager.find_ike_config("10.0.0.5", "192.0.2.1").name == "any"


def test_no_address_fits(manager_of):
    manager = manager_of(peer("exact", right=PEER))
    assert manager.find_ike_config(ME, "10.0.0.3") is None
    assert manager_of().find_ike_config(ME, PEER) is None


def test_on_equal_addresses_the_earlier_one_wins(manager_of):
    manager = manager_of(peer("first", right=PEER), peer("second", right=PEER))
    assert manager.find_ike_config(ME, PEER).name == "first"
    assert found(manager) == ["first", "second"]


def test_identities_rank_before_addresses(manager_of):
    manager = manager_of(
        peer("anybody", right=PEER),
        peer("wild", rightid="*.example.org"),
        peer("exact", rightid="sun.example.org"),
        peer("other", rightid="moon.example.org"),
    )
    assert found(manager, None, "sun.example.org") == ["exact", "wild", "anybody"]
    assert found(manager, None, "sol.example.org") == ["wild", "anybody"]
    assert found(manager, None, "x") == ["anybody"]
    assert set(found(manager)) == {"anybody", "wild", "exact", "other"}


def test_both_identities_count(manager_of):
    manager = manager_of(
        peer("any", rightid="sun"),
        peer("mine", leftid="moon", rightid="sun"),
        peer("other", leftid="mars", rightid="sun"),
    )
    assert found(manager, "moon", "sun") == ["mine", "any"]
    assert found(manager, None, "sun") == ["any", "mine", "other"]
    assert found(manager, "%any", "sun") == ["any", "mine", "other"]


def test_addresses_decide_between_equal_identities(manager_of):
    manager = manager_of(
        peer("any", rightid="sun"), peer("here", right=PEER, rightid="sun"),
        peer("there", right="10.0.0.9", rightid="sun"),
    )  # fmt: skip
    assert found(manager, None, "sun") == ["here", "any"]


def test_names_are_found_by_connection_then_by_child(manager_of):
    manager = manager_of(peer("a"), peer("b"))
    assert manager.peer_by_name("b").name == "b"
    assert manager.peer_by_name("c") is None
    assert [p.name for p in manager.all_peers()] == ["a", "b"]


def test_a_connection_of_that_name_is_preferred_to_a_child():
    manager = BackendManager()
    inner = peer("x").children
    manager.add(Plain(peer("outer", children=inner)))
    assert manager.peer_by_name("x").name == "outer"
    manager.add(Plain(peer("x")))
    assert manager.peer_by_name("x").name == "x"


def test_earlier_backends_win_ties_and_can_be_removed():
    manager = BackendManager()
    first, second = table(peer("first")), table(peer("second"))
    manager.add(first)
    manager.add(first)
    manager.add(second)
    assert manager.backends == (first, second)
    assert manager.find_ike_config(ME, PEER).name == "first"
    assert found(manager) == ["first", "second"]
    manager.remove(first)
    manager.remove(first)
    assert manager.find_ike_config(ME, PEER).name == "second"


class Failing:
    name = "broken"

    def _fail(self, *_ids):
        yield peer("half")
        message = "database is gone"
        raise RuntimeError(message)

    peer_candidates = all_peers = _fail

    def ike_candidates(self, *_hosts):
        message = "database is gone"
        raise RuntimeError(message)

    def peer_by_name(self, _name):
        raise KeyError


def test_a_failing_backend_is_reported_and_the_others_are_asked():
    lines = []
    manager = BackendManager(lines.append)
    manager.add(Failing())
    manager.add(table(peer("good")))
    assert manager.find_ike_config(ME, PEER).name == "good"
    assert lines == ["configuration backend 'broken' failed: RuntimeError: database is gone"]
    assert found(manager) == ["half", "good"]
    assert [p.name for p in manager.all_peers()] == ["half", "good"]
    assert manager.peer_by_name("good").name == "good"
    assert len(lines) == 4


def test_host_names_are_matched_by_what_is_known_and_never_looked_up():
    lookups = []

    def resolve(name):
        lookups.append(name)
        return [PEER]

    names = HostNames(resolve)
    manager = BackendManager(names=names)
    connections = ConnectionTable(names_of=names.names_of)
    connections.add(peer("named", right="sun.example.org", rightid="sun"))
    manager.add(connections)
    assert manager.find_ike_config(ME, PEER) is None
    assert found(manager, None, "sun") == []
    assert lookups == []
    names.refresh("sun.example.org")
    assert manager.find_ike_config(ME, PEER).name == "named"
    assert found(manager, None, "sun") == ["named"]
    assert found(manager, None, "sun", other="10.0.0.3") == []
