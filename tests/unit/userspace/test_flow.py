from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.userspace.flow import (
    PORT_UNKNOWN,
    Flow,
    flow_key,
    packet_length,
    parse_flow,
)
from tests.unit.userspace.factories import LOCAL, LOCAL6, REMOTE, REMOTE6, ip, tcp, udp

V4 = (4, int(ip_address(LOCAL)), int(ip_address(REMOTE)))
V6 = (6, int(ip_address(LOCAL6)), int(ip_address(REMOTE6)))
ECHO = b"\x08\x00\0\0\0\1\0\2"
ECHO6 = b"\x80\x00\0\0\0\1\0\2"


def ip6(protocol: int, payload: bytes) -> bytes:
    return ip(LOCAL6, REMOTE6, protocol, payload)


def udp_part(packet: bytes) -> bytes:
    return packet[20:]


@pytest.mark.parametrize(
    ("packet", "flow"),
    [
        (tcp(b"x"), Flow(*V4, 6, 40000, 80)),
        (udp(), Flow(*V4, 17, 5000, 53)),
        (udp(source=LOCAL6, destination=REMOTE6), Flow(*V6, 17, 5000, 53)),
        (ip(LOCAL, REMOTE, 1, ECHO), Flow(*V4, 1, 0x0800, 0x0800)),
        (ip6(58, ECHO6), Flow(*V6, 58, 0x8000, 0x8000)),
        (ip(LOCAL, REMOTE, 132, b"\x10\0\x20\0rest"), Flow(*V4, 132, 0x1000, 0x2000)),
        (ip(LOCAL, REMOTE, 47, b"gre"), Flow(*V4, 47, PORT_UNKNOWN, PORT_UNKNOWN)),
        (
            ip(LOCAL, REMOTE, 17, udp_part(udp()), options=b"\x01" * 8),
            Flow(*V4, 17, 5000, 53),
        ),
        # A first fragment shows its ports, later ones do not.
        (ip(LOCAL, REMOTE, 17, udp_part(udp()), fragment=0x2000), Flow(*V4, 17, 5000, 53)),
        (
            ip(LOCAL, REMOTE, 17, udp_part(udp()), fragment=0x0001),
            Flow(*V4, 17, PORT_UNKNOWN, PORT_UNKNOWN),
        ),
        # Too short for its ports.
        (ip(LOCAL, REMOTE, 17, b"\0\1\0"), Flow(*V4, 17, PORT_UNKNOWN, PORT_UNKNOWN)),
        (ip(LOCAL, REMOTE, 1, b"\x08"), Flow(*V4, 1, PORT_UNKNOWN, PORT_UNKNOWN)),
        # Hop-by-hop and destination options in front.
        (
            ip6(0, b"\x3c\0" + bytes(6) + b"\x11\1" + bytes(14) + udp_part(udp())),
            Flow(*V6, 17, 5000, 53),
        ),
        (ip6(44, b"\x11\0\0\1" + bytes(4) + udp_part(udp())), Flow(*V6, 17, 5000, 53)),
        (
            ip6(44, b"\x11\0\0\x08" + bytes(4) + udp_part(udp())),
            Flow(*V6, 17, PORT_UNKNOWN, PORT_UNKNOWN),
        ),
        (ip6(0, b"\x11\xff" + bytes(6)), Flow(*V6, 17, PORT_UNKNOWN, PORT_UNKNOWN)),
        (ip6(59, b""), Flow(*V6, 59, PORT_UNKNOWN, PORT_UNKNOWN)),
    ],
)
def test_selector_fields(packet: bytes, flow: Flow) -> None:
    assert parse_flow(packet) == flow
    assert parse_flow(memoryview(packet)) == flow


def test_an_endless_chain_of_headers_ends() -> None:
    packet = ip6(0, b"\0\0" + bytes(6) + (b"\0\0" + bytes(6)) * 100)
    flow = parse_flow(packet)
    assert flow is not None
    assert flow.source_port == PORT_UNKNOWN


@pytest.mark.parametrize("packet", [udp(), udp(source=LOCAL6, destination=REMOTE6), tcp(b"abc")])
def test_truncation_at_every_length(packet: bytes) -> None:
    for length in range(len(packet)):
        assert packet_length(packet[:length]) == 0
        assert parse_flow(packet[:length]) is None
    assert packet_length(packet) == len(packet)
    assert packet_length(packet + b"more") == len(packet)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00" * 40,
        b"\x55" + udp()[1:],
        b"\x44" + udp()[1:],  # a header of 16 octets
        b"\x4f" + udp()[1:],  # a header longer than the packet
        udp()[:2] + b"\0\x13" + udp()[4:],  # a length of 19
    ],
)
def test_what_is_no_packet(packet: bytes) -> None:
    assert packet_length(packet) == 0
    assert parse_flow(packet) is None


@given(st.binary(max_size=120))
def test_garbage_never_raises(data: bytes) -> None:
    parse_flow(data)
    for first in (0x45, 0x46, 0x60):
        packet = bytes([first]) + data
        if packet_length(packet):
            flow_key(packet)
            assert parse_flow(packet) is not None


def variants() -> list[bytes]:
    """Packets of as many flows."""
    made = []
    for source, destination in ((LOCAL, REMOTE), (REMOTE, LOCAL), (LOCAL6, REMOTE6)):
        for ports in ((1, 2), (2, 1), (1, 3)):
            ends = {"source": source, "destination": destination, "ports": ports}
            made += [tcp(b"", **ends), udp(**ends)]
    made += [ip(LOCAL, REMOTE, 1, ECHO), ip(LOCAL, REMOTE, 1, b"\0" + ECHO[1:]), ip6(58, ECHO6)]
    made += [ip(LOCAL, REMOTE, 47, b"grey")]
    return made


def test_keys_tell_flows_apart() -> None:
    keys = [flow_key(packet) for packet in variants()]
    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_keys_do_not_depend_on_the_rest() -> None:
    assert flow_key(tcp(b"one", number=5)) == flow_key(tcp(b"another", flags=8, ttl=3))
    assert flow_key(ip(LOCAL, REMOTE, 1, ECHO)) == flow_key(ip(LOCAL, REMOTE, 1, ECHO[:2] + b"zz"))
    assert flow_key(memoryview(udp())) == flow_key(udp())


@pytest.mark.parametrize(
    "packet",
    [
        ip(LOCAL, REMOTE, 17, b"later fragment", fragment=5),
        ip(LOCAL, REMOTE, 17, udp_part(udp()), options=b"\x01" * 4),
        ip6(0, b"\x11\0" + bytes(6) + udp_part(udp())),
        ip(LOCAL, REMOTE, 6, b"\0\1"),
        ip6(6, b"\0\1"),
        ip6(58, b"\0"),
        struct.pack(">BBHHHBBH", 0x45, 0, 20, 0, 0, 1, 47, 0) + bytes(8),
    ],
)
def test_where_a_key_could_mislead_there_is_none(packet: bytes) -> None:
    assert flow_key(packet) == b""
