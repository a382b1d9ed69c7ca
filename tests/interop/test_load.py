"""Many tunnels at a time, cookies where too many begin and do not go on, keepalives for NATs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.network import wait_until
from tests.interop.pair import IMPATIENT, THEY_ARE_IMPATIENT, both_roles, paired
from tests.interop.traffic import UDP, Sniffer
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.filters import Lossy
    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)

STUCK = both_roles("stuck", _numbers, path=Path.IPV6)
NEXT = both_roles("next", _numbers)
MANY = [
    tunnel
    for number, auth in enumerate(["psk", "ecdsa256", "ed25519"] * 3)
    for tunnel in both_roles(f"many{number}", _numbers, auth=auth)
]
BEHIND_NAT = Tunnel("behind-nat", next(_numbers), Side.OURS, Path.NAT)

_SETTINGS = IMPATIENT.replace("[ike]\n", "[ike]\ncookie_threshold = 1\nkeep_alive = 0.5\n")
_THEIR_SETTINGS = f"{THEY_ARE_IMPATIENT}\ncookie_threshold = 1"
#: An IP header, a UDP header, the one octet of a keepalive (RFC 3948 2.3).
_KEEPALIVE_SIZE = 20 + 8 + 1


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    tunnels = [*STUCK, *NEXT, *MANY, BEHIND_NAT]
    with paired(
        lab, folder, reported, tunnels, settings=_SETTINGS, their_settings=_THEIR_SETTINGS
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("stuck", "tunnel"), list(zip(STUCK, NEXT, strict=True)), ids=["they-demand", "we-demand"]
)
def test_cookies(pair: Pair, stuck: Tunnel, tunnel: Tunnel, lossy: Lossy) -> None:
    responder = stuck.initiator.other
    lossy.drop(pair.host(responder), "meta nfproto ipv6 udp dport 4500")
    if stuck.initiator is Side.OURS:
        pair.ours.stroke("up-nb", stuck.name)
    else:
        pair.theirs.swanctl("--initiate", "--child", stuck.name, "--timeout", "1")
    wait_until(lambda: "CONNECTING" in pair.at(responder).sas(), "one is half open")

    assert "N(COOKIE)" in pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    lossy.pass_all()
    # The other one goes on as soon as it is let.
    pair.wait_for_up(pair.ours, stuck.name)
    pair.wait_for_up(pair.theirs, stuck.name)
    pair.reset()
    pair.check_nothing_left()


def test_many_at_a_time(pair: Pair) -> None:
    def up(tunnel: Tunnel) -> tuple[bool, str]:
        return pair.at(tunnel.initiator).up(tunnel.name)

    def down(tunnel: Tunnel) -> tuple[bool, str]:
        return pair.at(tunnel.initiator.other).down(tunnel.name)

    with ThreadPoolExecutor(6) as pool:
        assert [output for worked, output in pool.map(up, MANY) if not worked] == []
        for tunnel in MANY:
            pair.check_pings(tunnel)
        assert pair.ours.sas().count("INSTALLED") == len(MANY)
        assert [output for worked, output in pool.map(down, MANY) if not worked] == []
    pair.check_nothing_left()


def test_keepalives(pair: Pair) -> None:
    pair.bring_up(BEHIND_NAT)

    def seen() -> bool:
        with Sniffer(pair.lab.ours, "lan", seconds=0.5) as cable:
            pass
        return any(
            frame.protocol == UDP and frame.octets == _KEEPALIVE_SIZE for frame in cable.frames
        )

    wait_until(seen, "we send keepalives")
    pair.check_pings(BEHIND_NAT)
    pair.take_down(BEHIND_NAT, Side.THEIRS)
