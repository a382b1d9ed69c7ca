"""Places that a ca section names: for all certificates of a CA, cached on the disk, forgotten."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop import pki
from tests.interop.charon import SETTINGS
from tests.interop.pair import both_roles, paired
from tests.interop.tunnels import Side
from tests.interop.web import Web

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

ADDRESS = "192.168.7.1"
CRL, CLOSED = f"http://{ADDRESS}/crl", f"http://{ADDRESS}:82/x"
TUNNELS = both_roles("section", count(1), auth="ecdsa256")


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[Web]:
    made = Web(lab.router, ADDRESS, pki.Authority())
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log], web: Web) -> Iterator[Pair]:
    more = f"""\
config setup
    strictcrlpolicy=yes
    cachecrls=yes

ca interop
    cacert=ca.pem
    ocspuri={CLOSED}
    crluri={CRL}
    auto=add

"""
    with paired(
        lab, folder, reported, TUNNELS, settings=SETTINGS, more=more,
        authority=web.authority,
    ) as made:  # fmt: skip
        yield made


def test_places_of_a_ca_section(pair: Pair, web: Web) -> None:
    web.listed.clear()
    web.requests.clear()
    for tunnel in TUNNELS:
        pair.bring_up(tunnel)
        pair.take_down(tunnel, tunnel.initiator)
    assert web.requests == ["GET /crl"], "a list serves all certificates of its CA"
    folder = pair.ours.folder / "etc/ipsec.d/crls"
    (file,) = folder.iterdir()
    assert file.suffix == ".crl"
    # Without the cached file and after a purge, what was good is asked again.
    web.listed.add(TUNNELS[0].dns_name(Side.THEIRS))
    file.unlink()
    assert pair.ours.debian_stroke("purgecrls") == (0, "")
    worked, output = pair.at(TUNNELS[0].initiator).up(TUNNELS[0].name)
    assert not worked, output
    pair.check_nothing_left()
