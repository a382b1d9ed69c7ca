"""The lab itself: strongSwan at both ends, so that a failure elsewhere is not the lab's."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import ROUTER_AS_SEEN_BY_THEM, Path
from tests.interop.network import wait_until
from tests.interop.strongswan import StrongSwan
from tests.interop.traffic import UDP, Sniffer, echo_tcp
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.process import Log


def test_the_router_hides_the_sender(lab: Lab) -> None:
    with (
        lab.ours.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        lab.theirs.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        far.bind((Path.NAT.theirs, 500))
        far.settimeout(5)
        near.bind((Path.NAT.ours, 500))
        near.sendto(b"hello", (Path.NAT.theirs, 500))
        data, (host, port) = far.recvfrom(100)
    assert data == b"hello"
    assert host == ROUTER_AS_SEEN_BY_THEM
    assert port != 500


@pytest.fixture(scope="module")
def tunnels() -> list[Tunnel]:
    return [
        Tunnel("control", 1),
        Tunnel("control6", 2, path=Path.IPV6),
        Tunnel("control-nat", 3, path=Path.NAT),
    ]


@pytest.fixture(scope="module")
def peers(
    lab: Lab, folder: pathlib.Path, reported: list[Log], tunnels: list[Tunnel]
) -> Iterator[tuple[StrongSwan, StrongSwan]]:
    """strongSwan at our end, too, with the ipsec.conf that our daemon gets elsewhere."""
    near = StrongSwan(lab.ours, folder / "ours")
    far = StrongSwan(lab.theirs, folder / "theirs")
    reported += [near.log, far.log]
    try:
        far.start()
        far.load(tunnels)
        near.start(tunnels=tunnels)
        yield near, far
    finally:
        codes = near.stop(), far.stop()
    assert codes == (0, 0)


@pytest.mark.parametrize("number", range(3), ids=["v4", "v6", "nat"])
def test_strongswan_with_itself(
    lab: Lab, peers: tuple[StrongSwan, StrongSwan], tunnels: list[Tunnel], number: int
) -> None:
    near, far = peers
    tunnel = tunnels[number]
    inside = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
    for host, address in zip(lab.hosts, inside, strict=True):
        host.add_address("lo", address)
    before = [host.footprint() for host in lab.hosts]
    wait_until(lambda: near.swanctl("--list-conns")[1].count(tunnel.name), "starter has sent it")
    with Sniffer(lab.ours, tunnel.path.interface) as cable:
        worked, output = near.up(tunnel.name)
        assert worked, output
        assert lab.ours.ping(*inside)
        assert lab.theirs.ping(*reversed(inside))
    assert {frame.protocol for frame in cable.of_tunnel()} == {UDP}
    echo_tcp((lab.ours, inside[0]), (lab.theirs, inside[1]), 100_000)
    assert re.search(rf"{tunnel.name}: #\d+, ESTABLISHED", far.sas())

    assert near.down(tunnel.name)[0]
    wait_until(lambda: not near.sas() and not far.sas(), "no SA is left")
    assert [host.footprint() for host in lab.hosts] == before
