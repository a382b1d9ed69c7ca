"""Our traps with strongSwan as the responder, and shunts beside a tunnel to it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.network import wait_until
from tests.interop.pair import IMPATIENT, paired
from tests.interop.traffic import UDP, Sniffer, echo_tcp
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

ICMP = 1

_numbers = count(1)
TRAPS = [
    Tunnel("trap-v4", next(_numbers), ours=("auto=route",)),
    Tunnel("trap-v6", next(_numbers), path=Path.IPV6, ours=("auto=route",)),
    Tunnel("trap-nat", next(_numbers), path=Path.NAT, ours=("auto=route",)),
    Tunnel("trap-narrow", next(_numbers), wide=True, ours=("auto=add",)),
]
BY_HAND = TRAPS[-1]
HELD = Tunnel("held", next(_numbers), ours=("closeaction=hold",))
GUARDED = Tunnel("guarded", next(_numbers))
# A hole in the tunnel's network, for one host and for echoes; and what is never to leave.
SHUNTS = """
conn hole
    left=10.99.0.1
    leftsubnet={ours}[icmp]
    right=10.99.0.2
    rightsubnet={theirs}[icmp]
    authby=never
    type=passthrough
    auto=add

conn wall
    left=10.99.0.1
    leftsubnet={ours}
    right=10.99.0.2
    rightsubnet=10.99.0.2
    authby=never
    type=drop
    auto=add
"""


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    tunnels = [*TRAPS[:-1], HELD, GUARDED, BY_HAND]
    # Which of the two is not to be routed at the start.
    with paired(lab, folder, reported, tunnels, settings=IMPATIENT) as made:
        file = made.ours.folder / "etc/ipsec.conf"
        shunts = SHUNTS.format(ours=GUARDED.inside(Side.OURS), theirs=GUARDED.inside(Side.THEIRS))
        file.write_text(file.read_text() + shunts)
        made.ours.update()
        wait_until(lambda: "wall:" in made.ours.stroke("statusall")[1], "shunts are loaded")
        # The traps that are there from the start belong to what a test finds and leaves.
        made.empty = made.footprints()
        yield made


@pytest.mark.parametrize("tunnel", TRAPS[:-1], ids=lambda tunnel: tunnel.name)
def test_the_first_packet_brings_the_tunnel_up(pair: Pair, tunnel: Tunnel) -> None:
    status = pair.ours.stroke("status", tunnel.name)[1]
    assert "Routed Connections:" in status
    assert "ROUTED, TUNNEL, reqid " in status
    assert not pair.ours.sas(tunnel.name)
    with Sniffer(pair.lab.ours, tunnel.path.interface) as cable:
        # Not even the first echo is lost: it waits for the SA.
        pair.check_pings(tunnel)
    assert not any(frame.protocol == ICMP for frame in cable.of_tunnel())
    assert pair.theirs.is_up(tunnel.name)
    reqid = status.partition("reqid ")[2].split()[0]
    assert f"INSTALLED, TUNNEL, reqid {reqid}," in pair.ours.sas(tunnel.name)

    # The trap outlives the tunnel, whoever ends it.
    for side in Side:
        pair.take_down(tunnel, side)
        assert "ROUTED, TUNNEL" in pair.ours.stroke("status", tunnel.name)[1]
        pair.check_pings(tunnel)
        assert pair.ours.is_up(tunnel.name)
    pair.take_down(tunnel, Side.OURS)


def test_route_and_unroute(pair: Pair) -> None:
    tunnel = BY_HAND
    assert pair.ours.debian_stroke("route", tunnel.name) == (0, f"'{tunnel.name}' routed\n")
    # The peer grants less than the trap is for.
    pair.check_pings(tunnel)
    granted = f"{tunnel.network(Side.OURS)} === {tunnel.network(Side.THEIRS)}"
    assert granted in pair.ours.sas(tunnel.name)
    code, output = pair.ours.debian_stroke("unroute", tunnel.name)
    assert (code, output) == (0, f"trap policy '{tunnel.name}' unrouted\n")
    pair.check_pings(tunnel)
    pair.take_down(tunnel, Side.OURS)
    output = pair.ours.debian_stroke("unroute", tunnel.name)[1]
    assert output == f"configuration '{tunnel.name}' not found\n"


@pytest.mark.parametrize("whole", [True, False])
def test_what_they_close_is_held(pair: Pair, whole: bool) -> None:
    pair.bring_up(HELD)
    close = pair.theirs.down if whole else pair.theirs.down_child
    assert close(HELD.name)[0]
    wait_until(lambda: "ROUTED, TUNNEL" in pair.ours.stroke("status", HELD.name)[1], "it is held")
    wait_until(lambda: "INSTALLED" not in pair.ours.sas(HELD.name), "it is closed")
    with Sniffer(pair.lab.ours, "wan") as cable:
        pair.check_pings(HELD)
    assert not any(frame.protocol == ICMP for frame in cable.of_tunnel())
    assert pair.ours.is_up(HELD.name)
    assert pair.ours.stroke("unroute", HELD.name)[1] == "trap policy 'held' unrouted\n"
    pair.take_down(HELD, Side.OURS)


def test_a_dead_peer_is_no_reason_for_a_storm(pair: Pair) -> None:
    tunnel = TRAPS[0]
    pair.lab.theirs.ip("link", "set", "wan", "down")
    try:
        before = pair.ours.everything_said().count("creating acquire job")
        ends = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
        pair.lab.ours.try_run("ping", "-q", "-c", "60", "-i", "0.05", "-W", "1", "-I", *ends)
        after = pair.ours.everything_said().count("creating acquire job")
        assert 1 <= after - before <= 3
    finally:
        pair.lab.theirs.ip("link", "set", "wan", "up")
    pair.lab.theirs.add_address("wan", "fd99::2/64")
    ends = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
    wait_until(lambda: pair.lab.ours.ping(*ends, count=1), "it comes back", seconds=40, pause=0.5)
    # Of tries that the network lost on the way back, they may have something half-open still.
    assert pair.ours.down(tunnel.name)[0]


def test_shunts_beside_a_tunnel(pair: Pair) -> None:
    ours, theirs = pair.lab.ours, pair.lab.theirs
    inside = GUARDED.inside(Side.OURS), GUARDED.inside(Side.THEIRS)
    ours.ip("route", "add", GUARDED.network(Side.THEIRS), "via", "10.99.0.2")
    theirs.ip("route", "add", GUARDED.network(Side.OURS), "via", "10.99.0.1")
    pair.empty = pair.footprints()
    pair.bring_up(GUARDED)
    pair.check_pings(GUARDED)

    reply = pair.ours.debian_stroke("route", "hole")
    assert reply == (0, "'hole' shunt PASS policy installed\n")
    with Sniffer(ours, "wan") as cable:
        ours.ping(*inside, count=1)
    assert any(frame.protocol == ICMP for frame in cable.of_tunnel())
    with Sniffer(ours, "wan") as cable:
        echo_tcp((ours, inside[0]), (theirs, inside[1]), 1000)
    assert {frame.protocol for frame in cable.of_tunnel()} == {UDP}, "TCP is protected as ever"
    assert "Shunted Connections:" in pair.ours.stroke("status")[1]
    reply = pair.ours.debian_stroke("unroute", "hole")
    assert reply == (0, "shunt policy 'hole' uninstalled\n")
    pair.check_pings(GUARDED)
    pair.take_down(GUARDED, Side.OURS)

    assert ours.ping(inside[0], "10.99.0.2", count=1)
    assert pair.ours.stroke("route", "wall")[1] == "'wall' shunt DROP policy installed\n"
    assert not ours.ping(inside[0], "10.99.0.2", count=1)
    assert ours.ping("10.99.0.1", "10.99.0.2", count=1), "others are not concerned"
    assert pair.ours.stroke("unroute", "wall")[1] == "shunt policy 'wall' uninstalled\n"
    assert ours.ping(inside[0], "10.99.0.2", count=1)
    pair.check_nothing_left()
