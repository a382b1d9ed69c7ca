"""Throughput of the `userspace` backend: a TCP stream through two gateways, in four namespaces.

Run as root: ``python -m bench.userspace_esp [--algorithm aes128gcm16] [--seconds 6] [--runs 3]``,
with ``--compare`` also through strongSwan's kernel-libipsec, which does the same in C. Hosts and
gateways share the machine; the CPU time is that of the two gateways alone, so where others use the
machine as well, it says more than Mbit/s, and the ratio to the other implementation most of all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bench.userspace_gateway import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
LOAD_PORT = 5201
CHUNK = 1 << 18
START_SECONDS = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
STRONGSWAN = Path("/usr/lib/ipsec/charon")

LEFT = {
    "local": "10.99.0.1",
    "remote": "10.99.0.2",
    "local_ts": ["10.1.0.0/24", "fd01::/64"],
    "remote_ts": ["10.2.0.0/24", "fd02::/64"],
}
RIGHT = {
    "local": "10.99.0.2",
    "remote": "10.99.0.1",
    "local_ts": ["10.2.0.0/24", "fd02::/64"],
    "remote_ts": ["10.1.0.0/24", "fd01::/64"],
}


class Gateways(Protocol):
    """Two gateways with a tunnel between them."""

    def cpu(self) -> list[float]:
        """Return the CPU seconds that each has used."""

    def summary(self) -> list[str]:
        """Return what each has to say at the end."""


# -- the hosts ------------------------------------------------------------------------------------


def sink() -> None:
    """Receive one stream, print its octets and seconds."""
    with socket.create_server(("::", LOAD_PORT), family=socket.AF_INET6, dualstack_ipv6=True) as (
        server
    ):
        print("ready", flush=True)
        connection, _ = server.accept()
        with connection:
            start, octets, buffer = time.monotonic(), 0, bytearray(CHUNK)
            while count := connection.recv_into(buffer):
                octets += count
            print(json.dumps([octets, time.monotonic() - start]), flush=True)


def load(address: str, seconds: float) -> None:
    """Send one stream for so long."""
    with socket.create_connection((address, LOAD_PORT), 10) as connection:
        connection.settimeout(None)
        end, data = time.monotonic() + seconds, bytes(CHUNK)
        while time.monotonic() < end:
            connection.sendall(data)


# -- the namespaces -------------------------------------------------------------------------------


def ip(*arguments: str) -> None:
    """Run one `ip` command."""
    subprocess.run(["ip", *arguments], check=True)


class Namespaces(NamedTuple):
    """Names of the namespaces: host - gateway - gateway - host."""

    left_host: str
    left: str
    right: str
    right_host: str


def _link(number: int, left: str, left_addresses: str, right: str, right_addresses: str) -> None:
    ends = (f"veth{number}a", f"veth{number}b")
    ip("-n", left, "link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", right)
    for name, end, addresses in (
        (left, ends[0], left_addresses),
        (right, ends[1], right_addresses),
    ):
        for address in addresses.split():
            flags = ["nodad"] if ":" in address else []
            ip("-n", name, "address", "add", address, "dev", end, *flags)
        ip("-n", name, "link", "set", end, "up")


@contextlib.contextmanager
def namespaces(prefix: str) -> Iterator[Namespaces]:
    """Make the four namespaces with their links, and remove them afterwards."""
    names = Namespaces(*(f"{prefix}-{part}" for part in ("h1", "g1", "g2", "h2")))
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        _link(0, names.left_host, "10.1.0.2/24 fd01::2/64", names.left, "10.1.0.1/24 fd01::1/64")
        _link(1, names.left, "10.99.0.1/24 fd99::1/64", names.right, "10.99.0.2/24 fd99::2/64")
        _link(2, names.right, "10.2.0.1/24 fd02::1/64", names.right_host, "10.2.0.2/24 fd02::2/64")
        for host, gateway in ((names.left_host, "1"), (names.right_host, "2")):
            ip("-n", host, "route", "add", "default", "via", f"10.{gateway}.0.1")
            ip("-n", host, "-6", "route", "add", "default", "via", f"fd0{gateway}::1")
        for name in (names.left, names.right):
            for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                ip("netns", "exec", name, "sysctl", "-qw", f"{key}=1")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def inside(name: str, *command: str, **more: Any) -> subprocess.Popen[str]:
    """Start a command in a namespace."""
    return subprocess.Popen(
        ["ip", "netns", "exec", name, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **more,
    )


def program(name: str, module: str, *arguments: str, ready: bool = True) -> subprocess.Popen[str]:
    """Start a module of this folder in a namespace, and wait until it is ready."""
    process = inside(name, sys.executable, "-m", f"bench.{module}", *arguments)
    if ready and line_of(process) != "ready":
        process.kill()
        process.communicate()
        raise RuntimeError(f"{module} {arguments[0]} in {name} did not start")
    return process


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a program prints."""
    return process.stdout.readline().strip() if process.stdout else ""


# -- the gateways ---------------------------------------------------------------------------------


class OurGateways:
    """The `userspace` backend on both sides."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, name: str, config: dict[str, Any]) -> None:
        """Start one in a namespace."""
        self.processes.append(program(name, "userspace_gateway", json.dumps(config)))

    def reports(self, word: str = "report") -> list[dict[str, Any]]:
        """Ask both for their counters."""
        answers = []
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.write(word + "\n")
                process.stdin.flush()
            answers.append(json.loads(line_of(process)))
        return answers

    def cpu(self) -> list[float]:
        """Return the CPU seconds that each has used."""
        return [report["cpu"] for report in self.reports()]

    def summary(self) -> list[str]:
        """Return the counters of each."""
        lines = []
        for report in self.reports():
            used = {
                f"{side}.{name}": value
                for side in ("inbound", "outbound")
                for name, value in report[side].items()
                if value
            }
            lines.append(f"{report['kilobytes'] // 1024} MB, {used}")
        return lines

    def close(self) -> None:
        """Stop both."""
        for process in self.processes:
            process.communicate("stop\n", timeout=10)


@contextlib.contextmanager
def our_gateways(names: Namespaces, **config: Any) -> Iterator[OurGateways]:
    """Run both gateways; ``left`` and ``right`` in the configuration are for one of them."""
    gateways = OurGateways()
    left, right = config.pop("left", {}), config.pop("right", {})
    try:
        gateways.start(names.left, LEFT | config | left)
        gateways.start(names.right, RIGHT | config | right)
        yield gateways
    finally:
        gateways.close()


STRONGSWAN_PLUGINS = (
    "openssl random nonce hmac kdf kernel-libipsec kernel-netlink socket-default vici"
)

STRONGSWAN_CONF = """
charon {{
  load = {plugins}
  filelog {{
    bench {{
      path = {folder}/charon.log
      default = 1
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{folder}/vici
    }}
  }}
}}
"""

SWANCTL_CONF = """
connections {{
  bench {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = aes128-sha256-x25519
    local {{
      auth = psk
      id = {local}
    }}
    remote {{
      auth = psk
      id = {remote}
    }}
    children {{
      bench {{
        local_ts = {local_ts}
        remote_ts = {remote_ts}
        esp_proposals = {algorithm}
      }}
    }}
  }}
}}
secrets {{
  ike-bench {{
    secret = benchmark
  }}
}}
"""


class StrongSwan:
    """strongSwan with kernel-libipsec on both sides."""

    def __init__(self, names: Namespaces, algorithm: str, folder: Path) -> None:
        """Start both daemons."""
        self.processes: list[subprocess.Popen[str]] = []
        folders = []
        for name, side in ((names.left, LEFT), (names.right, RIGHT)):
            here = folder / name
            here.mkdir()
            folders.append(here)
            settings = STRONGSWAN_CONF.format(folder=here, plugins=STRONGSWAN_PLUGINS)
            (here / "strongswan.conf").write_text(settings)
            values = {
                "local": side["local"],
                "remote": side["remote"],
                "local_ts": side["local_ts"][0],
                "remote_ts": side["remote_ts"][0],
            }
            (here / "swanctl.conf").write_text(SWANCTL_CONF.format(algorithm=algorithm, **values))
            script = f"mount -t tmpfs tmpfs /run && exec {STRONGSWAN}"
            environment = os.environ | {"STRONGSWAN_CONF": str(here / "strongswan.conf")}
            self.processes.append(
                inside(name, "sh", "-c", script, env=environment, stderr=subprocess.DEVNULL)
            )
        self._folders = folders

    def connect(self) -> None:
        """Build the tunnel."""
        for here in self._folders:
            self._control(here, "--load-all", "--file", str(here / "swanctl.conf"))
        self._control(self._folders[0], "--initiate", "--child", "bench")

    def _control(self, here: Path, *arguments: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not (here / "vici").exists():
            if time.monotonic() > end:
                raise RuntimeError(f"strongSwan did not start, see {here}")
            time.sleep(0.05)
        done = subprocess.run(
            ["swanctl", *arguments, "--uri", f"unix://{here}/vici"],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"STRONGSWAN_CONF": str(here / "strongswan.conf")},
        )
        if done.returncode:
            raise RuntimeError(f"swanctl {arguments[0]}: {done.stdout}{done.stderr}")

    def cpu(self) -> list[float]:
        """Return the CPU seconds that each has used."""
        times = []
        for process in self.processes:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            times.append((int(stat[11]) + int(stat[12])) / CLOCK_TICKS)
        return times

    def summary(self) -> list[str]:
        """Return the memory of each."""
        lines = []
        for process in self.processes:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            lines.append(f"{int(peak.split()[1]) // 1024} MB")
        return lines

    def close(self) -> None:
        """Stop both."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)


@contextlib.contextmanager
def strongswan(names: Namespaces, algorithm: str) -> Iterator[StrongSwan]:
    """Run both daemons of strongSwan."""
    with tempfile.TemporaryDirectory(prefix="che-") as folder:
        gateways = StrongSwan(names, algorithm, Path(folder))
        try:
            gateways.connect()
            yield gateways
        finally:
            gateways.close()


# -- the measurement ------------------------------------------------------------------------------


class Figures(NamedTuple):
    """What one stream gave."""

    rate: float
    """Mbit/s."""
    cost: float
    """CPU seconds of both gateways for 10**9 octets."""


def stream(names: Namespaces, gateways: Gateways, seconds: float, address: str) -> Figures:
    """Send one stream and return its figures."""
    receiver = program(names.right_host, "userspace_esp", "sink")
    before = gateways.cpu()
    sender = program(names.left_host, "userspace_esp", "load", address, str(seconds), ready=False)
    sender.communicate()
    octets, took = json.loads(line_of(receiver))
    receiver.communicate()
    used = [now - then for now, then in zip(gateways.cpu(), before, strict=True)]
    shares = " + ".join(f"{each / octets * 1e9:.2f}" for each in used)
    figures = Figures(octets * 8e-6 / took, sum(used) / octets * 1e9)
    print(f"{figures.rate:9.0f} Mbit/s  {figures.cost:6.2f} CPU s/GB = {shares}")
    return figures


def measure(title: str, arguments: argparse.Namespace, names: Namespaces, each: Any) -> Figures:
    """Run some streams through one kind of gateways; return the medians."""
    print(title)
    address = "fd02::2" if arguments.ipv6 else "10.2.0.2"
    with each as gateways:
        runs = [stream(names, gateways, arguments.seconds, address) for _ in range(arguments.runs)]
        for line in gateways.summary():
            print(f"          {line}")
    figures = Figures(*(statistics.median(values) for values in zip(*runs, strict=True)))
    print(f"   median {figures.rate:.0f} Mbit/s, {figures.cost:.2f} CPU s/GB")
    return figures


def main() -> None:
    """Understand the command line."""
    if sys.argv[1:2] == ["sink"]:
        sink()
        return
    if sys.argv[1:2] == ["load"]:
        load(sys.argv[2], float(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="aes128gcm16")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mtu", type=int, default=1400)
    parser.add_argument("--esn", action="store_true")
    parser.add_argument("--ipv6", action="store_true", help="IPv6 inside the tunnel")
    parser.add_argument("--no-offloads", action="store_true")
    parser.add_argument("--plain", action="store_true", help="ESP without UDP")
    parser.add_argument("--compare", action="store_true", help="with strongSwan, if installed")
    arguments = parser.parse_args()
    options = {"mtu": arguments.mtu, "offloads": not arguments.no_offloads}
    config = {"algorithm": arguments.algorithm, "esn": arguments.esn, "options": options}
    config["udp"] = not arguments.plain
    with namespaces(f"che-{os.getpid()}") as names:
        ours = measure("userspace backend", arguments, names, our_gateways(names, **config))
        if arguments.compare:
            other = measure(
                "strongSwan, kernel-libipsec",
                arguments,
                names,
                strongswan(names, arguments.algorithm),
            )
            print(
                f"ratio: {ours.rate / other.rate:.2f} times the throughput, "
                f"{other.cost / ours.cost:.2f} times less CPU"
            )


if __name__ == "__main__":
    main()
