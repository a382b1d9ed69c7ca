"""The guard's table on the kernel of this machine, with ``nft`` as the witness."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.kernel import nftables
from charon_core.kernel.interface import PolicyAction, PolicyDirection
from charon_core.kernel.netlink import NETLINK_NETFILTER, EventSocket, NetlinkSocket
from charon_core.kernel.userspace.guard import SEND_BUFFER, Guard
from charon_core.kernel.userspace.host import Host
from charon_core.kernel.userspace.settings import UserspaceOptions
from tests.kernel.namespaces import in_new_network, sh
from tests.unit.userspace.factories import policy_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft of Debian's nftables"),
]

IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
ECHO_REQUEST = 0x800


def inbound(source: str, destination: str = "10.1.0.0/16", **more: Any) -> Any:
    return policy_spec(source, destination, direction=IN, **more)


@contextlib.contextmanager
def guard(device: str, *, changes: int = 0, crashes: bool = False) -> Iterator[Guard]:
    """Open a guard that nobody, or only somebody who is known, changes from outside."""
    netlink = NetlinkSocket(NETLINK_NETFILTER, send_buffer=SEND_BUFFER)
    events = EventSocket(NETLINK_NETFILTER, [nftables.EVENT_GROUP])
    index = socket.if_nametoindex(device)
    seen: list[None] = []

    def changed() -> None:
        seen.append(None)

    made = Guard(netlink, events, device=device, index=index, mark=220, changed=changed)
    made.open([500, 4500])
    try:
        yield made
        for _ in range(100):  # it takes some events at a time
            made.look()
        assert bool(seen) is bool(changes)
    finally:
        if not crashes:
            made.remove()
        made.close()


def rules(chain: str, device: str = "wire1") -> list[str]:
    """Return the rules of a chain, as nft shows them."""
    lines = sh(f"nft list chain inet charon-{device} {chain}").splitlines()
    shown = [line.strip() for line in lines[2:-2]]
    return [line for line in shown if not line.startswith("type filter")]


def elements(name: str, device: str = "wire1") -> list[Any]:
    found = json.loads(sh(f"nft -j list set inet charon-{device} {name}"))
    made: list[Any] = found["nftables"][1]["set"].get("elem", [])
    return made


def prefix(text: str) -> dict[str, Any]:
    address, _, length = text.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def two_devices() -> None:
    sh("ip link add name wire1 type veth peer name wire2")


def test_what_always_passes() -> None:
    def body() -> None:
        two_devices()
        with guard("wire1"):
            assert rules("inbound") == [
                'iif "wire1" accept',
                "meta iiftype loopback accept",
                "udp dport @ike-ports fib daddr type local accept",
                "meta l4proto esp fib daddr type local accept",
                "icmpv6 type 133-137 ip6 hoplimit 255 accept",
                "jump inbound-exceptions",
                'meta nfproto ipv4 @nh,96,64 @inbound4 counter name "inbound-dropped" drop',
                'meta nfproto ipv6 @nh,64,256 @inbound6 counter name "inbound-dropped" drop',
                "jump inbound-rules",
                "jump inbound-wide",
            ]
            assert "hook prerouting priority raw" in sh("nft list table inet charon-wire1")
            assert "hook postrouting priority raw" in sh("nft list table inet charon-wire1")
            assert 'oif "wire1" accept' in rules("outbound")
            assert "meta mark 0x000000dc accept" in rules("outbound")
            assert elements("ike-ports") == [500, 4500]

    in_new_network(body)


def test_policies_become_elements_and_rules() -> None:
    def body() -> None:
        two_devices()
        with guard("wire1", changes=1) as made:
            many = [inbound(f"10.2.{number}.0/24") for number in range(200)]
            specs = [
                *many,
                inbound("fd02::/64", "fd01::/64"),
                inbound("10.2.5.128/25"),
                inbound("0.0.0.0/0", "10.1.1.0/24"),
                inbound("10.4.0.0/24", action=PolicyAction.PASS, priority=5),
                inbound("10.5.0.0/24", protocol=6, ports=(80, 90)),
                inbound("10.6.0.0/24", protocol=1, ports=(ECHO_REQUEST, ECHO_REQUEST + 255)),
                inbound("10.7.0.0/24", protocol=17, ports=(65535, 0)),
                inbound("fd07::/64", "fd01::/64", protocol=17, ports=(65535, 0)),
                policy_spec(),
            ]
            for spec in specs:
                made.add(spec)
            for _ in range(2):
                assert len(elements("inbound4")) == 200
                own, other = prefix("fd01::/64"), prefix("fd02::/64")
                assert elements("inbound6") == [{"concat": [other, own]}]
                own, other = prefix("10.1.0.0/16"), prefix("10.2.0.0/16")
                assert elements("outbound4") == [{"concat": [own, other]}]
                drop = 'counter name "inbound-dropped" drop'
                ours = "ip daddr 10.1.0.0-10.1.255.255"
                wide = "10.1.1.0-10.1.1.255"
                assert rules("inbound-wide") == [
                    f"ip saddr {wide} ip daddr {wide} fib saddr . iif oif != 0 accept",
                    f"ip daddr {wide} {drop}",
                ]
                assert rules("inbound-exceptions") == [
                    f"ip saddr 10.4.0.0-10.4.0.255 {ours} accept"
                ]
                found = rules("inbound-rules")
                assert found[0] == f"ip saddr 10.2.5.128-10.2.5.255 {ours} {drop}"
                assert found[1].endswith(f"{ours} tcp sport 80-90 tcp dport 80-90 {drop}")
                assert "2048-2303" in found[2]
                assert "udp ip frag-off & 8191 != 0" in found[3]
                assert "frag frag-off != 0" in found[4]
                assert len(found) == 5
                # Once more, after a repair.
                sh("nft flush table inet charon-wire1")
                assert made.restore()
            changes = sh("nft -a list chain inet charon-wire1 inbound-rules")
            assert changes.count("# handle") == 6  # the rules, and the chain
            for spec in specs:
                made.discard(spec)
            for name in ("inbound4", "inbound6", "outbound4", "outbound6"):
                assert elements(name) == []
            for chain in ("inbound-exceptions", "inbound-rules", "inbound-wide"):
                assert rules(chain) == []

    in_new_network(body)


def test_several_daemons_have_tables_of_their_own() -> None:
    def body() -> None:
        two_devices()
        with guard("wire1") as one:
            one.add(inbound("10.2.0.0/16"))
            before = sh("nft list table inet charon-wire1")
            with guard("wire2") as two:
                two.add(inbound("10.2.0.0/16"))
                two.add(inbound("10.3.0.0/16"))
                assert len(elements("inbound4", "wire2")) == 2
            assert sh("nft list ruleset") == before
        assert sh("nft list ruleset") == ""

    in_new_network(body)


def test_what_a_crash_has_left_is_replaced() -> None:
    def body() -> None:
        two_devices()
        with guard("wire1", crashes=True) as crashed:
            crashed.add(inbound("10.2.0.0/16"))
        assert len(elements("inbound4")) == 1
        with guard("wire1"):
            assert elements("inbound4") == []
        assert sh("nft list ruleset") == ""

    in_new_network(body)


def test_a_probe_leaves_nothing_and_disturbs_nothing() -> None:
    def body() -> None:
        two_devices()
        with guard("wire1"):
            Host().probe(UserspaceOptions(device="probed%d", guard="on"))
            assert sh("nft list tables") == "table inet charon-wire1\n"

    in_new_network(body)
