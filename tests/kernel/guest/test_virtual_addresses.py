"""Virtual addresses where the kernel has ESP: routes with the right source, and nothing left."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path as File
from socket import IPPROTO_ESP
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.interop.lab import Lab
from tests.interop.network import wait_until
from tests.interop.traffic import Sniffer, echo_tcp
from tests.interop.tunnels import Side
from tests.kernel.guest.gateway import Gateway
from tests.kernel.guest.witness import left_in_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.process import Log

pytestmark = pytest.mark.timeout(240)

CLIENT, GATEWAY = Side.OURS, Side.THEIRS


class Case(NamedTuple):
    """A connection by which a client gets an address."""

    name: str
    wanted: str
    pool: str
    got: str
    network: str
    far: str


CASES = [
    Case("v4", "%config4", "10.9.1.0/24", "10.9.1.1", "10.2.1.0/24", "10.2.1.1"),
    Case("v6", "%config6", "fd09:1::/120", "fd09:1::1", "fd02:1::/64", "fd02:1::1"),
    Case("all", "%config4", "10.9.2.0/24", "10.9.2.1", "0.0.0.0/0", "10.2.1.1"),
]
_COMMON = (
    "keyexchange=ikev2", "authby=secret", "auto=add", "left=10.99.0.1",
    "right=10.99.0.2", "rightid=@gateway", "ike=aes128-sha256-x25519!", "esp=aes128gcm16!",
)  # fmt: skip


def ipsec_conf(side: Side) -> str:
    text = ""
    for case in CASES:
        addresses = (
            f"leftsourceip={case.wanted}"
            if side is CLIENT
            # Their left is the peer, since both ends have one file.
            else f"leftsourceip={case.pool}"
        )
        lines = [*_COMMON, f"leftid=@{case.name}", addresses, f"rightsubnet={case.network}"]
        text += "\n    ".join([f"conn {case.name}", *lines]) + "\n\n"
    return text


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if shutil.which("nft") is None:
        pytest.skip("the masquerading router needs nft (nftables)")
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def gateways(lab: Lab, reported: list[Log]) -> Iterator[dict[Side, Gateway]]:
    with tempfile.TemporaryDirectory(prefix="chv-") as name:
        made = {
            side: Gateway(host, side, File(name) / side.value, backend="xfrm")
            for side, host in zip(Side, lab.hosts, strict=True)
        }
        reported += [gateway.log for gateway in made.values()]
        lab.theirs.add_address("lo", "10.2.1.1/32", "fd02:1::1/128")
        # What a default route would do: the kernel wants a way before it looks for policies.
        lab.theirs.ip("route", "add", "default", "via", "10.99.0.1")
        lab.theirs.ip("route", "add", "fd09::/16", "via", "fd99::1")
        try:
            for side, gateway in made.items():
                gateway.write_text(ipsec_conf(side), ': PSK "of the guest"\n')
                gateway.launch()
            for gateway in made.values():
                gateway.load()
            yield made
        finally:
            codes = [gateway.stop() for gateway in made.values()]
    assert codes == [0, 0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_traffic_of_the_client_has_its_virtual_address(
    lab: Lab, gateways: dict[Side, Gateway], case: Case
) -> None:
    client, gateway = lab.hosts
    empty = [host.footprint() for host in lab.hosts]
    with Sniffer(client, "wan") as cable:
        gateways[CLIENT].up(case.name)
        assert case.got in client.ip("-o", "addr", "show", "dev", "wan")
        assert f"src {case.got}" in client.ip("route", "get", case.far)
        pings = client.try_run("ping", "-q", "-n", "-c", "3", "-i", "0.2", "-W", "5", case.far)
        assert pings[0] == 0, pings[1]
    esp = [frame for frame in cable.of_tunnel() if frame.protocol == IPPROTO_ESP]
    assert len(esp) == 6
    assert gateway.ping(case.far, case.got)
    echo_tcp((client, case.got), (gateway, case.far), 50_000)
    # IKE goes on beside a tunnel for everything.
    gateways[CLIENT].down(case.name)
    wait_until(
        lambda: [host.footprint() for host in lab.hosts] == empty, "hosts are as before", seconds=10
    )
    for host in lab.hosts:
        assert not left_in_kernel(host)
