"""stroke across the border: our commands at Debian's charon, Debian's command at our daemon."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.charon import BIN, Charon
from tests.interop.network import run
from tests.interop.pair import Pair, both_roles
from tests.interop.strongswan import STROKE, StrongSwan
from tests.interop.tunnels import Side, ipsec_conf, ipsec_secrets

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from tests.interop.lab import Lab
    from tests.interop.process import Log
    from tests.interop.tunnels import Tunnel

    Stroke = Callable[..., str]

_numbers = count(1)
_NETWORKS = ("10.9.0.0/24", "10.8.0.0/24")
TUNNELS = both_roles("stroke", _numbers, second_esp="aes128gcm16")


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    """Both daemons, and both configured by our starter."""
    ours = Charon(lab.ours, folder / "ours")
    theirs = StrongSwan(lab.theirs, folder / "theirs")
    reported += [ours.log, theirs.log]
    for tunnel in TUNNELS:
        for side, host in zip(Side, lab.hosts, strict=True):
            host.add_address("lo", *tunnel.addresses(side))
    ours.write(TUNNELS)
    (theirs.folder / "ipsec.secrets").write_text(ipsec_secrets(TUNNELS, side=Side.THEIRS))
    try:
        theirs.start()
        ours.start(wait_for=TUNNELS[-1].second)
        yield Pair(lab, ours, theirs)
    finally:
        codes = ours.stop(), theirs.stop()
    assert codes == (0, 0)


@pytest.fixture(scope="module")
def attached(pair: Pair, folder: pathlib.Path) -> str:
    """What our starter said when it sent connections to Debian's charon."""
    root = folder / "attached"
    (root / "var/run").mkdir(parents=True)
    (root / "var/run/charon.ctl").symlink_to(pair.theirs.control_socket)
    conf = root / "ipsec.conf"
    conf.write_text(ipsec_conf(TUNNELS, side=Side.THEIRS))
    starter = [str(BIN / "charon-starter"), "--attach", "--root", str(root), "--conf", str(conf)]
    code, output = run(starter)
    assert code == 0, output
    return output


@pytest.fixture
def our_stroke(pair: Pair) -> Stroke:
    """Our stroke command, at Debian's charon."""

    def command(*arguments: str) -> str:
        socket = pair.theirs.control_socket
        code, output = run([str(BIN / "charon-stroke"), "--socket", str(socket), *arguments])
        assert code == 0, output
        return output

    return command


@pytest.fixture
def their_stroke(pair: Pair) -> Stroke:
    """Debian's stroke command, at our daemon."""

    def command(*arguments: str) -> str:
        code, output = pair.ours.debian_stroke(*arguments)
        assert code == 0, output
        return output

    return command


def without_ages(status: str) -> str:
    """Return a status without what changes from one second to the next."""
    return re.sub(r"\d+ seconds? ago", "lately", status)


def test_our_starter_sends_connections_to_charon(attached: str, our_stroke: Stroke) -> None:
    status = our_stroke("statusall")
    assert "strongSwan 5.9.8" in status
    for tunnel in TUNNELS:
        assert f"{tunnel.name}:  10.99.0.2...10.99.0.1  IKEv2" in status
        assert f"local:  [{tunnel.dns_name(Side.THEIRS)}] uses pre-shared key" in status
        assert f"remote: [{tunnel.dns_name(Side.OURS)}] uses pre-shared key" in status
        assert f"child:  {tunnel.network(Side.THEIRS)} === {tunnel.network(Side.OURS)} TUNN" in (
            status
        )
    assert re.search(r"Security Associations \(0 up, 0 connecting\):\n +none", status)


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("tunnel", TUNNELS, ids=["first", "second"])
def test_our_stroke_drives_charon(pair: Pair, our_stroke: Stroke, tunnel: Tunnel) -> None:
    output = our_stroke("up", tunnel.name)
    assert output.endswith(f"connection '{tunnel.name}' established successfully\n")
    pair.check_pings(tunnel)
    assert f"connection '{tunnel.second}' established" in our_stroke("up", tunnel.second)
    pair.check_pings(tunnel, 2)

    status = our_stroke("status")
    assert "Security Associations (1 up, 0 connecting):" in status
    assert f"{tunnel.name}[" in status
    assert status.count("INSTALLED, TUNNEL") == 2
    # Both commands show the same, though the other one was made for it.
    code, output = run([str(STROKE), "status"], env=pair.theirs.environment)
    assert code == 0, output
    assert without_ages(output) == without_ages(our_stroke("status"))

    assert f"CHILD_SA {tunnel.second}" in our_stroke("down", f"{tunnel.second}{{}}")
    assert our_stroke("status").count("INSTALLED, TUNNEL") == 1
    assert "IKE_SA deleted" in our_stroke("down", tunnel.name) or not pair.theirs.sas()
    pair.check_nothing_left()


@pytest.mark.usefixtures("attached")
def test_our_stroke_asks_charon(our_stroke: Stroke) -> None:
    assert "loaded plugins" in our_stroke("statusall")
    assert "List of registered IKE algorithms" in our_stroke("listalgs")
    assert "List of loaded Plugins" in our_stroke("listplugins")
    assert "List of IKE counters" in our_stroke("listcounters")
    for command in ("rereadsecrets", "rereadall", "purgecerts"):
        our_stroke(command)
    our_stroke("loglevel", "ike", "1")
    assert our_stroke("up", "nobody").strip() == "no config named 'nobody'"
    assert our_stroke("down", "nobody") == ""


@pytest.mark.usefixtures("attached")
def test_our_stroke_adds_and_deletes_at_charon(our_stroke: Stroke) -> None:
    our_stroke("add", "extra", "a.test", "b.test", "10.99.0.2", "10.99.0.9", *_NETWORKS)
    assert "extra:  10.99.0.2...10.99.0.9" in our_stroke("statusall")
    our_stroke("delete", "extra")
    assert "extra:" not in our_stroke("statusall")


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("tunnel", TUNNELS, ids=["first", "second"])
def test_their_stroke_drives_our_daemon(pair: Pair, their_stroke: Stroke, tunnel: Tunnel) -> None:
    output = their_stroke("up", tunnel.name)
    assert output.endswith(f"connection '{tunnel.name}' established successfully\n")
    pair.check_pings(tunnel)
    assert f"connection '{tunnel.second}' established" in their_stroke("up", tunnel.second)

    status = their_stroke("status")
    assert "Security Associations (1 up, 0 connecting):" in status
    assert re.search(rf" *{tunnel.name}\[\d+\]: ESTABLISHED \d+ seconds? ago, 10\.99\.0\.1", status)
    assert re.search(
        rf"{tunnel.second}\{{\d+\}}:  INSTALLED, TUNNEL, reqid \d+, ESP in UDP SPIs: "
        r"[0-9a-f]{8}_i [0-9a-f]{8}_o",
        status,
    )
    code, output = pair.ours.stroke("status")
    assert code == 0, output
    assert without_ages(output) == without_ages(their_stroke("status"))
    detailed = their_stroke("statusall", tunnel.name)
    assert "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519" in detailed
    assert re.search(r"AES_GCM_16_128, \d+ bytes_i \(\d+ pkts, \d+s ago\)", detailed)

    their_stroke("down", f"{tunnel.second}{{}}")
    assert their_stroke("status").count("INSTALLED, TUNNEL") == 1
    their_stroke("down", tunnel.name)
    pair.check_nothing_left()


@pytest.mark.usefixtures("attached")
def test_their_stroke_asks_our_daemon(pair: Pair, their_stroke: Stroke) -> None:
    assert "loaded plugins" in their_stroke("statusall")
    their_stroke("loglevel", "ike", "3")
    their_stroke("loglevel", "ike", "1")
    assert their_stroke("up", "nobody").strip() == "no config named 'nobody'"
    assert their_stroke("down", "nobody") == "terminate: no IKE_SA is called 'nobody'\n"

    # A changed secret counts once it has been read again.
    tunnel = TUNNELS[0]
    secrets = pair.ours.folder / "etc/ipsec.secrets"
    good = secrets.read_text()
    secrets.write_text(good.replace(tunnel.secret, "something else"))
    their_stroke("rereadsecrets")
    assert "received AUTHENTICATION_FAILED notify error" in their_stroke("up", tunnel.name)
    secrets.write_text(good)
    their_stroke("rereadsecrets")
    assert "established successfully" in their_stroke("up", tunnel.name)
    their_stroke("down", tunnel.name)
    pair.check_nothing_left()


def test_their_stroke_adds_and_deletes_at_our_daemon(their_stroke: Stroke) -> None:
    their_stroke("add", "extra", "a.test", "b.test", "10.99.0.1", "10.99.0.9", *_NETWORKS)
    assert "extra:  10.99.0.1...10.99.0.9" in their_stroke("statusall")
    their_stroke("delete", "extra")
    assert "extra:" not in their_stroke("statusall")
