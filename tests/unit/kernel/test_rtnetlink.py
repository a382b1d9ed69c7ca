"""Our few rtnetlink messages; pyroute2 is the independent witness."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel import rtnetlink
from charon_core.kernel.interface import Route
from charon_core.kernel.netlink import Frame

HEADER = 16


def frame(kind: int, body: bytes) -> Frame:
    header = struct.pack("=IHHII", HEADER + len(body), kind, 0, 1, 0)
    return Frame(kind, 0, 1, 0, header + body)


def as_pyroute2(name: str, body: bytes) -> Any:
    import importlib

    module = importlib.import_module(f"pyroute2.netlink.rtnl.{name}")
    message = getattr(module, name)(frame(0, body).data)
    message.decode()
    return message


def from_pyroute2(name: str, kind: int, attrs: list[Any], **fields: Any) -> Frame:
    import importlib

    module = importlib.import_module(f"pyroute2.netlink.rtnl.{name}")
    message = getattr(module, name)()
    message.update(fields)
    message["attrs"] = attrs
    message.encode()
    return frame(kind, bytes(message.data[HEADER:]))


def test_lookup() -> None:
    body = rtnetlink.encode_lookup("203.0.113.1", 220, 4)
    assert body.hex() == (
        "02200000"
        "00000000"
        "00000000"  # AF_INET, dst_len 32
        "08000100"
        "cb007101"  # RTA_DST
        "08001000"
        "dc000000"  # RTA_MARK 220
        "08000400"
        "04000000"  # RTA_OIF
    )
    message = as_pyroute2("rtmsg", rtnetlink.encode_lookup("2001:db8::1", 220))
    assert (message["family"], message["dst_len"]) == (socket.AF_INET6, 128)
    assert message.get_attr("RTA_DST") == "2001:db8::1"
    assert message.get_attr("RTA_MARK") == 220
    assert message.get_attr("RTA_OIF") is None


@pytest.mark.parametrize(
    ("host", "prefix", "family"),
    [("10.7.0.1", 32, socket.AF_INET), ("2001:db8::7", 128, socket.AF_INET6)],
)
def test_virtual_address(host: str, prefix: int, family: int) -> None:
    message = as_pyroute2("ifaddrmsg", rtnetlink.encode_address(host, 3))
    assert (message["family"], message["prefixlen"], message["index"]) == (family, prefix, 3)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == host
    lifetime = message.get_attr("IFA_CACHEINFO")
    if family == socket.AF_INET6:
        assert message["flags"] == 2
        assert (lifetime["ifa_preferred"], lifetime["ifa_valid"]) == (0, 0xFFFFFFFF)
    else:
        assert lifetime is None


@pytest.mark.parametrize(
    ("route", "table", "fields", "attrs"),
    [
        (
            Route("10.2.0.0/16", "eth0"),
            220,
            {"family": 2, "dst_len": 16, "table": 220, "scope": 253, "proto": 4, "type": 1},
            {"RTA_DST": "10.2.0.0", "RTA_TABLE": 220, "RTA_OIF": 7, "RTA_GATEWAY": None},
        ),
        (
            Route("0.0.0.0/0", "eth0", "10.0.0.254", "10.7.0.1", 1400),
            5000,
            {"family": 2, "dst_len": 0, "table": 0, "scope": 0},
            {"RTA_TABLE": 5000, "RTA_GATEWAY": "10.0.0.254", "RTA_PREFSRC": "10.7.0.1"},
        ),
        (
            Route("2001:db8:2::/48", "eth0", None, "2001:db8::7"),
            220,
            {"family": 10, "dst_len": 48, "scope": 0},
            {"RTA_DST": "2001:db8:2::", "RTA_PREFSRC": "2001:db8::7"},
        ),
    ],
)
def test_route(route: Route, table: int, fields: dict[str, int], attrs: dict[str, Any]) -> None:
    message = as_pyroute2("rtmsg", rtnetlink.encode_route(route, table, 7))
    assert {name: message[name] for name in fields} == fields
    assert {name: message.get_attr(name) for name in attrs} == attrs
    metrics = message.get_attr("RTA_METRICS")
    assert (metrics.get_attr("RTAX_MTU") if metrics else None) == route.mtu


def test_route_to_no_network() -> None:
    with pytest.raises(ValueError, match="host bits set"):
        rtnetlink.encode_route(Route("10.2.0.1/16", "eth0"), 220, 7)


def test_rule() -> None:
    body = rtnetlink.encode_rule(socket.AF_INET6, 5000, 220, 0xDC)
    message = as_pyroute2("fibmsg", body)
    assert (message["family"], message["action"], message["flags"]) == (socket.AF_INET6, 1, 2)
    assert message.get_attr("FRA_TABLE") == 5000
    assert message.get_attr("FRA_PRIORITY") == 220
    assert message.get_attr("FRA_FWMARK") == 0xDC
    assert message.get_attr("FRA_FWMASK") == 0xFFFFFFFF


def test_address_of_the_kernel() -> None:
    found = rtnetlink.parse_address(
        from_pyroute2(
            "ifaddrmsg",
            rtnetlink.RTM_NEWADDR,
            [
                ("IFA_ADDRESS", "10.0.0.2"),
                ("IFA_LOCAL", "10.0.0.1"),
                ("IFA_FLAGS", 0x80),
                ("IFA_PROTO", 220),
            ],
            family=socket.AF_INET,
            prefixlen=32,
            index=5,
        )
    )
    assert found == ("10.0.0.1", 5, 32, 0, 0x80, 220), "IFA_ADDRESS is the other end"
    assert found is not None
    assert found.is_usable


@pytest.mark.parametrize(
    ("scope", "flags", "usable"),
    [
        (0, 0, True),
        (0, 0x40, False),  # tentative
        (0, 0x20, False),  # deprecated
        (0, 0x08, False),  # duplicate found
        (253, 0, False),  # link
        (254, 0, False),  # host
        (200, 0, True),  # site
    ],
)
def test_which_addresses_are_usable(scope: int, flags: int, usable: bool) -> None:
    found = rtnetlink.parse_address(
        from_pyroute2(
            "ifaddrmsg",
            rtnetlink.RTM_NEWADDR,
            [("IFA_ADDRESS", "2001:db8::1"), ("IFA_FLAGS", flags)],
            family=socket.AF_INET6,
            scope=scope,
        )
    )
    assert found is not None
    assert found.is_usable is usable


def test_other_families_are_left_out() -> None:
    assert rtnetlink.parse_address(frame(20, struct.pack("=BBBBI", 7, 0, 0, 0, 1))) is None
    assert rtnetlink.parse_address(frame(20, struct.pack("=BBBBI", 2, 0, 0, 0, 1))) is None
    assert rtnetlink.parse_route(frame(24, bytes(12))) is None


def test_link_of_the_kernel() -> None:
    body = struct.pack("=BxHiII", 0, 1, 4, 0x1 | 0x40 | 0x1000, 0)
    body += struct.pack("=HHI", 8, 4, 1400)
    link = rtnetlink.parse_link(frame(16, body))
    assert (link.ifindex, link.mtu, link.is_up, link.is_loopback) == (4, 1400, True, False)
    assert not rtnetlink.Link(1, 0x1, 0).is_up, "no carrier"
    assert rtnetlink.Link(1, 0x9, 0).is_loopback


def test_route_of_the_kernel() -> None:
    route = rtnetlink.parse_route(
        from_pyroute2(
            "rtmsg",
            rtnetlink.RTM_NEWROUTE,
            [
                ("RTA_TABLE", 5000),
                ("RTA_DST", "10.2.0.0"),
                ("RTA_OIF", 3),
                ("RTA_GATEWAY", "10.0.0.254"),
                ("RTA_PREFSRC", "10.0.0.1"),
                ("RTA_METRICS", {"attrs": [("RTAX_MTU", 1300)]}),
            ],
            family=socket.AF_INET,
            dst_len=16,
            table=252,
            type=1,
        )
    )
    assert route == ("10.2.0.0", 16, 5000, 1, 0, 3, "10.0.0.254", "10.0.0.1", 1300, 0)
    assert route is not None
    assert route.concerns_peers
    assert not route._replace(kind=2).concerns_peers
    assert not route._replace(flags=0x200).concerns_peers
    assert not route._replace(destination="fe80::").concerns_peers


@given(st.binary(max_size=120))
def test_random_octets_raise_only_what_is_documented(body: bytes) -> None:
    for parse in (rtnetlink.parse_address, rtnetlink.parse_link, rtnetlink.parse_route):
        try:
            parse(frame(0, body))
        except (struct.error, ValueError):
            continue
