"""Our daemon on a host of the guest, with the kernel's own IPsec."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from charon_plugins.stroke.client.cli import command as stroke_command
from charon_plugins.stroke.starter.cli import command as starter_command
from tests.interop.network import wait_until
from tests.interop.process import Log, Program
from tests.interop.tunnels import ipsec_conf, ipsec_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.interop.network import Host
    from tests.interop.tunnels import Side, Tunnel

PATIENCE = 60.0
"""Seconds for what takes half a second on a machine that is not emulated, nor shared."""

_CHARON = Path(sys.executable).parent / "charon"
_SETTINGS = """\
[kernel]
backend = "{backend}"

[ike]
retransmit_timeout = 8.0

[log]
stdout = false

[[log.file]]
path = "/var/log/charon.log"
level = 2
"""


class Gateway:
    """The daemon, with its files below a folder of its own.

    Its commands run in this process: they are the same, but the interpreter, which takes seconds
    to start here, is there already.
    """

    def __init__(self, host: Host, side: Side, folder: Path, *, backend: str) -> None:
        self.host = host
        self.side = side
        self._root = folder
        self._program: Program | None = None
        for name in ("etc/charon", "var/run", "var/log"):
            (folder / name).mkdir(parents=True)
        (folder / "etc/charon/charon.toml").write_text(_SETTINGS.format(backend=backend))
        self._log_file = folder / "var/log/charon.log"
        self.log = Log(f"charon at {host.role}", self._log_file)

    def write(self, tunnels: Iterable[Tunnel]) -> None:
        """Write ipsec.conf and ipsec.secrets."""
        tunnels = list(tunnels)
        self.write_text(ipsec_conf(tunnels, side=self.side), ipsec_secrets(tunnels, side=self.side))

    def write_text(self, conf: str, keys: str) -> None:
        """Write this as ipsec.conf and ipsec.secrets."""
        (self._root / "etc/ipsec.conf").write_text(conf)
        secrets = self._root / "etc/ipsec.secrets"
        secrets.touch(0o600)
        secrets.write_text(keys)

    def launch(self) -> None:
        """Start the daemon and do not wait for it."""
        # What it compiles is kept for the next one to start.
        environment = {**os.environ}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._program = Program(
            self.host.command(str(_CHARON), "--root", str(self._root)),
            self._root / "var/log/output",
            environment,
        )

    def load(self) -> None:
        """Wait for the daemon, and have starter send it the connections of ipsec.conf."""
        wait_until(self._is_ready, f"charon at {self.host.role} is ready", seconds=2 * PATIENCE)
        done = CliRunner().invoke(starter_command, ["--attach", "--root", str(self._root)])
        assert done.exit_code == 0, done.output

    def _is_ready(self) -> bool:
        program = self._program
        if program is not None and program.exit_code is not None:
            output = program.output.read_text(errors="replace")
            raise AssertionError(f"charon ended with {program.exit_code}: {output}")
        return (self._root / "var/run/charon.pid").exists()

    def stop(self) -> int | None:
        """Stop the daemon; returns its exit code, None if it had to be killed."""
        return self._program.stop(PATIENCE) if self._program is not None else 0

    def stroke(self, *arguments: str) -> str:
        """Run `charon-stroke`; returns what it wrote."""
        done = CliRunner().invoke(stroke_command, ["--root", str(self._root), *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    def up(self, name: str) -> None:
        """Initiate a connection."""
        output = self.stroke("up", name)
        assert f"connection '{name}' established successfully" in output, output

    def down(self, name: str) -> None:
        """Terminate the IKE_SA of a connection."""
        self.stroke("down", name)

    def sas(self) -> str:
        """Return what `status` shows of SAs; empty for none."""
        listed = self.stroke("status").partition("Security Associations")[2].partition("\n")[2]
        return "" if listed.strip() == "none" else listed

    def log_text(self) -> str:
        """Return all that the daemon has logged."""
        return self._log_file.read_text(errors="replace")
