"""What is a change for peers, and what is noise."""

from __future__ import annotations

import socket
import struct

from charon_core.kernel import rtnetlink
from charon_core.kernel.netlink import Frame, attribute
from charon_core.kernel.roaming import Change, RoamFilter
from charon_core.kernel.rtnetlink import InterfaceAddress, Link

UP = 0x41
TABLE = 220


def frame(kind: int, body: bytes) -> Frame:
    return Frame(kind, 0, 0, 0, struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body)


def address(
    host: str, *, gone: bool = False, flags: int = 0, scope: int = 0, ifindex: int = 2
) -> Frame:
    octets = rtnetlink.pack_host(host)
    family = rtnetlink.family_of(host)
    body = struct.pack("=BBBBI", family, 24, flags, scope, ifindex) + attribute(1, octets)
    return frame(rtnetlink.RTM_DELADDR if gone else rtnetlink.RTM_NEWADDR, body)


def link(flags: int, *, gone: bool = False, ifindex: int = 2) -> Frame:
    kind = rtnetlink.RTM_DELLINK if gone else rtnetlink.RTM_NEWLINK
    return frame(kind, struct.pack("=BxHiII", 0, 1, ifindex, flags, 0))


def route(host: str, *, table: int = 254, kind: int = 1, flags: int = 0) -> Frame:
    body = struct.pack("=BBBBBBBBI", rtnetlink.family_of(host), 16, 0, 0, table, 0, 0, kind, flags)
    return frame(rtnetlink.RTM_NEWROUTE, body + attribute(1, rtnetlink.pack_host(host)))


def roaming() -> RoamFilter:
    known = RoamFilter(TABLE)
    known.learn(
        [InterfaceAddress("10.0.0.1", 2, 24, 0, 0), InterfaceAddress("127.0.0.1", 1, 8, 254, 0)],
        [Link(1, UP | 8, 65536), Link(2, UP, 1500), Link(3, 0, 1500)],
    )
    return known


def test_new_and_lost_addresses_change() -> None:
    known = roaming()
    assert known.judge(address("10.0.0.2")) is Change.ADDRESS
    assert known.judge(address("10.0.0.2", gone=True)) is Change.ADDRESS
    assert known.judge(address("10.0.0.1", gone=True)) is Change.ADDRESS
    assert known.judge(address("10.0.0.1", gone=True)) is Change.NOTHING


def test_renewed_addresses_do_not_change() -> None:
    assert roaming().judge(address("10.0.0.1")) is Change.NOTHING


def test_ipv6_address_counts_when_it_is_no_longer_tentative() -> None:
    known = roaming()
    assert known.judge(address("2001:db8::1", flags=0x40)) is Change.NOTHING
    assert known.judge(address("2001:db8::1", flags=0x80)) is Change.ADDRESS
    assert known.judge(address("2001:db8::1", flags=0x20)) is Change.ADDRESS


def test_link_local_and_loopback_addresses_do_not_change() -> None:
    known = roaming()
    assert known.judge(address("fe80::1", scope=253)) is Change.NOTHING
    assert known.judge(address("127.0.0.2", scope=254)) is Change.NOTHING


def test_same_address_on_two_interfaces() -> None:
    known = roaming()
    assert known.judge(address("10.0.0.1", ifindex=3)) is Change.ADDRESS
    assert known.judge(address("10.0.0.1", ifindex=3, gone=True)) is Change.ADDRESS


def test_link_with_addresses_changes_when_it_goes_and_comes() -> None:
    known = roaming()
    assert known.judge(link(UP | 0x1000)) is Change.NOTHING
    assert known.judge(link(0x1)) is Change.ADDRESS
    assert known.judge(link(0x1)) is Change.NOTHING
    assert known.judge(link(UP)) is Change.ADDRESS
    assert known.judge(link(UP, gone=True)) is Change.ADDRESS


def test_links_without_addresses_do_not_change() -> None:
    known = roaming()
    assert known.judge(link(UP, ifindex=3)) is Change.NOTHING
    assert known.judge(link(UP, ifindex=9)) is Change.NOTHING
    assert known.judge(link(UP, ifindex=9, gone=True)) is Change.NOTHING


def test_routes() -> None:
    known = roaming()
    assert known.judge(route("10.9.0.0")) is Change.ROUTE
    assert known.judge(route("10.9.0.0", table=TABLE)) is Change.NOTHING
    assert known.judge(route("10.9.0.0", table=255)) is Change.NOTHING
    assert known.judge(route("10.9.0.0", kind=3)) is Change.NOTHING
    assert known.judge(route("2001:db8::", flags=0x200)) is Change.NOTHING
    assert known.judge(route("fe80::")) is Change.NOTHING
    assert known.judge(route("ff00::", kind=5)) is Change.NOTHING


def test_other_and_malformed_messages_change_nothing() -> None:
    known = roaming()
    assert known.judge(frame(28, b"")) is Change.NOTHING
    for event in (address("10.0.0.9"), link(0), route("10.9.0.0")):
        for length in range(16, 16 + 8):
            cut = event._replace(data=event.data[:length])
            assert known.judge(cut) is Change.NOTHING
    assert socket.AF_INET == 2
