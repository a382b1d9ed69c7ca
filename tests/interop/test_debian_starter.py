"""Our daemon in charon's place, under Debian's unmodified `ipsec`, starter and stroke."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop import pki
from tests.interop.network import run, wait_until
from tests.interop.pair import both_roles
from tests.interop.process import Log, Program
from tests.interop.strongswan import CHARON, StrongSwan
from tests.interop.tunnels import Side, ipsec_conf, ipsec_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.lab import Lab
    from tests.interop.network import Host
    from tests.interop.tunnels import Tunnel

_numbers = count(1)
PSK = both_roles("psk", _numbers)
CERTIFICATE = both_roles("certificate", _numbers, auth="ecdsa256")
LATER = both_roles("later", _numbers)[0]
TUNNELS = [*PSK, *CERTIFICATE]

_DAEMON = f"""\
#!{sys.executable}
import sys
from charon_core.cli import main
sys.exit(main())
"""
# The installation, and /etc, with our files over it, seen by nobody else.
_ENTER = """\
set -e
mount -t tmpfs tmpfs /run
mount --bind {folder}/lib {lib}
mount --bind {folder}/ipsec.conf /etc/ipsec.conf
mount --bind {folder}/ipsec.secrets /etc/ipsec.secrets
mount --bind {folder}/ipsec.d /etc/ipsec.d
exec ipsec start --nofork
"""


class Debian:
    """A Debian machine with strongswan-starter, and our program where its daemon is expected."""

    def __init__(self, host: Host, folder: Path, name: str) -> None:
        self._host = host
        self._folder = folder
        self.name = name
        self._program: Program | None = None
        folder.mkdir()
        shutil.copytree(CHARON.parent, folder / "lib", symlinks=True)
        daemon = folder / "lib" / name
        daemon.unlink(missing_ok=True)
        daemon.write_text(_DAEMON)
        daemon.chmod(0o755)
        self.log = Log(f"charon and starter at {host.role}", folder / "output")

    def write(self, tunnels: list[Tunnel], authority: pki.Authority) -> None:
        """Write everything that is in /etc."""
        # In place: a bind mount shows the file that was there.
        (self._folder / "ipsec.conf").write_text(ipsec_conf(tunnels))
        (self._folder / "ipsec.secrets").write_text(ipsec_secrets(tunnels))
        (self._folder / "ipsec.secrets").chmod(0o600)
        base = self._folder / "ipsec.d"
        places = pki.Places(base / "cacerts", base / "certs", base / "private", base / "certs")
        pki.write_credentials(tunnels, Side.OURS, places, authority)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "DAEMON_NAME": self.name}

    def start(self) -> None:
        """Run `ipsec start`, and wait for what it starts."""
        script = _ENTER.format(folder=self._folder, lib=CHARON.parent)
        command = self._host.command("sh", "-c", script)
        self._program = Program(command, self._folder / "output", self._environment)
        # `ipsec stop` waits until the process is gone: nobody else would collect it.
        threading.Thread(target=self._program.wait, daemon=True).start()
        wait_until(self._is_ready, "ipsec start", seconds=20, pause=0.1)

    def _is_ready(self) -> bool:
        assert self._program is not None
        assert self._program.exit_code is None, self._program.output.read_text()
        code, output = self.ipsec("statusall")
        return code == 0 and f"{TUNNELS[-1].name}:" in output

    def ipsec(self, *arguments: str) -> tuple[int, str]:
        """Run `ipsec` with these arguments, on that machine."""
        return self.inside("ipsec", *arguments)

    def inside(self, *command: str) -> tuple[int, str]:
        """Run a program on that machine."""
        assert self._program is not None
        enter = ["nsenter", "--target", str(self._program.pid), "--mount", "--net"]
        return run([*enter, *command], env=self._environment)

    def wait_for_end(self) -> None:
        """Wait until starter has ended."""
        program = self._program
        assert program is not None
        wait_until(lambda: program.exit_code is not None, "starter ends")
        assert program.exit_code == 0

    def stop(self) -> None:
        """End what still runs."""
        if self._program is not None and self._program.exit_code is None:
            self._program.stop()


@pytest.fixture(scope="module")
def authority() -> pki.Authority:
    return pki.Authority()


@pytest.fixture(scope="module")
def theirs(
    lab: Lab, folder: Path, reported: list[Log], authority: pki.Authority
) -> Iterator[StrongSwan]:
    peer = StrongSwan(lab.theirs, folder / "theirs")
    reported.append(peer.log)
    tunnels = [*TUNNELS, LATER]
    for tunnel in tunnels:
        for side, host in zip(Side, lab.hosts, strict=True):
            host.add_address("lo", tunnel.inside(side))
    peer.write_credentials(tunnels, authority)
    try:
        peer.start()
        peer.load(tunnels)
        yield peer
    finally:
        code = peer.stop()
    assert code == 0


@pytest.fixture(params=["pycharon", "charon"])
def debian(
    request: pytest.FixtureRequest, lab: Lab, folder: Path, reported: list[Log]
) -> Iterator[Debian]:
    """The machine, not started yet: our daemon beside charon, or in its place."""
    made = Debian(lab.ours, folder / request.param, request.param)
    reported.append(made.log)
    yield made
    made.stop()
    reported.remove(made.log)


def test_ipsec_command(
    lab: Lab, debian: Debian, theirs: StrongSwan, authority: pki.Authority
) -> None:
    before = lab.ours.footprint()
    debian.write(TUNNELS, authority)
    debian.start()
    _check_commands(lab, debian, theirs)
    _check_update(lab, debian, authority)

    code, output = debian.ipsec("stop")
    assert code == 0, output
    debian.wait_for_end()
    # The peer has been told, and the host is as before the start.
    wait_until(lambda: not theirs.sas(), "they have no SA left")
    wait_until(lambda: lab.ours.footprint() == before, "our host is as before")


def _check_commands(lab: Lab, debian: Debian, theirs: StrongSwan) -> None:
    code, output = debian.inside("ls", "/run")
    assert {"charon.ctl", f"{debian.name}.pid"} <= set(output.split()), output
    for tunnel in TUNNELS:
        inside = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
        if tunnel.initiator is Side.OURS:
            code, output = debian.ipsec("up", tunnel.name)
            assert code == 0, output
            assert f"connection '{tunnel.name}' established successfully" in output
        else:
            worked, output = theirs.up(tunnel.name)
            assert worked, output
        code, output = debian.ipsec("status", tunnel.name)
        assert code == 0, output
        assert re.search(rf"{tunnel.name}\[\d+\]: ESTABLISHED", output)
        assert re.search(rf"{tunnel.name}\{{\d+\}}:  INSTALLED, TUNNEL, reqid", output)
        assert lab.ours.ping(*inside)
        assert debian.ipsec("down", tunnel.name)[0] == 0
        wait_until(lambda: not theirs.sas(), "they have no SA left")
        code, output = debian.ipsec("status")
        assert output == "Security Associations (0 up, 0 connecting):\n  none\n"


def _check_update(lab: Lab, debian: Debian, authority: pki.Authority) -> None:
    """Add a connection to the file; what is up must not notice."""
    kept = PSK[0]
    assert debian.ipsec("up", kept.name)[0] == 0
    debian.write([*TUNNELS, LATER], authority)
    assert debian.ipsec("update")[0] == 0
    wait_until(lambda: f"{LATER.name}:" in debian.ipsec("statusall")[1], "update", pause=0.1)
    assert debian.ipsec("rereadsecrets")[0] == 0
    _, output = debian.ipsec("up", LATER.name)
    assert f"connection '{LATER.name}' established successfully" in output
    for tunnel in (kept, LATER):
        assert lab.ours.ping(tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS))
    # Two IKE_SAs, the first one the same as before.
    assert "(2 up, 0 connecting)" in debian.ipsec("status")[1]
