"""Rekeying and reauthentication with strongSwan, by either side, while traffic runs."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.network import wait_until
from tests.interop.pair import both_roles, paired
from tests.interop.stream import Stream
from tests.interop.tunnels import Side

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log
    from tests.interop.tunnels import Tunnel

_numbers = count(1)
_STREAM = 8_000_000

PLAIN = both_roles("plain", _numbers)
PFS = both_roles("pfs", _numbers, esp="aes128-sha256-ecp256")
WE_HURRY = both_roles(
    "we-hurry",
    _numbers,
    ours=("lifetime=6s", "margintime=3s", "rekeyfuzz=0%"),
)
THEY_HURRY = both_roles("they-hurry", _numbers, their_child=("rekey_time = 3s", "life_time = 6s"))
WE_REAUTH = both_roles(
    "we-reauth",
    _numbers,
    ours=("ikelifetime=6s", "margintime=3s", "rekeyfuzz=0%"),
    theirs=("over_time = 1s",),
)
THEY_REAUTH = both_roles("they-reauth", _numbers, theirs=("reauth_time = 3s", "over_time = 3s"))


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    tunnels = [*PLAIN, *PFS, *WE_HURRY, *THEY_HURRY, *WE_REAUTH, *THEY_REAUTH]
    with paired(lab, folder, reported, tunnels) as made:
        yield made


def each(*tunnels: list[Tunnel]) -> pytest.MarkDecorator:
    """Run a test with each of these tunnels."""
    flat = [tunnel for some in tunnels for tunnel in some]
    return pytest.mark.parametrize("tunnel", flat, ids=lambda tunnel: tunnel.name)


def rekey(pair: Pair, side: Side, tunnel: Tunnel, *, child: bool) -> None:
    """Have a side rekey, and wait until both have nothing but the new SA."""
    if side is Side.OURS:
        pair.ours.stroke("rekey", f"{tunnel.name}{{}}" if child else tunnel.name)
    else:
        pair.theirs.swanctl("--rekey", "--child" if child else "--ike", tunnel.name)


def spis(pair: Pair, *, child: bool) -> set[str]:
    """Return the SPIs that we show of all SAs of a kind."""
    pattern = r"SPIs: (\w+_i) (\w+_o)" if child else r"SPIs: (\w+_i)\*? (\w+_r)"
    _, output = pair.ours.stroke("statusall")
    return {"-".join(found) for found in re.findall(pattern, output)}


@each(PLAIN, PFS)
@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
@pytest.mark.parametrize("child", [True, False], ids=["child", "ike"])
def test_a_stream_survives_rekeying(pair: Pair, tunnel: Tunnel, side: Side, child: bool) -> None:
    pair.bring_up(tunnel)
    before = spis(pair, child=child)
    assert before
    with Stream(pair, tunnel, _STREAM):
        rekey(pair, side, tunnel, child=child)
        wait_until(
            lambda: len(now := spis(pair, child=child)) == 1 and not now & before, "it is replaced"
        )
        for other in Side:
            rekey(pair, other, tunnel, child=not child)
    assert len(spis(pair, child=True)) == 1
    pair.check_pings(tunnel)
    pair.take_down(tunnel, side)


@each(WE_HURRY, THEY_HURRY)
def test_soft_lifetimes_start_rekeying(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    seen: set[str] = set()

    def three_times() -> bool:
        seen.update(spis(pair, child=True))
        return len(seen) >= 4

    with Stream(pair, tunnel, _STREAM):
        wait_until(three_times, "the CHILD_SA is replaced three times", seconds=20)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each(WE_REAUTH, THEY_REAUTH)
def test_reauthentication(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    seen: set[str] = set()

    def twice() -> bool:
        seen.update(spis(pair, child=False))
        return len(seen) >= 3

    wait_until(twice, "the IKE_SA is set up anew twice", seconds=25)
    pair.wait_for_up(pair.theirs, tunnel.name)
    pair.check_pings(tunnel)
    # Right after the next one there is time to take it down.
    seen.update(spis(pair, child=False))
    wait_until(lambda: spis(pair, child=False) - seen, "it is set up anew", seconds=10)
    pair.wait_for_up(pair.theirs, tunnel.name)
    pair.take_down(tunnel, tunnel.initiator)
