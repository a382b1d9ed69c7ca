"""MOBIKE with strongSwan: the initiator loses an address while traffic runs, in both roles."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.network import wait_until
from tests.interop.pair import IMPATIENT, THEY_ARE_IMPATIENT, both_roles, paired
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
_STREAM = 16_000_000
_SECOND = {Side.OURS: "10.99.0.11", Side.THEIRS: "10.99.0.12"}

MOBILE = both_roles("mobile", _numbers)
FIXED = both_roles("fixed", _numbers, ours=("mobike=no",))


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    for host in lab.hosts:
        # Or the second address of a network would go with the first.
        host.shell("echo 1 > /proc/sys/net/ipv4/conf/all/promote_secondaries")
    with paired(
        lab, folder, reported, [*MOBILE, *FIXED],
        settings=IMPATIENT, their_settings=THEY_ARE_IMPATIENT,
    ) as made:  # fmt: skip
        yield made


class Uplink:
    """The first address of a side, which goes and comes back; it has a second one meanwhile."""

    def __init__(self, pair: Pair, side: Side) -> None:
        self._host = pair.host(side)
        path = Path.IPV4
        self._first = f"{path.ours if side is Side.OURS else path.theirs}/24"
        self._second = f"{_SECOND[side]}/24"
        self._lost = False

    def __enter__(self) -> Uplink:
        self._host.add_address("wan", self._second)
        return self

    def lose(self) -> None:
        """Take the first address away."""
        self._host.ip("addr", "del", self._first, "dev", "wan")
        self._lost = True

    def __exit__(self, *_: object) -> None:
        if self._lost:
            self._host.ip("addr", "del", self._second, "dev", "wan")
            self._host.add_address("wan", self._first)
        else:
            self._host.ip("addr", "del", self._second, "dev", "wan")


def spis(pair: Pair) -> set[str]:
    """Return the SPIs of our IKE_SAs; CHILD_SAs are rekeyed by kernel-libipsec, to move them."""
    _, output = pair.ours.stroke("statusall")
    return {"-".join(found) for found in re.findall(r"SPIs: (\w+_i)\*? (\w+_r)", output)}


def where(pair: Pair, tunnel: Tunnel, side: Side) -> str:
    """Return the initiator's address, as a side has it."""
    if side is Side.OURS:
        found = re.search(r"ESTABLISHED [^,]*, ([\w.:]+)\[.*\.\.\.([\w.:]+)\[", pair.ours.sas())
    else:
        sas = pair.theirs.sas()
        remote = re.search(r"remote '[^']*' @ ([\w.:]+)\[", sas)
        local = re.search(r"local  '[^']*' @ ([\w.:]+)\[", sas)
        assert remote is not None
        assert local is not None
        return (remote if tunnel.initiator is Side.OURS else local)[1]
    assert found is not None, pair.ours.sas()
    return found[1 if tunnel.initiator is Side.OURS else 2]


@pytest.mark.parametrize("tunnel", MOBILE, ids=lambda tunnel: tunnel.name)
def test_a_stream_survives_the_loss_of_an_address(pair: Pair, tunnel: Tunnel) -> None:
    side = tunnel.initiator
    first = Path.IPV4.ours if side is Side.OURS else Path.IPV4.theirs
    with Uplink(pair, side) as uplink:
        pair.bring_up(tunnel)
        assert "peer supports MOBIKE" in pair.ours.everything_said()
        before = spis(pair)
        with Stream(pair, tunnel, _STREAM) as stream:
            uplink.lose()
            assert stream.runs, "the stream is too short to see anything"
            for at in Side:
                wait_until(lambda at=at: where(pair, tunnel, at) != first, f"{at.value} have moved")
        assert spis(pair) == before
        assert where(pair, tunnel, Side.OURS) != first
        pair.check_pings(tunnel)
        for other in Side:
            # What was moved can still be rekeyed.
            if other is Side.OURS:
                pair.ours.stroke("rekey", f"{tunnel.name}{{}}")
            else:
                pair.theirs.swanctl("--rekey", "--child", tunnel.name)
        pair.check_pings(tunnel)
        done, output = pair.at(side).down(tunnel.name)
        assert done, output
        wait_until(lambda: not pair.ours.sas() and not pair.theirs.sas(), "nothing is left")
    pair.check_nothing_left()


@pytest.mark.parametrize("tunnel", MOBILE, ids=lambda tunnel: tunnel.name)
def test_a_cable_that_is_pulled_leads_through_the_nat(pair: Pair, tunnel: Tunnel) -> None:
    """All addresses of the first cable are gone: what is left is the way through the router."""
    pair.bring_up(tunnel)
    side = tunnel.initiator
    host = pair.host(side)
    kept = "192.168.7.2" if side is Side.OURS else "192.168.8.2"
    v4 = Path.IPV4.ours if side is Side.OURS else Path.IPV4.theirs
    v6 = Path.IPV6.ours if side is Side.OURS else Path.IPV6.theirs
    host.ip("addr", "flush", "dev", "wan", "scope", "global")
    try:
        wait_until(lambda: where(pair, tunnel, side) == kept, "the initiator has moved", seconds=15)
        pair.check_pings(tunnel)
    finally:
        host.add_address("wan", f"{v4}/24", f"{v6}/64")
    pair.take_down(tunnel, side)


@pytest.mark.parametrize("tunnel", FIXED, ids=lambda tunnel: tunnel.name)
def test_mobike_no_has_its_effect(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    said = pair.ours.everything_said().splitlines()
    mine = [line for line in said if f"<{tunnel.name}|" in line]
    assert any("established between" in line for line in mine)
    ours = [line for line in mine if "generating IKE_AUTH" in line]
    assert ours
    assert not any("MOBIKE_SUP" in line for line in ours)
    assert not any("peer supports MOBIKE" in line for line in mine)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)
