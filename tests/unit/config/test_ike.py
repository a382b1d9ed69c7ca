"""Addresses of a connection and how well two hosts fit them."""

from __future__ import annotations

import pytest

from charon_core.config.hosts import HostKind, HostNames, HostPattern, parse_host
from charon_core.config.ike import MAX_ADDRESSES, IkeConfig
from charon_core.config.keywords import parse_proposals
from charon_core.encoding.registry import ProtocolId
from tests.unit.config.factories import ike

KINDS = [
    ("%any", HostKind.ANY),
    ("%any4", HostKind.ANY),
    ("%any6", HostKind.ANY),
    ("0.0.0.0", HostKind.ANY),
    ("::", HostKind.ANY),
    ("10.0.0.1", HostKind.HOST),
    ("2001:DB8::1", HostKind.HOST),
    ("10.1.0.0/16", HostKind.NETWORK),
    ("10.1.2.3/16", HostKind.NETWORK),
    ("10.1.0.0-10.2.255.255", HostKind.RANGE),
    ("moon.example.org", HostKind.NAME),
    ("MOON", HostKind.NAME),
    ("my-host_1", HostKind.NAME),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_kinds_of_addresses(text, kind):
    assert HostPattern.parse(text).kind is kind


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "a/b", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "a b", "foo:bar", "[::1]"]
)
def test_bad_addresses_say_what_would_do(text):
    with pytest.raises(ValueError, match=r"connection 'ike': remote address: '?.*"):
        ike(remote=text)


SCORES = [
    ("10.0.0.2", 129),
    ("10.0.0.2/32", 33),
    ("10.0.0.0/24", 25),
    ("0.0.0.0/0", 1),
    ("10.0.0.1-10.0.0.9", 1),
    ("10.0.0.2-10.0.0.2", 1),
    ("10.0.0.3-10.0.0.9", 0),
    ("%any", 1),
    ("%any4", 1),
    ("%any6", 0),
    ("0.0.0.0", 1),
    ("::", 0),
    ("::/0", 0),
    ("10.0.0.3", 0),
    ("sun.example.org", 129),
    ("moon.example.org", 0),
    ("SUN.example.org", 129),
    ("10.0.0.0/8,10.0.0.2,%any", 129),
    ("10.0.0.3,10.0.0.0/8", 9),
]


@pytest.mark.parametrize(("pattern", "score"), SCORES)
def test_scores_of_one_side(pattern, score):
    names = {"sun.example.org": ("fec0::1", "10.0.0.2")}
    config = ike(remote=pattern)
    assert config.match_remote("10.0.0.2", lambda name: names.get(name, ())) == score
    assert ike(local=pattern).match_local("10.0.0.2", lambda name: names.get(name, ())) == score


def test_the_remote_side_counts_twice_and_both_must_fit():
    exact_remote = ike("%any", "10.0.0.2").match("10.0.0.1", "10.0.0.2")
    exact_local = ike("10.0.0.1", "%any").match("10.0.0.1", "10.0.0.2")
    assert exact_remote > exact_local > ike().match("10.0.0.1", "10.0.0.2") > 0
    assert ike("10.0.0.9", "10.0.0.2").match("10.0.0.1", "10.0.0.2") == 0
    assert ike("10.0.0.1", "10.0.0.9").match("10.0.0.1", "10.0.0.2") == 0


def test_a_fixed_version_only_breaks_ties():
    plain, fixed = ike(), ike(version=2)
    assert fixed.match("10.0.0.1", "10.0.0.2") == plain.match("10.0.0.1", "10.0.0.2") + 1
    nearer = ike("%any", "0.0.0.0/1")
    assert nearer.match("10.0.0.1", "10.0.0.2") > fixed.match("10.0.0.1", "10.0.0.2")


def test_zones_of_link_local_addresses_play_no_part():
    assert ike(remote="fe80::1").match_remote("fe80::1%eth0") == 129
    assert parse_host("fe80::1%eth0") == parse_host("fe80::1")


def test_what_an_initiator_can_send_to():
    config = ike("%any", "10.1.0.0/16,Sun.example.org,%any,10.0.0.2,10.0.0.1-10.0.0.2")
    assert config.remote_hosts == ("sun.example.org", "10.0.0.2")
    assert config.local_hosts == ()
    assert config.host_names == ("sun.example.org",)


def test_equal_content_under_other_names():
    one, other = ike(name="a"), ike(name="b")
    assert one != other
    assert one.content_key == other.content_key
    assert one.content_key != ike(name="a", dscp=1).content_key


ESP_PROPOSALS = parse_proposals("aes128-sha256!", ProtocolId.ESP)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 1}, "IKE version 1, expected 0 or 2"),
        ({"local_port": 65536}, "ports 65536"),
        ({"remote_port": 0}, "ports 500"),
        ({"dscp": 64}, "DSCP 64"),
        ({"local": ()}, "0 local addresses"),
        ({"remote": ("%any",) * (MAX_ADDRESSES + 1)}, "1025 remote addresses"),
        ({"proposals": ESP_PROPOSALS}, "not for IKE"),
    ],
)
def test_impossible_values(fields, reason):
    with pytest.raises(ValueError, match=f"connection 'x'.*{reason}"):
        IkeConfig(name="x", **fields)


class TestHostNames:
    """Names are looked up by jobs; messages only see what is known."""

    def test_nothing_is_known_before_the_first_lookup(self):
        calls = []
        names = HostNames(lambda name: calls.append(name) or ["10.0.0.2"])
        assert names("sun.example.org") == ()
        assert calls == []
        assert names.refresh("SUN.example.org") == ("10.0.0.2",)
        assert names("sun.Example.org") == ("10.0.0.2",)
        assert names.names_of("10.0.0.2") == {"sun.example.org"}
        assert calls == ["sun.example.org"]

    def test_a_new_address_replaces_the_old_one(self):
        answers = iter([["10.0.0.2", "10.0.0.2", "fec0:0::1"], ["10.0.0.3"]])
        names = HostNames(lambda _name: next(answers))
        assert names.refresh("sun") == ("10.0.0.2", "fec0::1")
        names.refresh("sun")
        assert names("sun") == ("10.0.0.3",)
        assert names.names_of("10.0.0.2") == frozenset()

    @pytest.mark.parametrize("failure", [OSError("no such host"), ValueError("odd")])
    def test_a_failing_lookup_keeps_what_was_known(self, failure):
        answers = [["10.0.0.2"], failure]

        def resolve(_name):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        names = HostNames(resolve)
        names.refresh("sun")
        assert names.refresh("sun") == ("10.0.0.2",)
        assert names("sun") == ("10.0.0.2",)

    def test_two_names_of_one_address(self):
        names = HostNames(lambda _name: ["10.0.0.2"])
        names.refresh("sun")
        names.refresh("sol")
        assert names.names_of("10.0.0.2") == {"sun", "sol"}
        names.forget("sun")
        assert names.names_of("10.0.0.2") == {"sol"}
        assert names.known == ("sol",)

    def test_unknown_names_are_known_to_be_unknown(self):
        names = HostNames(lambda _name: [])
        assert names.refresh("sun") == ()
        assert names.known == ("sun",)
