"""Revocation by OCSP and by lists of a CA's web server, of strongSwan's certificate, both roles."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop import pki
from tests.interop.charon import SETTINGS
from tests.interop.pair import both_roles, paired
from tests.interop.tunnels import Side, Tunnel
from tests.interop.web import Web

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

ADDRESS = "192.168.7.1"
OCSP, CRL = f"http://{ADDRESS}/ocsp", f"http://{ADDRESS}/crl"
SILENT, CLOSED = f"http://{ADDRESS}:81/x", f"http://{ADDRESS}:82/x"
_numbers = count(1)

#: Name, what the certificates name, whether a strict and a relaxed policy let the peer in.
CASES = [
    ("good-ocsp", {"ocsp": OCSP}, True, True),
    ("good-crl", {"crl": CRL}, True, True),
    ("revoked-ocsp", {"ocsp": OCSP}, False, False),
    ("revoked-crl", {"crl": CRL}, False, False),
    ("crl-after-ocsp", {"ocsp": CLOSED, "crl": CRL}, True, True),
    ("silent", {"ocsp": SILENT}, False, True),
    ("closed", {"crl": CLOSED}, False, True),
]
EXPECTED = {name: (strict, relaxed) for name, _, strict, relaxed in CASES}
TUNNELS = [
    (policy, tunnel)
    for policy in ("yes", "no")
    for name, places, _, _ in CASES
    for tunnel in both_roles(name, _numbers, auth="ecdsa256", **places)
]
HURRY = """
[revocation]
timeout = 1.0
patience = 4.0
"""


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[Web]:
    made = Web(lab.router, ADDRESS, pki.Authority())
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(
    lab: Lab, folder: pathlib.Path, reported: list[Log], web: Web, policy: str
) -> Iterator[Pair]:
    web.revoked, web.listed = _names("revoked-ocsp"), _names("revoked-crl")
    tunnels = [tunnel for strict, tunnel in TUNNELS if strict == policy]
    with paired(
        lab, folder / policy, reported, tunnels, settings=SETTINGS + HURRY,
        more=f"config setup\n    strictcrlpolicy={policy}\n", authority=web.authority,
    ) as made:  # fmt: skip
        yield made


def _names(case: str) -> set[str]:
    return {t.dns_name(Side.THEIRS) for _, t in TUNNELS if t.name.startswith(case)}


@pytest.mark.parametrize(
    ("policy", "tunnel"),
    [pytest.param(*entry, id=f"{entry[0]}-{entry[1].name}") for entry in TUNNELS],
    scope="module",
)
def test_strongswan_is_judged(pair: Pair, web: Web, policy: str, tunnel: Tunnel) -> None:
    case = tunnel.name.rpartition("-")[0]
    strict, relaxed = EXPECTED[case]
    # A list of the CA would tell about the certificates of all cases.
    assert pair.ours.debian_stroke("purgecrls") == (0, "")
    web.requests.clear()
    if strict if policy == "yes" else relaxed:
        pair.bring_up(tunnel)
        pair.check_pings(tunnel)
        pair.take_down(tunnel, tunnel.initiator)
    else:
        worked, output = pair.at(tunnel.initiator).up(tunnel.name)
        assert not worked, output
        pair.check_nothing_left()
    log = pair.ours.log.text()
    assert "waits up to 4.0 s for: revocation status of certificate" in log
    if case.startswith("revoked"):
        assert "is revoked at" in log
    expected = ["POST /ocsp"] if tunnel.ocsp == OCSP else ["GET /crl"] if tunnel.crl == CRL else []
    assert web.requests == expected
    if case in {"silent", "closed"}:
        assert f"'{tunnel.ocsp or tunnel.crl}': " in log
        assert ("in time" if case == "silent" else "Connection refused") in log
