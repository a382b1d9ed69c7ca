from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.kernel.interface import PolicyAction, SaId, SaSpec
from charon_core.kernel.userspace.association import OutboundSa
from charon_core.kernel.userspace.outbound import Outbound
from charon_core.kernel.userspace.rows_out import RowSealer
from charon_core.kernel.userspace.tables import Tables
from charon_core.kernel.userspace.tun import VNET_HEADER
from charon_core.network.packet import Endpoint
from tests.unit.userspace.factories import (
    ACK,
    ALGORITHMS,
    CWR,
    FIN,
    GCM,
    HERE,
    LOCAL,
    LOCAL6,
    PSH,
    REMOTE6,
    THERE,
    FakeDevice,
    FakeSocket,
    Recorder,
    is_intact,
    network,
    plain_frame,
    policy_spec,
    sa_spec,
    super_packet,
    tcp,
    udp,
)

IPV6: dict[str, Any] = {"source": LOCAL6, "destination": REMOTE6}


class Gateway:
    """The outbound side of a gateway with one SA, and what came of it."""

    def __init__(self, algorithm: str = GCM, *, rows: bool = True, **changes: Any) -> None:
        self.tables = Tables(1400)
        self.device = FakeDevice()
        self.socket = FakeSocket()
        self.events = Recorder()
        self.now = 100.0
        self.spec = sa_spec(algorithm, **changes)
        sa = self.tables.add_sa(self.spec)
        assert isinstance(sa, OutboundSa)
        self.sa = sa
        self.tables.add_policy(policy_spec())
        self.tables.add_policy(policy_spec("fd01::/16", "fd02::/16"))
        self.outbound = Outbound(
            self.tables, self.device, self.events, lambda _: self.socket, lambda: self.now
        )
        if rows:
            self.outbound.use_rows(RowSealer)

    def send(self, *frames: bytes) -> list[bytes]:
        """Put frames into the device; return what the peer finds in the ESP packets."""
        self.device.frames += frames
        sent = len(self.socket.packets)
        assert self.outbound.drain(1000) == len(frames)
        return [self.opened(packet) for packet in self.socket.packets[sent:]]

    def opened(self, packet: bytes) -> bytes:
        """Open one ESP packet, and check its trailer."""
        from charon_core.kernel.userspace.algorithms import create_transform

        transform = create_transform(self.spec)
        sequence = int.from_bytes(packet[4:8], "big")
        plaintext = transform.open(packet, sequence)
        assert len(plaintext) % transform.alignment == 0
        padding, protocol = plaintext[-2], plaintext[-1]
        assert plaintext[len(plaintext) - 2 - padding : -2] == bytes(range(1, padding + 1))
        assert protocol == {4: 4, 6: 41}[plaintext[0] >> 4]
        return plaintext[: len(plaintext) - 2 - padding]

    @property
    def sequences(self) -> list[int]:
        return [int.from_bytes(packet[4:8], "big") for packet in self.socket.packets]


def payloads(packets: list[bytes]) -> bytes:
    return b"".join(
        packet[transport + (packet[transport + 12] >> 4 << 2) :]
        for packet in packets
        for transport in (20 if packet[0] >> 4 == 4 else 40,)
    )


def test_a_packet_goes_to_the_peer() -> None:
    gateway = Gateway()
    packet = udp()
    assert gateway.send(plain_frame(packet)) == [packet]
    assert gateway.socket.ends == [(Endpoint(HERE, 4500), Endpoint(THERE, 4500))]
    assert gateway.socket.sizes == [0]
    assert gateway.sa.usage == (len(packet), 1, 100.0)
    assert gateway.outbound.statistics.octets == len(packet)
    assert gateway.tables.policy_use(policy_spec()) == 100.0


def test_sequence_numbers_begin_with_one_and_count() -> None:
    gateway = Gateway()
    gateway.send(*[plain_frame(udp())] * 3, super_packet(bytes(1000), 100), plain_frame(udp()))
    assert gateway.sequences == list(range(1, 15))


def test_packets_of_one_size_share_a_train_that_a_shorter_one_ends() -> None:
    gateway = Gateway()
    sizes = [100, 100, 100, 50, 50, 200, 100]
    gateway.send(*[plain_frame(udp(bytes(size))) for size in sizes])
    assert [len(train) for train in gateway.socket.trains] == [4, 1, 2]
    for train in gateway.socket.trains:
        assert len({len(packet) for packet in train[:-1]}) <= 1
        assert len(train[-1]) <= len(train[0])


def test_trains_are_no_longer_than_the_kernel_takes() -> None:
    gateway = Gateway()
    gateway.send(*[plain_frame(udp(bytes(1300)))] * 100)
    gateway.send(*[plain_frame(udp(b""))] * 100)
    gateway.send(*[super_packet(bytes(65000), 88)] * 3)
    for train in gateway.socket.trains:
        assert len(train) <= 64
        assert sum(map(len, train)) <= 65507


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS])
def test_super_packets_are_cut_and_sealed(algorithm: str, rows: bool) -> None:
    gateway = Gateway(algorithm, rows=rows)
    payload = bytes(n * 7 & 0xFF for n in range(5000))
    packets = gateway.send(super_packet(payload, 350, flags=ACK | PSH | FIN | CWR))
    assert payloads(packets) == payload
    assert all(map(is_intact, packets))
    flags = [packet[33] for packet in packets]
    assert flags == [ACK | CWR, *[ACK] * 13, ACK | PSH | FIN]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000),
            st.integers(20, 1460),
            st.booleans(),
            st.sampled_from([0x4000, 0]),
            st.sampled_from([ACK, ACK | PSH, ACK | CWR | FIN]),
            st.integers(0, 0xFFFFFFFF),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([GCM, "AES_CBC-128/HMAC_SHA1_96", "CHACHA20_POLY1305"]),
)
def test_rows_give_what_one_by_one_gives(
    packets: list[tuple[int, int, bool, int, int, int]], algorithm: str
) -> None:
    frames = []
    for extra, size, ipv6, fragment, flags, number in packets:
        more = dict(IPV6) if ipv6 else {"fragment": fragment, "identification": number & 0xFFFF}
        payload = bytes((number + n) & 0xFF for n in range(size + 1 + extra))
        frames.append(super_packet(payload, size, number=number, flags=flags, **more))
    fast, plain = Gateway(algorithm), Gateway(algorithm, rows=False)
    left, right = fast.send(*frames), plain.send(*frames)
    assert all(map(is_intact, left))
    assert [without_identification(p) for p in left] == [without_identification(p) for p in right]
    assert fast.sequences == plain.sequences == list(range(1, len(left) + 1))
    assert fast.sa.usage == plain.sa.usage


def without_identification(packet: bytes) -> bytes:
    """Leave out what may be the same in packets that are never fragmented (RFC 6864)."""
    may_fragment = packet[0] == 0x45 and not packet[6] & 0x40
    return packet if packet[0] != 0x45 or may_fragment else packet[:4] + packet[6:10] + packet[12:]


def test_a_train_is_filled_from_the_packets_of_a_stream() -> None:
    gateway = Gateway()
    size, count = 1348, 48
    for index in range(4):
        number = 1000 + index * size * count
        gateway.device.frames.append(super_packet(bytes(size * count), size, number=number))
    gateway.outbound.drain(100)
    assert [len(train) for train in gateway.socket.trains] == [45, 45, 45, 45, 12]
    assert gateway.sequences == list(range(1, 193))


def test_sas_do_not_share_a_train() -> None:
    gateway = Gateway()
    other = gateway.tables.add_sa(
        sa_spec(
            id=SaId(HERE, "192.0.2.3", gateway.spec.id.protocol, 0xC0000002),
            reqid=8,
            remote_ts=(network("10.3.0.0/16"),),
        )
    )
    gateway.tables.add_policy(policy_spec("10.1.0.0/16", "10.3.0.0/16", reqid=8))
    frames = [
        super_packet(bytes(2000), 100),
        super_packet(bytes(2000), 100, destination="10.3.0.1"),
    ]
    gateway.device.frames += [frames[0], frames[1], frames[0], plain_frame(udp())]
    gateway.outbound.drain(100)
    spis = [{packet[:4] for packet in train} for train in gateway.socket.trains]
    ours, theirs = b"\xc0\xff\xee\x01", b"\xc0\x00\x00\x02"
    assert spis == [{ours}, {theirs}, {ours}, {ours}]
    assert [end.host for _, end in gateway.socket.ends] == [THERE, "192.0.2.3", THERE, THERE]
    assert other.usage.packets == 20
    assert gateway.sequences[:20] == gateway.sequences[20:40] == list(range(1, 21))


def test_sas_of_different_algorithms_use_the_same_rows() -> None:
    # AES-CTR with SHA-256 needs as many octets around the plaintext as AES-GCM.
    gateway, other = Gateway(), Gateway("AES_CTR-128/HMAC_SHA2_256_128")
    spec = sa_spec(
        "AES_CTR-128/HMAC_SHA2_256_128",
        id=SaId(HERE, THERE, gateway.spec.id.protocol, 0xC0000002),
        reqid=8,
        remote_ts=(network("10.3.0.0/16"),),
    )
    gateway.tables.add_sa(spec)
    gateway.tables.add_policy(policy_spec("10.1.0.0/16", "10.3.0.0/16", reqid=8))
    mine = super_packet(bytes(1000), 100)
    theirs = super_packet(bytes(1000), 100, destination="10.3.0.1")
    gateway.device.frames += [mine, theirs, mine, theirs]
    gateway.outbound.drain(100)
    other.spec = spec
    for number, train in enumerate(gateway.socket.trains):
        opened = [(other if number % 2 else gateway).opened(packet) for packet in train]
        assert len(opened) == 10
        assert all(map(is_intact, opened))
        spi = spec.id.spi if number % 2 else gateway.spec.id.spi
        assert {packet[:4] for packet in train} == {spi.to_bytes(4, "big")}


def test_the_order_within_a_flow_is_kept() -> None:
    gateway = Gateway()
    frames = [
        super_packet(b"a" * 500, 100, number=1000),
        plain_frame(tcp(b"b" * 100, number=1500)),
        super_packet(b"c" * 550, 100, number=1600),
        plain_frame(tcp(b"d" * 10, number=2150)),
        super_packet(b"e" * 500, 100, number=2160),
        super_packet(b"f" * 150, 100, number=2660),
    ]
    expected = b"a" * 500 + b"b" * 100 + b"c" * 550 + b"d" * 10 + b"e" * 500 + b"f" * 150
    assert payloads(gateway.send(*frames)) == expected


def test_esn_goes_on_after_the_wrap() -> None:
    gateway = Gateway(esn=True)
    gateway.sa.sequence = 0xFFFFFFF0
    gateway.device.frames += [super_packet(bytes(4000), 100), plain_frame(udp())]
    gateway.outbound.drain(100)
    assert gateway.sequences == [n & 0xFFFFFFFF for n in range(0xFFFFFFF1, 0x10000001A)]
    from charon_core.kernel.userspace.algorithms import create_transform

    transform = create_transform(gateway.spec)
    for number, packet in enumerate(gateway.socket.packets, 0xFFFFFFF1):
        assert transform.open(packet, number)


@pytest.mark.parametrize("esn", [False, True])
def test_without_sequence_numbers_nothing_is_sent(esn: bool) -> None:
    gateway = Gateway(esn=esn)
    gateway.sa.sequence = gateway.sa.sequence_limit - 1
    assert gateway.sa.sequence_limit == (1 << (64 if esn else 32)) - 1
    gateway.device.frames += [super_packet(bytes(1000), 100)] + [plain_frame(udp())] * 3
    gateway.outbound.drain(100)
    assert len(gateway.socket.packets) == 1
    assert gateway.outbound.statistics.drop_exhausted == 12
    assert gateway.events.named("exhausted") == [(gateway.sa,)]


def test_partial_checksums_are_completed() -> None:
    packet = super_packet(b"lone", 0)
    _, _, end, _, start, place = VNET_HEADER.unpack_from(packet)
    frame = VNET_HEADER.pack(1, 0, end, 0, start, place) + packet[VNET_HEADER.size :]
    assert is_intact(Gateway().send(frame)[0])


def test_short_packets_are_padded_to_hide_their_length() -> None:
    gateway = Gateway(tfc=500)
    inner = gateway.send(
        plain_frame(udp(b"short")), plain_frame(udp(bytes(900))), super_packet(bytes(900), 300)
    )
    assert [len(packet) for packet in inner] == [500, 928, 500, 500, 500]
    assert inner[0].rstrip(b"\0") == udp(b"short")
    longest = Gateway(tfc=-1)
    assert len(longest.send(plain_frame(udp()))[0]) == 1400


# -- what is not sent --


def test_no_policy_no_packet() -> None:
    gateway = Gateway()
    gateway.send(plain_frame(udp(destination="10.9.0.1")))
    assert gateway.socket.packets == []
    assert gateway.outbound.statistics.drop_no_policy == 1
    assert gateway.events.events == []


@pytest.mark.parametrize("action", [PolicyAction.PASS, PolicyAction.DROP])
def test_shunts_are_not_protected(action: PolicyAction) -> None:
    gateway = Gateway()
    gateway.tables.add_policy(policy_spec(destination="10.2.3.0/24", action=action, priority=1))
    gateway.send(plain_frame(udp(destination="10.2.3.4")), plain_frame(udp(destination="10.2.4.4")))
    assert len(gateway.socket.packets) == 1
    assert gateway.outbound.statistics.drop_policy == 1


def test_a_policy_without_sa_asks_for_one() -> None:
    gateway = Gateway()
    gateway.tables.add_policy(policy_spec(destination="10.4.0.0/16", reqid=9))
    packet = udp(destination="10.4.0.1")
    gateway.send(plain_frame(packet))
    assert gateway.outbound.statistics.held == 1
    assert gateway.outbound.statistics.dropped == 0
    assert gateway.events.events == [("acquire", 9, packet)]


def test_a_new_sa_takes_over_and_the_old_one_comes_back() -> None:
    gateway = Gateway()
    gateway.send(plain_frame(udp()))
    new: SaSpec = sa_spec(id=SaId(HERE, THERE, gateway.spec.id.protocol, 0xC0000009))
    gateway.tables.add_sa(new)
    gateway.send(plain_frame(udp()))
    gateway.tables.remove_sa(new.id)
    gateway.send(plain_frame(udp()))
    assert [packet[:4].hex() for packet in gateway.socket.packets] == [
        "c0ffee01", "c0000009", "c0ffee01",
    ]  # fmt: skip
    gateway.tables.remove_sa(gateway.spec.id)
    gateway.device.frames.append(plain_frame(udp()))
    gateway.outbound.drain(100)
    assert gateway.outbound.statistics.held == 1


def test_a_moved_sa_sends_to_the_new_address() -> None:
    from charon_core.kernel.interface import Encapsulation

    gateway = Gateway()
    gateway.tables.move_sa(gateway.spec.id, "192.0.2.7", "192.0.2.8", Encapsulation(4501, 60000))
    gateway.send(plain_frame(udp()))
    assert gateway.socket.ends == [(Endpoint("192.0.2.7", 4501), Endpoint("192.0.2.8", 60000))]


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENETUNREACH, errno.ENOBUFS])
def test_what_the_socket_does_not_take_is_lost(error: int) -> None:
    gateway = Gateway()
    gateway.socket.error = OSError(error, "no")
    gateway.send(plain_frame(udp()), super_packet(bytes(1000), 100))
    assert gateway.outbound.statistics.drop_send == 11
    gateway.socket.error = None
    assert len(gateway.send(plain_frame(udp()))) == 1


def test_limits_are_reported() -> None:
    gateway = Gateway(soft_packets=3)
    gateway.send(*[plain_frame(udp())] * 2)
    assert gateway.events.events == []
    gateway.send(plain_frame(udp()))
    assert gateway.events.events == [("limit", gateway.sa)]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0" * 9,
        plain_frame(b""),
        plain_frame(b"\x45"),
        plain_frame(udp()[:-1]),
        VNET_HEADER.pack(1, 1, 0, 0, 20, 16) + tcp(bytes(100)),
        VNET_HEADER.pack(1, 1, 0, 10, 90, 16) + tcp(bytes(100)),
        VNET_HEADER.pack(1, 0, 0, 0, 200, 16) + tcp(bytes(100)),
    ],
)
def test_malformed_frames_are_counted(frame: bytes) -> None:
    gateway = Gateway()
    gateway.device.frames.append(frame or b"\0")
    gateway.outbound.drain(100)
    assert gateway.socket.packets == []
    assert gateway.outbound.statistics.drop_malformed == 1


@given(st.lists(st.binary(min_size=1, max_size=150), max_size=5))
def test_garbage_never_raises(frames: list[bytes]) -> None:
    gateway = Gateway()
    gateway.device.frames += frames
    gateway.device.frames += [VNET_HEADER.pack(1, 1, 40, 9, 20, 16) + frame for frame in frames]
    gateway.outbound.drain(1000)
    assert gateway.device.frames == []


def test_many_flows_do_not_fill_the_memory() -> None:
    from charon_core.kernel.userspace.association import FLOWS_LIMIT

    gateway = Gateway()
    for port in range(FLOWS_LIMIT + 100):
        gateway.tables.verdict(b"%d" % port, udp(source=LOCAL, ports=(port, 1)))
    assert len(gateway.tables.flows) <= FLOWS_LIMIT


def test_a_drain_is_bounded_in_frames_and_octets() -> None:
    gateway = Gateway()
    frames = [plain_frame(udp())] * 5
    gateway.device.frames += frames
    assert gateway.outbound.drain(3) == 3
    assert gateway.outbound.drain(3, len(frames[0]) + 1) == 2
    assert gateway.outbound.drain(3) == 0
    assert len(gateway.socket.packets) == 5


# -- traps and shunts -------------------------------------------------------------------------


def trapped(gateway: Gateway) -> None:
    """Have packets to 10.4.0.0/16 wait for an SA."""
    gateway.tables.add_policy(policy_spec(destination="10.4.0.0/16", reqid=9))


def arrive(gateway: Gateway, *, remote: str = "10.4.0.0/16", reqid: int = 9) -> SaSpec:
    """Install the SA that packets wait for."""
    spec = sa_spec(
        id=SaId(HERE, THERE, gateway.spec.id.protocol, 0xC0000009),
        reqid=reqid,
        remote_ts=(network(remote),),
    )
    gateway.tables.add_sa(spec)
    gateway.outbound.release()
    return spec


def test_what_waits_for_an_sa_is_sent_when_it_comes() -> None:
    gateway = Gateway()
    trapped(gateway)
    packets = [udp(destination="10.4.0.1", payload=bytes([n] * 9)) for n in range(3)]
    gateway.send(*map(plain_frame, packets))
    assert gateway.socket.packets == []
    gateway.spec = arrive(gateway)
    assert [gateway.opened(packet) for packet in gateway.socket.packets] == packets
    gateway.outbound.release()
    assert len(gateway.socket.packets) == 3


def test_few_packets_wait_and_not_for_long() -> None:
    gateway = Gateway()
    trapped(gateway)
    gateway.send(*[plain_frame(udp(destination="10.4.0.1"))] * 20)
    statistics = gateway.outbound.statistics
    assert (statistics.held, statistics.drop_no_sa) == (8, 12)
    gateway.now += 21
    arrive(gateway)
    assert gateway.socket.packets == []


def test_an_sa_for_less_than_the_trap_carries_no_more() -> None:
    gateway = Gateway()
    trapped(gateway)
    inside, outside = udp(destination="10.4.0.1"), udp(destination="10.4.1.1")
    gateway.send(plain_frame(inside), plain_frame(outside))
    gateway.events.events.clear()
    gateway.spec = arrive(gateway, remote="10.4.0.0/24")
    assert [gateway.opened(packet) for packet in gateway.socket.packets] == [inside]
    gateway.send(plain_frame(outside))
    assert gateway.events.events == [("acquire", 9, outside)]


def test_a_super_packet_waits_in_segments() -> None:
    gateway = Gateway()
    trapped(gateway)
    gateway.send(super_packet(bytes(400), 100, destination="10.4.0.1"))
    gateway.spec = arrive(gateway)
    opened = [gateway.opened(packet) for packet in gateway.socket.packets]
    assert len(opened) == 4
    assert all(map(is_intact, opened))


class Exit:
    """Where packets go that may pass."""

    def __init__(self, gateway: Gateway) -> None:
        self.packets: list[bytes] = []
        self.fails = False
        gateway.outbound = Outbound(
            gateway.tables,
            gateway.device,
            gateway.events,
            lambda _: gateway.socket,
            lambda: gateway.now,
            send_plain=self.send,
        )

    def send(self, packet: Any) -> None:
        if self.fails:
            raise OSError(errno.ENETUNREACH, "no")
        self.packets.append(bytes(packet))


def test_what_may_pass_goes_out_as_it_is() -> None:
    gateway = Gateway()
    out = Exit(gateway)
    gateway.tables.add_policy(
        policy_spec(destination="10.2.7.0/24", action=PolicyAction.PASS, priority=1)
    )
    packet = udp(destination="10.2.7.1")
    gateway.send(plain_frame(packet), plain_frame(udp()))
    assert out.packets == [packet]
    assert len(gateway.socket.packets) == 1
    gateway.send(super_packet(bytes(400), 100, destination="10.2.7.1"))
    assert len(out.packets) == 5
    assert all(map(is_intact, out.packets))
    out.fails = True
    gateway.send(plain_frame(packet))
    statistics = gateway.outbound.statistics
    assert (statistics.bypassed, statistics.drop_send) == (5, 1)


def test_without_a_way_past_the_device_nothing_passes() -> None:
    gateway = Gateway()
    gateway.tables.add_policy(
        policy_spec(destination="10.2.7.0/24", action=PolicyAction.PASS, priority=1)
    )
    gateway.send(plain_frame(udp(destination="10.2.7.1")))
    assert gateway.outbound.statistics.drop_policy == 1


def test_what_is_to_be_dropped_is_dropped() -> None:
    gateway = Gateway()
    out = Exit(gateway)
    gateway.tables.add_policy(
        policy_spec(destination="10.2.7.0/24", action=PolicyAction.DROP, priority=1)
    )
    gateway.send(plain_frame(udp(destination="10.2.7.1")))
    assert gateway.outbound.statistics.drop_policy == 1
    assert out.packets == gateway.socket.packets == []


def test_a_drop_policy_is_for_its_own_packets_alone() -> None:
    gateway = Gateway()
    out = Exit(gateway)
    gateway.tables.add_policy(
        policy_spec("10.1.9.0/24", "10.8.0.0/16", action=PolicyAction.DROP, priority=1)
    )
    other = udp(source="10.1.1.1", destination="10.8.0.1")
    gateway.send(plain_frame(udp(source="10.1.9.1", destination="10.8.0.1")), plain_frame(other))
    assert out.packets == [other]
    # Where a tunnel leads there, too, what nobody allows does not leave in the clear.
    gateway.tables.add_policy(policy_spec("10.1.3.0/24", "10.8.0.0/16", reqid=9))
    gateway.send(plain_frame(other))
    assert out.packets == [other]
    assert gateway.outbound.statistics.drop_no_policy == 1
