"""Tunnels of whole daemons on a kernel with ESP: ours with ours, and ours with strongSwan."""

from __future__ import annotations

import shutil
import tempfile
import time
from itertools import count
from pathlib import Path as File
from socket import IPPROTO_ESP, IPPROTO_UDP
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import ROUTER_AS_SEEN_BY_THEM, ROUTER_AS_SEEN_BY_US, Lab, Path
from tests.interop.network import wait_until
from tests.interop.strongswan import NEEDED, StrongSwan
from tests.interop.traffic import Sniffer, echo_tcp
from tests.interop.tunnels import Side, Tunnel
from tests.kernel.guest.gateway import PATIENCE, Gateway
from tests.kernel.guest.witness import (
    Child,
    Policy,
    Sa,
    child_of,
    left_in_kernel,
    policies,
    security_associations,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.network import Host
    from tests.interop.process import Log

# Starting daemons takes a while on emulated processors that are shared with others.
pytestmark = pytest.mark.timeout(240)

IN_KERNEL = {
    "aes128gcm16": (("rfc4106(gcm(aes))", 160),),
    "aes256gcm16-esn": (("rfc4106(gcm(aes))", 288),),
    "aes256-sha256": (("cbc(aes)", 256), ("hmac(sha256)", 256)),
}
"""Proposals, and what `ip xfrm state` calls their algorithms, with the bits of the keys."""
GCM, GCM_ESN, CBC = IN_KERNEL

_numbers = count(1)


def tunnel(name: str, esp: str = GCM, **settings: object) -> Tunnel:
    return Tunnel(name, next(_numbers), esp=esp, **settings)  # type: ignore[arg-type]


BETWEEN_OURS = [
    tunnel("gcm"),
    tunnel("cbc", CBC, initiator=Side.THEIRS),
    tunnel("esn", GCM_ESN),
    tunnel("gcm6", path=Path.IPV6, initiator=Side.THEIRS),
    tunnel("nat", CBC, path=Path.NAT),
]
BYTES = tunnel("bytes", ours=("lifebytes=250", "marginbytes=0"))
SECONDS = tunnel("seconds", ours=("lifetime=6s", "margintime=0s"))
REMAINS = tunnel("remains")
WITH_STRONGSWAN = [
    tunnel("we-begin"),
    tunnel("they-begin", CBC, initiator=Side.THEIRS),
    tunnel("they-begin-esn", GCM_ESN, initiator=Side.THEIRS),
]
ALL = [*BETWEEN_OURS, BYTES, SECONDS, REMAINS, *WITH_STRONGSWAN]


class World:
    """The hosts of the lab, with our daemon at both ends as long as nobody replaces it."""

    def __init__(self, lab: Lab, folder: File) -> None:
        self.lab = lab
        self.folder = folder
        # The one takes xfrm by itself, the other by name.
        self.gateways = {
            Side.OURS: Gateway(lab.ours, Side.OURS, folder / "ours", backend="auto"),
            Side.THEIRS: Gateway(lab.theirs, Side.THEIRS, folder / "theirs", backend="xfrm"),
        }

    def start(self) -> None:
        """Start both daemons, and meanwhile make the rest of the network."""
        for gateway in self.gateways.values():
            gateway.write(ALL)
            gateway.launch()
        for side in Side:
            self._plumb(side)
        for gateway in self.gateways.values():
            gateway.load()

    def _plumb(self, side: Side) -> None:
        """Give a host the protected addresses of its side, and what a default route would do."""
        routers = {Side.OURS: ROUTER_AS_SEEN_BY_US, Side.THEIRS: ROUTER_AS_SEEN_BY_THEM}
        lines = []
        for each in ALL:
            peer = each.path.theirs if side is Side.OURS else each.path.ours
            way = routers[side] if each.path is Path.NAT else peer
            lines += [
                f"addr add {each.inside(side)} dev lo",
                f"route add {each.network(side.other)} via {way}",
            ]
        # One process for all of it: starting one takes a quarter of a second here.
        batch = self.folder / f"{side.value}.batch"
        batch.write_text("\n".join(lines) + "\n")
        self.host(side).ip("-batch", str(batch))

    def host(self, side: Side) -> Host:
        return self.lab.ours if side is Side.OURS else self.lab.theirs

    def check_kernels_empty(self) -> None:
        for host in self.lab.hosts:
            wait_until(lambda host=host: not left_in_kernel(host), "nothing is left", seconds=10)

    def ping(self, tunnel: Tunnel, echoes: int) -> None:
        ends = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
        assert self.lab.ours.ping(*ends, count=echoes), f"{tunnel.name}: no echo"

    def transfer(self, tunnel: Tunnel, octets: int = 100_000) -> None:
        near, far = tunnel.initiator, tunnel.initiator.other
        client = self.host(near), tunnel.inside(near)
        echo_tcp(client, (self.host(far), tunnel.inside(far)), octets)


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


@pytest.fixture
def theirs(world: World) -> Gateway:
    return world.gateways[Side.THEIRS]


def check_agreement(world: World, tunnel: Tunnel, side: Side, child: Child) -> tuple[Sa, Sa]:
    """Compare what a host's kernel has with what its daemon tells; returns SAs in and out."""
    host = world.host(side)
    sas = {sa.spi: sa for sa in security_associations(host)}
    assert set(sas) == {child.spi_in, child.spi_out}
    inbound, outbound = sas[child.spi_in], sas[child.spi_out]
    for sa in (inbound, outbound):
        assert sa.reqid == child.reqid
        assert sa.mode == "tunnel"
        assert sa.algorithms == IN_KERNEL[tunnel.esp]
        assert sa.is_esn == ("esn" in tunnel.esp)
        assert (sa.ports is not None) == child.in_udp == (tunnel.path is Path.NAT)
    here, there = outbound.source, outbound.destination
    assert (inbound.source, inbound.destination) == (there, here)
    networks = tunnel.network(side), tunnel.network(side.other)
    outward = Policy(*networks, "out", here, there, child.reqid, "tunnel")
    inward = Policy(*networks[::-1], "in", there, here, child.reqid, "tunnel")
    assert policies(host) == {outward, inward, inward._replace(direction="fwd")}
    assert child.octets_in <= inbound.octets
    assert child.octets_out <= outbound.octets
    return inbound, outbound


def test_auto_takes_xfrm(ours: Gateway, theirs: Gateway) -> None:
    chosen = "kernel backend xfrm (userspace: not tried, xfrm works; null: only taken by name)"
    assert chosen in ours.log_text()
    assert "kernel backend xfrm (userspace: not tried, xfrm is configured" in theirs.log_text()


def check_mapping(at_responder: tuple[Sa, Sa]) -> None:
    """Check that ESP goes to the initiator's address and port as the router shows them."""
    inbound, outbound = at_responder
    assert inbound.ports is not None
    assert outbound.ports is not None
    assert outbound.destination == ROUTER_AS_SEEN_BY_THEM
    ours, routers = outbound.ports
    assert ours == 4500
    assert 20000 <= routers < 30000
    assert inbound.ports == (routers, 4500)


@pytest.mark.parametrize("tunnel", BETWEEN_OURS, ids=lambda tunnel: tunnel.name)
def test_tunnel(world: World, tunnel: Tunnel) -> None:
    world.check_kernels_empty()
    initiator = world.gateways[tunnel.initiator]
    with Sniffer(world.lab.ours, tunnel.path.interface) as cable:
        initiator.up(tunnel.name)
        world.ping(tunnel, 3)
    # ESP in UDP behind a NAT only, and nothing in clear.
    esp_protocol = IPPROTO_UDP if tunnel.path is Path.NAT else IPPROTO_ESP
    frames = cable.of_tunnel()
    esp = [frame for frame in frames if frame.protocol == esp_protocol and not frame.is_ike]
    assert len(esp) == 6
    # The kernel shows what it has taken out of ESP as if it had come like that. (Of ICMPv6 the
    # sniffer makes no note.)
    clear = [frame for frame in frames if frame not in esp and not frame.is_ike]
    assert len(clear) == (0 if tunnel.path is Path.IPV6 else 3)

    echo = 104 if tunnel.path is Path.IPV6 else 84
    seen = {}
    for side, gateway in world.gateways.items():
        child = child_of(gateway.stroke("statusall"), tunnel.name)
        seen[side] = check_agreement(world, tunnel, side, child)
        assert (child.octets_in, child.octets_out) == (3 * echo, 3 * echo)
        assert (child.packets_in, child.packets_out) == (3, 3)
        assert child.idle < PATIENCE
    # The one's outbound SA is the other's inbound SA, and three echoes went each way.
    for side in Side:
        inbound, outbound = seen[side][0], seen[side.other][1]
        assert inbound.spi == outbound.spi
        assert inbound.octets == outbound.octets == 3 * echo
        assert inbound.packets == outbound.packets == 3
    if tunnel.path is Path.NAT:
        check_mapping(seen[Side.THEIRS])

    world.transfer(tunnel)
    for side in Side:
        for sa in security_associations(world.host(side)):
            assert sa.octets > 100_000

    initiator.down(tunnel.name)
    world.check_kernels_empty()


def await_expiry(world: World, tunnel: Tunnel) -> None:
    """Wait until the CHILD_SA has gone from both kernels, though both still have the IKE_SA."""
    for host in world.lab.hosts:
        wait_until(
            lambda host=host: not left_in_kernel(host),
            f"{tunnel.name}: the kernel of {host.role} is empty",
            seconds=30,
            pause=0.3,
        )
    for gateway in world.gateways.values():
        sas = gateway.sas()
        assert f"{tunnel.name}[" in sas, sas
        assert f"{tunnel.name}{{" not in sas, sas


def test_lifetime_in_octets(world: World, ours: Gateway) -> None:
    ours.up(BYTES.name)
    world.ping(BYTES, 1)
    assert len(security_associations(world.lab.theirs)) == 2
    # Two more echoes, and one that is too much. (It is the last: for one more the kernel would ask
    # for new SAs, and have something that looks like one until they come.)
    world.ping(BYTES, 3)
    await_expiry(world, BYTES)
    assert "hard lifetime of ESP SA" in ours.log_text()
    ours.down(BYTES.name)


def test_lifetime_in_seconds(world: World, ours: Gateway) -> None:
    began = time.monotonic()
    ours.up(SECONDS.name)
    assert len(security_associations(world.lab.theirs)) == 2
    await_expiry(world, SECONDS)
    assert time.monotonic() - began >= 6
    ours.down(SECONDS.name)


def test_daemon_that_stops_takes_all_along(world: World, ours: Gateway, theirs: Gateway) -> None:
    ours.up(REMAINS.name)
    world.ping(REMAINS, 1)
    assert theirs.stop() == 0
    assert not left_in_kernel(world.lab.theirs, of_sockets=True)
    # It has told its peer.
    world.check_kernels_empty()
    wait_until(lambda: not ours.sas(), "the peer has forgotten the IKE_SA", seconds=10)


_KERNEL_NETLINK = """
charon {
  load = random nonce aes sha1 sha2 hmac kdf gcm curve25519 kernel-netlink socket-default vici
}
# Not af-alg, which has the kernel try every algorithm that it could load: half a minute here.
swanctl { load = random openssl pem pkcs1 x509 }
"""


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
        made.load(WITH_STRONGSWAN)
        yield made
    finally:
        assert made.stop() == 0


@pytest.mark.parametrize("tunnel", WITH_STRONGSWAN, ids=lambda tunnel: tunnel.name)
def test_tunnel_with_strongswan(
    world: World, ours: Gateway, strongswan: StrongSwan, tunnel: Tunnel
) -> None:
    if tunnel.initiator is Side.OURS:
        ours.up(tunnel.name)
    else:
        worked, output = strongswan.up(tunnel.name)
        assert worked, output
    world.ping(tunnel, 3)

    child = child_of(ours.stroke("statusall"), tunnel.name)
    inbound, outbound = check_agreement(world, tunnel, Side.OURS, child)
    at_peer = {sa.spi: sa for sa in security_associations(world.lab.theirs)}
    assert set(at_peer) == {child.spi_in, child.spi_out}
    for sa in (inbound, outbound):
        their = at_peer[sa.spi]
        assert sa.algorithms == their.algorithms
        assert sa.is_esn == their.is_esn
        assert (sa.octets, sa.packets) == (their.octets, their.packets) == (3 * 84, 3)
    world.transfer(tunnel)
    assert all(sa.octets > 100_000 for sa in security_associations(world.lab.ours))

    if tunnel.initiator is Side.OURS:
        ours.down(tunnel.name)
    else:
        done, output = strongswan.down(tunnel.name)
        assert done, output
    world.check_kernels_empty()
    assert not ours.sas()


def test_stopped_daemon_leaves_nothing(world: World, ours: Gateway) -> None:
    assert ours.stop() == 0
    assert not left_in_kernel(world.lab.ours, of_sockets=True)
    assert not left_in_kernel(world.lab.theirs)
