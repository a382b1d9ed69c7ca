from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.kernel.userspace.association import FLOWS_LIMIT, InboundSa, OutboundSa
from charon_core.kernel.userspace.inbound import Inbound
from charon_core.kernel.userspace.rows_in import RowOpener
from charon_core.kernel.userspace.segment import SuperPacket
from charon_core.kernel.userspace.tables import Tables
from charon_core.kernel.userspace.tun import VNET_HEADER
from charon_core.network.packet import Endpoint
from tests.unit.userspace.factories import (
    ACK,
    ALGORITHMS,
    FIN,
    GCM,
    LOCAL,
    LOCAL6,
    PEER,
    PSH,
    REMOTE,
    REMOTE6,
    SPI,
    FakeDevice,
    Recorder,
    ip,
    network,
    sa_spec,
    tcp,
    udp,
)

IPV6: dict[str, Any] = {"source": LOCAL6, "destination": REMOTE6}


class Gateway:
    """The inbound side of a gateway with one SA, and a peer that sends on it."""

    def __init__(
        self,
        algorithm: str = GCM,
        *,
        rows: bool = True,
        tcp: bool = True,
        udp: bool = True,
        **changes: Any,
    ) -> None:
        self.tables = Tables(1400)
        self.device = FakeDevice()
        self.events = Recorder()
        sa = self.tables.add_sa(sa_spec(algorithm, inbound=True, **changes))
        assert isinstance(sa, InboundSa)
        self.sa = sa
        self.peer = OutboundSa(sa_spec(algorithm, esn=changes.get("esn", False)), 1400)
        self.inbound = Inbound(
            self.tables, self.device, self.events, tcp=tcp, udp=udp, clock=lambda: 100.0
        )
        if rows:
            self.inbound.row_opener = RowOpener()

    def sealed(self, packet: bytes) -> bytes:
        return self.peer.seal(self.peer.take(1), packet)

    def plaintext(self, plaintext: bytes) -> bytes:
        """Seal a plaintext as it is, trailer and all."""
        return self.peer.transform.seal(self.peer.take(1), plaintext)

    def train(self, *packets: bytes, source: Endpoint | None = PEER) -> None:
        """Receive ESP packets of one size in one go."""
        size = len(packets[0])
        assert all(len(packet) == size for packet in packets[:-1])
        assert len(packets[-1]) <= size
        self.inbound.receive(b"".join(packets), size if len(packets) > 1 else 0, source)

    @property
    def packets(self) -> list[bytes]:
        """The packets on the device, with super-packets cut again."""
        found = []
        for frame in self.device.written:
            _, kind, _, size, start, _ = VNET_HEADER.unpack_from(frame)
            packet = frame[VNET_HEADER.size :]
            found += list(SuperPacket(memoryview(packet), kind, size, start)) if kind else [packet]
        return found

    @property
    def drops(self) -> dict[str, int]:
        counters = self.inbound.statistics.as_dict()
        return {name: count for name, count in counters.items() if "drop" in name and count}


def stream(count: int, size: int = 100, *, first: int = 1000, **more: Any) -> list[bytes]:
    return [
        tcp(bytes([index & 0xFF]) * size, number=first + index * size, identification=index,
            **more)
        for index in range(count)
    ]  # fmt: skip


@pytest.fixture(params=[True, False], ids=["rows", "plain"])
def rows(request: pytest.FixtureRequest) -> bool:
    value: bool = request.param
    return value


@pytest.mark.parametrize("packet", [udp(), tcp(b"abc"), udp(**IPV6), ip(LOCAL, REMOTE, 47, b"g")])
def test_a_packet_arrives(packet: bytes) -> None:
    gateway = Gateway()
    gateway.train(gateway.sealed(packet))
    assert gateway.packets == [packet]
    assert gateway.device.written[0][: VNET_HEADER.size] == bytes(VNET_HEADER.size)
    assert gateway.sa.usage == (len(packet), 1, 100.0)
    assert gateway.drops == {}


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_train_arrives_as_one_frame(algorithm: str, esn: bool, rows: bool) -> None:
    gateway = Gateway(algorithm, rows=rows, esn=esn)
    packets = stream(10)
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.packets == packets
    assert len(gateway.device.written) == 1
    assert gateway.drops == {}
    assert gateway.sa.packets == 10
    assert gateway.sa.octets == sum(map(len, packets))
    assert gateway.sa.window.highest == 10


@pytest.mark.parametrize("more", [{}, IPV6])
def test_the_short_end_of_a_train_is_joined(more: dict[str, Any], rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = [*stream(10, **more), tcp(b"end", number=2000, flags=ACK | PSH, **more)]
    packets[-1:] = [tcp(b"end", number=2000, flags=ACK | PSH, identification=10, **more)]
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.packets == packets
    assert len(gateway.device.written) == 1


def test_a_full_train_of_full_packets(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = stream(45, 1348)
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.packets == packets
    assert len(gateway.device.written) == 1


def test_a_train_longer_than_sockets_give(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = stream(100, 1348)
    gateway.train(*map(gateway.sealed, packets))
    assert b"".join(packet[52:] for packet in gateway.packets) == b"".join(
        packet[52:] for packet in packets
    )


def test_trains_after_one_another_do_not_disturb_each_other(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    sent = []
    for size, count in ((100, 10), (1348, 40), (101, 7), (100, 12), (1348, 45)):
        packets = stream(count, size)
        gateway.train(*map(gateway.sealed, packets))
        sent += packets
    assert gateway.packets == sent


@pytest.mark.parametrize(
    "change",
    [
        {"number": 1},
        {"flags": ACK | FIN},
        {"flags": ACK | PSH},
        {"ports": (1, 2)},
        {"ttl": 9},
        {"checksum": 0x1234},
        {"options": b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\3"},
        {"fragment": 0},
        {"fragment": 0x2000},
    ],
)
@pytest.mark.parametrize("place", [0, 1, 5, 11])
def test_an_odd_packet_in_a_train(change: dict[str, Any], place: int, rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = stream(12)
    values = {"number": 1000 + place * 100, "identification": place} | change
    packets[place] = tcp(bytes([place]) * 100, **values)
    gateway.train(*map(gateway.sealed, packets))
    assert sorted(gateway.packets) == sorted(packets)
    assert gateway.sa.packets == 12
    if change.get("ports") is None:
        assert gateway.packets == packets


def test_two_flows_in_turn_are_both_joined(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    one, other = stream(10), stream(10, ports=(1, 2))
    packets = [packet for pair in zip(one, other, strict=True) for packet in pair]
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.packets == one + other
    assert len(gateway.device.written) == 2


def datagrams(count: int, size: int = 50, **more: Any) -> list[bytes]:
    return [udp(bytes([n]) * size, identification=n, **more) for n in range(count)]


def test_datagrams_stay_apart_where_the_device_takes_no_trains(rows: bool) -> None:
    gateway = Gateway(rows=rows, udp=False)
    gateway.train(*map(gateway.sealed, datagrams(10)))
    assert gateway.packets == datagrams(10)
    assert len(gateway.device.written) == 10


@pytest.mark.parametrize("size", [1, 50, 51, 1200])
@pytest.mark.parametrize("more", [{}, IPV6])
def test_datagrams_of_one_flow_are_joined(more: dict[str, Any], size: int, rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = datagrams(10, size, **more)
    if size > 1:
        packets.append(udp(b"end"[: size - 1], identification=10, **more))
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.packets == packets
    assert len(gateway.device.written) == 1


def test_datagrams_of_several_flows(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    one, other = datagrams(10), datagrams(10, ports=(1, 2))
    mixed = [packet for pair in zip(one, other, strict=True) for packet in pair]
    gateway.train(*map(gateway.sealed, [*one, *other]))
    gateway.train(*map(gateway.sealed, mixed))
    assert gateway.packets == one + other + one + other
    assert len(gateway.device.written) == 4


def test_datagrams_without_checksum_are_not_given_one(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = [packet[:26] + b"\0\0" + packet[28:] for packet in datagrams(8)]
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.device.packets == packets


def test_a_datagram_among_segments(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = stream(12)
    packets[5] = udp(bytes(124), identification=5)
    assert len(packets[5]) == len(packets[4])
    gateway.train(*map(gateway.sealed, packets))
    assert sorted(gateway.packets) == sorted(packets)


@pytest.mark.parametrize("length", [8, 57, 59, 0xFFFF])
def test_a_datagram_whose_length_lies_is_passed_on_as_it_is(length: int, rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = [packet[:24] + struct.pack(">H", length) + packet[26:] for packet in datagrams(8)]
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.device.packets == packets


def test_without_offload_every_packet_is_written(rows: bool) -> None:
    gateway = Gateway(rows=rows, tcp=False)
    packets = stream(10)
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.device.packets == packets


# -- replay --


def test_replayed_packets_are_dropped(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    sealed = list(map(gateway.sealed, stream(10)))
    gateway.train(*sealed)
    gateway.train(*sealed)
    gateway.train(sealed[3])
    assert len(gateway.packets) == 10
    assert gateway.drops == {"drop_replayed": 11}
    assert gateway.sa.packets == 10


def test_a_train_that_holds_a_packet_twice(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    sealed = list(map(gateway.sealed, stream(6)))
    gateway.train(*sealed[:3], sealed[2], *sealed[3:])
    assert gateway.packets == stream(6)
    assert gateway.drops == {"drop_replayed": 1}


@pytest.mark.parametrize("esn", [False, True])
def test_reordered_and_lost_packets(esn: bool, rows: bool) -> None:
    gateway = Gateway(rows=rows, esn=esn)
    packets = stream(20)
    sealed = list(map(gateway.sealed, packets))
    order = [0, 1, 3, 4, 6, 9, 8, 7, 2, 12, 13, 15, 19]
    gateway.train(*(sealed[n] for n in order))
    assert sorted(gateway.packets) == sorted(packets[n] for n in order)
    gateway.train(*(sealed[n] for n in (5, 10, 11, 14)))
    gateway.train(*sealed)
    assert gateway.sa.packets == 20
    assert gateway.sa.window.highest == 20


def test_a_lossy_train_marks_only_what_came(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    sealed = list(map(gateway.sealed, stream(20)))
    gateway.train(*sealed[::2])
    gateway.train(*sealed[1::2])
    assert gateway.sa.packets == 20
    assert gateway.drops == {}


def test_forged_packets_do_not_move_the_window(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    sealed = [bytearray(gateway.sealed(packet)) for packet in stream(10)]
    for packet in sealed[4:]:
        packet[4:8] = struct.pack(">I", 0x7FFFFFFF - packet[7])
    gateway.train(*map(bytes, sealed))
    assert len(gateway.packets) == 4
    assert gateway.drops == {"drop_not_authentic": 6}
    assert gateway.sa.window.highest == 4
    gateway.train(gateway.sealed(udp()))
    assert gateway.packets[-1] == udp()


def test_one_forged_packet_does_not_cost_the_others(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = stream(10)
    sealed = list(map(gateway.sealed, packets))
    sealed[5] = sealed[5][:-1] + bytes([sealed[5][-1] ^ 1])
    gateway.train(*sealed)
    assert gateway.packets == packets[:5] + packets[6:]
    assert gateway.drops == {"drop_not_authentic": 1}


def test_esn_through_the_wrap(rows: bool) -> None:
    gateway = Gateway(rows=rows, esn=True)
    gateway.peer.sequence = gateway.sa.window.highest = 0xFFFFFFFF - 20
    sent = []
    for _ in range(4):
        packets = stream(10)
        gateway.train(*map(gateway.sealed, packets))
        sent += packets
    assert gateway.packets == sent
    assert gateway.sa.window.highest == 0xFFFFFFFF + 20


def test_without_a_window_repetition_is_taken(rows: bool) -> None:
    gateway = Gateway(rows=rows, replay_window=0)
    sealed = list(map(gateway.sealed, stream(5)))
    gateway.train(*sealed)
    gateway.train(*sealed)
    assert gateway.sa.packets == 10


# -- selectors --


@pytest.mark.parametrize(
    "packet",
    [
        udp(source="10.3.0.1"),
        udp(destination="10.3.0.1"),
        udp(source=REMOTE, destination=LOCAL),
        udp(source="fd03::1", destination=REMOTE6),
        ip("0.0.0.0", "255.255.255.255", 17, b"\0\1\0\2\0\x08\0\0"),
    ],
)
def test_packets_outside_the_selectors_are_dropped(packet: bytes) -> None:
    gateway = Gateway()
    gateway.train(gateway.sealed(packet))
    assert gateway.packets == []
    assert gateway.drops == {"drop_selectors": 1}
    assert gateway.sa.packets == 0


def test_trains_outside_the_selectors_are_dropped(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    gateway.train(*map(gateway.sealed, stream(10, source="10.9.0.1")))
    assert gateway.packets == []
    assert gateway.drops == {"drop_selectors": 10}


def test_a_train_with_a_stranger_in_it(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    packets = [*stream(6), *stream(6, source="10.9.0.1"), *stream(12)[6:]]
    gateway.train(*map(gateway.sealed, packets))
    assert gateway.packets == packets[:6] + packets[12:]
    assert gateway.drops == {"drop_selectors": 6}


def test_ports_are_enforced_and_fragments_show_none(rows: bool) -> None:
    dns = {"protocol": 17, "ports": (53, 53)}
    gateway = Gateway(
        rows=rows,
        local_ts=(network("10.2.0.0/16", **dns),),
        remote_ts=(network("10.1.0.0/16", protocol=17),),
    )
    good = udp()
    for packet in (
        good,
        udp(ports=(5000, 54)),
        tcp(b"x", ports=(5000, 53)),
        ip(LOCAL, REMOTE, 17, b"later fragment", fragment=10),
        good,
    ):
        gateway.train(gateway.sealed(packet))
    assert gateway.packets == [good, good]
    assert gateway.drops == {"drop_selectors": 3}


def test_an_sa_without_selectors_takes_nothing() -> None:
    gateway = Gateway(local_ts=(), remote_ts=())
    gateway.train(gateway.sealed(udp()))
    assert gateway.packets == []


def test_many_flows_do_not_fill_the_memory() -> None:
    gateway = Gateway()
    for port in range(FLOWS_LIMIT + 10):
        gateway.sa.accepted.add(b"%d" % port)
    gateway.train(gateway.sealed(udp()))
    assert len(gateway.sa.accepted) == 1


# -- what is in a packet --


@pytest.mark.parametrize(
    ("plaintext", "counter"),
    [
        (b"\x01\x00\x00\x04", "drop_malformed"),  # no packet
        (b"\0\0\xff\x04", "drop_malformed"),  # more padding than there is
        (udp() + b"\2\1\2\4", "drop_malformed"),  # padding that does not count up
        (udp() + b"\1\2\3\2\2\4", "drop_malformed"),  # padding shorter than it looks
        (udp() + b"\1\2\2\x29", "drop_malformed"),  # IPv4, announced as IPv6
        (udp() + b"\1\2\2\x32", "drop_malformed"),  # ESP in ESP
        (udp()[:-1] + b"\1\2\3\3\4", "drop_malformed"),  # longer than the plaintext
        (bytes(50) + b"\0\x3b", "dummies"),  # RFC 4303 section 2.6
        (b"\0\x3b", "dummies"),
    ],
)
def test_contents_that_go_nowhere(plaintext: bytes, counter: str) -> None:
    gateway = Gateway()
    gateway.train(gateway.plaintext(plaintext))
    assert gateway.packets == []
    assert getattr(gateway.inbound.statistics, counter) == 1
    assert gateway.sa.window.highest == 1


@pytest.mark.parametrize("trailer", [b"\2\1\2\4", b"\1\2\2\x29", b"\1\2\2\x32"])
def test_a_train_with_bad_trailers(trailer: bytes, rows: bool) -> None:
    gateway = Gateway(rows=rows)
    gateway.train(*[gateway.plaintext(packet + trailer) for packet in stream(8, 102)])
    assert gateway.packets == []
    assert gateway.drops == {"drop_malformed": 8}


def test_dummies_in_a_train(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    dummy = bytes(100) + b"\0\x3b"
    gateway.train(*[gateway.plaintext(dummy) for _ in range(8)])
    assert gateway.packets == []
    assert gateway.inbound.statistics.dummies == 8


@pytest.mark.parametrize("packet", [udp(), udp(**IPV6), tcp(b"abc")])
def test_padding_that_hides_the_length_is_taken_off(packet: bytes, rows: bool) -> None:
    gateway = Gateway(rows=rows, udp=False)
    gateway.peer.padded_to = 700
    sealed = [gateway.sealed(packet) for _ in range(6)]
    gateway.train(*sealed)
    assert gateway.packets == [packet] * 6


@given(st.binary(min_size=2, max_size=100))
def test_no_content_raises(plaintext: bytes) -> None:
    gateway = Gateway()
    for _ in range(2):
        gateway.train(*[gateway.plaintext(plaintext) for _ in range(5)])
    assert gateway.sa.window.highest == 10


# -- what is no ESP packet --


@pytest.mark.parametrize("algorithm", [GCM, "AES_CBC-128/HMAC_SHA1_96", "AES_GCM_8-128"])
def test_truncation_at_every_length(algorithm: str, rows: bool) -> None:
    gateway = Gateway(algorithm, rows=rows)
    sealed = gateway.sealed(udp(b"abcdef"))
    for length in range(len(sealed)):
        gateway.inbound.receive(sealed[:length] * 8, length, PEER)
        gateway.inbound.receive(sealed[:length], 0, None)
    assert gateway.packets == []
    assert gateway.sa.window.highest == 0
    gateway.train(sealed)
    assert gateway.packets == [udp(b"abcdef")]


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 80), st.booleans())
def test_garbage_never_raises(data: bytes, segment: int, ours: bool) -> None:
    gateway = Gateway()
    if ours:
        data = struct.pack(">I", SPI) + data
    gateway.inbound.receive(data, segment, PEER)
    assert gateway.packets == []


def test_an_unknown_spi_is_counted(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    sealed = list(map(gateway.sealed, stream(5)))
    gateway.tables.remove_sa(gateway.sa.spec.id)
    gateway.train(*sealed)
    assert gateway.drops == {"drop_no_sa": 5}


def test_a_train_of_two_sas(rows: bool) -> None:
    gateway, other = Gateway(rows=rows), Gateway()
    sealed = list(map(gateway.sealed, stream(4)))
    stranger = b"\xc0\0\0\1" + other.sealed(stream(1)[0])[4:]
    gateway.train(*sealed[:2], stranger, *sealed[2:])
    assert gateway.packets == stream(4)
    assert gateway.drops == {"drop_no_sa": 1}


def test_what_the_device_does_not_take_is_lost() -> None:
    gateway = Gateway()
    gateway.device.takes = False
    gateway.train(gateway.sealed(udp()))
    assert gateway.drops == {"drop_device": 1}


# -- events --


def test_a_peer_that_moves_is_reported_once(rows: bool) -> None:
    gateway = Gateway(rows=rows)
    moved, again = Endpoint("198.51.100.9", 61000), Endpoint("198.51.100.9", 61001)
    for source in (PEER, moved, moved, again, again):
        gateway.train(*map(gateway.sealed, stream(5)), source=source)
    assert gateway.events.events == [("mapping", gateway.sa, moved), ("mapping", gateway.sa, again)]
    gateway.train(gateway.sealed(udp()))
    gateway.train(gateway.sealed(udp()), source=again)
    assert len(gateway.events.events) == 3


def test_only_authentic_packets_tell_that_a_peer_moved() -> None:
    gateway = Gateway()
    sealed = gateway.sealed(udp())
    moved = Endpoint("198.51.100.9", 61000)
    gateway.train(sealed[:-1] + bytes([sealed[-1] ^ 1]), source=moved)
    gateway.train(b"\1" + sealed[1:], source=moved)
    gateway.train(sealed)
    gateway.train(sealed, source=moved)  # a replay
    assert gateway.events.events == []


def test_limits_are_reported(rows: bool) -> None:
    gateway = Gateway(rows=rows, hard_bytes=1000)
    gateway.train(*map(gateway.sealed, stream(5)))
    assert gateway.events.events == []
    gateway.train(*map(gateway.sealed, stream(5, first=1500)))
    assert ("limit", gateway.sa) in gateway.events.events


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # flow; the last one is UDP
            st.sampled_from([100, 100, 100, 60]),
            st.sampled_from([ACK, ACK, ACK, ACK | PSH, ACK | FIN]),
            st.booleans(),  # lost
            st.booleans(),  # damaged
        ),
        min_size=1,
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_rows_give_what_one_by_one_gives(
    sent: list[tuple[int, int, int, bool, bool]], random: Any
) -> None:
    fast, plain = Gateway(), Gateway(rows=False)
    numbers = [1000, 2000, 3000, 0]
    trains: list[list[tuple[bytes, bytes]]] = []
    for flow, size, flags, lost, damaged in sent:
        packet = tcp(
            bytes([flow]) * size, number=numbers[flow], flags=flags, ports=(flow, 80),
            source="10.9.0.1" if flow == 2 else LOCAL, fragment=0x4000,
            checksum=0x1234 if damaged and random.random() < 0.3 else None,
        )  # fmt: skip
        if flow == 3:
            packet = udp(bytes([size]) * (size + 24), ports=(flow, 80))
        numbers[flow] += size
        sealed = fast.sealed(packet)
        if lost and random.random() < 0.3:
            continue
        if not trains or len(trains[-1][-1][0]) != len(sealed):
            trains.append([])
        trains[-1].append((sealed, packet))
    for train in trains:
        fast.train(*(sealed for sealed, _ in train))
        plain.train(*(sealed for sealed, _ in train))
    strip = lambda packets: sorted(p[:4] + p[6:10] + p[12:] for p in packets)  # noqa: E731
    assert strip(fast.packets) == strip(plain.packets)
    assert fast.drops == plain.drops
    assert fast.sa.usage == plain.sa.usage
    for port in (0, 1):
        key = struct.pack(">H", port)
        assert [p for p in fast.packets if p[20:22] == key and p[33] == ACK] == [
            p for p in plain.packets if p[20:22] == key and p[33] == ACK
        ]
