"""Throughput of the `userspace` backend: a TCP stream through two gateways, in four namespaces.

Run as root: ``python bench/userspace_esp.py [--algorithm gcm128] [--seconds 6] [--runs 3]``. The
hosts (plain sockets) and the gateways (one process each, static SAs) share the machine, so CPU
seconds per GB, which count the gateways alone, say more than Mbit/s where others use it as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PORT = 4500
LOAD_PORT = 5201
CHUNK = 1 << 18


class Algorithm(NamedTuple):
    """Transform IDs and lengths of key material in octets."""

    encryption: int
    encryption_key: int
    integrity: int = 0
    integrity_key: int = 0


ALGORITHMS = {
    "gcm128": Algorithm(20, 20),
    "gcm256": Algorithm(20, 36),
    "chacha20": Algorithm(28, 36),
    "cbc128-sha256": Algorithm(12, 16, 12, 32),
    "cbc256-sha1": Algorithm(12, 32, 2, 20),
}


# -- a gateway: one process in one namespace ------------------------------------------------------


class PlainSocket:
    """As much of the IKE socket as the backend needs, for IPv4."""

    def __init__(self, address: str) -> None:
        self.esp_receiver: Callable[[Any, int, Any, Any], None] | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.socket.setsockopt(socket.IPPROTO_UDP, 104, 1)
        self.socket.bind((address, PORT))

    def send_esp(self, buffer: Any, segment_size: int, source: Any, destination: Any) -> None:
        """Send a train."""
        ancillary = []
        if segment_size:
            ancillary = [(socket.IPPROTO_UDP, 103, segment_size.to_bytes(2, sys.byteorder))]
        self.socket.sendmsg([buffer], ancillary, socket.MSG_DONTWAIT, destination)

    def turn(self) -> None:
        """Receive one train."""
        from charon_core.network.packet import Endpoint

        data, ancillary, _, (host, port) = self.socket.recvmsg(65536, 64)
        size = next((int.from_bytes(value[:2], sys.byteorder) for _, _, value in ancillary), 0)
        if self.esp_receiver is not None:
            self.esp_receiver(data, size, Endpoint(host, port), None)


def gateway(config: dict[str, Any]) -> None:
    """Run one gateway until standard input is closed; then print what it counted."""
    from charon_core.config.child import ChildMode
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.random import SystemRandom
    from charon_core.crypto.secret import Secret
    from charon_core.kernel.interface import (
        BackendContext,
        Encapsulation,
        IpsecProtocol,
        PolicyDirection,
        PolicySpec,
        PolicyTemplate,
        SaId,
        SaSpec,
    )
    from charon_core.kernel.userspace.backend import UserspaceBackend

    algorithm = Algorithm(*config["algorithm"])
    local, remote = config["local"], config["remote"]
    esp_socket = PlainSocket(local)

    def loop(body: Callable[[], None]) -> None:
        while True:
            body()

    def run_loop(name: str, body: Callable[[], None], wake: Any) -> None:
        del wake
        threading.Thread(target=loop, args=(body,), name=name, daemon=True).start()

    def log(level: int, message: str, *arguments: object) -> None:
        print(level, message % arguments, file=sys.stderr)

    def after(seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        timer = threading.Timer(seconds, function)
        timer.daemon = True
        timer.start()
        return timer.cancel

    backend = UserspaceBackend(
        BackendContext(
            run_loop=run_loop,
            after=after,
            log=log,
            random=SystemRandom(),
            options=config["options"],
            esp_socket=esp_socket,
        )
    )
    backend.probe()
    backend.start(Silent())
    backend.bypass_socket(esp_socket.socket.fileno(), socket.AF_INET)
    networks = [
        (
            TrafficSelector.network(*config["local_ts"]),
            TrafficSelector.network(*config["remote_ts"]),
        )
    ]
    if "local_ts6" in config:
        networks.append(
            (
                TrafficSelector.network(*config["local_ts6"]),
                TrafficSelector.network(*config["remote_ts6"]),
            )
        )
    inner, outer = (tuple(side) for side in zip(*networks, strict=True))
    for inbound in (True, False):
        ends = (remote, local) if inbound else (local, remote)
        spi = 0xC0000000 + int(ends[1].rsplit(".", 1)[1])
        backend.add_sa(
            SaSpec(
                id=SaId(*ends, IpsecProtocol.ESP, spi),
                reqid=1,
                mode=ChildMode.TUNNEL,
                encryption=algorithm.encryption,
                encryption_key=Secret(bytes([spi & 0xFF]) * algorithm.encryption_key),
                integrity=algorithm.integrity or None,
                integrity_key=Secret(b"i" * algorithm.integrity_key),
                inbound=inbound,
                esn=config.get("esn", False),
                replay_window=128,
                encapsulation=Encapsulation(PORT, PORT),
                local_ts=inner,
                remote_ts=outer,
            )
        )
    template = PolicyTemplate(local, remote, IpsecProtocol.ESP, 1, ChildMode.TUNNEL)
    for here, there in networks:
        backend.add_policy(
            PolicySpec(
                source=here,
                destination=there,
                direction=PolicyDirection.OUT,
                priority=1,
                template=template,
            )
        )
    threading.Thread(target=loop, args=(esp_socket.turn,), daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report = {
            "cpu": usage.ru_utime + usage.ru_stime,
            "user": usage.ru_utime,
            "memory": usage.ru_maxrss,
            **backend.statistics(),
        }
        print(json.dumps(report), flush=True)
        if line.strip() == "stop":
            break
    backend.flush()
    backend.stop()


class Silent:
    """Takes no notice of events."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


# -- the hosts ------------------------------------------------------------------------------------


def sink() -> None:
    """Receive one stream, print its octets and seconds."""
    with socket.create_server(("", LOAD_PORT)) as server:
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
        end, data = time.monotonic() + seconds, bytes(CHUNK)
        while time.monotonic() < end:
            connection.sendall(data)


# -- the namespaces -------------------------------------------------------------------------------


def ip(*arguments: str) -> None:
    """Run one `ip` command."""
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def namespaces(prefix: str) -> Iterator[list[str]]:
    """Make host - gateway - gateway - host: names of the four, in this order."""
    names = [f"{prefix}-{part}" for part in ("h1", "g1", "g2", "h2")]
    links = [
        (0, "10.1.0.2/24", 1, "10.1.0.1/24"),
        (1, "10.99.0.1/24", 2, "10.99.0.2/24"),
        (2, "10.2.0.1/24", 3, "10.2.0.2/24"),
    ]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for number, (left, left_address, right, right_address) in enumerate(links):
            ends = [f"veth{number}a", f"veth{number}b"]
            ip("-n", names[left], "link", "add", ends[0], "type", "veth",
               "peer", "name", ends[1], "netns", names[right])  # fmt: skip
            for name, end, address in (
                (names[left], ends[0], left_address),
                (names[right], ends[1], right_address),
            ):
                ip("-n", name, "address", "add", address, "dev", end)
                ip("-n", name, "link", "set", end, "up")
        ip("-n", names[0], "route", "add", "default", "via", "10.1.0.1")
        ip("-n", names[3], "route", "add", "default", "via", "10.2.0.1")
        for name in names[1:3]:
            ip("netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def inside(name: str, *arguments: str) -> subprocess.Popen[str]:
    """Start this program in a namespace and wait until it is ready."""
    command = ["ip", "netns", "exec", name, sys.executable, __file__, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    if arguments[0] != "load" and process.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{arguments[0]} in {name} did not start")
    return process


def ask(process: subprocess.Popen[str], word: str = "report") -> dict[str, Any]:
    """Ask a gateway for its counters."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def measure(arguments: argparse.Namespace) -> None:
    """Run the streams and print a line for each, then the medians."""
    rates, costs = [], []
    with namespaces(f"che-b{os.getpid() % 1000}") as names:
        options = {"mtu": arguments.mtu, "offloads": not arguments.no_offloads}
        common = {"algorithm": ALGORITHMS[arguments.algorithm], "options": options,
                  "esn": arguments.esn}  # fmt: skip
        left = {"local": "10.99.0.1", "remote": "10.99.0.2",
                "local_ts": ("10.1.0.0", 24), "remote_ts": ("10.2.0.0", 24)}  # fmt: skip
        right = {"local": "10.99.0.2", "remote": "10.99.0.1",
                 "local_ts": ("10.2.0.0", 24), "remote_ts": ("10.1.0.0", 24)}  # fmt: skip
        gateways = [
            inside(names[1], "gateway", json.dumps(common | left)),
            inside(names[2], "gateway", json.dumps(common | right)),
        ]
        for run in range(arguments.runs):
            receiver = inside(names[3], "sink")
            before = [ask(each) for each in gateways]
            sender = inside(names[0], "load", "10.2.0.2", str(arguments.seconds))
            if arguments.spy and run == 0:
                time.sleep(1)
                spies = [
                    subprocess.Popen(
                        [
                            "py-spy",
                            "record",
                            "-d",
                            "3",
                            "-r",
                            "500",
                            "-n",
                            "-f",
                            "raw",
                            "-o",
                            f"{arguments.spy}.{i}",
                            "-p",
                            str(each.pid),
                        ]
                    )  # fmt: skip
                    for i, each in enumerate(gateways)
                ]
                for spy in spies:
                    spy.wait()
            sender.wait()
            assert receiver.stdout is not None
            octets, seconds = json.loads(receiver.stdout.readline())
            after = [ask(each) for each in gateways]
            cpu = [b["cpu"] - a["cpu"] for a, b in zip(before, after, strict=True)]
            user = [b["user"] - a["user"] for a, b in zip(before, after, strict=True)]
            rates.append(octets * 8e-6 / seconds)
            costs.append(sum(cpu) / octets * 1e9)
            print(f"{rates[-1]:7.0f} Mbit/s  {costs[-1]:5.2f} CPU s/GB "
                  f"(sender {cpu[0] / octets * 1e9:.2f}, of it user {user[0] / octets * 1e9:.2f}; "
                  f"receiver {cpu[1] / octets * 1e9:.2f}, user {user[1] / octets * 1e9:.2f})")  # fmt: skip
        for each in gateways:
            last = ask(each, "stop")
            drops = {
                f"{side}.{name}": value
                for side in ("inbound", "outbound")
                for name, value in last[side].items()
                if value
            }
            print(f"  {last['memory'] // 1024} MB, {drops}")
            each.wait(10)
    print(f"{arguments.algorithm}: median {statistics.median(rates):.0f} Mbit/s, "
          f"{statistics.median(costs):.2f} CPU s/GB for both gateways")  # fmt: skip


def main() -> None:
    """Understand the command line."""
    if len(sys.argv) > 1 and sys.argv[1] == "gateway":
        gateway(json.loads(sys.argv[2]))
    elif len(sys.argv) > 1 and sys.argv[1] == "sink":
        sink()
    elif len(sys.argv) > 1 and sys.argv[1] == "load":
        load(sys.argv[2], float(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--algorithm", choices=ALGORITHMS, default="gcm128")
        parser.add_argument("--seconds", type=float, default=6)
        parser.add_argument("--runs", type=int, default=3)
        parser.add_argument("--mtu", type=int, default=1400)
        parser.add_argument("--esn", action="store_true")
        parser.add_argument("--no-offloads", action="store_true")
        parser.add_argument("--spy", help="prefix of files for py-spy's profile of the first run")
        measure(parser.parse_args())


if __name__ == "__main__":
    main()
