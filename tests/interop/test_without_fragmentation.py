"""Large certificates where one end knows nothing of IKE fragments: IP cuts the datagrams."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.pair import both_roles, paired
from tests.interop.traffic import Sniffer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log
    from tests.interop.tunnels import Tunnel

_numbers = count(1)
_CERTIFICATE_SIZE = 6000

# On paths of their own: a responder finds its settings by the addresses, before it knows who asks.
TUNNELS = [
    *both_roles(
        "they-cannot", _numbers, auth="rsa", padding=_CERTIFICATE_SIZE, path=Path.IPV4,
        theirs=("fragmentation = no",),
    ),
    *both_roles(
        "we-do-not", _numbers, auth="ecdsa256", padding=_CERTIFICATE_SIZE, path=Path.IPV6,
        ours=("fragmentation=no",),
    ),
    *both_roles(
        "nor-through-nat", _numbers, auth="rsa", padding=_CERTIFICATE_SIZE, path=Path.NAT,
        ours=("fragmentation=no",),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, TUNNELS) as made:
        yield made


@pytest.mark.parametrize("tunnel", TUNNELS, ids=lambda tunnel: tunnel.name)
def test_large_certificates_go_as_a_whole(pair: Pair, tunnel: Tunnel) -> None:
    with Sniffer(pair.lab.ours, tunnel.path.interface) as cable:
        output = pair.bring_up(tunnel)
    assert " EF(" not in output
    assert sum(frame.is_fragment for frame in cable.frames) >= 2 * (_CERTIFICATE_SIZE // 1500)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)
