from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.userspace.coalesce import Coalescer, header_end
from charon_core.kernel.userspace.segment import SuperPacket
from charon_core.kernel.userspace.tun import VNET_HEADER
from tests.unit.userspace.factories import (
    ACK,
    FIN,
    LOCAL6,
    PSH,
    REMOTE6,
    ip,
    is_intact,
    tcp,
    udp,
)

IPV6: dict[str, Any] = {"source": LOCAL6, "destination": REMOTE6}
MSS = 100


def join(packets: list[bytes], *, tcp: bool = True, udp: bool = True) -> list[bytes]:
    coalescer = Coalescer(tcp=tcp, udp=udp)
    for packet in packets:
        coalescer.add(packet)
    frames = [b"".join(frame) for frame in coalescer.take()]
    assert coalescer.take() == []
    return frames


def stream(count: int, size: int = MSS, *, first: int = 1000, **more: Any) -> list[bytes]:
    """Segments of one flow, each full of its number."""
    return [
        tcp(bytes([index]) * size, number=first + index * size, identification=index, **more)
        for index in range(count)
    ]


def uncut(frames: list[bytes]) -> list[bytes]:
    """Cut every frame that is a super-packet again, as the kernel would; check the others."""
    packets = []
    for frame in frames:
        flags, kind, end, size, transport, place = VNET_HEADER.unpack_from(frame)
        packet = frame[VNET_HEADER.size :]
        if kind:
            tcp_end = transport + (packet[transport + 12] >> 4 << 2)
            expected = (6, transport + 8) if kind == 5 else (16, tcp_end)
            assert (flags, place, end) == (1, *expected)
            packets += list(SuperPacket(memoryview(packet), kind, size, transport))
        else:
            assert frame[: VNET_HEADER.size] == bytes(VNET_HEADER.size)
            packets.append(packet)
    return packets


def partial_checksum_is_right(frame: bytes) -> bool:
    """Finish the checksum as a network card would, and verify it."""
    from charon_core.kernel.userspace.segment import complete_checksum

    _, _, _, _, start, offset = VNET_HEADER.unpack_from(frame)
    packet = bytearray(frame[VNET_HEADER.size :])
    complete_checksum(packet, start, offset)
    return is_intact(bytes(packet))


@pytest.mark.parametrize("more", [{}, IPV6])
def test_a_stream_becomes_one_frame(more: dict[str, Any]) -> None:
    packets = stream(5, **more)
    frames = join(packets)
    assert len(frames) == 1
    assert partial_checksum_is_right(frames[0])
    assert uncut(frames) == packets


def test_a_short_segment_is_the_last() -> None:
    packets = [*stream(2), tcp(b"end", number=1200), tcp(b"next", number=1203)]
    frames = join(packets)
    assert [VNET_HEADER.unpack_from(frame)[3] for frame in frames] == [MSS, 0]
    assert partial_checksum_is_right(frames[0])


def test_push_is_the_last_and_is_kept() -> None:
    packets = [*stream(2), tcp(bytes(MSS), number=1200, flags=ACK | PSH)]
    packets.append(tcp(bytes(MSS), number=1300))
    frames = join(packets)
    assert len(frames) == 2
    assert frames[0][VNET_HEADER.size + 33] == ACK | PSH
    assert frames[1][VNET_HEADER.size + 33] == ACK


@pytest.mark.parametrize(
    "other",
    [
        tcp(bytes(MSS), number=1101),  # a gap
        tcp(bytes(MSS), number=1000),  # a retransmission
        tcp(bytes(MSS + 1), number=1100),  # longer than the first
        tcp(bytes(MSS), number=1100, ports=(40000, 81)),
        tcp(bytes(MSS), number=1100, destination="10.2.0.2"),
        tcp(bytes(MSS), number=1100, flags=ACK | FIN),
        tcp(bytes(MSS), number=1100, flags=0),
        tcp(bytes(MSS), number=1100, options=b""),
        tcp(bytes(MSS), number=1100, options=b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\3"),
        tcp(bytes(MSS), number=1100, ttl=63),
        tcp(bytes(MSS), number=1100, fragment=0),
        tcp(bytes(MSS), number=1100, fragment=0x2000),
        tcp(bytes(MSS), number=1100, checksum=0x1234),  # damaged
        tcp(b"", number=1100),  # a mere acknowledgement
        udp(),
        ip("10.1.0.1", "10.2.0.1", 6, b"short"),
    ],
)
def test_what_does_not_go_on_stays_as_it_is(other: bytes) -> None:
    packets = [*stream(1), other]
    assert uncut(join(packets)) == packets
    assert len(join(packets)) == 2


def test_a_damaged_first_segment_is_not_repaired_by_joining() -> None:
    packets = [tcp(bytes(MSS), checksum=0x1234), *stream(3)[1:]]
    frames = join(packets)
    assert frames[0] == bytes(VNET_HEADER.size) + packets[0]
    assert uncut(frames) == packets


def test_a_wrong_header_checksum_is_not_repaired_by_joining() -> None:
    packets = stream(2)
    packets[1] = packets[1][:10] + b"\1\2" + packets[1][12:]
    assert len(join(packets)) == 2


def test_flows_in_turn_are_joined_each() -> None:
    one, other = stream(4), stream(4, ports=(1, 2))
    mixed = [packet for pair in zip(one, other, strict=True) for packet in pair]
    frames = join(mixed)
    assert len(frames) == 2
    assert uncut(frames) == one + other


def test_a_super_packet_is_no_larger_than_a_packet_may_be() -> None:
    packets = stream(60, 1348)
    frames = join(packets)
    assert len(frames) == 2
    assert max(map(len, frames)) <= VNET_HEADER.size + 0xFFFF
    assert uncut(frames) == packets


def test_numbers_wrap() -> None:
    packets = stream(4, first=(1 << 32) - 150)
    assert len(join(packets)) == 1


def test_without_offload_nothing_is_joined() -> None:
    packets = stream(3)
    assert join(packets, tcp=False) == [bytes(VNET_HEADER.size) + packet for packet in packets]
    bare = Coalescer(tcp=False, header_length=0)
    bare.add(packets[0])
    assert b"".join(bare.take()[0]) == packets[0]


@pytest.mark.parametrize("more", [{}, IPV6])
@pytest.mark.parametrize("size", [1, 2, 33])
def test_datagrams_become_one_frame(size: int, more: dict[str, Any]) -> None:
    packets = [udp(bytes([n]) * size, identification=n, **more) for n in range(5)]
    frames = join(packets)
    assert len(frames) == 1
    assert partial_checksum_is_right(frames[0])
    assert uncut(frames) == packets
    assert len(join(packets, udp=False)) == 5
    assert len(join(packets, tcp=False)) == 5


def test_a_shorter_datagram_is_the_last_and_a_longer_one_begins_anew() -> None:
    sizes = [50, 50, 20, 20, 60, 50]
    packets = [udp(bytes(size), identification=n) for n, size in enumerate(sizes)]
    frames = join(packets)
    assert [len(frame) - 38 for frame in frames] == [120, 20, 110]
    # The kernel numbers the packets itself.
    assert [packet[20:] for packet in uncut(frames)] == [packet[20:] for packet in packets]


def test_the_kernel_takes_64_datagrams_in_a_frame() -> None:
    packets = [udp(b"x", identification=n) for n in range(100)]
    assert [len(frame) - 38 for frame in join(packets)] == [64, 36]


@pytest.mark.parametrize("packet", [tcp(b"x"), tcp(b"x", **IPV6), udp(b"x"), udp(b"x", **IPV6)])
def test_truncation_at_every_length(packet: bytes) -> None:
    for length in range(20 if packet[0] == 0x45 else 40, len(packet)):
        assert header_end(packet[:length]) == 0


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), max_size=6),
    st.booleans(),
)
def test_whatever_is_joined_has_the_same_content(
    sizes: list[int], pushes: list[int], ipv6: bool
) -> None:
    number, packets = 5000, []
    for index, size in enumerate(sizes):
        flags = ACK | (PSH if index in pushes else 0)
        packets.append(
            tcp(bytes([index]) * size, number=number, flags=flags, identification=index,
                **(IPV6 if ipv6 else {}))
        )  # fmt: skip
        number += size
    back = uncut(join(packets))
    # The kernel numbers the segments of a super-packet itself.
    strip = (lambda p: p) if ipv6 else (lambda p: p[:4] + p[6:10] + p[12:])
    assert list(map(strip, back)) == list(map(strip, packets))
    assert all(map(is_intact, back))
