"""The net backend on the kernel of this machine, in network namespaces; ``ip`` is the witness."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from charon_core.kernel.interface import BYPASS_MARK, KernelError, Route, SaNotFound, Way
from charon_core.kernel.net import RtnetlinkNet
from tests.kernel.namespaces import in_new_network, sh
from tests.unit.kernel.factories import Recorder, Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

SO_MARK = 36


def build_network() -> None:
    """Two interfaces; the default route leaves through the first."""
    sh(
        "ip link add name left type veth peer name left2; "
        "ip link add name right type veth peer name right2"
    )
    sh("for i in left left2 right right2; do ip link set $i up; done")
    sh("ip addr add 10.0.1.1/24 dev left; ip addr add 10.0.2.1/24 dev right")
    sh("ip addr add 2001:db8:1::1/64 dev left nodad; ip addr add 2001:db8:2::1/64 dev right nodad")
    sh("ip route add default via 10.0.1.254; ip route add 10.9.0.0/16 via 10.0.2.254 mtu 1300")
    sh("ip -6 route add default via 2001:db8:1::fe")


@contextlib.contextmanager
def running_net(**options: float) -> Iterator[tuple[RtnetlinkNet, Recorder, Surroundings]]:
    surroundings, told = Surroundings(), Recorder()
    net = RtnetlinkNet(surroundings.context, **options)  # type: ignore[arg-type]
    net.start(told)
    try:
        yield net, told, surroundings
    finally:
        net.stop()


def test_answers() -> None:
    def body() -> None:
        build_network()
        with running_net() as (net, _, surroundings):
            assert net.source_address("8.8.8.8") == "10.0.1.1"
            assert net.source_address("10.0.2.7") == "10.0.2.1"
            assert net.source_address("10.9.9.9") == "10.0.2.1"
            assert net.source_address("2001:db8:2::9") == "2001:db8:2::1"
            assert net.source_address("2a00::1") == "2001:db8:1::1"
            assert net.source_address("127.0.0.1") == "127.0.0.1"
            assert net.local_addresses() == [
                "10.0.1.1",
                "10.0.2.1",
                *sorted(["2001:db8:1::1", "2001:db8:2::1"], key=net.local_addresses().index),
            ]
            assert net.interface_of("10.0.2.1") == "right"
            assert net.interface_of("10.0.2.2") is None
            assert net.is_local("127.0.0.1")
            assert net.is_local("2001:db8:1::1")
            assert not net.is_local("10.0.1.2")
            assert net.way_to("8.8.8.8") == Way("left", "10.0.1.254")
            assert net.way_to("10.0.2.7") == Way("right")
            assert net.way_to("2a00::1") == Way("left", "2001:db8:1::fe")
            assert net.mtu("8.8.8.8") == 1500
            assert net.mtu("10.9.0.1") == 1300
            sh("ip link set left down; ip route del default 2>/dev/null || true")
            assert net.source_address("8.8.8.8") is None
            assert net.mtu("8.8.8.8") is None
            assert net.way_to("8.8.8.8") is None
            assert surroundings.lines == []

    in_new_network(body)


def test_addresses_of_interfaces_that_are_down_are_left_out() -> None:
    def body() -> None:
        build_network()
        with running_net() as (net, told, _):
            sh("ip link set right down")
            told.wait_for("roam")
            assert "10.0.2.1" not in net.local_addresses()
            assert "10.0.1.1" in net.local_addresses()

    in_new_network(body)


@pytest.mark.parametrize(
    ("command", "address_change"),
    [
        ("ip addr add 10.0.3.1/24 dev left", True),
        ("ip addr del 10.0.2.1/24 dev right", True),
        ("ip link set right2 down", True),
        ("ip link del right", True),
        ("ip route add 10.8.0.0/16 via 10.0.2.254", False),
        ("ip -6 route add 2001:db8:8::/48 via 2001:db8:2::9", False),
        ("ip route del default", False),
    ],
)
def test_changes_are_reported_once(command: str, address_change: bool) -> None:
    def body() -> None:
        build_network()
        with running_net(roam_delay=0.05) as (_, told, _):
            sh(command)
            assert told.wait_for("roam") == ("roam", address_change)
            time.sleep(0.2)
            assert told.seen == []

    in_new_network(body)


def test_noise_is_not_reported() -> None:
    def body() -> None:
        build_network()
        with running_net(roam_delay=0.01) as (net, told, _):
            sh("ip addr change 10.0.1.1/24 dev left valid_lft 1000 preferred_lft 900")
            sh("ip link set left mtu 1400; ip link set left alias word")
            sh("ip route add 10.7.0.0/16 via 10.0.1.254 table 220")
            sh("ip addr add 127.0.0.2/8 dev lo")
            sh("ip tuntap add dev tun9 mode tun; ip link set tun9 up")
            net.add_address("10.77.0.1", "left")
            net.add_route(Route("10.6.0.0/16", "left", "10.0.1.254"))
            net.remove_address("10.77.0.1", "left")
            time.sleep(0.3)
            assert told.seen == []
            assert net.mtu("10.0.1.9") == 1400

    in_new_network(body)


def test_burst_is_merged() -> None:
    def body() -> None:
        build_network()
        with running_net(roam_delay=0.5) as (net, told, _):
            sh("for i in $(seq 2 20); do ip addr add 10.0.1.$i/24 dev left; done")
            assert told.wait_for("roam") == ("roam", True)
            assert len(net.local_addresses()) == 4 + 19

    in_new_network(body)


def test_virtual_addresses_are_counted_and_removed() -> None:
    def body() -> None:
        build_network()
        with running_net() as (net, _, _):
            for host, shown in (("10.77.0.1", "10.77.0.1/32"), ("2001:db8:77::1", "77::1/128")):
                net.add_address(host, "left")
                net.add_address(host, "left")
                assert shown in sh("ip addr show dev left")
                assert host not in net.local_addresses()
                assert net.is_local(host)
                assert net.virtual_addresses() == [host]
                net.remove_address(host, "left")
                assert shown in sh("ip addr show dev left")
                net.remove_address(host, "left")
                assert shown not in sh("ip addr show dev left")
                assert net.virtual_addresses() == []
                with pytest.raises(SaNotFound, match="never added"):
                    net.remove_address(host, "left")
            assert "deprecated" in _with_address(net, "2001:db8:77::2")
            with pytest.raises(KernelError, match="there is no interface nope"):
                net.add_address("10.77.0.1", "nope")
            sh("ip addr add 10.77.0.4/32 dev left")
            net.add_address("10.77.0.4", "left")
            net.remove_address("10.77.0.4", "left")
            net.add_address("10.77.0.3", "left")
            assert not net.is_virtual("10.0.1.1")
            # A daemon that crashed has left an address behind: the next one takes it over.
            crashed = RtnetlinkNet(Surroundings().context)
            crashed.add_address("10.77.0.5", "left")
            assert crashed._netlink is not None
            crashed._netlink.close()
            with running_net() as (heir, _, _):
                assert heir.is_virtual("10.77.0.5")
                assert "10.77.0.5" not in heir.local_addresses()
                heir.add_address("10.77.0.5", "left")
                heir.remove_address("10.77.0.5", "left")
                assert "10.77.0.5" not in sh("ip addr")
        assert "10.77.0.3" not in sh("ip addr")
        assert "10.77.0.4" in sh("ip addr")

    in_new_network(body)


def _with_address(net: RtnetlinkNet, host: str) -> str:
    net.add_address(host, "left")
    return sh(f"ip addr show dev left to {host}")


def test_routes_and_rules() -> None:
    def body() -> None:
        build_network()
        route = Route("0.0.0.0/0", "right", "10.0.2.254", "10.0.2.1", 1380)
        other = Route("0.0.0.0/0", "right", "10.0.2.253")
        with running_net() as (net, _, _):
            net.add_route(route)
            net.add_route(route)
            shown = sh("ip route show table 220")
            assert "default via 10.0.2.254 dev right proto static src 10.0.2.1 mtu 1380" in shown
            assert "220:\tnot from all fwmark 0xdc lookup 220" in sh("ip rule")
            assert "220" not in sh("ip -6 rule")
            net.add_route(other)
            assert "10.0.2.253" in sh("ip route show table 220")
            net.remove_route(other)
            assert "10.0.2.254" in sh("ip route show table 220")
            # Packets follow the route, but charon's own lookups do not, nor do marked sockets.
            assert "dev right" in sh("ip route get 8.8.8.8")
            assert net.source_address("8.8.8.8") == "10.0.1.1"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ike:
                ike.setsockopt(socket.SOL_SOCKET, SO_MARK, BYPASS_MARK)
                ike.connect(("8.8.8.8", 500))
                assert ike.getsockname()[0] == "10.0.1.1"
            net.remove_route(route)
            net.remove_route(route)
            assert "220" not in sh("ip rule")
            with pytest.raises(SaNotFound):
                net.remove_route(route)
            net.add_route(Route("10.5.0.0/16", "left"))
            net.add_route(Route("2001:db8:5::/48", "left", None, "2001:db8:1::1"))
            assert "2001:db8:5::/48 dev left" in sh("ip -6 route show table 220")
        assert sh("ip route show table 220; ip -6 route show table 220") == ""
        assert "220" not in sh("ip rule; ip -6 rule")

    in_new_network(body)


def test_tables_and_priorities_can_be_set() -> None:
    def body() -> None:
        build_network()
        with running_net(table=5000, rule_priority=777) as (net, _, _):
            net.add_route(Route("10.5.0.0/16", "left"))
            assert "777:" in sh("ip rule")
            assert "10.5.0.0/16" in sh("ip route show table 5000")

    in_new_network(body)


def test_foreign_rule_stays() -> None:
    def body() -> None:
        build_network()
        sh(f"ip rule add not fwmark {BYPASS_MARK} lookup 220 pref 220")
        with running_net() as (net, _, _):
            net.add_route(Route("10.5.0.0/16", "left"))
        assert "lookup 220" in sh("ip rule")

    in_new_network(body)


def test_refused_route_leaves_nothing() -> None:
    def body() -> None:
        build_network()
        with running_net() as (net, _, _):
            with pytest.raises(KernelError, match="unreachable") as refused:
                net.add_route(Route("10.5.0.0/16", "left", "203.0.113.1"))
            assert "10.5.0.0/16 via 203.0.113.1 dev left" in refused.value.operation
            with pytest.raises(SaNotFound):
                net.remove_route(Route("10.5.0.0/16", "left", "203.0.113.1"))

    in_new_network(body)
