"""One gateway: a host with the daemon on it, configured by an ordinary ipsec.conf."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from demo.world import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from demo.world import Host

_READY_WITHIN: Final = 20.0
_STOP_WITHIN: Final = 10.0
_BIN: Final = Path(sys.executable).parent

SETTINGS = """\
[kernel]
backend = "userspace"

[log]
stdout = false

[[log.file]]
path = "/var/log/charon.json"
format = "json"
level = 1

[[log.file]]
path = "/var/log/charon.log"
level = 1
"""


class Gateway:
    """A gateway below a folder of its own."""

    def __init__(self, host: Host, root: Path, conf: str, secrets: str) -> None:
        """Write the configuration files."""
        self.host = host
        self._root = root
        self._starter: subprocess.Popen[str] | None = None
        for name, text in (
            ("etc/ipsec.conf", conf),
            ("etc/ipsec.secrets", secrets),
            ("etc/charon/charon.toml", SETTINGS),
        ):
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        (root / "etc/ipsec.secrets").chmod(0o600)
        for folder in ("var/run", "var/log", "etc/ipsec.d"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def name(self) -> str:
        """The gateway's name."""
        return self.host.name

    def start(self) -> None:
        """Start starter, which starts the daemon and loads the connections.

        Raises:
            Missing: The daemon did not come up; with the end of its log.
        """
        out = (self._root / "var/log/starter.out").open("w", encoding="utf-8")
        self._starter = self.host.start(
            [str(_BIN / "charon-starter"), "--nofork", "--root", str(self._root)], output=out
        )
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            code, output = self.stroke("statusall")
            if code == 0 and "Connections:" in output:
                return
            if self._starter.poll() is not None:
                break
            time.sleep(0.05)
        raise Missing(f"gateway {self.name} does not start:\n{self.log_tail()}")

    def stroke(self, *arguments: str) -> tuple[int, str]:
        """Run the stroke command against this gateway's daemon."""
        socket = self._root / "var/run/charon.ctl"
        return self.host.run([str(_BIN / "charon-stroke"), "--socket", str(socket), *arguments])

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the daemon's log, as JSON."""
        file = self._root / "var/log/charon.json"
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of what starter and the daemon have written."""
        found = []
        for name in ("starter.out", "charon.log"):
            file = self._root / "var/log" / name
            if file.exists():
                found += file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join(found)

    def stop(self) -> bool:
        """Stop starter and daemon in order; returns whether they ended by themselves."""
        if self._starter is None:
            return True
        self._starter.send_signal(signal.SIGTERM)
        try:
            self._starter.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._starter.kill()
            self._starter.wait()
            return False
        return True
