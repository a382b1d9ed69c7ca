"""Transport mode, AH, traps and shunts on a kernel with IPsec: ours, and with strongSwan."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path as File
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import ROUTER_AS_SEEN_BY_THEM, Lab, Path
from tests.interop.network import sh, wait_until
from tests.interop.strongswan import NEEDED, StrongSwan
from tests.interop.traffic import Sniffer, echo_tcp
from tests.interop.tunnels import Side
from tests.kernel.guest.gateway import PATIENCE, Gateway
from tests.kernel.guest.witness import left_in_kernel, policies, security_associations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.network import Host
    from tests.interop.process import Log

# Starting daemons takes a while on emulated processors that are shared with others.
pytestmark = pytest.mark.timeout(240)

NETWORKS = {Side.OURS: "10.1.1.0/24", Side.THEIRS: "10.2.1.0/24"}
INSIDE = {Side.OURS: "10.1.1.1", Side.THEIRS: "10.2.1.1"}
SECRETS = ': PSK "modes"\n'
ICMP, ESP, UDP, AH = 1, 50, 17, 51


def conn(name: str, side: Side, *settings: str, path: Path = Path.IPV4) -> str:
    ends = {Side.OURS: path.ours, Side.THEIRS: path.theirs}
    if path is Path.NAT and side is Side.THEIRS:
        ends[Side.OURS] = "%any"
    lines = [
        f"conn {name}", "keyexchange=ikev2", "ike=aes128-sha256-x25519!", "authby=secret",
        f"left={ends[side]}", f"leftid=@{side.name}-{name}",
        f"right={ends[side.other]}", f"rightid=@{side.other.name}-{name}",
        "auto=add", *settings,
    ]  # fmt: skip
    return "\n    ".join(lines) + "\n"


def connections(side: Side) -> str:
    esp, transport = "esp=aes128gcm16!", "type=transport"
    nets = f"leftsubnet={NETWORKS[side]}", f"rightsubnet={NETWORKS[side.other]}"
    web = "leftprotoport=icmp", "rightprotoport=icmp"
    return "\n".join(
        [
            conn("transport", side, esp, transport),
            conn("transport6", side, esp, transport, path=Path.IPV6),
            conn("nat", side, esp, transport, path=Path.NAT),
            conn("ah", side, "ah=sha256!", transport),
            conn("trap", side, esp, *nets),
            conn("drop", side, "type=drop", *web),
            conn("pass", side, "type=passthrough", *nets, *web),
        ]
    )


class World:
    """The hosts of the lab, with our daemon at both ends."""

    def __init__(self, lab: Lab, folder: File) -> None:
        self.lab = lab
        self.folder = folder
        self.gateways = {
            side: Gateway(self.host(side), side, folder / side.value, backend="xfrm")
            for side in Side
        }

    def host(self, side: Side) -> Host:
        return self.lab.ours if side is Side.OURS else self.lab.theirs

    def start(self) -> None:
        for side, gateway in self.gateways.items():
            gateway.write_text(connections(side), SECRETS)
            gateway.launch()
            peer = Path.IPV4.theirs if side is Side.OURS else Path.IPV4.ours
            self.host(side).add_address("lo", f"{INSIDE[side]}/32")
            self.host(side).ip("route", "add", NETWORKS[side.other], "via", peer)
        for gateway in self.gateways.values():
            gateway.load()

    def check_kernels_empty(self) -> None:
        for host in self.lab.hosts:
            wait_until(lambda host=host: not left_in_kernel(host), "nothing is left", seconds=20)

    def sent(self, source: str, destination: str, *, interface: str = "wan") -> set[int]:
        """Have an echo come back; return the protocols of what we have sent."""
        with Sniffer(self.lab.theirs, interface) as cable:
            assert self.lab.ours.ping(source, destination, count=1), f"no echo of {destination}"
        return {frame.protocol for frame in cable.of_tunnel() if not frame.is_ike}


@pytest.fixture(scope="module")
def world(reported: list[Log]) -> Iterator[World]:
    if shutil.which("nft") is None:
        pytest.skip("the masquerading router needs nft (nftables)")
    with tempfile.TemporaryDirectory(prefix="chg-") as name, Lab() as lab:
        made = World(lab, File(name))
        reported += [gateway.log for gateway in made.gateways.values()]
        try:
            made.start()
            yield made
        finally:
            for gateway in made.gateways.values():
                gateway.stop()


@pytest.fixture
def ours(world: World) -> Gateway:
    return world.gateways[Side.OURS]


def check_transport(world: World, path: Path, *, there: str, here_for_them: str) -> None:
    """Check SAs and policies of both hosts, and that traffic of all kinds passes."""
    for host, ends in (
        (world.lab.ours, (path.ours, there)),
        (world.lab.theirs, (path.theirs, here_for_them)),
    ):
        sas = security_associations(host)
        assert {sa.mode for sa in sas} == {"transport"}
        assert len(sas) == 2
        assert {(sa.ports is not None) for sa in sas} == {path is Path.NAT}
        bits = 128 if path is Path.IPV6 else 32
        found = {(each.source, each.destination, each.direction) for each in policies(host)}
        near, far = (f"{end}/{bits}" for end in ends)
        assert found == {(near, far, "out"), (far, near, "in")}
    echo_tcp((world.lab.ours, path.ours), (world.lab.theirs, there), 100_000)
    assert all(sa.octets > 100_000 for sa in security_associations(world.lab.theirs))


@pytest.mark.parametrize("path", [Path.IPV4, Path.IPV6], ids=lambda path: path.value)
def test_transport_mode(world: World, ours: Gateway, path: Path) -> None:
    name = "transport6" if path is Path.IPV6 else "transport"
    ours.up(name)
    assert "INSTALLED, TRANSPORT, reqid " in ours.stroke("status")
    check_transport(world, path, there=path.theirs, here_for_them=path.ours)
    if path is Path.IPV4:
        assert ESP in world.sent(path.ours, path.theirs)
    ours.down(name)
    world.check_kernels_empty()


def test_transport_mode_through_a_nat(world: World, ours: Gateway) -> None:
    path = Path.NAT
    ours.up("nat")
    check_transport(world, path, there=path.theirs, here_for_them=ROUTER_AS_SEEN_BY_THEM)
    assert world.sent(path.ours, path.theirs, interface="lan") >= {UDP}
    ours.down("nat")
    world.check_kernels_empty()


def test_ah(world: World, ours: Gateway) -> None:
    ours.up("ah")
    assert ", AH SPIs: " in ours.stroke("status")
    text = sh("ip", "-n", world.lab.theirs.name, "xfrm", "state")
    assert text.count("proto ah") == 2
    assert AH in world.sent(Path.IPV4.ours, Path.IPV4.theirs)
    ours.down("ah")
    world.check_kernels_empty()


@pytest.mark.parametrize("name", ["trap", "transport"])
def test_a_trap(world: World, ours: Gateway, name: str) -> None:
    ends = (INSIDE[Side.OURS], INSIDE[Side.THEIRS])
    if name == "transport":
        ends = (Path.IPV4.ours, Path.IPV4.theirs)
    assert ours.stroke("route", name) == f"'{name}' routed\n"
    trap = ours.stroke("status").partition("ROUTED, ")[2].partition("\n")[0]
    assert not security_associations(world.lab.ours)
    with Sniffer(world.lab.theirs, "wan") as cable:
        wait_until(lambda: world.lab.ours.ping(*ends, count=1), "it comes up", seconds=PATIENCE)
    # What the kernel takes out of ESP is shown, too; before there is ESP nothing may be.
    protocols = [frame.protocol for frame in cable.of_tunnel() if not frame.is_ike]
    assert protocols.index(ESP) < (protocols.index(ICMP) if ICMP in protocols else 1000)
    assert f"INSTALLED, {trap}," in ours.stroke("status")
    ours.down(name)
    assert not ours.sas()
    # The trap is there again, and nothing but it.
    wait_until(
        lambda: not [sa for sa in security_associations(world.lab.ours) if sa.spi != "00000000"],
        "SAs are gone",
    )
    found = {(each.direction, each.mode) for each in policies(world.lab.ours)}
    assert ("out", "tunnel" if name == "trap" else "transport") in found
    assert not world.lab.theirs.ping(*reversed(ends), count=1), "nothing comes in the clear"
    assert ours.stroke("unroute", name) == f"trap policy '{name}' unrouted\n"
    assert not policies(world.lab.ours)


def test_shunts(world: World, ours: Gateway) -> None:
    ends = Path.IPV4.ours, Path.IPV4.theirs
    assert world.lab.ours.ping(*ends, count=1)
    assert ours.stroke("route", "drop") == "'drop' shunt DROP policy installed\n"
    assert not world.lab.ours.ping(*ends, count=1)
    echo_tcp((world.lab.ours, ends[0]), (world.lab.theirs, ends[1]), 1000)
    assert ours.stroke("unroute", "drop") == "shunt policy 'drop' uninstalled\n"
    assert world.lab.ours.ping(*ends, count=1)

    ours.up("trap")
    inside = INSIDE[Side.OURS], INSIDE[Side.THEIRS]
    assert ESP in world.sent(*inside)
    for gateway in world.gateways.values():
        assert gateway.stroke("route", "pass") == "'pass' shunt PASS policy installed\n"
    assert world.sent(*inside) == {ICMP}
    for gateway in world.gateways.values():
        gateway.stroke("unroute", "pass")
    assert ESP in world.sent(*inside)
    ours.down("trap")


_KERNEL_NETLINK = """
charon {
  load = random nonce aes sha1 sha2 hmac kdf gcm curve25519 kernel-netlink socket-default vici
}
# Not af-alg, which has the kernel try every algorithm that it could load: half a minute here.
swanctl { load = random openssl pem pkcs1 x509 }
"""


def swanctl_conf() -> str:
    """Return strongSwan's end of what is tried with it."""
    blocks = []
    for name, remote, mode in (
        ("transport", Path.IPV4, "transport"),
        ("nat", Path.NAT, "transport"),
        ("trap", Path.IPV4, "tunnel"),
    ):
        peer = "%any" if remote is Path.NAT else remote.ours
        nets = ""
        if mode == "tunnel":
            nets = f"local_ts = {NETWORKS[Side.THEIRS]}\nremote_ts = {NETWORKS[Side.OURS]}"
        blocks.append(f"""
  {name} {{
    version = 2
    local_addrs = {remote.theirs}
    remote_addrs = {peer}
    proposals = aes128-sha256-x25519
    local {{
      id = "@THEIRS-{name}"
      auth = psk
    }}
    remote {{
      id = "@OURS-{name}"
      auth = psk
    }}
    children {{
      {name} {{
        mode = {mode}
        esp_proposals = aes128gcm16
        {nets}
      }}
    }}
  }}""")
    return f'connections {{{"".join(blocks)}\n}}\nsecrets {{ ike-all {{ secret = "modes" }} }}\n'


@pytest.fixture(scope="module")
def strongswan(world: World, reported: list[Log]) -> Iterator[StrongSwan]:
    """It takes the place of our daemon at the other end."""
    absent = [str(path) for path in NEEDED if not path.exists()]
    if absent:
        pytest.skip(f"Debian's strongSwan is not complete: no {', '.join(absent)}")
    world.gateways[Side.THEIRS].stop()
    made = StrongSwan(world.lab.theirs, world.folder / "strongswan")
    with (made.folder / "strongswan.conf").open("a") as settings:
        settings.write(_KERNEL_NETLINK)
    reported.append(made.log)
    try:
        made.start()
        file = made.folder / "swanctl/swanctl.conf"
        file.write_text(swanctl_conf())
        code, output = made.swanctl("--load-all", "--noprompt", "--file", str(file))
        assert code == 0, output
        yield made
    finally:
        assert made.stop() == 0


@pytest.mark.parametrize("initiator", list(Side), ids=lambda side: side.value)
def test_transport_mode_with_strongswan(
    world: World, ours: Gateway, strongswan: StrongSwan, initiator: Side
) -> None:
    if initiator is Side.OURS:
        ours.up("transport")
    else:
        worked, output = strongswan.up("transport")
        assert worked, output
    path = Path.IPV4
    check_transport(world, path, there=path.theirs, here_for_them=path.ours)
    ours.down("transport")
    world.check_kernels_empty()


def test_transport_mode_with_strongswan_through_a_nat(
    world: World, ours: Gateway, strongswan: StrongSwan
) -> None:
    ours.up("nat")
    path = Path.NAT
    check_transport(world, path, there=path.theirs, here_for_them=ROUTER_AS_SEEN_BY_THEM)
    ours.down("nat")
    world.check_kernels_empty()


def test_a_trap_with_strongswan(world: World, ours: Gateway, strongswan: StrongSwan) -> None:
    assert ours.stroke("route", "trap") == "'trap' routed\n"
    ends = (INSIDE[Side.OURS], INSIDE[Side.THEIRS])
    wait_until(lambda: world.lab.ours.ping(*ends, count=1), "it comes up", seconds=PATIENCE)
    assert "INSTALLED, TUNNEL" in ours.stroke("status")
    assert strongswan.is_up("trap")
    ours.stroke("unroute", "trap")
    ours.down("trap")
    world.check_kernels_empty()


def test_stopped_daemon_leaves_nothing(world: World, ours: Gateway) -> None:
    ours.stroke("route", "drop")
    ours.stroke("route", "trap")
    assert left_in_kernel(world.lab.ours)
    assert ours.stop() == 0
    assert not left_in_kernel(world.lab.ours, of_sockets=True)
