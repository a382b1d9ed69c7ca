"""Who is let in: raw public keys of both ends, and certificates that prove nothing."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

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

RAW = [
    tunnel
    for kind in ("rsa", "ecdsa256", "ed25519")
    for tunnel in both_roles(f"raw-{kind}", _numbers, auth=kind, raw=True)
]
BAD = [
    tunnel
    for defect, owner in (
        ("untrusted", Side.THEIRS),
        ("expired", Side.THEIRS),
        ("other-name", Side.THEIRS),
        ("untrusted", Side.OURS),
        ("expired", Side.OURS),
    )
    for tunnel in both_roles(
        f"{defect}-{owner.name.lower()}", _numbers, auth="ecdsa256", defect=defect, defective=owner
    )
]


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, [*RAW, *BAD]) as made:
        yield made


@pytest.mark.parametrize("tunnel", RAW, ids=lambda tunnel: tunnel.name)
def test_raw_public_keys(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@pytest.mark.parametrize("tunnel", BAD, ids=lambda tunnel: tunnel.name)
def test_bad_certificates(pair: Pair, tunnel: Tunnel) -> None:
    worked, output = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked, output
    pair.check_nothing_left()
    # The end that was to be convinced is the one that refuses.
    judge = pair.ours if tunnel.defective is Side.THEIRS else pair.theirs
    assert "generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]" in judge.log.text() or (
        "generating INFORMATIONAL request 2 [ N(AUTH_FAILED) ]" in judge.log.text()
    )
