"""Certificates by hash and URL, to strongSwan and from it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop import pki
from tests.interop.charon import SETTINGS
from tests.interop.pair import both_roles, paired
from tests.interop.strongswan import PLUGINS
from tests.interop.web import Web

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log
    from tests.interop.tunnels import Tunnel

ADDRESS = "192.168.7.1"
BASE = f"http://{ADDRESS}/certs/"
TUNNELS = both_roles("by-url", count(1), auth="ecdsa256")
THEIR_AUTHORITY = f"authorities {{ interop {{ cacert = ca.pem\ncert_uri_base = {BASE} }} }}\n"


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[Web]:
    made = Web(lab.router, ADDRESS, pki.Authority())
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log], web: Web) -> Iterator[Pair]:
    more = f"ca interop\n    cacert=ca.pem\n    certuribase={BASE}\n    auto=add\n"
    with paired(
        lab, folder, reported, TUNNELS,
        settings=SETTINGS + "\n[revocation]\nhash_and_url = true\n",
        their_settings=f"load = {PLUGINS} curl\nhash_and_url = yes",
        more=more, authority=web.authority,
    ) as made:  # fmt: skip
        file = folder / "theirs/swanctl/authorities.conf"
        file.write_text(THEIR_AUTHORITY)
        code, output = made.theirs.swanctl("--load-authorities", "--file", str(file))
        assert code == 0, output
        yield made


@pytest.mark.parametrize("tunnel", TUNNELS, ids=lambda tunnel: tunnel.name)
def test_both_look_up_the_other(pair: Pair, web: Web, tunnel: Tunnel) -> None:
    web.requests.clear()
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)
    assert len(web.requests) == 2
    assert all(request.startswith("GET /certs/") for request in web.requests)
    assert "sending hash-and-url" in pair.ours.log.text()
    assert "received hash-and-url" in pair.ours.log.text()
