"""A tunnel between us and strongSwan: every authentication, path and cipher, in both roles."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.pair import both_roles, paired
from tests.interop.traffic import UDP, Sniffer, echo_tcp
from tests.interop.tunnels import DEFAULT, Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)

GCM = "aes128gcm16"
GCM256 = "aes256gcm16"
CBC = "aes256-sha256"
CHACHA = "chacha20poly1305"


VARIANTS = [
    *both_roles("defaults", _numbers, ike=DEFAULT, esp=DEFAULT),
    *both_roles("psk-gcm-v4", _numbers),
    *both_roles("psk-cbc-v4", _numbers, esp=CBC),
    *both_roles("psk-chacha-v4", _numbers, esp=CHACHA),
    *both_roles("psk-gcm-v6", _numbers, path=Path.IPV6),
    *both_roles("psk-cbc-v6", _numbers, path=Path.IPV6, esp=CBC),
    *both_roles("psk-v6-in-v4", _numbers, inner=6),
    *both_roles("psk-v4-in-v6", _numbers, path=Path.IPV6, inner=4),
    *both_roles("psk-gcm-nat", _numbers, path=Path.NAT),
    *both_roles("psk-cbc-nat", _numbers, path=Path.NAT, esp=CBC),
    *both_roles("rsa-gcm-v4", _numbers, auth="rsa"),
    *both_roles("rsa-pss-cbc-v6", _numbers, auth="rsa/pss", esp=CBC, path=Path.IPV6),
    *both_roles("rsa-gcm-nat", _numbers, auth="rsa", path=Path.NAT),
    *both_roles("ecdsa-gcm256-v4", _numbers, auth="ecdsa256", esp=GCM256),
    *both_roles("ecdsa384-cbc-nat", _numbers, auth="ecdsa384", esp=CBC, path=Path.NAT),
    *both_roles("ecdsa521-gcm-v4", _numbers, auth="ecdsa521"),
    *both_roles("ed25519-gcm-v6", _numbers, auth="ed25519", path=Path.IPV6),
    *both_roles("ed25519-cbc-v4", _numbers, auth="ed25519", esp=CBC),
    *both_roles("ed448-gcm-v4", _numbers, auth="ed448"),
]


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, VARIANTS) as made:
        yield made


@pytest.mark.parametrize("tunnel", VARIANTS, ids=lambda tunnel: tunnel.name)
def test_tunnel_carries_traffic_and_goes(pair: Pair, tunnel: Tunnel) -> None:
    with Sniffer(pair.lab.ours, tunnel.path.interface) as cable:
        pair.bring_up(tunnel)
        pair.check_pings(tunnel)
    seen = cable.of_tunnel()
    # Nothing but IKE and ESP has been on the cable. strongSwan's libipsec claims to be behind a
    # NAT, whatever the path is, so that ESP is always in UDP.
    assert {frame.protocol for frame in seen} == {UDP}
    # Two echoes each way; what goes out at once may be seen as one frame.
    assert sum(not frame.is_ike for frame in seen) >= 4
    assert not any(frame.is_fragment for frame in seen)

    ours = (pair.lab.ours, tunnel.inside(Side.OURS))
    theirs = (pair.lab.theirs, tunnel.inside(Side.THEIRS))
    initiator, responder = (ours, theirs) if tunnel.initiator is Side.OURS else (theirs, ours)
    echo_tcp(initiator, responder, 200_000)

    pair.take_down(tunnel, tunnel.initiator)


@pytest.mark.parametrize(
    "tunnel",
    [tunnel for tunnel in VARIANTS if tunnel.name in ("psk-gcm-v6-we", "psk-cbc-nat-they")],
    ids=lambda tunnel: tunnel.name,
)
def test_large_transfer(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    ours = (pair.lab.ours, tunnel.inside(Side.OURS))
    theirs = (pair.lab.theirs, tunnel.inside(Side.THEIRS))
    for client, server in ((ours, theirs), (theirs, ours)):
        echo_tcp(client, server, 4_000_000)
    pair.take_down(tunnel, tunnel.initiator.other)
