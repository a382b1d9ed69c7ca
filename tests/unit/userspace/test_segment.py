from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.userspace.segment import MalformedFrame, SuperPacket, complete_checksum
from charon_core.kernel.userspace.tun import VNET_HEADER
from tests.unit.userspace.factories import (
    ACK,
    CWR,
    FIN,
    LOCAL,
    LOCAL6,
    PSH,
    REMOTE,
    REMOTE6,
    is_intact,
    pseudo_header,
    super_packet,
    tcp,
    udp,
    words_sum,
)

IPV6: dict[str, Any] = {"source": LOCAL6, "destination": REMOTE6}


def cut(frame: bytes) -> list[bytes]:
    _, kind, _, size, start, _ = VNET_HEADER.unpack_from(frame)
    return list(SuperPacket(memoryview(frame)[VNET_HEADER.size :], kind, size, start))


def payload_of(packet: bytes) -> bytes:
    transport = 20 if packet[0] >> 4 == 4 else 40
    return packet[transport + (packet[transport + 12] >> 4 << 2) :]


def field(packet: bytes, offset: int, form: str = ">I") -> int:
    transport = 20 if packet[0] >> 4 == 4 else 40
    value: int = struct.unpack_from(form, packet, transport + offset)[0]
    return value


@given(
    st.binary(min_size=2, max_size=3000),
    st.integers(1, 1500),
    st.booleans(),
    st.integers(0, 0xFFFFFFFF),
)
def test_segments_are_intact_and_hold_the_payload(
    payload: bytes, size: int, ipv6: bool, number: int
) -> None:
    size = min(size, len(payload) - 1)
    segments = cut(super_packet(payload, size, number=number, **(IPV6 if ipv6 else {})))
    assert b"".join(map(payload_of, segments)) == payload
    assert {len(payload_of(segment)) for segment in segments[:-1]} == {size}
    for index, segment in enumerate(segments):
        assert is_intact(segment)
        assert field(segment, 4) == (number + index * size) % (1 << 32)


@pytest.mark.parametrize("more", [{}, IPV6])
def test_flags_that_belong_to_one_end_only(more: dict[str, Any]) -> None:
    frame = super_packet(bytes(50), 10, flags=ACK | PSH | FIN | CWR, **more)
    flags = [field(segment, 13, ">B") for segment in cut(frame)]
    assert flags == [ACK | CWR, ACK, ACK, ACK, ACK | PSH | FIN]


def test_identifications_count_up_and_wrap() -> None:
    frame = super_packet(bytes(50), 10, identification=0xFFFE)
    numbers = [struct.unpack_from(">H", segment, 4)[0] for segment in cut(frame)]
    assert numbers == [0xFFFE, 0xFFFF, 0, 1, 2]


def test_ip_options_stay() -> None:
    packet = tcp(bytes(30), options=b"", flags=ACK)
    inner = bytes([0x46]) + packet[1:20] + b"\x01" * 4 + packet[20:]
    inner = inner[:2] + struct.pack(">H", len(inner)) + inner[4:]
    segments = list(SuperPacket(memoryview(inner), 1, 10, 24))
    assert [segment[20:24] for segment in segments] == [b"\x01" * 4] * 3
    assert all(is_intact(segment) for segment in segments)


@pytest.mark.parametrize("more", [{}, IPV6])
def test_trains_of_udp_datagrams(more: dict[str, Any]) -> None:
    packet = udp(bytes(range(100)), **more)
    transport = 40 if more else 20
    segments = list(SuperPacket(memoryview(packet), 5, 40, transport))
    assert [len(segment) - transport - 8 for segment in segments] == [40, 40, 20]
    assert b"".join(segment[transport + 8 :] for segment in segments) == bytes(range(100))
    assert all(is_intact(segment) for segment in segments)


@pytest.mark.parametrize(
    ("kind", "size", "transport"),
    [(1, 0, 20), (4, 10, 20), (2, 10, 20), (1, 10, 12), (1, 10, 70), (0x80, 10, 20), (7, 10, 20)],
)
def test_frames_that_do_not_fit_their_header(kind: int, size: int, transport: int) -> None:
    with pytest.raises(MalformedFrame):
        SuperPacket(memoryview(tcp(bytes(30))), kind, size, transport)


@pytest.mark.parametrize("kind", [1, 4, 5])
@pytest.mark.parametrize("more", [{}, IPV6])
def test_truncation_at_every_length(kind: int, more: dict[str, Any]) -> None:
    packet = tcp(bytes(30), **more)
    for length in range(len(packet)):
        try:
            segments = list(SuperPacket(memoryview(packet)[:length], kind, 10, 40 if more else 20))
        except MalformedFrame:
            continue
        assert len(b"".join(segments)) > 0


@given(st.binary(max_size=200), st.sampled_from([1, 4, 5, 0x81]), st.integers(1, 300))
def test_garbage_is_malformed_or_cut(data: bytes, kind: int, size: int) -> None:
    try:
        packet = SuperPacket(memoryview(data), kind, size, 20)
    except MalformedFrame:
        return
    assert len(list(packet)) == packet.count


@pytest.mark.parametrize("odd", [0, 1])
def test_a_partial_checksum_is_completed(odd: int) -> None:
    packet = tcp(bytes(range(100 + odd)), checksum=0)
    partial = words_sum(pseudo_header(LOCAL, REMOTE, 6, len(packet) - 20))
    frame = bytearray(packet[:36] + struct.pack(">H", partial) + packet[38:])
    complete_checksum(frame, 20, 16)
    assert is_intact(bytes(frame))


def test_a_checksum_outside_the_packet_is_malformed() -> None:
    with pytest.raises(MalformedFrame):
        complete_checksum(bytearray(40), 30, 9)
