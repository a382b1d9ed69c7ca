"""Networks that lose messages, and peers that are gone."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.network import wait_until
from tests.interop.pair import IMPATIENT, THEY_ARE_IMPATIENT, both_roles, paired

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.filters import Lossy
    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log
    from tests.interop.tunnels import Tunnel

_numbers = count(1)

WE_ASK = both_roles("we-ask", _numbers, ours=("dpdaction=clear", "dpddelay=1s"))
THEY_ASK = both_roles("they-ask", _numbers, theirs=("dpd_delay = 1s",))
PLAIN = both_roles("plain", _numbers)
LARGE = both_roles("large", _numbers, auth="ecdsa256", padding=4000)


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    tunnels = [*WE_ASK, *THEY_ASK, *PLAIN, *LARGE]
    with paired(
        lab, folder, reported, tunnels, settings=IMPATIENT, their_settings=THEY_ARE_IMPATIENT
    ) as made:
        yield made


def each(*tunnels: list[Tunnel]) -> pytest.MarkDecorator:
    """Run a test with each of these tunnels."""
    flat = [tunnel for some in tunnels for tunnel in some]
    return pytest.mark.parametrize("tunnel", flat, ids=lambda tunnel: tunnel.name)


@each(WE_ASK)
def test_we_ask_whether_they_live(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.theirs.log.mark()
    wait_until(lambda: "parsed INFORMATIONAL request" in pair.theirs.log.text(), "we ask")
    wait_until(lambda: "parsed INFORMATIONAL response" in pair.ours.log.text(), "they answer")
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each(THEY_ASK)
def test_they_ask_whether_we_live(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.theirs.log.mark()
    wait_until(lambda: "parsed INFORMATIONAL response" in pair.theirs.log.text(), "we answer")
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each(WE_ASK[:1])
def test_we_give_up_a_silent_peer(pair: Pair, tunnel: Tunnel, lossy: Lossy) -> None:
    pair.bring_up(tunnel)
    lossy.drop(pair.lab.theirs, "meta l4proto udp")
    wait_until(lambda: not pair.ours.sas(), "we have given up", seconds=10)
    assert "giving up after 3 retransmits" in pair.ours.log.text()
    pair.reset()
    pair.check_nothing_left()


@each(PLAIN, LARGE)
def test_lossy_network(pair: Pair, tunnel: Tunnel, lossy: Lossy) -> None:
    for host in pair.lab.hosts:
        lossy.drop(host, "meta l4proto udp numgen inc mod 3 0")
    pair.bring_up(tunnel)
    assert "retransmit 1 of request" in pair.ours.log.text() + pair.theirs.log.text()
    lossy.pass_all()
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each(PLAIN[1:])
def test_they_come_back_after_a_crash(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.theirs.crash()
    pair.theirs.start()
    pair.theirs.load(PLAIN)
    # We may still have the old tunnel; what goes out takes the new one.
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    pair.reset()
    pair.check_nothing_left()
