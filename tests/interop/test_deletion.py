"""Either end takes a tunnel down, as a whole or in part, or goes away itself."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.network import wait_until
from tests.interop.pair import both_roles, paired
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)
TUNNELS = both_roles("delete", _numbers, second_esp="aes128gcm16")
SHARED = [
    Tunnel(f"shared-{hub.value}", next(_numbers), second_esp="aes128gcm16", hub=hub) for hub in Side
]

each_tunnel = pytest.mark.parametrize("tunnel", TUNNELS, ids=["we-initiate", "they-initiate"])
each_side = pytest.mark.parametrize("side", Side, ids=["we-delete", "they-delete"])


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, [*TUNNELS, *SHARED]) as made:
        yield made


@each_tunnel
@each_side
def test_ike_sa(pair: Pair, tunnel: Tunnel, side: Side) -> None:
    pair.bring_up(tunnel)
    pair.take_down(tunnel, side)


@each_tunnel
@each_side
def test_child_sa(pair: Pair, tunnel: Tunnel, side: Side) -> None:
    pair.bring_up(tunnel)
    done, output = pair.at(side).down_child(tunnel.name)
    assert done, output
    # The IKE_SA stays, and of the CHILD_SA neither policies nor routes.
    wait_until(lambda: "INSTALLED" not in pair.ours.sas() + pair.theirs.sas(), "no CHILD_SA")
    assert "ESTABLISHED" in pair.ours.sas()
    assert "ESTABLISHED" in pair.theirs.sas()
    wait_until(lambda: pair.footprints() == pair.empty, "hosts are as before")

    # It takes CHILD_SAs again.
    worked, output = pair.at(tunnel.initiator).up(tunnel.second)
    assert worked, output
    pair.check_pings(tunnel, 2)
    pair.take_down(tunnel, side)


@pytest.mark.parametrize("tunnel", SHARED, ids=["our-network", "their-network"])
@each_side
def test_one_of_two_child_sas_of_a_network(pair: Pair, tunnel: Tunnel, side: Side) -> None:
    """What both need stays as long as there is one of them."""
    pair.bring_up(tunnel)
    with_first = pair.footprints()
    assert pair.ours.up(tunnel.second)[0]
    _check_second(pair, tunnel)
    assert pair.at(side).down_child(tunnel.second)[0]
    wait_until(lambda: pair.footprints() == with_first, "hosts are as before")
    pair.check_pings(tunnel)

    assert pair.ours.up(tunnel.second)[0]
    assert pair.at(side).down_child(tunnel.name)[0]
    wait_until(lambda: pair.ours.sas().count("INSTALLED") == 1, "the first is gone")
    _check_second(pair, tunnel)
    pair.take_down(tunnel, side)


def _check_second(pair: Pair, tunnel: Tunnel) -> None:
    ours, theirs = (tunnel.inside(side, 1 if side is tunnel.hub else 2) for side in Side)
    assert pair.lab.ours.ping(ours, theirs)
    assert pair.lab.theirs.ping(theirs, ours)


@each_tunnel
def test_gateway_stops(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    assert pair.ours.stop() == 0
    wait_until(lambda: not pair.theirs.sas(), "they have been told")
    pair.ours.start(wait_for=SHARED[-1].second)
    pair.bring_up(tunnel)
    assert pair.theirs.stop() == 0
    wait_until(lambda: not pair.ours.sas(), "we have been told")
    pair.theirs.start()
    pair.theirs.load(TUNNELS)
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, Side.OURS)
