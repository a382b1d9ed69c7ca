"""The texts of status and statusall, as scripts read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.config.identification import Identification
from charon_plugins.stroke.server.times import UNKNOWN_DATE, date, span
from charon_plugins.stroke.wire.bodies import AddConn, Dpd, End, Name, Rekey
from charon_plugins.stroke.wire.message import Message
from charon_plugins.stroke.wire.types import MessageType
from tests.plugins.stroke.fakes import World, child_sa, ike_sa


def status(world: World, name: str | None = None) -> str:
    return world.ask(Message(MessageType.STATUS, Name(name)))


def status_all(world: World, name: str | None = None) -> str:
    return world.ask(Message(MessageType.STATUS_ALL, Name(name)))


def add(world: World, body: AddConn) -> None:
    assert world.ask(Message(MessageType.ADD_CONN, body, -1)) == ""


END = End(ikeport=500, to_port=65535)
CERT = AddConn(
    name="cert",
    mode=2,
    rekey=Rekey(1, 3600, 10800, 540, tries=3, fuzz=100),
    dpd=Dpd(60, 150, 3),
    me=replace(END, address="10.77.0.1", id="moon.example.org", subnets="10.1.0.0/16"),
    other=replace(END, address="10.77.0.2", id="sun.example.org", subnets="10.2.0.0/16"),
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (1.9, "1 second"),
        (120, "120 seconds"),
        (121, "2 minutes"),
        (7200, "120 minutes"),
        (7201, "2 hours"),
        (172800, "48 hours"),
        (172801, "2 days"),
        (94521600, "1094 days"),
    ],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (1795427248, "Nov 23 09:47:28 UTC 2026"),
        (0, "Jan 01 00:00:00 UTC 1970"),
        (None, UNKNOWN_DATE),
        (1e20, UNKNOWN_DATE),
    ],
)
def test_date(moment: float | None, text: str) -> None:
    assert date(moment, utc=True) == text
    assert "UTC" not in date(moment)


def test_nothing_to_show(world: World) -> None:
    assert status(world) == "Security Associations (0 up, 0 connecting):\n  none\n"
    assert status(world, "x") == "Security Associations (0 up, 0 connecting):\n  no match\n"


def test_daemon_block(world: World) -> None:
    world.attributes.memory.add("10.9.0.0/24").acquire("carol")
    lines = status_all(world).splitlines()
    assert lines[0].startswith("Status of IKE charon daemon (charon 1.2.3, Linux ")
    assert lines[1].startswith("  uptime: 15 seconds, since ")
    assert lines[2].startswith("  worker threads: ")
    assert " idle, " in lines[2]
    assert ", job queue: 0/0/0/0, scheduled: 0" in lines[2]
    assert lines[3] == "  loaded plugins: charon "
    assert lines[4:] == [
        "Virtual IP pools (size/online/offline):",
        "  10.9.0.0/24: 254/1/0",
        "Listening IP addresses:",
        "  10.77.0.1",
        "Connections:",
        "Security Associations (0 up, 0 connecting):",
        "  none",
    ]
    assert "Virtual IP pools" not in status_all(world, "other")


def test_connections_block(world: World) -> None:
    add(world, CERT)
    add(
        world,
        replace(
            CERT,
            name="cert2",
            me=replace(CERT.me, subnets="10.11.0.0/16[tcp/http]"),
            other=replace(CERT.other, subnets="10.12.0.0/16[udp],10.13.0.0/16"),
        ),
    )
    assert connection_lines(status_all(world)) == [
        "        cert:  10.77.0.1...10.77.0.2  IKEv1/2, dpddelay=60s",
        "        cert:   local:  [moon.example.org] uses public key authentication",
        "        cert:   remote: [sun.example.org] uses public key authentication",
        "        cert:   child:  10.1.0.0/16 === 10.2.0.0/16 TUNNEL, dpdaction=start",
        (
            "       cert2:   child:  10.11.0.0/16[tcp/http] === 10.12.0.0/16[udp] 10.13.0.0/16 "
            "TUNNEL, dpdaction=start"
        ),
    ]
    assert len(connection_lines(status_all(world, "cert2"))) == 4
    assert connection_lines(status_all(world, "x")) == []


def connection_lines(text: str) -> list[str]:
    lines = text.splitlines()
    return lines[lines.index("Connections:") + 1 : find(lines, "Security Associations")]


def find(lines: list[str], beginning: str) -> int:
    return next(number for number, line in enumerate(lines) if line.startswith(beginning))


def test_road_warrior(world: World) -> None:
    body = AddConn(
        name="rw",
        version=2,
        mode=2,
        eap_identity="%identity",
        crl_policy=2,
        dpd=Dpd(30, 150, 0),
        me=replace(END, address="%any", auth="psk", allow_any=1),
        other=replace(END, auth="eap-mschapv2", ca="C=CH, O=Test, CN=CA", groups="staff,guests"),
    )
    add(world, body)
    assert connection_lines(status_all(world)) == [
        "          rw:  %any,0.0.0.0/0,::/0...%any  IKEv2",
        "          rw:   local:  uses pre-shared key authentication",
        "          rw:    crl:   status must be GOOD or SKIPPED",
        "          rw:   remote: uses EAP_MSCHAPV2 authentication with EAP identity '%any'",
        '          rw:    ca:    "C=CH, O=Test, CN=CA"',
        "          rw:    crl:   status must be GOOD or SKIPPED",
        "          rw:    group: staff",
        "          rw:    group: guests",
        "          rw:   child:  dynamic === dynamic TUNNEL",
    ]


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        ("any", "any"),
        ("eap", "EAP"),
        ("eap-aka", "EAP_AKA"),
        ("eap-77", "EAP_77"),
        ("eap-7-311", "EAP_7-311"),
    ],
)
def test_names_of_authentication(world: World, auth: str, text: str) -> None:
    body = AddConn(name="a", mode=2, me=END, other=replace(END, auth=auth))
    add(world, body)
    assert f"   remote: uses {text} authentication\n" in status_all(world)


def test_security_associations(world: World) -> None:
    add(world, CERT)
    world.controller.sas = [
        ike_sa(
            name="cert",
            reauth_in=7300.0,
            local_id=Identification.parse("carol@example.org"),
            remote_eap_id=Identification.parse("carol"),
            tasks_active=("IKE_INIT", "IKE_NATD"),
            children=(
                child_sa(
                    name="cert",
                    udp_encap=True,
                    bytes_in=168,
                    packets_in=2,
                    idle_in=0.4,
                    bytes_out=84,
                    packets_out=1,
                    idle_out=3.0,
                ),
            ),
        ),
        ike_sa(
            unique_id=4,
            name="new",
            state="CONNECTING",
            is_initiator=False,
            remote_id=None,
            responder_spi=bytes(8),
            half_open=True,
            proposal="",
        ),
    ]
    assert status(world) == (
        "Security Associations (1 up, 1 connecting):\n"
        "        cert[1]: ESTABLISHED 9 seconds ago, "
        "10.77.0.1[carol@example.org]...10.77.0.2[sun.example.org]\n"
        "        cert{2}:  INSTALLED, TUNNEL, reqid 1, ESP in UDP SPIs: 662254e3_i c952b953_o\n"
        "        cert{2}:   10.1.0.0/16 === 10.2.0.0/16\n"
        "         new[4]: CONNECTING, 10.77.0.1[moon.example.org]...10.77.0.2[%any]\n"
    )
    text = status_all(world)
    lines = text.splitlines()
    assert lines[find(lines, "Security") :] == [
        "Security Associations (1 up, 1 connecting):",
        (
            "        cert[1]: ESTABLISHED 9 seconds ago, "
            "10.77.0.1[carol@example.org]...10.77.0.2[sun.example.org]"
        ),
        "        cert[1]: Remote EAP identity: carol",
        (
            "        cert[1]: IKEv2 SPIs: 7f77e4e80fe14ac7_i* fa5c1c5237421f03_r, "
            "public key reauthentication in 2 hours"
        ),
        (
            "        cert[1]: IKE proposal: "
            "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519"
        ),
        "        cert[1]: Tasks active: IKE_INIT IKE_NATD ",
        "        cert{2}:  INSTALLED, TUNNEL, reqid 1, ESP in UDP SPIs: 662254e3_i c952b953_o",
        (
            "        cert{2}:  AES_CBC_128/HMAC_SHA2_256_128, 168 bytes_i (2 pkts, 0s ago), "
            "84 bytes_o (1 pkt, 3s ago), rekeying in 47 minutes"
        ),
        "        cert{2}:   10.1.0.0/16 === 10.2.0.0/16",
        "         new[4]: CONNECTING, 10.77.0.1[moon.example.org]...10.77.0.2[%any]",
        "         new[4]: IKEv2 SPIs: 7f77e4e80fe14ac7_i 0000000000000000_r*",
    ]


@pytest.mark.parametrize(
    ("changes", "tail"),
    [
        ({"rekey_in": 3500.0}, ", rekeying in 58 minutes"),
        ({}, ", rekeying disabled"),
        ({"expires_in": 3420.0}, ", rekeying disabled, expires in 57 minutes"),
        ({"rekey_in": 60.0, "expires_in": 3420.0}, ", rekeying in 60 seconds"),
        ({"reauth_in": 60.0}, ", reauthentication in 60 seconds"),
        (
            {"rekey_in": 1.0, "reauth_in": 1.0},
            ", rekeying in 1 second, reauthentication in 1 second",
        ),
        ({"state": "REKEYING", "rekey_in": 1.0}, ""),
    ],
)
def test_rekeying_of_ike_sas(world: World, changes: dict[str, object], tail: str) -> None:
    world.controller.sas = [ike_sa(**changes)]
    assert f"fa5c1c5237421f03_r{tail}\n" in status_all(world)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"state": "REKEYED", "expires_in": 30.0},
            "REKEYED, TUNNEL, reqid 1, expires in 30 seconds",
        ),
        ({"state": "DELETED"}, "DELETED, TUNNEL, reqid 1"),
        (
            {"protocol": "AH", "mode": "TRANSPORT", "reqid": 9},
            "INSTALLED, TRANSPORT, reqid 9, AH SPIs: 662254e3_i c952b953_o",
        ),
    ],
)
def test_states_of_child_sas(world: World, changes: dict[str, object], line: str) -> None:
    world.controller.sas = [ike_sa(children=(child_sa(**changes),))]
    assert f"        home{{2}}:  {line}\n" in status(world)


@pytest.mark.parametrize(
    ("due", "end", "text"),
    [
        (None, None, "disabled"),
        (None, 3000.0, "disabled, expires in 50 minutes"),
        (0.0, 3000.0, "active"),
        (5.0, 3000.0, "in 5 seconds"),
    ],
)
def test_rekeying_of_child_sas(
    world: World, due: float | None, end: float | None, text: str
) -> None:
    world.controller.sas = [ike_sa(children=(child_sa(rekey_in=due, expires_in=end),))]
    assert f"0 bytes_i, 0 bytes_o, rekeying {text}\n" in status_all(world)


def test_name_filters_ike_and_child_sas(world: World) -> None:
    world.controller.sas = [
        ike_sa(name="a", unique_id=1, children=(child_sa(name="a"), child_sa(name="b"))),
        ike_sa(name="c", unique_id=2),
    ]
    assert status(world, "b").splitlines()[1:] == [
        (
            "           a[1]: ESTABLISHED 9 seconds ago, "
            "10.77.0.1[moon.example.org]...10.77.0.2[sun.example.org]"
        ),
        "           b{2}:  INSTALLED, TUNNEL, reqid 1, ESP SPIs: 662254e3_i c952b953_o",
        "           b{2}:   10.1.0.0/16 === 10.2.0.0/16",
    ]
    assert len(status(world, "c").splitlines()) == 2
    assert status(world, "x").endswith("  no match\n")


def test_only_the_variant_without_blocking_leaves_busy_sas_out(world: World) -> None:
    world.ask(Message(MessageType.STATUS_ALL_NOBLK, Name()))
    status_all(world)
    status(world)
    assert world.controller.calls == [("list", False), ("list", True), ("list", True)]


def test_thousands_of_sas(world: World) -> None:
    world.controller.sas = [
        ike_sa(unique_id=number, children=(child_sa(unique_id=number),)) for number in range(5000)
    ]
    assert len(status(world).splitlines()) == 1 + 3 * 5000


def test_shunts_and_traps(world: World) -> None:
    from charon_core.config.child import ChildConfig, ChildMode
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.network.packet import Endpoint
    from charon_core.sa.shunts import Shunt
    from charon_core.sa.traps import Trap

    def selectors(*texts: str) -> tuple[TrafficSelector, ...]:
        return tuple(map(TrafficSelector.parse, texts))

    add(world, replace(CERT, name="trap"))
    (peer,) = world.backends.all_peers()
    lan = selectors("192.168.7.0/24")
    world.controller.shunts = [Shunt("bypass", ChildMode.PASS, lan, lan)]
    ends = Endpoint("10.77.0.1", 500), Endpoint("10.77.0.2", 500)
    networks = selectors("10.5.0.0/16"), selectors("10.6.0.0/16", "10.7.0.0/16[tcp/80]")
    world.controller.traps = [Trap(1, peer, ChildConfig(name="trap"), *ends, 1, *networks)]
    shunted = "Shunted Connections:\n      bypass:  192.168.7.0/24 === 192.168.7.0/24 PASS\n"
    routed = (
        "Routed Connections:\n"
        "        trap{1}:  ROUTED, TUNNEL, reqid 1\n"
        "        trap{1}:   10.5.0.0/16 === 10.6.0.0/16 10.7.0.0/16[tcp/http]\n"
    )
    assert status(world).startswith(shunted + routed + "Security Associations (0 up")
    assert shunted + routed in status_all(world)
    assert shunted not in status(world, "trap")
    assert status(world, "trap").startswith(routed)
    assert status(world, "bypass").startswith(shunted + "Security")
