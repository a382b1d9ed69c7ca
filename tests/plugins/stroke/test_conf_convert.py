"""From sections to messages, as the native starter makes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charon_plugins.stroke.starter.convert import Auto, Configuration, convert, parse_debug
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.plan import Request, start_plan
from charon_plugins.stroke.wire.bodies import AddConn, Dpd, End, MarkIn, MarkOut, Rekey

VECTORS = Path(__file__).parents[2] / "data" / "vectors" / "stroke"


def configuration(text: str) -> Configuration:
    return convert(load(Path("/conf"), lambda _: text))


def built(*lines: str, setup: str = "") -> AddConn:
    text = f"config setup\n\t{setup}\nconn a\n\tauto=add\n" + "".join(f"\t{x}\n" for x in lines)
    result = configuration(text)
    assert not result.skipped, result.skipped
    return result.connections["a"].body


def refusal(line: str) -> str:
    result = configuration(f"conn a\n\tauto=add\n\t{line}\nconn b\n\tauto=add\n")
    assert list(result.connections) == ["b"]
    (problem,) = result.skipped["conn a"]
    return str(problem)


@pytest.mark.parametrize("name", ["add-conn-minimal", "add-conn-cert-eap", "add-conn-options"])
def test_captured_connection_comes_out_byte_for_byte(name: str) -> None:
    captured = bytes.fromhex((VECTORS / f"{name}.hex").read_text())
    described = json.loads((VECTORS / f"{name}.json").read_text())
    requests = start_plan(configuration(described["ipsec_conf"]))
    assert requests[0].encode() == captured


def test_captured_ca_comes_out_byte_for_byte() -> None:
    captured = bytes.fromhex((VECTORS / "add-ca.hex").read_text())
    described = json.loads((VECTORS / "add-ca.json").read_text())
    (request,) = start_plan(configuration(described["ipsec_conf"]))
    assert request.encode() == captured


def test_defaults() -> None:
    end = End(address="%any", ikeport=500, sendcert=1, tohost=1, to_port=65535)
    assert built() == AddConn(
        name="a",
        mode=2,
        mobike=64,
        fragmentation=2,
        install_policy=1,
        unique=1,
        rekey=Rekey(1, 3600, 10800, 540, tries=3, fuzz=100),
        dpd=Dpd(30, 150, 0),
        me=end,
        other=end,
        replay_window=0xFFFFFFFF,
    )


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("lifetime=90", "rekey.ipsec_lifetime", 90),
        ("lifetime=90s", "rekey.ipsec_lifetime", 90),
        ("keylife=3m", "rekey.ipsec_lifetime", 180),
        ("ikelifetime=2h", "rekey.ike_lifetime", 7200),
        ("margintime=1d", "rekey.margin", 86400),
        ("rekeyfuzz=50%", "rekey.fuzz", 50),
        ("lifebytes=18446744073709551615", "rekey.life_bytes", 2**64 - 1),
        ("keyingtries=%forever", "rekey.tries", 0),
        ("keyingtries=7", "rekey.tries", 7),
        ("reauth=no", "rekey.reauth", 0),
        ("ikedscp=101110", "ikedscp", 46),
        ("replay_window=-1", "replay_window", 0xFFFFFFFF),
        ("replay_window=0", "replay_window", 0),
        ("tfc=%mtu", "tfc", 0xFFFFFFFF),
        ("compress=yes", "ipcomp", 2),
        ("mobike=no", "mobike", 0),
        ("forceencaps=yes", "force_encap", 128),
        ("modeconfig=push", "pushmode", 16),
        ("keyexchange=ikev2", "version", 2),
        ("fragmentation=force", "fragmentation", 3),
        ("closeaction=hold", "close_action", 2),
        ("dpdaction=restart", "dpd.action", 3),
        ("type=transport", "mode", 1),
        ("type=transport_proxy", "proxy_mode", 1),
        ("type=passthrough", "mode", 4),
        ("type=reject", "mode", 5),
        ("left=%defaultroute", "me.address", "%any"),
        ("left=%any6", "me.address", "%any6"),
        ("left=%gw.example", "me.address", "gw.example"),
        ("left=%gw.example", "me.allow_any", 1),
        ("right=%gw.example", "other.allow_any", 1),
        ("leftsubnet=10.0.0.0/8", "me.tohost", 0),
        ("leftsubnetwithin=10.0.0.0/8", "me.subnets", "10.0.0.0/8"),
        ("rightsendcert=never", "other.sendcert", 2),
        ("rightsendcert=yes", "other.sendcert", 0),
        ("leftrsasigkey=0x12", "me.rsakey", "0x12"),
        ("leftfirewall=yes", "me.updown", "ipsec _updown iptables"),
        ('leftid=""', "me.id", ""),
        ("mediation=yes", "ikeme.mediation", 1),
    ],
)
def test_keyword(line: str, field: str, value: int | str) -> None:
    result: object = built(line)
    for name in field.split("."):
        result = getattr(result, name)
    assert result == value


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("leftprotoport=17/1701", (17, 1701, 1701)),
        ("leftprotoport=tcp", (6, 0, 65535)),
        ("leftprotoport=tcp/http", (6, 80, 80)),
        ("leftprotoport=udp/%opaque", (17, 65535, 0)),
        ("leftprotoport=17/10-20", (17, 10, 20)),
        ("leftprotoport=%any/%any", (0, 0, 65535)),
        ("leftprotoport=/53", (0, 53, 53)),
        ("leftprotoport=6/", (6, 0, 65535)),
    ],
)
def test_protoport(line: str, expected: tuple[int, int, int]) -> None:
    end = built(line).me
    assert (end.protocol, end.from_port, end.to_port) == expected


@pytest.mark.parametrize(
    ("text", "value", "mask"),
    [
        ("16", 16, 0xFFFFFFFF),
        ("0x10/0xff", 16, 255),
        ("0xfff/0xff", 255, 255),
        ("010", 8, 0xFFFFFFFF),
        ("%unique", 0xFFFFFFFF, 0xFFFFFFFF),
        ("%unique-dir/0xff", 0xFFFFFFFE, 0xFF),
    ],
)
def test_mark(text: str, value: int, mask: int) -> None:
    body = built(f"mark={text}")
    assert body.mark_in == MarkIn(value, mask)
    assert body.mark_out == MarkOut(value, mask)
    assert built(f"mark_in={text}").mark_out == MarkOut()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("authby=secret",), ("psk", None, "psk", None)),
        (("authby=ecdsasig",), ("pubkey", None, "pubkey", None)),
        (("authby=never",), (None, None, None, None)),
        (("authby=psk", "leftauth=pubkey"), ("pubkey", None, None, None)),
        (("authby=psk", "rightauth2=eap"), ("psk", None, "psk", "eap")),
        (("authby=xauthpsk",), ("psk", "xauth", "psk", None)),
        (("authby=xauthrsasig", "xauth=server"), ("pubkey", None, "pubkey", "xauth")),
    ],
)
def test_authby(lines: tuple[str, ...], expected: tuple[str | None, ...]) -> None:
    body = built(*lines)
    assert (body.me.auth, body.me.auth2, body.other.auth, body.other.auth2) == expected


def test_rekey_no_sends_no_lifetimes() -> None:
    assert built("rekey=no", "lifetime=1h", "keyingtries=9").rekey == Rekey(tries=9)


def test_setup_is_copied_into_every_connection() -> None:
    assert built(setup="strictcrlpolicy=ifuri").crl_policy == 2
    assert built(setup="uniqueids=never").unique == 4


def test_sourceip_means_tunnel_mode_unless_type_is_read_later() -> None:
    assert built("leftsourceip=%config", "type=transport").mode == 1
    text = "conn v\n\tleftsourceip=%config\nconn a\n\talso=v\n\ttype=transport\n\tauto=add\n"
    assert configuration(text).connections["a"].body.mode == 2


def test_explicit_allowany_wins_over_the_percent_sign() -> None:
    assert built("left=%gw.example", "leftallowany=no").me.allow_any == 0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("mobike=YES", "mobike = 'YES': expected one of yes, no"),
        ("lifetime=1.5h", "whole number"),
        ("lifetime=-1", "whole number"),
        ("rekeyfuzz=50", "per cent sign"),
        ("ikedscp=1111111", "six binary digits"),
        ("reqid=4294967296", "0 to 4294967295"),
        ("reqid=" + "9" * 5000, "0 to 4294967295"),
        ("tfc=%foo", "or %mtu"),
        ("keyingtries=1x", "or %forever"),
        ("mark=abc", "VALUE/MASK"),
        ("leftprotoport=foo", "/etc/protocols"),
        ("leftprotoport=tcp/foo", "/etc/services"),
        ("leftprotoport=tcp/20-10", "low to high"),
        ("leftikeport=70000", "65535"),
        ("leftfirewall=yes\n\tleftupdown=/x", "not both"),
        ("cacert=x", "'ca' section"),
        ("cachecrls=yes", "'config setup' section"),
        ("plutodebug=x", "'config setup' section"),
    ],
)
def test_bad_value_skips_this_connection_only(line: str, complaint: str) -> None:
    text = refusal(line)
    assert complaint in text
    assert text.startswith("/conf:")


def test_same_problem_of_a_default_is_told_for_each_connection() -> None:
    result = configuration("conn %default\n\tmobike=x\n\tauto=add\nconn a\nconn b\n\tmobike=no\n")
    assert list(result.skipped) == ["conn a"]
    assert list(result.connections) == ["b"]


def test_unknown_and_deprecated_keywords_are_warnings() -> None:
    result = configuration("conn a\n\tlefftid=x\n\tpfs=yes\n\tauto=add\n")
    texts = [warning.text for warning in result.warnings]
    assert any("did you mean 'leftid'" in text for text in texts)
    assert any("deprecated" in text for text in texts)
    assert list(result.connections) == ["a"]


@pytest.mark.parametrize("line", ["uniqueids=maybe", "left=1.2.3.4", "cacert=x"])
def test_error_in_setup_is_a_warning_and_the_default_is_used(line: str) -> None:
    text = "conn a\n\tauto=add\n"
    result = configuration(f"config setup\n\t{line}\n\tcachecrls=yes\n{text}")
    assert result.cache_crls
    assert result.connections == configuration(text).connections
    (told,) = (str(warning) for warning in result.warnings if "default" in warning.text)
    assert told.startswith("/conf:2:")
    assert told.endswith("; the default is used")


def test_ignored_sections_are_not_sent() -> None:
    result = configuration("conn a\nconn b\n\tauto=start\nca c\n\tcacert=x\n")
    assert result.connections["b"].auto is Auto.START
    assert list(result.connections) == ["b"]
    assert not result.authorities


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ike 2, knl 1", (("ike", "2"), ("knl", "1"))),
        ("any -1", (("any", "-1"),)),
        ("network 2", (("net", "2"),)),
        ("", ()),
        ("ike", ()),
        ("ike 2,", ()),
        ("ike x", ()),
    ],
)
def test_charondebug(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    assert parse_debug(text) == pairs


def test_start_order() -> None:
    result = configuration(
        "config setup\n\tcachecrls=yes\n\tuniqueids=no\n"
        "conn a\n\tauto=add\nconn r\n\tauto=route\nconn s\n\tauto=start\nca c\n\tauto=add\n"
    )
    assert [str(request) for request in start_plan(result)] == [
        "config",
        "add_ca c",
        "add_conn a",
        "add_conn r",
        "route r",
        "add_conn s",
        "initiate s",
    ]
    assert all(request.message.verbosity == -1 for request in start_plan(result))
    assert isinstance(start_plan(result)[0], Request)
