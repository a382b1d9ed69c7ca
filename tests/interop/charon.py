"""Our daemon on a host, configured by ipsec.conf and controlled by stroke."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop import pki
from tests.interop.network import run, wait_until
from tests.interop.process import Log, Program
from tests.interop.strongswan import STROKE
from tests.interop.tunnels import Side, ipsec_conf, ipsec_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.interop.network import Host
    from tests.interop.tunnels import Tunnel

BIN = Path(sys.executable).parent
SETTINGS = """\
[kernel]
backend = "userspace"

[ike]
retransmit_timeout = 1.0
retransmit_tries = 3

[log]
stdout = false

[[log.file]]
path = "/var/log/charon.log"
level = 2
"""


class Charon:
    """Our daemon, its starter and its files below a folder of its own."""

    def __init__(
        self, host: Host, folder: Path, *, settings: str = SETTINGS, side: Side = Side.OURS
    ) -> None:
        self.host = host
        self.side = side
        self.folder = folder
        self._program: Program | None = None
        self.log = Log(f"charon at {host.role}", folder / "var/log/charon.log")
        for name in ("etc/charon", "etc/ipsec.d", "var/run", "var/log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "etc/charon/charon.toml").write_text(settings)
        (folder / "etc/ipsec.conf").touch()
        (folder / "etc/ipsec.secrets").touch(0o600)
        (folder / "strongswan.conf").write_text(
            f"charon {{ plugins {{ stroke {{ socket = unix://{self.control_socket} }} }} }}\n"
        )

    @property
    def control_socket(self) -> Path:
        """The daemon's control socket."""
        return self.folder / "var/run/charon.ctl"

    def write(
        self,
        tunnels: Iterable[Tunnel],
        authority: pki.Authority | None = None,
        *,
        more: str = "",
    ) -> None:
        """Write ipsec.conf with further sections, ipsec.secrets and the certificates."""
        tunnels = list(tunnels)
        (self.folder / "etc/ipsec.conf").write_text(more + ipsec_conf(tunnels, side=self.side))
        (self.folder / "etc/ipsec.secrets").write_text(ipsec_secrets(tunnels, side=self.side))
        if authority is not None:
            base = self.folder / "etc/ipsec.d"
            places = pki.Places(
                base / "cacerts", base / "certs", base / "private", public_keys=base / "certs"
            )
            pki.write_credentials(tunnels, self.side, places, authority)

    def start(self, *, wait_for: str = "") -> None:
        """Start starter, and wait until the daemon has the last connection."""
        self._program = Program(
            self.host.command(str(BIN / "charon-starter"), "--nofork", "--root", str(self.folder)),
            self.folder / "var/log/starter.log",
        )
        wait_until(lambda: self._has(wait_for), "charon is ready", seconds=20, pause=0.05)

    def _has(self, connection: str) -> bool:
        if self._program is not None and self._program.exit_code is not None:
            output = self._program.output.read_text(errors="replace")
            raise AssertionError(f"starter ended with {self._program.exit_code}: {output}")
        if not self.control_socket.exists():
            return False
        code, output = self.debian_stroke("statusall")
        return code == 0 and f"{connection}:" in output

    def update(self) -> None:
        """Have starter read ipsec.conf again."""
        assert self._program is not None
        self._program.signal(signal.SIGHUP)

    def stop(self) -> int | None:
        """Stop starter and daemon; returns the exit code, None if starter had to be killed."""
        return self._program.stop() if self._program is not None else 0

    def everything_said(self) -> str:
        """Return all that daemon and starter have written since they were first started."""
        folder = self.folder / "var/log"
        return "".join(file.read_text(errors="replace") for file in sorted(folder.iterdir()))

    def stroke(self, *arguments: str, timeout: float = 30) -> tuple[int, str]:
        """Run our stroke command against the daemon."""
        command = [str(BIN / "charon-stroke"), "--socket", str(self.control_socket), *arguments]
        return run(command, timeout=timeout)

    def debian_stroke(self, *arguments: str, timeout: float = 30) -> tuple[int, str]:
        """Run strongSwan's stroke command against the daemon."""
        environment = {**os.environ, "STRONGSWAN_CONF": str(self.folder / "strongswan.conf")}
        return run([str(STROKE), *arguments], timeout=timeout, env=environment)

    def up(self, name: str) -> tuple[bool, str]:
        """Initiate a connection; tells whether it worked, and what was said."""
        code, output = self.stroke("up", name)
        return code == 0 and f"connection '{name}' established successfully" in output, output

    def down(self, name: str) -> tuple[bool, str]:
        """Terminate the IKE_SA of a connection."""
        code, output = self.debian_stroke("down", name)
        return code == 0, output

    def down_child(self, name: str) -> tuple[bool, str]:
        """Terminate a CHILD_SA."""
        code, output = self.debian_stroke("down", f"{name}{{}}")
        return code == 0, output

    def sas(self, name: str = "") -> str:
        """Return what the daemon tells of the SAs of a connection, or of all; empty for none."""
        code, output = self.debian_stroke("status", *([name] if name else []))
        assert code == 0, output
        found = re.search(r"^Security Associations .*\n((?:.*\n)*)", output, re.MULTILINE)
        assert found is not None, output
        listed = found[1]
        return "" if listed.strip() in ("none", "no match") else listed

    def is_up(self, name: str) -> bool:
        """Whether the IKE_SA is established and its CHILD_SA installed."""
        status = self.sas(name)
        return "ESTABLISHED" in status and "INSTALLED" in status
