"""Configurations that check themselves."""

from __future__ import annotations

import pytest

from charon_core.config.child import TFC_MTU, ChildConfig, ChildMode, Mark
from charon_core.config.identification import Identification
from charon_core.config.keywords import parse_proposals
from charon_core.config.peer import MAX_AUTH_ROUNDS, AuthClass, AuthConfig, PeerConfig
from charon_core.encoding.registry import ProtocolId
from tests.unit.config.factories import auth, ike, peer

ESP = parse_proposals("aes128-sha256!", ProtocolId.ESP)
AH = parse_proposals("sha256!", ProtocolId.AH)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "needs a name"),
        ({"rekey_time": -1}, "time is negative"),
        ({"jitter_bytes": -1}, "bytes is negative"),
        ({"rekey_time": 20, "life_time": 10}, "rekeying is due at 20 time"),
        ({"rekey_packets": 20, "life_packets": 10}, "rekeying is due at 20 packets"),
        ({"reqid": 2**32}, "reqid"),
        ({"reqid": -1}, "reqid"),
        ({"tfc": -2}, "tfc"),
        ({"inactivity": -1}, "inactivity"),
        ({"replay_window": -1}, "replay window"),
        ({"proposals": ESP + AH}, "cannot be mixed"),
    ],
)
def test_impossible_children(fields, reason):
    with pytest.raises(ValueError, match=reason):
        ChildConfig(**{"name": "x", **fields})


def test_children_know_their_protocol():
    assert ChildConfig(name="x").protocol is ProtocolId.ESP
    assert ChildConfig(name="x", proposals=AH).protocol is ProtocolId.AH
    assert ChildConfig(name="x", tfc=TFC_MTU, life_time=10, rekey_time=9).mode is ChildMode.TUNNEL
    assert Mark(5) == (5, 0xFFFFFFFF)


def test_shunts():
    assert [mode for mode in ChildMode if mode.is_shunt] == [ChildMode.PASS, ChildMode.DROP]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "needs a name"),
        ({"local": ()}, "0 local authentication rounds"),
        ({"remote": (auth(),) * (MAX_AUTH_ROUNDS + 1)}, "9 remote authentication rounds"),
        ({"keyingtries": -1}, "negative"),
        ({"reauth_time": -1}, "negative"),
        ({"dpd_delay": -1}, "negative"),
    ],
)
def test_impossible_peers(fields, reason):
    values = {"name": "x", "ike": ike(), "local": (auth(),), "remote": (auth(),), **fields}
    with pytest.raises(ValueError, match=reason):
        PeerConfig(**values)


def test_content_without_names():
    assert peer("a").content_key == peer("b").content_key
    assert peer("a").content_key != peer("a", rightid="x").content_key
    assert peer("a").content_key != peer("a", mobike=False).content_key
    hash(peer("a").content_key)


def test_children_by_name():
    connection = peer("a")
    assert connection.child("a") is connection.children[0]
    assert connection.child("b") is None


def test_authentication_as_text():
    assert str(auth("moon")) == "pre-shared key authentication as 'moon'"
    eap = AuthConfig(auth_class=AuthClass.EAP, eap_method=(26, 0))
    assert str(eap) == "EAP_26-0 authentication as '%any'"
    assert eap.identity is Identification.any()
