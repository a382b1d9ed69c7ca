"""Two gateways with ESP in user space, in network namespaces, with hosts behind them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.userspace_esp import Namespaces, OurGateways, inside, namespaces, our_gateways

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun"),
]

HOSTS = {4: ("10.1.0.2", "10.2.0.2"), 6: ("fd01::2", "fd02::2")}
SECONDS = 60

# Sends or receives so many octets of a stream that both ends can compute, and checks it.
PEER = """
import hashlib, itertools, socket, sys
role, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def blocks():
    for number in itertools.count():
        yield hashlib.shake_128(b"%d" % number).digest(min(65536, count - number * 65536))
        if (number + 1) * 65536 >= count:
            return
if role == "receive":
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 5202), family=family) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        for block in blocks():
            if stream.read(len(block)) != block:
                sys.exit("the data were changed on the way")
        if stream.read():
            sys.exit("there are more data than were sent")
    print("good", flush=True)
else:
    with socket.create_connection((address, 5202), 30) as connection:
        connection.settimeout(None)
        for block in blocks():
            connection.sendall(block)
"""

OUTER6 = {
    "left": {"local": "fd99::1", "remote": "fd99::2"},
    "right": {"local": "fd99::2", "remote": "fd99::1"},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "AES-GCM": {"algorithm": "aes128gcm16"},
    "AES-GCM with ESN over IPv6": {"algorithm": "aes256gcm16", "esn": True} | OUTER6,
    "ChaCha20-Poly1305, no offloads": {
        "algorithm": "chacha20poly1305",
        "options": {"offloads": False},
    },
    "AES-CBC and SHA-256": {"algorithm": "aes128-sha256"},
    "plain ESP": {"algorithm": "aes128gcm16", "udp": False},
    "plain ESP over IPv6": {"algorithm": "aes128-sha1", "udp": False} | OUTER6,
}


@pytest.fixture(scope="module")
def names() -> Iterator[Namespaces]:
    with namespaces(f"che-t{os.getpid()}") as made:
        yield made


@pytest.fixture
def others() -> Iterator[Namespaces]:
    """Namespaces without gateways."""
    with namespaces(f"che-u{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="module", params=VARIANTS)
def gateways(names: Namespaces, request: pytest.FixtureRequest) -> Iterator[OurGateways]:
    with our_gateways(names, **VARIANTS[request.param]) as running:
        yield running


def run(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", name, *command],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def assert_clean(gateways: OurGateways) -> None:
    """Nothing was lost for a reason that is ours."""
    for report in gateways.reports():
        for side in ("inbound", "outbound"):
            drops = {name: n for name, n in report[side].items() if "drop" in name and n}
            # The kernel itself talks into a new device (router solicitations and the like).
            drops.pop("drop_no_policy", None)
            assert drops == {}


@pytest.mark.parametrize("size", ["56", "1300", "4000"])
@pytest.mark.parametrize("version", HOSTS)
def test_ping(names: Namespaces, gateways: OurGateways, version: int, size: str) -> None:
    left, right = HOSTS[version]
    ends = ((names.left_host, right), (names.right_host, left))
    for name, target in ends:
        # The first large packets tell an IPv6 host the path MTU.
        run(name, "ping", "-c", "3", "-i", "0.1", "-W", "1", "-s", size, target)
    for name, target in ends:
        done = run(name, "ping", "-c", "2", "-i", "0.1", "-W", "5", "-s", size, target)
        assert " 0% packet loss" in done.stdout, done.stdout + done.stderr
    assert_clean(gateways)


@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("version", HOSTS)
def test_a_stream_arrives_unchanged(
    names: Namespaces, gateways: OurGateways, version: int, direction: str
) -> None:
    left, right = HOSTS[version]
    ends = [(names.left_host, left), (names.right_host, right)]
    (sender, _), (receiver, address) = ends if direction == "there" else ends[::-1]
    count = str(8_000_000)
    with inside(receiver, sys.executable, "-c", PEER, "receive", address, count) as listening:
        try:
            assert listening.stdout is not None
            assert listening.stdout.readline() == "ready\n"
            sent = run(sender, sys.executable, "-c", PEER, "send", address, count)
            assert sent.returncode == 0, sent.stderr
            output, _ = listening.communicate(timeout=SECONDS)
            assert output == "good\n"
        finally:
            listening.kill()


# Numbered datagrams in trains of ten; the receiver tells which came unchanged.
DATAGRAMS = """
import socket, sys, time
role, address = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
def datagram(number):
    return number.to_bytes(4, "big") + bytes([number & 255]) * 1096
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    if role == "receive":
        sock.bind((address, 5203))
        sock.settimeout(5)
        print("ready", flush=True)
        for expected in range(200):
            data = sock.recv(65536)
            number = int.from_bytes(data[:4], "big")
            if number != expected or data != datagram(number):
                sys.exit(f"expected {expected}, got {number} in {len(data)} octets")
        print("good", flush=True)
    else:
        sock.connect((address, 5203))
        sock.setsockopt(socket.IPPROTO_UDP, 103, 1100)
        for first in range(0, 200, 10):
            sock.send(b"".join(datagram(first + n) for n in range(10)))
            time.sleep(0.02)
"""


@pytest.mark.parametrize("version", HOSTS)
def test_trains_of_datagrams_arrive_unchanged(
    names: Namespaces, gateways: OurGateways, version: int
) -> None:
    address = HOSTS[version][1]
    # Datagrams that come before the neighbours know each other may be lost.
    run(names.left_host, "ping", "-c", "5", "-i", "0.3", "-W", "2", address)
    command = (sys.executable, "-c", DATAGRAMS)
    with inside(names.right_host, *command, "receive", address) as listening:
        try:
            assert listening.stdout is not None
            assert listening.stdout.readline() == "ready\n"
            sent = run(names.left_host, *command, "send", address)
            assert sent.returncode == 0, sent.stderr
            output, _ = listening.communicate(timeout=SECONDS)
            assert output == "good\n"
        finally:
            listening.kill()


def test_offloads_are_used_where_they_are_wanted(gateways: OurGateways) -> None:
    left, right = gateways.reports()
    wanted = gateways.processes[0].args[-1]  # type: ignore[index]
    used = json.loads(wanted).get("options", {}).get("offloads", True)
    for report in (left, right):
        assert (report["outbound"]["super_packets"] > 0) is used


def test_the_gateway_itself_takes_the_tunnel(names: Namespaces, gateways: OurGateways) -> None:
    # Its own packets get the protected address as their source.
    done = run(names.left, "ip", "route", "get", "10.2.0.2")
    assert "dev ipsec0 table 220 src 10.1.0.1" in done.stdout
    assert run(names.left, "ping", "-c", "1", "-W", "5", "10.2.0.1").returncode == 0


def test_a_packet_that_is_too_large_is_answered(names: Namespaces, gateways: OurGateways) -> None:
    done = run(names.left_host, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1400", "10.2.0.2")
    assert "mtu" in (done.stdout + done.stderr).lower()


def test_everything_is_taken_away_again(others: Namespaces) -> None:
    before = state_of(others.left)
    with our_gateways(others, algorithm="aes128gcm16"):
        during = state_of(others.left)
        assert "10.2.0.0/24 dev ipsec0" in during
        assert "not from all fwmark 0xdc lookup 220" in during
    assert state_of(others.left) == before


def test_without_the_device_the_sockets_are_read_all_the_same(others: Namespaces) -> None:
    # IKE comes by them, too.
    with our_gateways(others, algorithm="aes128gcm16") as gateways:
        assert run(others.right, "ip", "link", "delete", "ipsec0").returncode == 0
        run(others.left_host, "ping", "-c", "50", "-i", "0.01", "-W", "1", "10.2.0.2")
        assert gateways.reports()[1]["inbound"]["drop_device"] >= 40


def state_of(name: str) -> str:
    """Return TUN devices, rules and routes of a namespace."""
    return "".join(
        run(name, "ip", *command).stdout
        for command in (
            ["link", "show", "type", "tun"],
            ["rule"],
            ["-6", "rule"],
            ["route", "show", "table", "220"],
            ["-6", "route", "show", "table", "220"],
        )
    )


def test_a_tunnel_for_everything_does_not_swallow_what_carries_it(others: Namespaces) -> None:
    everything = ["0.0.0.0/0"]
    with our_gateways(
        others,
        algorithm="aes128gcm16",
        left={"remote_ts": everything},
        right={"local_ts": everything},
    ):
        done = run(others.left_host, "ping", "-c", "2", "-i", "0.1", "-W", "5", "10.2.0.2")
        assert " 0% packet loss" in done.stdout, done.stdout
        assert "dev ipsec0 table 220" in run(others.left, "ip", "route", "get", "10.99.0.2").stdout
