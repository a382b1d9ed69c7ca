"""The table of connections: order, changes, and look-ups that do not slow down."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from charon_core.config.backend import BackendManager
from charon_core.config.child import ChildConfig
from charon_core.config.hosts import HostPattern
from charon_core.config.identification import Identification
from charon_core.config.ike import IkeConfig
from charon_core.config.keywords import parse_proposals
from charon_core.config.memory import ConnectionTable
from charon_core.encoding.registry import ProtocolId
from tests.unit.config.factories import ike, peer

ME = "10.0.0.1"
ID = Identification.parse


def names(peers):
    return [connection.name for connection in peers]


def test_several_connections_may_have_one_name():
    table = ConnectionTable("stroke")
    first, second = peer("a", right="10.0.0.2"), peer("a", right="10.0.0.3")
    table.add(first)
    table.add(second)
    assert table.name == "stroke"
    assert table.get("a") is first
    assert len(table) == 2
    assert table.remove("a") == [first, second]
    assert table.remove("a") == []
    assert table.get("a") is None
    assert len(table) == 0


def test_removing_leaves_nothing_behind():
    table = ConnectionTable()
    connections = [
        peer("host", right="10.0.0.2", rightid="sun"),
        peer("net", right="10.0.0.0/8", rightid="*.x"),
        peer("range", right="10.0.0.1-10.0.0.9"),
        peer("name", right="sun.example.org"),
        peer("any", right="%any,%any6"),
    ]
    empty = {key: repr(value) for key, value in vars(ConnectionTable()).items()}
    for connection in connections:
        table.add(connection)
    for connection in connections:
        assert table.discard(connection)
        assert not table.discard(connection)
    for key in set(empty) - {"_lock", "_numbers", "_names_of", "_ike_index", "_anybody_at"}:
        assert repr(vars(table)[key]) == empty[key], key
    for index in (table._ike_index, table._anybody_at):
        assert all(not getattr(index, slot) for slot in index.__slots__)


def test_a_changed_connection_keeps_its_place():
    table = ConnectionTable()
    old, other = peer("a", rightid="sun"), peer("b", rightid="sun")
    table.add(old)
    table.add(other)
    new = replace(old, keyingtries=7)
    assert table.replace(old, new)
    assert not table.replace(old, new)
    assert names(table.all_peers()) == ["a", "b"]
    assert table.get("a").keyingtries == 7
    assert names(table.peer_candidates(None, ID("sun"))) == ["a", "b"]
    assert table.ike_candidates(ME, "10.0.0.2") == [new.ike]


def test_a_changed_connection_may_move_to_other_addresses():
    table = ConnectionTable()
    first, second = peer("a", right="10.0.0.2"), peer("b", right="10.0.0.2")
    table.add(first)
    table.add(second)
    moved = peer("a", right="10.0.0.3")
    table.replace(first, moved)
    assert table.ike_candidates(ME, "10.0.0.2") == [second.ike]
    assert table.ike_candidates(ME, "10.0.0.3") == [moved.ike]
    back = peer("a", right="10.0.0.2")
    table.replace(moved, back)
    assert table.ike_candidates(ME, "10.0.0.2") == [back.ike]


def test_connections_with_other_proposals_are_candidates_of_their_own():
    table = ConnectionTable()
    suites = [parse_proposals(text, ProtocolId.IKE) for text in ("", "aes256-sha256-x25519!")]
    for number in range(6):
        ike_config = ike(name=f"c{number}", proposals=suites[number % 2])
        table.add(replace(peer(f"c{number}"), ike=ike_config))
    assert names(table.ike_candidates(ME, "10.0.0.2")) == ["c0", "c1"]


def test_children_are_found_and_attached():
    table = ConnectionTable()
    table.add(peer("a"))
    same = peer("b", children=(ChildConfig(name="b", reqid=5),))
    twin = table.twin_of(same)
    assert twin.name == "a"
    grown = table.attach_child(twin, same.children[0])
    assert [child.name for child in grown.children] == ["a", "b"]
    assert table.get("a") is grown
    assert table.peer_by_name("b") is grown
    assert table.with_child("b") == [grown]
    assert table.with_child("c") == []
    assert table.attach_child(twin, same.children[0]) is None
    assert table.twin_of(peer("c", right="10.0.0.9")) is None
    assert table.twin_of(peer("c", keyingtries=9)) is None
    table.remove("a")
    assert table.peer_by_name("b") is None
    assert table.twin_of(same) is None


def test_ranges_and_families():
    table = ConnectionTable()
    for name, right in [
        ("range", "10.0.0.1-10.0.0.9"), ("six", "%any6"), ("four", "%any4"),
        ("net6", "fec0::/16"), ("net4", "10.0.0.0/8"), ("wide", "0.0.0.0/0"),
    ]:  # fmt: skip
        table.add(peer(name, right=right))

    def at(host):
        return [config.name for config in table.ike_candidates(ME, host)]

    assert at("10.0.0.5") == ["range", "four", "net4", "wide"]
    assert at("10.0.0.1") == at("10.0.0.9") == at("10.0.0.5")
    assert at("10.0.0.0") == at("10.0.0.10")
    assert at("10.0.0.10") == ["four", "net4", "wide"]
    assert at("192.0.2.1") == ["four", "wide"]
    assert at("fec0::1") == ["six", "net6"]
    assert at("fec1::1") == ["six"]


KINDS = {
    "hosts": lambda n: {"right": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "rightid": f"p{n}"},
    "identities": lambda n: {"right": "%any", "rightid": f"p{n}"},
    "addresses": lambda n: {"right": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"},
    "networks": lambda n: {"right": f"10.{n >> 8 & 255}.{n & 255}.0/24", "rightid": f"p{n}"},
    "names": lambda n: {"right": f"p{n}.example.org", "rightid": f"p{n}"},
}


class TestLookupsDoNotSlowDown:
    """Thousands of connections: the number of comparisons stays what it is for a few."""

    @pytest.fixture
    def count(self, monkeypatch):
        calls = {"n": 0}

        def counting(function):
            def counted(*args, **kwargs):
                calls["n"] += 1
                return function(*args, **kwargs)

            return counted

        monkeypatch.setattr(IkeConfig, "match", counting(IkeConfig.match))
        monkeypatch.setattr(Identification, "matches", counting(Identification.matches))
        monkeypatch.setattr(HostPattern, "score", counting(HostPattern.score))
        return calls

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_comparisons(self, kind, count):
        make = KINDS[kind]
        resolved = {f"p{n}.example.org": (f"10.0.{n >> 8 & 255}.{n & 255}",) for n in (1, 99)}
        counts = []
        for size in (100, 10_000 if kind == "hosts" else 2_000):
            table = ConnectionTable(
                names_of=lambda host: [n for n, hosts in resolved.items() if host in hosts]
            )
            for number in range(size):
                table.add(peer(f"c{number}", **make(number)))
            manager = BackendManager(names=lambda name: resolved.get(name, ()))
            manager.add(table)
            host = "10.0.99.7" if kind == "networks" else "10.0.0.99"
            count["n"] = 0
            assert manager.find_ike_config(ME, host) is not None
            found = manager.find_peer_configs(ME, host, ID("moon"), ID("p99"))
            assert names(found) == ["c99"]
            assert manager.peer_by_name("c99") is found[0]
            counts.append(count["n"])
        assert counts[0] == counts[1] < 20


HOSTS = ["%any", "10.0.0.2", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "fec0::1", "sun"]
IDENTITIES = ["%any", "sun", "*.x", "CN=a", "CN=*"]


class TableMachine(RuleBasedStateMachine):
    """Every sequence of changes leaves a table that answers like a plain list."""

    def __init__(self):
        super().__init__()
        self.table = ConnectionTable(names_of=lambda h: ["sun"] if h == "10.0.0.7" else [])
        self.model = []
        self.serial = 0

    def make(self, host, identity, name):
        self.serial += 1
        return peer(name, right=host, rightid=identity, keyingtries=self.serial)

    @rule(
        host=st.sampled_from(HOSTS),
        identity=st.sampled_from(IDENTITIES),
        name=st.sampled_from("ab"),
    )
    def add(self, host, identity, name):
        connection = self.make(host, identity, name)
        self.table.add(connection)
        self.model.append(connection)

    @rule(name=st.sampled_from("ab"))
    def remove(self, name):
        removed = self.table.remove(name)
        assert removed == [c for c in self.model if c.name == name]
        self.model = [c for c in self.model if c.name != name]

    @rule(data=st.data(), host=st.sampled_from(HOSTS), identity=st.sampled_from(IDENTITIES))
    def replace(self, data, host, identity):
        if self.model:
            place = data.draw(st.integers(0, len(self.model) - 1))
            new = self.make(host, identity, self.model[place].name)
            assert self.table.replace(self.model[place], new)
            self.model[place] = new

    @invariant()
    def answers_like_a_list(self):
        assert self.table.all_peers() == self.model
        known = {"sun": ("10.0.0.7",)}
        for host in ("10.0.0.2", "10.0.0.7", "192.0.2.1", "fec0::1"):
            best = max(
                self.model,
                key=lambda c: c.ike.match_remote(host, lambda n: known.get(n, ())),
                default=None,
            )
            candidates = self.table.ike_candidates(ME, host)
            if best is not None and best.ike.match_remote(host, lambda n: known.get(n, ())):
                scores = [c.match_remote(host, lambda n: known.get(n, ())) for c in candidates]
                assert candidates[scores.index(max(scores))] is best.ike
            for text in ("sun", "a.x", "CN=a", "@#01"):
                identity = ID(text)
                fitting = [c for c in self.model if identity.matches(c.remote[0].identity)]
                assert self.table.peer_candidates(None, identity) == fitting
                here = [c for c in fitting if c.ike.match_remote(host, lambda n: known.get(n, ()))]
                at = self.table.peer_candidates_at(ME, host, None, identity)
                assert [c for c in at if c in here] == here
                assert set(names(at)) <= set(names(fitting))


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
