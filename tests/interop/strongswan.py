"""Debian's strongSwan on a host, configured and asked through swanctl and stroke."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop import pki
from tests.interop.network import run, wait_until
from tests.interop.process import Log, Program
from tests.interop.tunnels import Side, ipsec_conf, ipsec_secrets, swanctl_conf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.interop.network import Host
    from tests.interop.tunnels import Tunnel

CHARON = Path("/usr/lib/ipsec/charon")
STROKE = Path("/usr/lib/ipsec/stroke")
STARTER = Path("/usr/lib/ipsec/starter")
NEEDED = (
    CHARON, STROKE, STARTER, Path("/usr/sbin/swanctl"),
    Path("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"),
)  # fmt: skip

#: kernel-libipsec is before kernel-netlink, so that ESP is done in user space: the kernel that
#: the tests run on may have none. openssl is before the others since it is many times as fast.
PLUGINS = (
    "random nonce openssl aes sha1 sha2 md5 hmac kdf gcm ccm ctr xcbc cmac chapoly curve25519 gmp "
    "pem pkcs1 pkcs8 pubkey x509 constraints revocation kernel-libipsec kernel-netlink "
    "socket-default stroke vici updown counters"
)
_FOLDERS = "x509 x509ca x509ocsp x509aa x509ac x509crl pubkey private rsa ecdsa bliss pkcs8 pkcs12"
_SETTINGS = """\
charon {{
  load = {plugins}
  retransmit_timeout = 1.0
  retransmit_tries = 3
  filelog {{ log {{
    path = {folder}/charon.log
    default = 1
    flush_line = yes
    time_format = %T
    time_add_ms = yes
  }} }}
  plugins {{
    vici {{ socket = unix://{folder}/charon.vici }}
    stroke {{
      socket = unix://{folder}/charon.ctl
      secrets_file = {folder}/ipsec.secrets
    }}
  }}
  {more}
}}
"""


class StrongSwan:
    """A strongSwan whose files lie in a folder of its own."""

    side = Side.THEIRS

    def __init__(self, host: Host, folder: Path, *, more: str = "", more_plugins: str = "") -> None:
        self.host = host
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._program: Program | None = None
        self.log = Log(f"strongSwan at {host.role}", folder / "charon.log")
        self._settings = folder / "strongswan.conf"
        plugins = f"{PLUGINS} {more_plugins}"
        self._settings.write_text(_SETTINGS.format(plugins=plugins, folder=folder, more=more))
        (folder / "ipsec.secrets").touch()
        for name in _FOLDERS.split():
            (folder / "swanctl" / name).mkdir(parents=True)
        self._vici = f"unix://{folder}/charon.vici"

    @property
    def control_socket(self) -> Path:
        """The socket of its stroke plugin."""
        return self.folder / "charon.ctl"

    @property
    def environment(self) -> dict[str, str]:
        """What its programs need to find each other."""
        return {
            **os.environ,
            "STRONGSWAN_CONF": str(self._settings),
            "SWANCTL_DIR": str(self.folder / "swanctl"),
        }

    def start(self, *, tunnels: Iterable[Tunnel] | None = None) -> None:
        """Start the daemon and wait for its control socket.

        Args:
            tunnels: If given, starter runs the daemon and loads these from an ipsec.conf, as our
                end of them.
        """
        program = str(CHARON)
        if tunnels is not None:
            tunnels = list(tunnels)
            conf = self.folder / "ipsec.conf"
            conf.write_text(ipsec_conf(tunnels))
            (self.folder / "ipsec.secrets").write_text(ipsec_secrets(tunnels))
            program = f"{STARTER} --nofork --conf {conf}"
        # A /run of its own, since the place of the pid file cannot be set.
        script = f"mount -t tmpfs tmpfs /run && exec {program}"
        self._program = Program(
            self.host.command("sh", "-c", script), self.folder / "output", self.environment
        )
        wait_until(self._answers, f"strongSwan answers on {self._vici}", seconds=15)

    def _answers(self) -> bool:
        if self._program is not None and self._program.exit_code is not None:
            output = self._program.output.read_text(errors="replace")
            raise AssertionError(f"charon ended with {self._program.exit_code}: {output}")
        with closing(socket.socket(socket.AF_UNIX)) as control:
            return control.connect_ex(self._vici.removeprefix("unix://")) == 0

    def stop(self) -> int | None:
        """Stop the daemon; returns its exit code, None if it had to be killed."""
        return self._program.stop() if self._program is not None else 0

    def crash(self) -> None:
        """End the daemon as a crash would: it tells nobody, and leaves its files."""
        assert self._program is not None
        self._program.kill()

    def write_credentials(self, tunnels: Iterable[Tunnel], authority: pki.Authority) -> None:
        """Write the files that the tunnels' authentication needs."""
        base = self.folder / "swanctl"
        places = pki.Places(base / "x509ca", base / "x509", base / "private", base / "pubkey")
        pki.write_credentials(tunnels, self.side, places, authority)

    def load(self, tunnels: Iterable[Tunnel]) -> None:
        """Load these tunnels, and no others."""
        self.load_text(swanctl_conf(tunnels))

    def load_text(self, text: str) -> None:
        """Load what is configured in this swanctl.conf, and nothing else."""
        file = self.folder / "swanctl/swanctl.conf"
        file.write_text(text)
        code, output = self.swanctl("--load-all", "--noprompt", "--file", str(file))
        assert code == 0, output
        assert "failed" not in output, output

    def swanctl(self, *arguments: str, timeout: float = 30) -> tuple[int, str]:
        """Run swanctl; return its exit code and what it wrote."""
        command, *rest = arguments
        return run(
            ["swanctl", command, "--uri", self._vici, *rest],
            env=self.environment,
            timeout=timeout,
        )

    def up(self, child: str) -> tuple[bool, str]:
        """Initiate a CHILD_SA; tells whether it worked, and what was said."""
        code, output = self.swanctl("--initiate", "--child", child, "--timeout", "20")
        return code == 0, output

    def down(self, name: str) -> tuple[bool, str]:
        """Terminate the IKE_SA of a connection."""
        code, output = self.swanctl("--terminate", "--ike", name, "--timeout", "10")
        return code == 0, output

    def down_child(self, name: str) -> tuple[bool, str]:
        """Terminate a CHILD_SA."""
        code, output = self.swanctl("--terminate", "--child", name, "--timeout", "10")
        return code == 0, output

    def sas(self, name: str = "") -> str:
        """Return what the daemon tells of its SAs, or those of a connection; empty for none."""
        chosen = ["--ike", name] if name else []
        code, output = self.swanctl("--list-sas", *chosen)
        assert code == 0, output
        return output

    def is_up(self, name: str) -> bool:
        """Whether the IKE_SA is established and its CHILD_SA installed."""
        status = self.sas(name)
        return "ESTABLISHED" in status and "INSTALLED" in status
