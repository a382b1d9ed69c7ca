"""Virtual addresses between us and strongSwan: either is the client of the other's pools."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.interop.charon import SETTINGS, Charon
from tests.interop.lab import Path
from tests.interop.network import wait_until
from tests.interop.pair import Pair
from tests.interop.strongswan import StrongSwan
from tests.interop.traffic import UDP, Sniffer, echo_tcp
from tests.interop.tunnels import Side

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.network import Host
    from tests.interop.process import Log

SECRET = "interop of virtual addresses"


class Case(NamedTuple):
    """One client, and what it is to get.

    Attributes:
        name: of the connection at both ends.
        client: who asks for addresses.
        wanted: what for, in the language of ipsec.conf.
        got: what it gets.
        pools: of the gateway.
        names: Whether it asks for name servers.
        path: between the ends.
        everything: Whether the tunnel is for all there is, not for the network behind the gateway.
    """

    name: str
    client: Side
    wanted: str
    got: tuple[str, ...]
    pools: tuple[str, ...]
    names: bool = False
    path: Path = Path.IPV4
    everything: bool = False

    @property
    def works(self) -> bool:
        return bool(self.got)

    @property
    def networks(self) -> tuple[str, ...]:
        """What is behind the gateway, or everything."""
        if self.everything:
            return ("0.0.0.0/0", "::/0")
        number = 2 if self.client is Side.OURS else 1
        return f"10.{number}.1.0/24", f"fd0{number}:1::/64"

    def inside(self, address: str) -> str:
        """The address behind the gateway of the family of one of the client's."""
        number = 2 if self.client is Side.OURS else 1
        return f"fd0{number}:1::1" if ":" in address else f"10.{number}.1.1"

    def outside(self, side: Side, *, seen_from: Side) -> str:
        """The configured address of an end; any, for a client behind the router."""
        if self.path is Path.NAT and side is self.client and seen_from is not side:
            return "%any"
        return self.path.ours if side is Side.OURS else self.path.theirs


def cases(
    name: str, number: int, wanted: str, *pools: str, got: str, **settings: object
) -> list[Case]:
    """Return a case for each role; N in an address is a number of its own."""
    made = []
    for side in Side:
        octet = f"{100 * (side is Side.THEIRS) + number}"
        made.append(
            Case(
                f"{name}-{side.value}",
                side,
                wanted.replace("N", octet),
                tuple(got.replace("N", octet).split()),
                tuple(pool.replace("N", octet) for pool in pools),
                **settings,  # type: ignore[arg-type]
            )
        )
    return made


V4, V6 = "10.N.0.0/24", "fd0a:N::/120"
CASES = [
    *cases("v4", 1, "%config4", V4, got="10.N.0.1", names=True),
    *cases("v6", 2, "%config6", V6, got="fd0a:N::1"),
    *cases("both", 3, "%config4,%config6", V4, V6, got="10.N.0.1 fd0a:N::1"),
    *cases("v4-over-v6", 4, "%config4", V4, got="10.N.0.1", path=Path.IPV6),
    *cases("behind-nat", 5, "%config4", V4, got="10.N.0.1", path=Path.NAT),
    *cases("chosen", 6, "10.N.0.77", "10.N.0.77/32", got="10.N.0.77"),
    *cases("other-than-chosen", 7, "10.3.4.5", "10.N.0.1-10.N.0.1", got="10.N.0.1"),
    *cases("one-of-two", 8, "%config4,%config6", V4, got="10.N.0.1"),
    *cases("none", 9, "%config4", V6, got=""),
    # As the client libipsec would send its own ESP into the tunnel.
    cases("everything", 10, "%config4", V4, got="10.N.0.1", everything=True)[0],
]
WORKING = [case for case in CASES if case.works]
HOPELESS = [case for case in CASES if not case.works]


def ipsec_conf() -> str:
    return "\n".join(map(_conn, CASES))


def _conn(case: Case) -> str:
    own, far = (case.outside(side, seen_from=Side.OURS) for side in Side)
    networks = ",".join(case.networks)
    lines = [
        "keyexchange=ikev2", "authby=secret", "ike=aes128-sha256-x25519!", "esp=aes128gcm16!",
        f"left={own}", f"leftid=@ours-{case.name}", f"right={far}", f"rightid=@theirs-{case.name}",
        "auto=add",
    ]  # fmt: skip
    if case.client is Side.OURS:
        lines += [f"leftsourceip={case.wanted}", f"rightsubnet={networks}"]
        if case.names:
            lines.append("leftdns=%config4,%config6")
    else:
        lines += [f"leftsubnet={networks}", f"rightsourceip={','.join(case.pools)}"]
        if case.names:
            lines.append("rightdns=10.1.1.53,fd01:1::53")
    return "\n    ".join([f"conn {case.name}", *lines]) + "\n"


def ipsec_secrets() -> str:
    return "".join(f'@ours-{c.name} @theirs-{c.name} : PSK "{SECRET}"\n' for c in CASES)


def swanctl_conf() -> str:
    connections = "\n".join(map(_connection, CASES))
    pools = "\n".join(
        f"  {_pool_name(case, number)} {{\n    addrs = {pool}\n"
        + ("    dns = 10.2.1.53,fd02:1::53\n" if case.names else "")
        + "  }"
        for case in CASES
        if case.client is Side.OURS
        for number, pool in enumerate(case.pools)
    )
    secrets = "\n".join(
        f"  ike-{c.name} {{\n    id-1 = ours-{c.name}\n    id-2 = theirs-{c.name}\n"
        f'    secret = "{SECRET}"\n  }}'
        for c in CASES
    )
    return f"connections {{\n{connections}\n}}\npools {{\n{pools}\n}}\nsecrets {{\n{secrets}\n}}\n"


def _pool_name(case: Case, number: int) -> str:
    return f"{case.name}-{number}"


def _connection(case: Case) -> str:
    networks = ",".join(case.networks)
    if case.client is Side.OURS:
        names = (_pool_name(case, number) for number in range(len(case.pools)))
        addresses, local, remote = f"pools = {','.join(names)}", networks, "dynamic"
    else:
        words = {"%config4": "0.0.0.0", "%config6": "::"}
        wanted = ",".join(words.get(item, item) for item in case.wanted.split(","))
        addresses, local, remote = f"vips = {wanted}", "dynamic", networks
    return f"""
  {case.name} {{
    version = 2
    local_addrs = {case.outside(Side.THEIRS, seen_from=Side.THEIRS)}
    remote_addrs = {case.outside(Side.OURS, seen_from=Side.THEIRS)}
    proposals = aes128-sha256-x25519
    {addresses}
    local {{
      id = theirs-{case.name}
      auth = psk
    }}
    remote {{
      id = ours-{case.name}
      auth = psk
    }}
    children {{
      {case.name} {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = aes128gcm16
      }}
    }}
  }}"""


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    ours = Charon(lab.ours, folder / "ours", settings=SETTINGS)
    theirs = StrongSwan(
        lab.theirs,
        folder / "theirs",
        more=f"plugins {{ resolve {{ file = {folder}/resolv.conf }} }}",
        more_plugins="resolve",
    )
    reported += [ours.log, theirs.log]
    (folder / "ours/etc/ipsec.conf").write_text(ipsec_conf())
    (folder / "ours/etc/ipsec.secrets").write_text(ipsec_secrets())
    (folder / "ours/etc/resolv.conf").write_text("nameserver 192.0.2.53\n")
    lab.ours.add_address("lo", "10.1.1.1/24", "fd01:1::1/64")
    lab.theirs.add_address("lo", "10.2.1.1/24", "fd02:1::1/64")
    try:
        theirs.start()
        theirs.load_text(swanctl_conf())
        ours.start(wait_for=CASES[-1].name)
        yield Pair(lab, ours, theirs)
    finally:
        codes = ours.stop(), theirs.stop()
    assert codes == (0, 0)
    assert "Traceback" not in ours.everything_said()


def client_of(pair: Pair, case: Case) -> tuple[Host, Host]:
    """The hosts of the client and of the gateway."""
    return pair.host(case.client), pair.host(case.client.other)


@pytest.mark.parametrize("case", WORKING, ids=lambda case: case.name)
def test_client_gets_addresses_and_reaches_the_network(pair: Pair, case: Case) -> None:
    client, gateway = client_of(pair, case)
    with Sniffer(pair.lab.ours, case.path.interface) as cable:
        worked, output = pair.at(case.client).up(case.name)
        assert worked, output
        for at in (pair.ours, pair.theirs):
            pair.wait_for_up(at, case.name)
        for address in case.got:
            far = case.inside(address)
            assert address in client.ip("-o", "addr")
            # The route chooses the virtual address; nobody has to bind to it.
            assert f"src {address}" in " ".join(client.ip("route", "get", far).split())
            assert (
                client.try_run("ping", "-q", "-n", "-c", "2", "-i", "0.02", "-W", "2", far)[0] == 0
            )
            assert client.ping(address, far)
            assert gateway.ping(far, address)
    assert {frame.protocol for frame in cable.of_tunnel()} == {UDP}
    echo_tcp((client, case.got[0]), (gateway, case.inside(case.got[0])), 100_000)
    status = pair.ours.sas(case.name)
    for address in case.got:
        assert f"{address}/{128 if ':' in address else 32}" in status
    pair.take_down(case, case.client)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", HOPELESS, ids=lambda case: case.name)
def test_gateway_without_such_an_address_builds_no_child(pair: Pair, case: Case) -> None:
    worked, _ = pair.at(case.client).up(case.name)
    assert not worked
    wait_until(lambda: "ESTABLISHED" in pair.at(case.client).sas(case.name), "the IKE_SA stays")
    assert "INSTALLED" not in pair.ours.sas(case.name)
    assert "INSTALLED" not in pair.theirs.sas(case.name)
    pair.take_down(case, case.client)  # type: ignore[arg-type]


def named(case_name: str) -> Case:
    return next(case for case in CASES if case.name == case_name)


def test_gateway_may_end_it(pair: Pair) -> None:
    for name in ("both-we", "both-they"):
        case = named(name)
        worked, output = pair.at(case.client).up(name)
        assert worked, output
        pair.take_down(case, case.client.other)  # type: ignore[arg-type]


def test_our_name_servers_come_and_go(pair: Pair) -> None:
    file = pair.ours.folder / "etc/resolv.conf"
    before = file.read_text()
    case = named("v4-we")
    worked, output = pair.ours.up(case.name)
    assert worked, output
    servers = re.findall(r"^nameserver (\S+)", file.read_text(), re.MULTILINE)
    assert servers == ["10.2.1.53", "fd02:1::53", "192.0.2.53"]
    pair.take_down(case, Side.OURS)  # type: ignore[arg-type]
    assert file.read_text() == before


def test_their_name_servers_are_ours(pair: Pair, folder: pathlib.Path) -> None:
    case = named("v4-they")
    worked, output = pair.theirs.up(case.name)
    assert worked, output
    wait_until(lambda: "10.1.1.53" in (folder / "resolv.conf").read_text(), "they have our server")
    pair.take_down(case, Side.THEIRS)  # type: ignore[arg-type]


def test_leases_are_shown_and_stick(pair: Pair) -> None:
    case = named("v4-they")
    pool, (address,) = case.pools[0], case.got
    for _ in range(2):
        worked, output = pair.theirs.up(case.name)
        assert worked, output
        _, leases = pair.ours.debian_stroke("leases", pool)
        assert leases.splitlines() == [
            f"Leases in pool '{pool}', usage: 1/254, 1 online",
            f"  {address:>15}   online    'theirs-{case.name}'",
        ]
        pair.take_down(case, Side.THEIRS)  # type: ignore[arg-type]
    _, status = pair.ours.debian_stroke("statusall")
    assert f"  {pool}: 254/0/1\n" in status


def test_clients_are_ended_by_their_address(pair: Pair) -> None:
    case = named("v4-they")
    worked, output = pair.theirs.up(case.name)
    assert worked, output
    pair.ours.debian_stroke("down-srcip", case.got[0])
    pair.check_nothing_left()


def ike_spis(pair: Pair) -> list[str]:
    return re.findall(r"IKEv2 SPIs: (\S+) ", pair.ours.debian_stroke("statusall")[1])


@pytest.mark.parametrize("name", ["both-we", "both-they"])
@pytest.mark.parametrize("side", list(Side), ids=["we-rekey", "they-rekey"])
def test_addresses_stay_while_the_sas_are_rekeyed(pair: Pair, name: str, side: Side) -> None:
    case = named(name)
    client, _ = client_of(pair, case)
    worked, output = pair.at(case.client).up(name)
    assert worked, output
    before = ike_spis(pair)
    if side is Side.OURS:
        pair.ours.stroke("rekey", name)
        pair.ours.stroke("rekey", f"{name}{{}}")
    else:
        pair.theirs.swanctl("--rekey", "--ike", name)
        pair.theirs.swanctl("--rekey", "--child", name)
    wait_until(lambda: len(ike_spis(pair)) == 1 and ike_spis(pair) != before, "the IKE_SA is new")
    for at in (pair.ours, pair.theirs):
        pair.wait_for_up(at, name)
    for address in case.got:
        assert client.ping(address, case.inside(address))
    pair.take_down(case, case.client)  # type: ignore[arg-type]


def test_daemon_that_stops_takes_addresses_and_name_servers_along(pair: Pair) -> None:
    case = named("v4-we")
    file = pair.ours.folder / "etc/resolv.conf"
    worked, output = pair.ours.up(case.name)
    assert worked, output
    assert case.got[0] in pair.lab.ours.ip("-o", "addr")
    assert "10.2.1.53" in file.read_text()
    assert pair.ours.stop() == 0
    assert case.got[0] not in pair.lab.ours.ip("-o", "addr")
    assert pair.lab.ours.ip("route", "show", "table", "all").count("table 220") == 0
    assert file.read_text() == "nameserver 192.0.2.53\n"
    pair.ours.start(wait_for=CASES[-1].name)
    pair.check_nothing_left()
