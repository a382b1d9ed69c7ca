"""What the `userspace` backend lets in and out around its tunnels: with packets, in namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.userspace_esp import Namespaces, OurGateways, inside, ip, namespaces, our_gateways

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun"),
]

SECONDS = 30
PORT = 7777
AROUND = "220"
"""The mark of packets that do not see charon's table: who has it sends in the clear."""

GATEWAY = {4: ("10.1.0.1", "10.2.0.1"), 6: ("fd01::1", "fd02::1")}
HOSTS = {4: ("10.1.0.2", "10.2.0.2"), 6: ("fd01::2", "fd02::2")}

RECEIVE = """
import select, socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.bind((address, port))
    print("ready", flush=True)
    # Standard input ends when all is sent; then it is on its way for a moment.
    select.select([sock, sys.stdin], [], [])
    arrived, _, _ = select.select([sock], [], [], 0.5)
    print(sock.recv(100).decode() if arrived else "nothing", flush=True)
"""
SEND = """
import socket, sys, time
source, address, port, mark = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, 36, mark)
    sock.bind((source, port))
    for _ in range(3):
        sock.sendto(b"arrived", (address, port))
        time.sleep(0.1)
"""


@pytest.fixture
def names() -> Iterator[Namespaces]:
    """Namespaces where everybody knows the way to everybody, without a tunnel, too."""
    with namespaces(f"che-g{os.getpid()}") as made:
        ip("-n", made.left, "route", "add", "10.2.0.0/24", "via", "10.99.0.2")
        ip("-n", made.left, "-6", "route", "add", "fd02::/64", "via", "fd99::2")
        ip("-n", made.right, "route", "add", "default", "via", "10.99.0.1")
        ip("-n", made.right, "-6", "route", "add", "default", "via", "fd99::1")
        yield made


def run(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", name, *command],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def arrives(sender: str, source: str, receiver: str, destination: str, **how: Any) -> bool:
    """Tell whether datagrams from a source get to a destination; ``port`` and ``mark`` say how."""
    port, mark = how.get("port", PORT), how.get("mark", AROUND)
    command = (sys.executable, "-c")
    with inside(receiver, *command, RECEIVE, destination, str(port)) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "ready\n"
        sent = run(sender, *command, SEND, source, destination, str(port), mark)
        assert sent.returncode == 0, sent.stderr
        output, _ = listening.communicate(timeout=SECONDS)
    return output == "arrived\n"


def arrives_at_both(names: Namespaces, version: int, port: int = PORT) -> tuple[bool, bool]:
    """Tell whether cleartext gets to the right gateway itself, and to the host behind it."""
    source = GATEWAY[version][0]
    return (
        arrives(names.left, source, names.right, GATEWAY[version][1], port=port),
        arrives(names.left, source, names.right_host, HOSTS[version][1], port=port),
    )


def pings(name: str, *arguments: str) -> bool:
    return run(name, "ping", "-c", "2", "-i", "0.2", "-W", "3", *arguments).returncode == 0


def dropped(gateways: OurGateways, number: int = 1) -> dict[str, int]:
    report: dict[str, int] = gateways.reports()[number]["guard"]
    return report


def tell(gateways: OurGateways, number: int, word: str) -> None:
    process = gateways.processes[number]
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()
    process.stdout.readline()


def tables(name: str) -> str:
    return run(name, "nft", "list", "ruleset").stdout


def gateways_with(names: Namespaces, **config: Any) -> Any:
    return our_gateways(names, algorithm="aes128gcm16", **config)


@pytest.mark.parametrize("udp", [True, False], ids=["ESP in UDP", "plain ESP"])
def test_what_comes_in_the_clear_is_dropped_while_the_policy_is_there(
    names: Namespaces, udp: bool
) -> None:
    assert arrives_at_both(names, 4) == (True, True)
    with gateways_with(names, udp=udp) as gateways:
        for version in GATEWAY:
            before = dropped(gateways)["inbound"]
            assert arrives_at_both(names, version) == (False, False)
            assert dropped(gateways)["inbound"] == before + 6
            # The same by the tunnel.
            left, right = HOSTS[version]
            assert arrives(names.left_host, left, names.right_host, right, mark="0")
            assert pings(names.left_host, right)
            assert pings(names.left, "-I", GATEWAY[version][0], GATEWAY[version][1])
        # What no policy covers is none of its business.
        assert pings(names.left, "10.99.0.2")
        assert pings(names.right_host, "10.2.0.1")
        assert dropped(gateways)["outbound"] == 0
        tell(gateways, 1, "flush")
        for version in GATEWAY:
            assert arrives_at_both(names, version) == (True, True)
    assert tables(names.left) == tables(names.right) == ""


def test_without_a_guard_it_comes_in(names: Namespaces) -> None:
    with gateways_with(names, right={"options": {"guard": "off"}}):
        assert arrives_at_both(names, 4) == (True, True)
        assert tables(names.right) == ""


def test_ports_of_a_policy_count(names: Namespaces) -> None:
    ports = {
        "remote_ts": ["10.1.0.0/24[udp/7000-7777]", "fd01::/64[udp/7777]"],
        "local_ts": ["10.2.0.0/24[udp/7777]", "fd02::/64[udp/7777]"],
    }
    with gateways_with(names, right=ports):
        for version in GATEWAY:
            assert arrives_at_both(names, version) == (False, False)
            assert arrives_at_both(names, version, 7778) == (True, True)


def test_an_exception_lets_pass(names: Namespaces) -> None:
    exception = [["10.1.0.0/24[udp/7778]", "10.2.0.0/24[udp]"]]
    with gateways_with(names, right={"inbound_pass": exception}):
        assert arrives_at_both(names, 4) == (False, False)
        assert arrives_at_both(names, 4, 7778) == (True, True)


def test_a_tunnel_for_everything_leaves_our_own_side_alone(names: Namespaces) -> None:
    everything = ["0.0.0.0/0", "::/0"]
    with gateways_with(names, left={"local_ts": everything}, right={"remote_ts": everything}):
        assert pings(names.left_host, "10.2.0.2")
        assert pings(names.right_host, "10.2.0.1")
        assert pings(names.right_host, "fd02::1")
        assert pings(names.right, "10.2.0.2")
        for version in GATEWAY:
            assert arrives_at_both(names, version) == (False, False)
        # An address of the right side, from the other side of its gateway.
        ip("-n", names.left, "address", "add", "10.2.0.77/32", "dev", "lo")
        assert not arrives(names.left, "10.2.0.77", names.right, "10.2.0.1")
        # Where the gateway reaches itself.
        assert pings(names.right, "-I", "10.2.0.1", "10.2.0.1")


def test_a_tunnel_between_the_gateways_themselves(names: Namespaces) -> None:
    ends = {
        "local_ts": ["10.99.0.1/32", "fd99::1/128"],
        "remote_ts": ["10.99.0.2/32", "fd99::2/128"],
    }
    turned = {"local_ts": ends["remote_ts"], "remote_ts": ends["local_ts"]}
    for udp in (True, False):
        with gateways_with(names, left=ends, right=turned, udp=udp) as gateways:
            for target in ("10.99.0.2", "fd99::2"):
                # Neighbours that have forgotten each other find each other again.
                for name in (names.left, names.right):
                    ip("-n", name, "neighbour", "flush", "all")
                assert pings(names.left, target)
                source = target[:-1] + "1"
                assert not arrives(names.left, source, names.right, target)
            assert dropped(gateways)["inbound"] == 6


def test_nothing_leaves_without_an_sa_or_a_device_or_a_daemon(names: Namespaces) -> None:
    left, right = HOSTS[4]
    ends = (names.left_host, left, names.right_host, right)
    with gateways_with(names, right={"options": {"guard": "off"}}) as gateways:
        assert arrives(*ends, mark="0")
        tell(gateways, 0, "expire")
        assert not arrives(*ends, mark="0")
        assert dropped(gateways, 0)["outbound"] == 0
        ip("-n", names.left, "link", "delete", "ipsec0")
        assert not arrives(*ends, mark="0")
        assert dropped(gateways, 0)["outbound"] == 3
        crashed = gateways.processes[0]
        crashed.send_signal(signal.SIGKILL)
        crashed.communicate()
        del gateways.processes[0]
        assert not arrives(*ends, mark="0")
    left_behind = tables(names.left)
    assert "table inet charon-ipsec0" in left_behind
    # The next daemon takes the place of the one that crashed, and leaves nothing.
    with gateways_with(names, left={"remote_ts": ["10.3.0.0/24"]}):
        assert tables(names.left).count("table inet") == 1
        assert "10.2.0.0/24" not in tables(names.left)
    assert tables(names.left) == ""
    assert arrives(*ends, mark="0")


def test_a_table_that_somebody_removes_comes_back(names: Namespaces) -> None:
    with gateways_with(names) as gateways:
        before = tables(names.right)
        assert run(names.right, "nft", "flush", "ruleset").returncode == 0
        end = time.monotonic() + 10
        while "10.2.0.0/24" not in tables(names.right) and time.monotonic() < end:
            time.sleep(0.05)
        assert without_counters(tables(names.right)) == without_counters(before)
        assert arrives_at_both(names, 4) == (False, False)
        assert dropped(gateways)["inbound"] == 6
    assert tables(names.right) == ""


def without_counters(ruleset: str) -> list[str]:
    return [line for line in ruleset.splitlines() if "packets" not in line]
