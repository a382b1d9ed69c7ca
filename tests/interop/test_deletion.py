"""Either end takes a tunnel down, as a whole or in part, or goes away itself."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.network import wait_until
from tests.interop.pair import both_roles, paired
from tests.interop.tunnels import Side

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log
    from tests.interop.tunnels import Tunnel

_numbers = count(1)
TUNNELS = both_roles("delete", _numbers, second_esp="aes128gcm16")

each_tunnel = pytest.mark.parametrize("tunnel", TUNNELS, ids=["we-initiate", "they-initiate"])
each_side = pytest.mark.parametrize("side", Side, ids=["we-delete", "they-delete"])


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, TUNNELS) as made:
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


@each_tunnel
def test_gateway_stops(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    assert pair.ours.stop() == 0
    wait_until(lambda: not pair.theirs.sas(), "they have been told")
    pair.ours.start(wait_for=TUNNELS[-1].second)
    pair.bring_up(tunnel)
    assert pair.theirs.stop() == 0
    wait_until(lambda: not pair.ours.sas(), "we have been told")
    pair.theirs.start()
    pair.theirs.load(TUNNELS)
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, Side.OURS)
