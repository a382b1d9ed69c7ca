"""What a handshake costs the responder, and what an established pair occupies.

The responder is a daemon as users run it (stroke, null kernel backend, log at the default level to
a file); the load comes from a second process. CPU and memory are those of the responder alone.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

_BIN: Final = Path(sys.executable).parent
_READY_WITHIN: Final = 20.0
_WARM_UP: Final = 100


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to authenticate and to exchange keys."""

    name: str
    ike: str
    keys: str
    """psk, rsa or ecdsa."""
    reference: float | None
    """CPU milliseconds of strongSwan's C responder on a machine of this class, where known."""


VARIANTS: Final = (
    Variant("PSK + x25519", "aes128gcm16-prfsha256-x25519", "psk", 0.35),
    Variant("PSK + modp2048", "aes128-sha256-modp2048", "psk", None),
    Variant("RSA-2048 + x25519", "aes128gcm16-prfsha256-x25519", "rsa", None),
    Variant("ECDSA P-256 + x25519", "aes128gcm16-prfsha256-x25519", "ecdsa", None),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    variant: Variant
    handshakes: int
    failed: int
    rate: float
    """Handshakes a second, with both processes on this machine."""
    cpu_ms: float
    """CPU milliseconds of the responder for each IKE_SA with its CHILD_SA."""
    pair_kb: float
    """Resident memory of the responder for each established pair, in units of 1000 octets."""


class Responder:
    """A daemon below a temporary folder."""

    def __init__(self, variant: Variant) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="charon-bench-"))
        self.port, self.natt_port = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(variant)

    def _configure(self, variant: Variant) -> None:
        for folder in ("etc/charon", "var/run", "var/log", "etc/ipsec.d/cacerts"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("etc/ipsec.d/certs", "etc/ipsec.d/private"):
            (self.root / folder).mkdir()
        (self.root / "etc/charon/charon.toml").write_text(
            f"""\
[network]
port = {self.port}
port_nat_t = {self.natt_port}
addresses = ["127.0.0.1"]
ipv6 = false

[ike]
cookie_threshold = 0
cookie_threshold_ip = 0
block_threshold = 0

[kernel]
backend = "null"

[[log.file]]
path = "/var/log/charon.log"
"""
        )
        auth = "psk" if variant.keys == "psk" else "pubkey"
        certificate = "" if auth == "psk" else "    leftcert=responder.pem\n"
        (self.root / "etc/ipsec.conf").write_text(
            f"""\
conn load
    left=127.0.0.1
    leftid=@responder.example.org
    leftauth={auth}
{certificate}    leftsubnet=10.0.0.0/16
    right=%any
    rightid=*@initiator.example.org
    rightauth={auth}
    rightsubnet=10.128.0.0/9
    ike={variant.ike}!
    esp=aes128gcm16!
    dpdaction=none
    auto=add
"""
        )
        secrets = ': PSK "a secret for measuring"\n'
        if auth == "pubkey":
            from bench.pki import write_certificates

            secrets = write_certificates(variant.keys, self.root)
        (self.root / "etc/ipsec.secrets").write_text(secrets)

    def start(self) -> float:
        """Start daemon and connection; returns the seconds until the control socket answered."""
        begun = time.monotonic()
        self._process = subprocess.Popen(
            [str(_BIN / "charon"), "run", "--root", str(self.root)],
            stdout=subprocess.DEVNULL,
            env=_ENVIRONMENT,
        )
        control = str(self.root / "var/run/charon.ctl")
        while time.monotonic() < begun + _READY_WITHIN:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(control)
                    client.sendall(_STATUS)
                    if client.recv(1):
                        break
                except OSError:
                    time.sleep(0.002)
        else:
            raise RuntimeError(f"the daemon is not ready after {_READY_WITHIN:g} s: {self.log()}")
        ready = time.monotonic() - begun
        subprocess.run(
            [str(_BIN / "charon-starter"), "--attach", "--root", str(self.root)], check=True
        )
        return ready

    @property
    def pid(self) -> int:
        """The daemon's process ID."""
        return self._process.pid if self._process is not None else 0

    def log(self) -> str:
        """Return the end of the log."""
        file = self.root / "var/log/charon.log"
        return "\n".join(file.read_text().splitlines()[-20:]) if file.exists() else "(no log)"

    def stop(self) -> None:
        """Stop the daemon and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


# Users have their bytecode compiled once, whatever the shell of who measures says.
_ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}

# A stroke message of type 8 (status) without a name: length, type, verbosity, empty body.
_STATUS: Final = (
    (658).to_bytes(2, sys.byteorder)
    + bytes(2)
    + (8).to_bytes(4, sys.byteorder)
    + (1).to_bytes(4, sys.byteorder)
    + bytes(646)
)


def measure(variant: Variant, count: int) -> Figures:
    """Set up `count` IKE_SAs with a CHILD_SA each, after a warm-up."""
    responder = Responder(variant)
    try:
        responder.start()
        _load(responder, variant, _WARM_UP, 0)
        process = psutil.Process(responder.pid)
        cpu = _cpu(process)
        memory = process.memory_info().rss
        begun = time.monotonic()
        done = _load(responder, variant, count, _WARM_UP)
        span = time.monotonic() - begun
        if not done:
            raise RuntimeError(f"no handshake succeeded:\n{responder.log()}")
        return Figures(
            variant,
            done,
            count - done,
            done / span,
            (_cpu(process) - cpu) * 1000 / done,
            (process.memory_info().rss - memory) / done / 1000,
        )
    finally:
        responder.stop()


def start_up(runs: int = 5) -> Iterator[float]:
    """Yield the seconds from the start of the program until the control socket answers."""
    for _ in range(runs):
        responder = Responder(VARIANTS[0])
        try:
            yield responder.start()
        finally:
            responder.stop()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _load(responder: Responder, variant: Variant, count: int, first: int) -> int:
    result = subprocess.run(
        [
            sys.executable, "-m", "bench.load", "127.0.0.1", str(responder.port), variant.ike,
            variant.keys, str(responder.root), str(count), str(first),
        ],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"load generator: {result.stderr}\n{responder.log()}")
    return int(result.stdout)


def _free_ports() -> tuple[int, int]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
