"""Every file and socket of a daemon, below one root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from charon_core.settings.model import PathSettings

SETTINGS_FILE = "/etc/charon/charon.toml"


def below(root: Path | None, path: str | Path) -> Path:
    """Return an absolute path as it is seen under `root`; None leaves it as it is."""
    return Path(path) if root is None else root / str(path).lstrip("/")


def settings_file(root: Path | None) -> Path:
    """Return where charon.toml is unless it is named."""
    return below(root, SETTINGS_FILE)


class Paths(NamedTuple):
    """Where this daemon's files and sockets are; the root is in front of each already.

    Attributes:
        root: What ``--root`` said, or None.
        settings: charon.toml; need not exist.
        ipsec_conf: Connections, for stroke and starter.
        ipsec_secrets: Secrets and private keys.
        ipsec_d: The folder of certificates, keys, CRLs.
        crl_cache: The folder of CRLs that were fetched.
        control_socket: stroke's socket.
        xml_socket: smp's socket.
        pid_file: Exists from when the daemon is ready until it stops.
        lock_file: Locked as long as the daemon runs.
        crash_secret: What quick crash detection makes tokens from.
        verdicts: What went wrong last, by peer.
    """

    root: Path | None
    settings: Path
    ipsec_conf: Path
    ipsec_secrets: Path
    ipsec_d: Path
    crl_cache: Path
    control_socket: Path
    xml_socket: Path
    pid_file: Path
    lock_file: Path
    crash_secret: Path
    verdicts: Path

    @classmethod
    def make(
        cls,
        configured: PathSettings,
        root: Path | None = None,
        settings: Path | None = None,
    ) -> Paths:
        """Put `root` before every configured path.

        Args:
            configured: The section ``[paths]``.
            root: The folder that all paths are moved below.
            settings: The settings file in use, if it was named by itself; it stays where it is.
        """
        return cls(
            root=root,
            settings=settings or settings_file(root),
            ipsec_conf=below(root, configured.ipsec_conf),
            ipsec_secrets=below(root, configured.ipsec_secrets),
            ipsec_d=below(root, configured.ipsec_d),
            crl_cache=below(root, configured.crl_cache),
            control_socket=below(root, configured.control_socket),
            xml_socket=below(root, configured.xml_socket),
            pid_file=below(root, configured.pid_file),
            lock_file=below(root, configured.lock_file),
            crash_secret=below(root, configured.crash_secret),
            verdicts=below(root, configured.verdicts),
        )

    def below_root(self, path: str | Path) -> Path:
        """Return where a further absolute path (of a log file, of a plugin's setting) is."""
        return below(self.root, path)
