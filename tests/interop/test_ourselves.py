"""Our daemon at both ends: what strongSwan 5.9.8 and its ESP in user space do not have."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.charon import Charon
from tests.interop.lab import Path
from tests.interop.network import wait_until
from tests.interop.traffic import echo_tcp
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.process import Log

_numbers = count(1)
TUNNELS = [
    Tunnel("esn", next(_numbers), esp="aes256gcm16-esn"),
    Tunnel("esn-nat", next(_numbers), esp="aes256-sha512-esn", path=Path.NAT),
    Tunnel("ml-kem", next(_numbers), ike="aes256gcm16-prfsha384-mlkem768", path=Path.IPV6),
]


@pytest.fixture(scope="module")
def ends(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[tuple[Charon, Charon]]:
    made = (
        Charon(lab.ours, folder / "ours"),
        Charon(lab.theirs, folder / "theirs", side=Side.THEIRS),
    )
    for end in made:
        reported.append(end.log)
        end.write(TUNNELS)
        for tunnel in TUNNELS:
            end.host.add_address("lo", tunnel.inside(end.side))
    try:
        for end in made:
            end.start(wait_for=TUNNELS[-1].name)
        yield made
    finally:
        codes = [end.stop() for end in made]
    assert codes == [0, 0]
    assert "Traceback" not in "".join(end.everything_said() for end in made)


@pytest.mark.parametrize("tunnel", TUNNELS, ids=lambda tunnel: tunnel.name)
def test_both_ends_are_ours(lab: Lab, ends: tuple[Charon, Charon], tunnel: Tunnel) -> None:
    ours, theirs = ends
    inside = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
    before = [host.footprint() for host in lab.hosts]
    worked, output = ours.up(tunnel.name)
    assert worked, output
    wait_until(lambda: theirs.is_up(tunnel.name), "they have it up")
    assert lab.ours.ping(*inside)
    assert lab.theirs.ping(*reversed(inside))

    status = ours.stroke("statusall", tunnel.name)[1]
    assert ("/ESN," in status) is tunnel.name.startswith("esn")
    assert ("/ML_KEM_768" in status) is (tunnel.name == "ml-kem")
    echo_tcp((lab.ours, inside[0]), (lab.theirs, inside[1]), 1_000_000)
    assert theirs.down(tunnel.name)[0]
    wait_until(lambda: not ours.sas() + theirs.sas(), "no SA is left")
    wait_until(lambda: [host.footprint() for host in lab.hosts] == before, "hosts are as before")
