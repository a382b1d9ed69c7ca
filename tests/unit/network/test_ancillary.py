from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.network import ancillary
from charon_core.network.ancillary import SocketError


def extended_error(number=errno.ECONNREFUSED, origin=2, offender=b""):
    return struct.pack("=IBBBBII", number, origin, 3, 3, 0, 0, 0) + offender


V4_OFFENDER = struct.pack("=HH4s8x", socket.AF_INET, 0, bytes([192, 0, 2, 7]))
V6_OFFENDER = struct.pack(
    "=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::7"), 0
)
V4 = (socket.IPPROTO_IP, ancillary.IP_RECVERR)
V6 = (socket.IPPROTO_IPV6, ancillary.IPV6_RECVERR)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ([(*V4, extended_error(offender=V4_OFFENDER))], (111, "ICMP", "192.0.2.7")),
        ([(*V6, extended_error(113, 3, V6_OFFENDER))], (113, "ICMPv6", "2001:db8::7")),
        ([(*V4, extended_error(90, 1, bytes(16)))], (90, "local", "")),
        ([(*V4, extended_error(offender=b""))], (111, "ICMP", "")),
        ([(*V4, extended_error(origin=9))], (111, "origin 9", "")),
        ([(0, 8, b"x"), (*V4, extended_error())], (111, "ICMP", "")),
        ([], None),
        ([(0, 8, bytes(12))], None),
    ],
)
def test_socket_error(control, expected):
    assert ancillary.socket_error(control) == (expected and SocketError(*expected))


@pytest.mark.parametrize("kind", [V4, V6])
def test_socket_error_truncated_at_every_length(kind):
    whole = extended_error(offender=V6_OFFENDER)
    for length in range(len(whole)):
        result = ancillary.socket_error([(*kind, whole[:length])])
        assert (result is None) is (length < 16)


@given(st.binary(max_size=60), st.sampled_from([V4, V6]))
def test_socket_error_fuzz(data, kind):
    ancillary.socket_error([(*kind, data)])


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x02\x03"])
def test_a_short_segment_size_is_none(data):
    assert ancillary.segment_size(data) == 0


@pytest.mark.parametrize(
    ("family", "host", "expected"),
    [
        (socket.AF_INET, "10.0.0.1", ("10.0.0.1", 500)),
        (socket.AF_INET6, "2001:db8::1", ("2001:db8::1", 500, 0, 0)),
        (socket.AF_INET6, "fe80::1%7", ("fe80::1", 500, 0, 7)),
    ],
)
def test_address_of(family, host, expected):
    assert ancillary.address_of(family, host, 500) == expected


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    "host", ["localhost", "gateway.example.org", "", "%any", "1.2.3", "nul\0", "::1%nowhere", "é"]
)
def test_names_are_no_addresses_and_are_never_looked_up(family, host, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(OSError):
        ancillary.address_of(family, host, 500)


def test_the_zone_of_a_link_local_address():
    name = socket.if_indextoname(1)
    assert ancillary.with_zone("fe80::1", 0) == "fe80::1"
    assert ancillary.with_zone("fe80::1", 1) == f"fe80::1%{name}"
    assert ancillary.with_zone("fe80::1", 999999) == "fe80::1%999999"
    assert ancillary.split_zone(f"fe80::1%{name}") == ("fe80::1", 1)
    data = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, "fe80::1"), 1)
    assert ancillary.local_host6(data) == f"fe80::1%{name}"
    data = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 1)
    assert ancillary.local_host6(data) == "2001:db8::1"
