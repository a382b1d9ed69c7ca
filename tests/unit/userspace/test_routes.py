from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest

from charon_core.kernel import rtnetlink
from charon_core.kernel.interface import KernelError, PolicyAction
from charon_core.kernel.netlink import HEADER, Frame, NetlinkError, attribute
from charon_core.kernel.userspace.routes import Routes
from tests.unit.userspace.factories import policy_spec

THROW, UNICAST = 9, 1
DEVICE = 5


class FakeNetlink:
    """A kernel with addresses, routes and rules."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.routes: dict[str, tuple[int, str]] = {}
        self.rules: set[int] = set()
        self.log: list[tuple[int, str]] = []
        self.fails: dict[tuple[int, str], int] = {}

    def __call__(self) -> FakeNetlink:
        return self

    def __enter__(self) -> FakeNetlink:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        route = rtnetlink.parse_route(frame(body))
        assert route is not None
        name = f"{route.destination}/{route.prefix}"
        if code := self.fails.get((kind, name)) or self.fails.get((kind, route.source)):
            raise NetlinkError(code)
        if kind == rtnetlink.RTM_NEWRULE:
            if body[0] in self.rules:
                raise NetlinkError(errno.EEXIST)
            self.rules.add(body[0])
        elif kind == rtnetlink.RTM_DELRULE:
            self.rules.remove(body[0])
        elif kind == rtnetlink.RTM_NEWROUTE:
            assert route.table == 220
            assert route.ifindex == (0 if route.kind == THROW else DEVICE)
            self.routes[name] = (route.kind, route.source)
        else:
            if name not in self.routes:
                raise NetlinkError(errno.ESRCH)
            del self.routes[name]

    def dump(self, kind: int, body: bytes) -> list[Frame]:
        if kind == rtnetlink.RTM_GETROUTE:
            return [
                frame(route_body(name, kind)) for name, (kind, _) in self.routes.items()
                if (":" in name) is (body[0] == socket.AF_INET6)
            ]  # fmt: skip
        return [frame(rtnetlink.encode_address(address, 2)) for address in self.addresses]


def route_body(name: str, kind: int) -> bytes:
    host, _, prefix = name.partition("/")
    family = rtnetlink.family_of(host)
    header = struct.pack("=BBBBBBBBI", family, int(prefix), 0, 0, 220, 4, 0, kind, 0)
    return header + attribute(1, rtnetlink.pack_host(host))


def frame(body: bytes) -> Frame:
    return Frame(0, 0, 0, 0, bytes(HEADER.size) + body)


def routes(kernel: FakeNetlink) -> Routes:
    made: Any = kernel
    return Routes(made, interface=DEVICE, table=220, priority=220, mark=220)


def test_rules_are_there_from_the_start_to_the_end() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    made.open()
    assert kernel.rules == {socket.AF_INET, socket.AF_INET6}
    assert made.close() == []
    assert kernel.rules == set()


def test_what_a_daemon_that_died_has_left_is_taken_over() -> None:
    kernel = FakeNetlink()
    dead = routes(kernel)
    dead.open()
    dead.add(policy_spec("10.2.0.0/24", "10.1.0.0/24", action=PolicyAction.PASS))
    throws = [name for name, (kind, _) in kernel.routes.items() if kind == THROW]
    assert throws
    # These are others': of another kind, or by another hand.
    kernel.routes["10.8.0.0/16"] = (UNICAST, "")
    made = routes(kernel)
    made.open()
    assert list(kernel.routes) == ["10.8.0.0/16"]
    made.close()
    assert kernel.rules == set()


def test_without_ipv6_there_is_ipv4() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    kernel.fails[rtnetlink.RTM_NEWRULE, "/0"] = errno.EAFNOSUPPORT
    with pytest.raises(KernelError):
        made.open()
    kernel.fails.clear()

    def ipv4_only(kind: int, body: bytes, flags: int = 0) -> None:
        if body[0] == socket.AF_INET6:
            raise NetlinkError(errno.EAFNOSUPPORT)
        kernel.rules.add(body[0])

    kernel.request = ipv4_only  # type: ignore[method-assign]
    made.open()
    assert kernel.rules == {socket.AF_INET}


def test_a_policy_leads_into_the_device_from_an_address_of_ours() -> None:
    kernel = FakeNetlink("192.0.2.1", "10.1.0.9", "fd01::9")
    made = routes(kernel)
    made.add(policy_spec())
    made.add(policy_spec("fd01::/16", "fd02::/16"))
    assert kernel.routes == {
        "10.2.0.0/16": (UNICAST, "10.1.0.9"),
        "10.1.0.0/16": (THROW, ""),
        "fd02::/16": (UNICAST, "fd01::9"),
        "fd01::/16": (THROW, ""),
    }
    made.remove(policy_spec())
    made.remove(policy_spec("fd01::/16", "fd02::/16"))
    assert kernel.routes == {}


def test_any_source_leaves_the_choice_to_the_kernel() -> None:
    kernel = FakeNetlink("192.0.2.1")
    routes(kernel).add(policy_spec("0.0.0.0/0", "10.2.0.0/16"))
    assert kernel.routes["10.2.0.0/16"] == (UNICAST, "")


def test_a_source_that_is_refused_is_left_out() -> None:
    kernel = FakeNetlink("10.1.0.9")
    kernel.fails[rtnetlink.RTM_NEWROUTE, "10.1.0.9"] = errno.EINVAL
    routes(kernel).add(policy_spec())
    assert kernel.routes["10.2.0.0/16"] == (UNICAST, "")


def test_routes_are_counted() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    other = policy_spec("10.7.0.0/16", "10.2.0.0/16")
    for spec in (policy_spec(), policy_spec(), other):
        made.add(spec)
    for spec in (policy_spec(), policy_spec()):
        assert "10.2.0.0/16" in kernel.routes
        made.remove(spec)
    assert set(kernel.routes) == {"10.2.0.0/16", "10.7.0.0/16"}
    made.remove(other)
    assert kernel.routes == {}


def test_passed_traffic_goes_past_the_device_and_dropped_traffic_into_it() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    made.add(policy_spec("0.0.0.0/0", "10.2.3.0/24", action=PolicyAction.PASS))
    made.add(policy_spec("10.1.0.0/16", "10.2.4.0/24", action=PolicyAction.DROP))
    assert kernel.routes["10.2.3.0/24"] == (THROW, "")
    assert kernel.routes["10.2.4.0/24"] == (UNICAST, "")


def test_the_device_is_preferred_and_the_way_past_it_comes_back() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    inner, outer = (
        policy_spec("10.1.0.0/16", "10.2.0.0/16"),
        policy_spec("0.0.0.0/0", "10.1.0.0/16"),
    )
    made.add(inner)
    assert kernel.routes["10.1.0.0/16"] == (THROW, "")
    made.add(outer)
    assert kernel.routes["10.1.0.0/16"] == (UNICAST, "")
    made.remove(outer)
    assert kernel.routes == {"10.2.0.0/16": (UNICAST, ""), "10.1.0.0/16": (THROW, "")}
    everything = policy_spec("0.0.0.0/0", "0.0.0.0/0")
    made.add(everything)
    assert kernel.routes["0.0.0.0/0"] == (UNICAST, "")


def test_ranges_become_networks() -> None:
    from charon_core.config.traffic_selector import TrafficSelector

    kernel = FakeNetlink()
    spec = policy_spec()
    object.__setattr__(spec, "destination", TrafficSelector.from_range("10.2.0.1", "10.2.0.4"))
    routes(kernel).add(spec)
    assert set(kernel.routes) == {"10.2.0.1/32", "10.2.0.2/31", "10.2.0.4/32", "10.1.0.0/16"}


def test_a_refused_route_leaves_nothing() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    kernel.fails[rtnetlink.RTM_NEWROUTE, "10.1.0.0/16"] = errno.EPERM
    with pytest.raises(KernelError, match="CAP_NET_ADMIN"):
        made.add(policy_spec())
    assert kernel.routes == {}
    kernel.fails.clear()
    made.add(policy_spec())
    made.remove(policy_spec())
    assert kernel.routes == {}


def test_a_route_that_is_gone_already_is_no_fault() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    made.add(policy_spec())
    kernel.routes.clear()
    made.remove(policy_spec())


def test_what_cannot_be_removed_is_told() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    made.open()
    made.add(policy_spec())
    kernel.fails[rtnetlink.RTM_DELROUTE, "10.2.0.0/16"] = errno.EBUSY
    with pytest.raises(KernelError):
        made.remove(policy_spec())
    made.add(policy_spec("10.1.0.0/16", "10.2.9.0/24"))
    kernel.fails[rtnetlink.RTM_DELROUTE, "10.2.9.0/24"] = errno.EBUSY
    assert made.close() == ["the route to 10.2.9.0/24: Device or resource busy"]
    assert kernel.rules == set()


# -- PASS and DROP ----------------------------------------------------------------------------


def test_a_pass_policy_goes_past_the_device_while_nobody_minds() -> None:
    kernel = FakeNetlink("192.0.2.1", "192.168.7.2")
    made = routes(kernel)
    bypass = policy_spec(
        "192.168.7.0/24", "192.168.7.0/24", action=PolicyAction.PASS, priority=None
    )
    tunnel = policy_spec("10.1.0.0/16", "0.0.0.0/0", priority=None)
    made.add(bypass)
    assert kernel.routes == {"192.168.7.0/24": (THROW, "")}
    # Now something that is to be protected would go that way in the clear.
    made.add(tunnel)
    assert kernel.routes["192.168.7.0/24"] == (UNICAST, "192.168.7.2")
    made.remove(tunnel)
    assert kernel.routes == {"192.168.7.0/24": (THROW, "")}
    made.remove(bypass)
    assert kernel.routes == {}


def test_the_order_of_policies_is_irrelevant() -> None:
    kernel = FakeNetlink("192.168.7.2")
    made = routes(kernel)
    bypass = policy_spec(
        "192.168.7.0/24", "192.168.7.0/24", action=PolicyAction.PASS, priority=None
    )
    tunnel = policy_spec("10.1.0.0/16", "0.0.0.0/0", priority=None)
    made.add(tunnel)
    made.add(bypass)
    assert kernel.routes["192.168.7.0/24"] == (UNICAST, "192.168.7.2")
    made.remove(bypass)
    assert set(kernel.routes) == {"0.0.0.0/0", "10.1.0.0/16"}
    made.remove(tunnel)
    assert kernel.routes == {}


@pytest.mark.parametrize(
    ("source", "destination", "is_past"),
    [
        ("10.1.5.0/24", "0.0.0.0/0", True),  # all of it passes
        ("10.1.0.0/16", "10.2.7.0/24", True),  # has a route of its own, which is more specific
        ("10.1.0.0/16", "10.7.0.0/16", True),  # has nothing to do with it
        ("10.0.0.0/8", "10.2.0.0/15", False),
        ("fd01::/16", "::/0", True),
    ],
)
def test_who_contradicts_a_pass_policy(source: str, destination: str, is_past: bool) -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    made.add(policy_spec("10.1.0.0/16", "10.2.0.0/16", action=PolicyAction.PASS, priority=None))
    made.add(policy_spec(source, destination, priority=None))
    assert kernel.routes["10.2.0.0/16"] == (THROW if is_past else UNICAST, "")


def test_a_route_that_cannot_be_led_anew_refuses_the_policy() -> None:
    kernel = FakeNetlink("192.168.7.2")
    made = routes(kernel)
    bypass = policy_spec(
        "192.168.7.0/24", "192.168.7.0/24", action=PolicyAction.PASS, priority=None
    )
    tunnel = policy_spec("10.1.0.0/16", "0.0.0.0/0", priority=None)
    made.add(bypass)
    kernel.fails[rtnetlink.RTM_DELROUTE, "192.168.7.0/24"] = errno.EPERM
    with pytest.raises(KernelError):
        made.add(tunnel)
    kernel.fails.clear()
    made.add(tunnel)
    assert kernel.routes["192.168.7.0/24"] == (UNICAST, "192.168.7.2")


def test_a_drop_policy_leads_into_the_device_and_nothing_past_it() -> None:
    kernel = FakeNetlink()
    made = routes(kernel)
    spec = policy_spec("10.1.0.0/16", "10.2.0.0/16", action=PolicyAction.DROP)
    made.add(spec)
    assert kernel.routes == {"10.2.0.0/16": (UNICAST, "")}
    made.remove(spec)
    assert kernel.routes == {}
