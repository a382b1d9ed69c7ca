"""Certificates that no datagram holds: IKE cuts its messages in fragments (RFC 7383)."""

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
#: What both daemons keep to by default, with the IP header.
_DATAGRAM_SIZE = 1280

LARGE = [
    *both_roles("large-v4", _numbers, auth="rsa", padding=_CERTIFICATE_SIZE),
    *both_roles("large-v6", _numbers, auth="ecdsa256", padding=_CERTIFICATE_SIZE, path=Path.IPV6),
    *both_roles("large-nat", _numbers, auth="rsa", padding=_CERTIFICATE_SIZE, path=Path.NAT),
]


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, LARGE) as made:
        yield made


@pytest.mark.parametrize("tunnel", LARGE, ids=lambda tunnel: tunnel.name)
def test_large_certificates_go_in_fragments(pair: Pair, tunnel: Tunnel) -> None:
    with Sniffer(pair.lab.ours, tunnel.path.interface) as cable:
        pair.bring_up(tunnel)
    messages = [frame.octets for frame in cable.frames if frame.is_ike]
    assert not any(frame.is_fragment for frame in cable.frames)
    assert max(messages) <= _DATAGRAM_SIZE
    # IKE_SA_INIT, and IKE_AUTH with a certificate of 6 kB each way.
    assert len(messages) >= 2 + 2 * (_CERTIFICATE_SIZE // _DATAGRAM_SIZE + 1)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)
