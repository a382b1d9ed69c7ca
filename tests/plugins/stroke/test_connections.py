"""From an ADD_CONN message to the daemon's own configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charon_core.attributes.memory import MemoryPools
from charon_core.config.child import Action, ChildMode, Mark
from charon_core.config.identification import Identification
from charon_core.config.ike import Fragmentation
from charon_core.config.keywords import parse_proposals
from charon_core.config.peer import AuthClass, PeerConfig, RevocationPolicy, SendCert, UniquePolicy
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.encoding.registry import ProtocolId
from charon_plugins.stroke.connections.authentication import parse_method
from charon_plugins.stroke.connections.builder import Built, Surroundings, build
from charon_plugins.stroke.connections.problems import InvalidConnectionError
from charon_plugins.stroke.wire.bodies import (
    AddConn,
    Algorithms,
    Dpd,
    End,
    MarkIn,
    Mediation,
    Name,
    Rekey,
)
from charon_plugins.stroke.wire.message import Message, decode, encode
from charon_plugins.stroke.wire.types import MessageType
from tests.plugins.stroke.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugins.stroke.fakes import World

END = End(ikeport=500, to_port=65535, sendcert=1)
CONN = AddConn(
    name="home",
    mode=2,
    mobike=64,
    fragmentation=2,
    install_policy=1,
    unique=1,
    rekey=Rekey(1, 3600, 10800, 540, tries=3, fuzz=100),
    dpd=Dpd(30, 150, 0),
    me=replace(END, address="%any"),
    other=replace(END, address="192.0.2.2"),
    replay_window=0xFFFFFFFF,
)


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(
        certs=tmp_path,
        is_local={"10.0.0.1", "2001:db8::1"}.__contains__,
        look_up=lambda name: {"me.example": ("10.0.0.1",)}.get(name, ()),
        pools=MemoryPools(),
    )


def me(**changes: Any) -> dict[str, End]:
    return {"me": replace(CONN.me, **changes)}


def other(**changes: Any) -> dict[str, End]:
    return {"other": replace(CONN.other, **changes)}


def built(surroundings: Surroundings, **changes: Any) -> Built:
    return build(replace(CONN, **changes), surroundings)


def peer(surroundings: Surroundings, **changes: Any) -> PeerConfig:
    return built(surroundings, **changes).peer


def complaints(surroundings: Surroundings, **changes: Any) -> str:
    with pytest.raises(InvalidConnectionError) as caught:
        build(replace(CONN, **changes), surroundings)
    return str(caught.value)


def test_defaults_of_an_empty_connection(surroundings: Surroundings) -> None:
    made = peer(surroundings)
    (child,) = made.children
    assert (made.name, made.ike.name, child.name) == ("home", "home", "home")
    assert made.ike.version == 0
    assert made.ike.local == ("%any",)
    assert made.ike.remote == ("192.0.2.2",)
    assert made.ike.proposals == parse_proposals("", ProtocolId.IKE)
    assert made.ike.fragmentation is Fragmentation.YES
    assert made.ike.send_certreq
    assert not made.ike.force_encap
    assert (made.reauth_time, made.rekey_time) == (10260.0, 0.0)
    assert (made.jitter_time, made.over_time) == (540.0, 540.0)
    assert made.keyingtries == 3
    assert made.unique is UniquePolicy.REPLACE
    assert made.mobike
    assert made.dpd_delay == 0.0
    assert made.send_cert is SendCert.IF_ASKED
    (local,), (remote,) = made.local, made.remote
    assert local.auth_class is AuthClass.PUBKEY
    assert local.identity.is_any
    assert str(remote.identity) == "192.0.2.2"
    assert remote.revocation is RevocationPolicy.RELAXED
    assert child.mode is ChildMode.TUNNEL
    assert child.proposals == parse_proposals("", ProtocolId.ESP)
    assert child.local_ts == child.remote_ts == (TrafficSelector.dynamic_of(),)
    assert (child.rekey_time, child.life_time, child.jitter_time) == (3060.0, 3600.0, 540.0)
    assert child.replay_window is None
    assert child.install_policy
    assert child.mark_in is None


def test_rekeying_instead_of_reauthentication(surroundings: Surroundings) -> None:
    made = peer(surroundings, rekey=Rekey(0, 3600, 10800, 540, fuzz=50))
    assert (made.reauth_time, made.rekey_time) == (0.0, 10260.0)
    assert made.jitter_time == 270.0
    assert made.keyingtries == 0


def test_no_lifetimes_at_all(surroundings: Surroundings) -> None:
    made = peer(surroundings, rekey=Rekey(tries=3))
    (child,) = made.children
    assert made.rekey_time == made.reauth_time == made.over_time == 0.0
    assert child.rekey_time == child.life_time == 0.0


def test_volume_limits(surroundings: Surroundings) -> None:
    rekey = Rekey(life_bytes=1000, margin_bytes=100, life_packets=50, margin_packets=10, fuzz=50)
    (child,) = peer(surroundings, rekey=rekey).children
    assert (child.rekey_bytes, child.life_bytes, child.jitter_bytes) == (900, 1000, 50)
    assert (child.rekey_packets, child.life_packets, child.jitter_packets) == (40, 50, 5)


def test_jitter_never_exceeds_the_lifetime(surroundings: Surroundings) -> None:
    made = built(surroundings, rekey=Rekey(1, 3600, 1000, 600, fuzz=1000))
    assert made.peer.jitter_time == made.peer.reauth_time == 400.0
    assert any("ikelifetime" in note for note in made.notes)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"version": 2}, "ike.version", 2),
        ({"force_encap": 128}, "ike.force_encap", True),
        ({"fragmentation": 0}, "ike.fragmentation", Fragmentation.NO),
        ({"fragmentation": 1}, "ike.fragmentation", Fragmentation.ACCEPT),
        ({"fragmentation": 3}, "ike.fragmentation", Fragmentation.YES),
        ({"ikedscp": 46}, "ike.dscp", 46),
        (me(ikeport=4500), "ike.local_port", 4500),
        (other(ikeport=0), "ike.remote_port", 500),
        (other(sendcert=2), "ike.send_certreq", False),
        (me(address="10.0.0.9", allow_any=1), "ike.local", ("10.0.0.9", "0.0.0.0/0", "::/0")),
        (me(address="10.0.0.9, gw.example"), "ike.local", ("10.0.0.9", "gw.example")),
        (me(address=None), "ike.local", ("%any",)),
        ({"unique": 0}, "unique", UniquePolicy.NO),
        ({"unique": 2}, "unique", UniquePolicy.REPLACE),
        ({"unique": 3}, "unique", UniquePolicy.KEEP),
        ({"unique": 4}, "unique", UniquePolicy.NEVER),
        ({"mobike": 0}, "mobike", False),
        (me(sendcert=0), "send_cert", SendCert.ALWAYS),
        ({"dpd": Dpd(15, 0, 3)}, "dpd_delay", 15.0),
        ({"dpd": Dpd(15, 0, 1)}, "dpd_delay", 15.0),
        ({"dpd": Dpd(15, 0, 0)}, "dpd_delay", 0.0),
        (me(sourceip="%config"), "virtual_ips", ("0.0.0.0",)),
        (me(sourceip="%config6"), "virtual_ips", ("::",)),
        (me(sourceip="%cfg4,10.9.0.7"), "virtual_ips", ("0.0.0.0", "10.9.0.7")),
        (me(sourceip="%config", subnets="fd00::/64"), "virtual_ips", ("::",)),
        (me(sourceip="%config", address="2001:db8::9"), "virtual_ips", ("::",)),
        (me(sourceip="%config") | other(subnets="fd00::/64"), "virtual_ips", ("::",)),
        (me(sourceip="%config") | other(sourceip="10.0.0.0/24"), "virtual_ips", ()),
        (other(sourceip="10.9.0.0/24,fd00::/120"), "pools", ("10.9.0.0/24", "fd00::/120")),
        (other(sourceip="%config"), "pools", ("home",)),
        (other(sourceip="%dhcp"), "pools", ("dhcp",)),
        (other(dns="8.8.8.8,1.1.1.1"), "dns", ("8.8.8.8", "1.1.1.1")),
        (me(dns="%config4,%config6"), "request_dns", ("0.0.0.0", "::")),
    ],
)
def test_ike_settings(
    surroundings: Surroundings, changes: dict[str, Any], field: str, value: object
) -> None:
    result: object = peer(surroundings, **changes)
    for name in field.split("."):
        result = getattr(result, name)
    assert result == value


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"mode": 1}, "mode", ChildMode.TRANSPORT),
        ({"mode": 3}, "mode", ChildMode.BEET),
        ({"mode": 4}, "mode", ChildMode.PASS),
        ({"mode": 5}, "mode", ChildMode.DROP),
        ({"mode": 1, "proxy_mode": 1}, "proxy_mode", True),
        ({"dpd": Dpd(30, 0, 1)}, "dpd_action", Action.NONE),
        ({"dpd": Dpd(30, 0, 2)}, "dpd_action", Action.TRAP),
        ({"dpd": Dpd(30, 0, 3)}, "dpd_action", Action.START),
        ({"close_action": 1}, "close_action", Action.NONE),
        ({"close_action": 2}, "close_action", Action.TRAP),
        ({"close_action": 3}, "close_action", Action.START),
        ({"reqid": 77}, "reqid", 77),
        ({"tfc": 100}, "tfc", 100),
        ({"tfc": 0xFFFFFFFF}, "tfc", -1),
        ({"replay_window": 0}, "replay_window", 0),
        ({"mark_in": MarkIn(16, 255)}, "mark_in", Mark(16, 255)),
        ({"ipcomp": 2}, "ipcomp", True),
        ({"install_policy": 0}, "install_policy", False),
        ({"inactivity": 300}, "inactivity", 300.0),
        ({"sha256_96": 1}, "sha256_96", True),
        (me(updown="/bin/true", hostaccess=1), "updown", "/bin/true"),
        (me(updown="/bin/true", hostaccess=1), "hostaccess", True),
        (
            {"algorithms": Algorithms(esp="aes128-sha256!")},
            "proposals",
            parse_proposals("aes128-sha256!", ProtocolId.ESP),
        ),
        (
            {"algorithms": Algorithms(esp="aes128-sha256!", ah="sha256!")},
            "proposals",
            parse_proposals("sha256!", ProtocolId.AH),
        ),
        (
            me(subnets="10.1.0.0/16,10.3.0.0/24[tcp/80]"),
            "local_ts",
            (
                TrafficSelector.parse("10.1.0.0/16"),
                TrafficSelector.parse("10.3.0.0/24[tcp/80]"),
            ),
        ),
        (
            me(protocol=17, from_port=1701, to_port=1701),
            "local_ts",
            (TrafficSelector.dynamic_of(17, (1701, 1701)),),
        ),
        (
            other(subnets="10.1.0.0/16,%dynamic[udp]", protocol=6),
            "remote_ts",
            (TrafficSelector.parse("10.1.0.0/16[tcp]"), TrafficSelector.parse("%dynamic[udp]")),
        ),
        (
            me(protocol=1, from_port=8, to_port=8),
            "local_ts",
            (TrafficSelector.parse("%dynamic[icmp/8]"),),
        ),
        (
            me(protocol=17, from_port=65535, to_port=0),
            "local_ts",
            (TrafficSelector.parse("%dynamic[udp/%opaque]"),),
        ),
    ],
)
def test_child_settings(
    surroundings: Surroundings, changes: dict[str, Any], field: str, value: object
) -> None:
    (child,) = peer(surroundings, **changes).children
    assert getattr(child, field) == value


@pytest.mark.parametrize(
    ("text", "auth_class", "method", "constraints"),
    [
        ("pubkey", AuthClass.PUBKEY, None, ()),
        ("rsa", AuthClass.PUBKEY, None, ("rsa",)),
        ("pubkey-sha256", AuthClass.PUBKEY, None, ("pubkey-sha256",)),
        ("ike:rsa/pss-sha256", AuthClass.PUBKEY, None, ("ike:rsa/pss-sha256",)),
        ("psk", AuthClass.PSK, None, ()),
        ("secret", AuthClass.PSK, None, ()),
        ("any", AuthClass.ANY, None, ()),
        ("eap", AuthClass.EAP, None, ()),
        ("eap-dynamic", AuthClass.EAP, None, ()),
        ("eap-aka", AuthClass.EAP, (23, 0), ()),
        ("eap-26", AuthClass.EAP, (26, 0), ()),
        ("eap-7-311", AuthClass.EAP, (7, 311), ()),
        ("eap-tls:rsa-2048", AuthClass.EAP, (13, 0), ("rsa-2048",)),
    ],
)
def test_auth(
    text: str,
    auth_class: AuthClass,
    method: tuple[int, int] | None,
    constraints: tuple[str, ...],
) -> None:
    assert parse_method("leftauth", text) == (auth_class, method, constraints)


def test_second_round(surroundings: Surroundings) -> None:
    made = peer(
        surroundings,
        **me(auth="pubkey", auth2="eap-md5", id="a@x"),
        **other(auth="pubkey", auth2="psk", id="b@x"),
        eap_identity="carol",
        aaa_identity="aaa.example",
    )
    assert [auth.auth_class for auth in made.local] == [AuthClass.PUBKEY, AuthClass.EAP]
    assert [str(auth.identity) for auth in made.local] == ["a@x", "a@x"]
    assert [str(auth.identity) for auth in made.remote] == ["b@x", "%any"]
    assert str(made.local[1].eap_identity) == "carol"
    assert str(made.local[1].aaa_identity) == "aaa.example"
    assert made.local[0].eap_identity is None


@pytest.mark.parametrize(
    ("text", "identity", "is_loose"),
    [
        ("sun@x", "sun@x", False),
        ("%sun@x", "sun@x", True),
        ("%any", "%any", False),
        ("C=CH, O=strongSwan, CN=*", "C=CH, O=strongSwan, CN=*", False),
        (None, "192.0.2.2", False),
        ("", "192.0.2.2", False),
    ],
)
def test_remote_identity(
    surroundings: Surroundings, text: str | None, identity: str, is_loose: bool
) -> None:
    (auth,) = peer(surroundings, **other(id=text)).remote
    assert (str(auth.identity), auth.loose_identity) == (identity, is_loose)


@pytest.mark.parametrize("address", ["%any", "0.0.0.0", "%any6", "10.0.0.8,10.0.0.9"])
def test_identity_of_an_end_without_one_address(surroundings: Surroundings, address: str) -> None:
    made = built(surroundings, **other(address=address), **me(address=address))
    assert made.peer.remote[0].identity.is_any
    assert made.peer.local[0].identity.is_any
    assert any("any identity" in note for note in made.notes) == ("," in address)


@pytest.mark.parametrize("address", ["10.1.0.0/16", "10.1.0.0-10.1.255.255"])
def test_peer_in_a_network_is_called_by_an_address_of_it(
    surroundings: Surroundings, address: str
) -> None:
    made = peer(surroundings, **other(address=address), **me(address=address))
    accepted = made.remote[0].identity
    assert Identification.parse("10.1.2.3").matches(accepted)
    assert not Identification.parse("10.2.2.3").matches(accepted)
    assert made.local[0].identity.is_any


def test_allowany_does_not_change_the_identity(surroundings: Surroundings) -> None:
    (auth,) = peer(surroundings, **other(address="gw.example", allow_any=1)).remote
    assert str(auth.identity) == "gw.example"


def test_settings_of_the_peer(surroundings: Surroundings) -> None:
    made = peer(
        surroundings,
        **other(ca="C=CH, CN=CA", groups="a, b", cert_policy="1.2.3,1.2.4"),
        crl_policy=1,
        eap_identity="%identity",
    )
    (auth,) = made.remote
    assert str(auth.ca) == "C=CH, CN=CA"
    assert auth.groups == ("a", "b")
    assert auth.cert_policies == ("1.2.3", "1.2.4")
    assert auth.revocation is RevocationPolicy.STRICT
    assert auth.eap_identity is None


def test_same_ca_as_the_other_end(surroundings: Surroundings) -> None:
    made = peer(surroundings, **me(ca="C=CH, CN=CA"), **other(ca="%same"))
    assert str(made.remote[0].ca) == "C=CH, CN=CA"


@pytest.mark.parametrize(
    ("left", "right", "is_swapped"),
    [
        ("10.0.0.1", "192.0.2.2", False),
        ("192.0.2.2", "10.0.0.1", True),
        ("192.0.2.2", "192.0.2.9,10.0.0.1", True),
        ("192.0.2.2", "me.example", True),
        ("192.0.2.2", "2001:db8::1", True),
        ("%any", "10.0.0.1", True),
        ("192.0.2.2", "%any", False),
        ("192.0.2.2", "10.0.0.0/24", False),
        ("192.0.2.2", "10.0.0.1-10.0.0.2", False),
        ("192.0.2.2", "unknown.example", False),
    ],
)
def test_ends_are_exchanged_if_right_is_ours(
    surroundings: Surroundings, left: str, right: str, is_swapped: bool
) -> None:
    changes = me(address=left, id="left@x", subnets="10.1.0.0/16") | other(
        address=right, id="right@x", updown="/right", auth="psk"
    )
    made = peer(surroundings, **changes)
    assert str(made.local[0].identity) == ("right@x" if is_swapped else "left@x")
    assert made.children[0].updown == ("/right" if is_swapped else None)
    assert (made.local[0].auth_class is AuthClass.PSK) == is_swapped
    assert made.ike.local == tuple((right if is_swapped else left).split(","))
    kept = peer(replace(surroundings, allow_swap=False), **changes)
    assert str(kept.local[0].identity) == "left@x"


def test_neither_end_ours_is_remarked(surroundings: Surroundings) -> None:
    (note,) = built(surroundings, **me(address="192.0.2.1")).notes
    assert "no address of this host" in note


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": None}, "expected a name"),
        ({"name": ""}, "expected a name"),
        ({"name": "a\nb"}, "printable"),
        ({"version": 1}, "keyexchange = 'ikev1': expected ikev2: IKEv1 is not supported"),
        ({"version": 7}, "keyexchange = '7'"),
        ({"ikeme": Mediation(1)}, "mediation"),
        ({"mode": 0}, "type = '0': expected one of the numbers 1, 2, 3, 4, 5"),
        ({"mode": -7}, "type = '-7'"),
        ({"unique": 9}, "uniqueids = '9'"),
        ({"fragmentation": -1}, "fragmentation = '-1'"),
        ({"crl_policy": 5}, "strictcrlpolicy = '5'"),
        ({"close_action": 9}, "closeaction = '9'"),
        ({"dpd": Dpd(30, 0, 9)}, "dpdaction = '9'"),
        ({"dpd": Dpd(-1, 0, 1)}, "dpddelay = '-1'"),
        ({"inactivity": -1}, "inactivity = '-1'"),
        ({"ikedscp": 200}, "DSCP 200"),
        (me(sendcert=9), "leftsendcert = '9'"),
        ({"algorithms": Algorithms(ike="aes128-foo")}, "ike = 'aes128-foo': expected proposals"),
        ({"algorithms": Algorithms(ike="aes128gcm16-x25519!")}, "pseudorandom function"),
        ({"algorithms": Algorithms(esp="aes128-aes128gcm16!")}, "mixes AEAD"),
        ({"algorithms": Algorithms(ah="aes128!")}, "ah = 'aes128!'"),
        (me(address="foo bar"), "left = 'foo bar': expected an address"),
        (other(address="1.2.3.4/99"), "right = '1.2.3.4/99': expected an address"),
        (me(subnets="foo"), "leftsubnet = 'foo': expected NETWORK/BITS"),
        (me(subnets="10.0.0.0/8,bar/8"), "leftsubnet = 'bar/8'"),
        (other(subnets="10.0.0.0/8[foo]"), "rightsubnet"),
        (me(protocol=6, from_port=9, to_port=3), "leftprotoport"),
        (me(auth="xauth"), "leftauth = 'xauth': expected pubkey"),
        (other(auth="bogus"), "rightauth = 'bogus'"),
        (other(auth="pubkey-sha999"), "unknown: sha999"),
        (other(auth="eap-bogus"), "rightauth = 'eap-bogus': expected an EAP method"),
        (other(auth="eap-999"), "EAP type up to 255"),
        (other(auth2="eap-radius"), "rightauth2 = 'eap-radius'"),
        (me(id="@#zz"), "leftid = '@#zz': expected an identity"),
        (other(ca="keyid:#q"), "rightca = 'keyid:#q'"),
        ({**me(ca="%same"), **other(ca="%same")}, "leftca = '%same'"),
        ({"eap_identity": "@#q", **me(auth="eap")}, "eap_identity = '@#q'"),
        (me(cert="missing.pem"), "leftcert = 'missing.pem': expected a certificate in"),
        (other(cert="%smartcard:99"), "rightcert = '%smartcard:99': expected a file"),
        (me(rsakey="0xzz"), "leftsigkey = '0xzz': expected a DER key"),
        (other(rsakey="missing.pem"), "rightsigkey = 'missing.pem'"),
        (me(sourceip="foo"), "leftsourceip = 'foo': expected an IP address, %config"),
        (other(sourceip="foo"), "rightsourceip = 'foo': expected a pool"),
        (me(dns="foo"), "leftdns = 'foo'"),
        (other(dns="%config"), "rightdns = '%config': expected an IP address"),
        ({"rekey": Rekey(1, 3600, 500, 540)}, "ikelifetime = '500': expected more than margintime"),
        ({"rekey": Rekey(1, 500, 3600, 540)}, "lifetime = '500': expected more than margintime"),
        ({"rekey": Rekey(life_bytes=5, margin_bytes=5)}, "lifebytes = '5'"),
        ({"rekey": Rekey(1, -1, 3600, 5)}, "lifetime = '-1': expected 0 or more"),
        ({"rekey": Rekey(1, 3600, 3600, -5)}, "margintime = '-5'"),
    ],
)
def test_refusal_names_key_value_and_what_was_expected(
    surroundings: Surroundings, changes: dict[str, Any], complaint: str
) -> None:
    assert complaint in complaints(surroundings, **changes)


def test_all_complaints_come_at_once(surroundings: Surroundings) -> None:
    text = complaints(
        surroundings,
        unique=9,
        mode=9,
        algorithms=Algorithms(ike="foo", esp="bar"),
        **me(auth="x", sourceip="y", auth2="z"),
        **other(subnets="w"),
    )
    for key in (
        "uniqueids",
        "type",
        "ike",
        "esp",
        "leftauth",
        "leftauth2",
        "leftsourceip",
        "rightsubnet",
    ):
        assert f"{key} = " in text


def test_complaint_names_the_keyword_also_when_the_ends_are_exchanged(
    surroundings: Surroundings,
) -> None:
    text = complaints(
        surroundings, **me(address="192.0.2.2", auth="x"), **other(address="10.0.0.1", auth="y")
    )
    assert "leftauth = 'x'" in text
    assert "rightauth = 'y'" in text


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("C=CH, O=Test, CN=CA")


def test_own_certificate_with_intermediates(
    surroundings: Surroundings, authority: Authority
) -> None:
    moon = authority.issue("C=CH, O=Test, CN=moon", "moon.example.org")
    (surroundings.certs / "moon.pem").write_bytes(moon.pem + authority.pem)
    made = built(surroundings, **me(cert="moon.pem", id="@moon.example.org"))
    (auth,) = made.peer.local
    assert auth.certificates == (moon.der, authority.der)
    assert str(auth.identity) == "moon.example.org"
    assert [certificate.der for certificate in made.certificates] == [moon.der, authority.der]
    assert made.notes == ()


@pytest.mark.parametrize("written", [None, "@other.example.org"])
def test_identity_that_the_certificate_does_not_confirm(
    surroundings: Surroundings, authority: Authority, written: str | None
) -> None:
    moon = authority.issue("C=CH, O=Test, CN=moon", "moon.example.org")
    (surroundings.certs / "moon.der").write_bytes(moon.der)
    made = built(surroundings, **me(cert="moon.der", id=written))
    assert str(made.peer.local[0].identity) == "C=CH, O=Test, CN=moon"
    assert any("not confirmed" in note for note in made.notes) == (written is not None)


def test_peer_is_pinned_to_the_end_entity_only(
    surroundings: Surroundings, authority: Authority
) -> None:
    sun = authority.issue("C=CH, O=Test, CN=sun", "sun.example.org")
    (surroundings.certs / "sun.pem").write_bytes(sun.pem + authority.pem)
    (auth,) = peer(surroundings, **other(cert="sun.pem", id="C=CH, O=Test, CN=*")).remote
    assert auth.certificates == (sun.der,)
    assert str(auth.identity) == "C=CH, O=Test, CN=*"


def test_raw_public_key(surroundings: Surroundings, authority: Authority) -> None:
    made = built(surroundings, **other(rsakey=f"0x{authority.spki.hex()}", id="@sun"))
    assert made.peer.remote[0].public_keys == (authority.spki,)


@pytest.mark.parametrize("value", ["", "%cert", "%dns"])
def test_words_that_name_no_raw_key(surroundings: Surroundings, value: str) -> None:
    assert peer(surroundings, **other(rsakey=value)).remote[0].public_keys == ()


def add(world: World, body: AddConn) -> None:
    assert world.ask(Message(MessageType.ADD_CONN, body, -1)) == ""


def delete(world: World, name: str) -> None:
    assert world.ask(Message(MessageType.DEL_CONN, Name(name), -1)) == ""


def names(world: World) -> dict[str, list[str]]:
    return {p.name: [c.name for c in p.children] for p in world.backends.all_peers()}


def test_add_and_delete(world: World) -> None:
    add(world, CONN)
    assert names(world) == {"home": ["home"]}
    delete(world, "home")
    assert names(world) == {}
    delete(world, "home")
    assert world.bus.said("there is no connection 'home' to delete")


def test_connections_that_differ_in_the_child_only_share_an_ike_sa(world: World) -> None:
    add(world, CONN)
    add(world, replace(CONN, name="second", other=replace(CONN.other, subnets="10.2.0.0/16")))
    add(world, replace(CONN, name="third", other=replace(CONN.other, address="192.0.2.3")))
    assert names(world) == {"home": ["home", "second"], "third": ["third"]}
    delete(world, "home")
    assert names(world) == {"home": ["second"], "third": ["third"]}
    delete(world, "second")
    assert names(world) == {"third": ["third"]}


def test_adding_a_name_again_replaces_it(world: World) -> None:
    add(world, CONN)
    add(world, replace(CONN, other=replace(CONN.other, subnets="10.2.0.0/16")))
    assert names(world) == {"home": ["home"]}
    (found,) = world.backends.all_peers()
    assert str(found.children[0].remote_ts[0]) == "10.2.0.0/16"
    assert world.bus.said("its definition is replaced")


def test_refused_connection_leaves_nothing_and_harms_no_other(world: World) -> None:
    add(world, replace(CONN, name="bad", algorithms=Algorithms(ike="foo")))
    add(world, replace(CONN, name="v1", version=1))
    add(world, CONN)
    assert names(world) == {"home": ["home"]}
    assert world.bus.said("connection 'bad': ike = 'foo': expected proposals")
    assert world.bus.said("connection 'v1': keyexchange = 'ikev1'")


def test_found_by_address_and_name(world: World) -> None:
    add(world, CONN)
    found = world.backends.find_peer_configs("10.77.0.1", "192.0.2.2", None, None)
    assert [p.name for p in found] == ["home"]
    assert world.backends.find_ike_config("10.77.0.1", "192.0.2.3") is None


def test_pools_of_connections(world: World) -> None:
    add(world, replace(CONN, other=replace(CONN.other, sourceip="10.9.0.0/30")))
    add(world, replace(CONN, name="free", other=replace(CONN.other, sourceip="%config")))
    acquire = world.attributes.acquire
    assert acquire(["10.9.0.0/30"], "carol", None) == ("10.9.0.0/30", "10.9.0.1")
    assert acquire(["free"], "carol", "10.1.2.3") == ("free", "10.1.2.3")
    assert acquire(["free"], "carol", "0.0.0.0") is None
    assert acquire(["free"], "carol", None) is None
    assert acquire(["home"], "carol", "10.1.2.3") is None
    assert acquire(["free"], "dave", "10.1.2.3") is None
    assert world.attributes.release("free", "carol", "10.1.2.3")
    assert not world.attributes.release("free", "carol", "10.1.2.3")


def test_pools_that_overlap_are_told(surroundings: Surroundings) -> None:
    assert built(surroundings, **other(sourceip="10.9.0.0/24")).notes == ()
    assert built(surroundings, **other(sourceip="10.9.0.0/24")).notes == ()
    (note,) = built(surroundings, **other(sourceip="10.9.0.128/25,10.8.0.0/24")).notes
    assert note.startswith("pool 10.9.0.128/25 has addresses in common with 10.9.0.0/24")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("%config", ("0.0.0.0",)),
        ("%modeconfig4,%cfg6", ("0.0.0.0", "::")),
        ("10.9.0.7,fd09::7,%config6", ("10.9.0.7", "fd09::7", "::")),
    ],
)
def test_addresses_and_name_servers_that_are_asked_for(
    surroundings: Surroundings, wanted: str, expected: tuple[str, ...]
) -> None:
    found = peer(surroundings, **me(sourceip=wanted, dns=wanted))
    assert found.virtual_ips == found.request_dns == expected
    # Without leftsubnet the tunnel is for what is assigned.
    assert found.children[0].local_ts[0].dynamic


_numbers = st.integers(-(2**31), 2**31 - 1)
_texts = (
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(
        ["%any", "10.0.0.1", "psk", "eap-7-311", "%config", "10.0.0.0/8[tcp/80]", "@#00", "C=CH"]
    )
)
_ends = st.builds(
    End,
    auth=_texts,
    auth2=_texts,
    id=_texts,
    address=_texts,
    sourceip=_texts,
    dns=_texts,
    subnets=_texts,
    ca=_texts,
    sendcert=_numbers,
    protocol=st.integers(0, 255),
    from_port=st.integers(0, 65535),
    to_port=st.integers(0, 65535),
)
_any_connection = st.builds(
    AddConn,
    name=_texts,
    version=_numbers,
    mode=st.integers(-1, 7),
    fragmentation=_numbers,
    unique=st.integers(-1, 6),
    inactivity=st.integers(-(2**63), 2**63 - 1),
    rekey=st.builds(
        Rekey,
        ipsec_lifetime=st.integers(-(2**63), 2**63 - 1),
        ike_lifetime=st.integers(-(2**63), 2**63 - 1),
        margin=st.integers(-(2**63), 2**63 - 1),
        life_bytes=st.integers(0, 2**64 - 1),
        margin_bytes=st.integers(0, 2**64 - 1),
        fuzz=st.integers(0, 2**64 - 1),
        tries=st.integers(0, 2**64 - 1),
    ),
    me=_ends,
    other=_ends,
)


@given(_any_connection)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_arrives_is_built_or_refused(
    surroundings: Surroundings, connection: AddConn
) -> None:
    body = (
        decode(encode(Message(MessageType.ADD_CONN, connection))).body
        if _encodes(connection)
        else connection
    )
    assert isinstance(body, AddConn)
    try:
        assert build(body, surroundings).peer.name == body.name
    except InvalidConnectionError as error:
        assert error.complaints  # noqa: PT017


def _encodes(connection: AddConn) -> bool:
    try:
        encode(Message(MessageType.ADD_CONN, connection))
    except ValueError:
        return False
    return True


def test_esp_that_the_kernel_backend_lacks_is_left_out_with_a_note(
    surroundings: Surroundings,
) -> None:
    lacking = replace(
        surroundings,
        installable=lambda given: tuple(p for p in given if "3DES" not in str(p)),
        missing=lambda _: "kernel backend 'x' has no 3DES_CBC",
    )
    result = built(lacking, algorithms=Algorithms(esp="3des-sha1,aes128-sha256!"))
    assert result.peer.children[0].proposals == parse_proposals("aes128-sha256!", ProtocolId.ESP)
    (note,) = result.notes
    assert note == (
        "esp = '3des-sha1,aes128-sha256!': taken without what cannot be installed: "
        "kernel backend 'x' has no 3DES_CBC"
    )
    assert complaints(lacking, algorithms=Algorithms(esp="3des-sha1!")) == (
        "esp = '3des-sha1!': expected algorithms that can be installed: "
        "kernel backend 'x' has no 3DES_CBC"
    )
