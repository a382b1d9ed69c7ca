"""Who is let in: by raw keys, chains, identities of every kind; and who is not."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.pair import both_roles, paired
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)

RAW = [
    tunnel
    for kind in ("rsa", "ecdsa256", "ed25519")
    for tunnel in both_roles(f"raw-{kind}", _numbers, auth=kind, raw=True)
]
IDENTITIES = [
    *both_roles("email", _numbers, identities="email"),
    *both_roles("keyid", _numbers, identities="keyid"),
    *both_roles("dn", _numbers, identities="dn", auth="ecdsa256"),
    # One a path: what they are called does not tell these two from each other.
    Tunnel("address-we", next(_numbers), Side.OURS, Path.IPV4, identities="address"),
    Tunnel("address-they", next(_numbers), Side.THEIRS, Path.IPV6, identities="address"),
]
CHAIN = both_roles("chain", _numbers, auth="ecdsa256", intermediate=True)
ANY_ADDRESS = both_roles("any-address", _numbers, ours=("left=%any",))
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
    with paired(lab, folder, reported, [*RAW, *IDENTITIES, *CHAIN, *ANY_ADDRESS, *BAD]) as made:
        yield made


@pytest.mark.parametrize(
    "tunnel", [*RAW, *IDENTITIES, *CHAIN, *ANY_ADDRESS], ids=lambda tunnel: tunnel.name
)
def test_who_is_let_in(pair: Pair, tunnel: Tunnel) -> None:
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
    if tunnel.defective is Side.OURS:
        assert "it does not accept who we are" in pair.ours.log.text()
