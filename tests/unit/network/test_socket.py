from __future__ import annotations

import errno
import os
import select
import socket
import threading

import pytest

from charon_core.network import ancillary, binding
from charon_core.network.packet import Endpoint, Packet
from charon_core.network.socket import NetworkError
from tests.unit.network.udp import ESP, MARKER, MESSAGE, SOON, V4, endpoint, needs_ipv6, take

# -- receiving and sending --


def test_a_packet_keeps_its_local_address_and_the_answer_leaves_from_it(sockets, peer):
    peer.sendto(MESSAGE, ("127.0.0.3", sockets.ports.ike))
    (packet,) = take(sockets)
    assert packet == Packet(endpoint(peer), Endpoint("127.0.0.3", sockets.ports.ike), MESSAGE)
    sockets.send(packet.reply(b"answer"))
    assert peer.recvfrom(100) == (b"answer", ("127.0.0.3", sockets.ports.ike))


def test_the_marker_is_taken_off_and_put_on_at_the_nat_t_port(sockets, peer):
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    (packet,) = take(sockets)
    assert packet.data == MESSAGE
    assert packet.destination == Endpoint("127.0.0.3", sockets.ports.nat_t)
    sockets.send(packet.reply(b"answer"))
    assert peer.recvfrom(100) == (MARKER + b"answer", ("127.0.0.3", sockets.ports.nat_t))


@needs_ipv6
def test_ipv6_works_alike(make):
    sockets = make()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(SOON)
        peer.sendto(MESSAGE, ("::1", sockets.ports.ike))
        peer.sendto(MARKER + MESSAGE, ("::1", sockets.ports.nat_t))
        for packet in take(sockets, 2):
            assert packet.source == endpoint(peer)
            assert packet.destination.host == "::1"
            sockets.send(packet.reply(b"answer"))
        assert {peer.recvfrom(100)[0] for _ in range(2)} == {b"answer", MARKER + b"answer"}


@needs_ipv6
def test_ipv6_sockets_leave_ipv4_alone(make, peer):
    sockets = make()
    peer.sendto(MESSAGE, ("127.0.0.1", sockets.ports.ike))
    assert take(sockets)[0].destination.host == "127.0.0.1"


def test_many_datagrams_come_in_one_batch(sockets, peer):
    for number in range(20):
        peer.sendto(b"%20d" % number, ("127.0.0.1", sockets.ports.ike))
    packets = take(sockets, 20)
    assert [int(packet.data) for packet in packets] == list(range(20))


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xff", b"\0\0\0\0", b"\0\0\0\0x"])
def test_odd_datagrams_do_not_stop_the_reception(sockets, peer, data):
    for port in sockets.ports:
        peer.sendto(data, ("127.0.0.1", port))
    peer.sendto(MESSAGE, ("127.0.0.1", sockets.ports.ike))
    packets = []
    while MESSAGE not in (packet.data for packet in packets):
        packets += take(sockets)


def test_keepalives_are_dropped_on_both_ports(sockets, peer):
    for port in sockets.ports:
        peer.sendto(b"\xff", ("127.0.0.1", port))
    peer.sendto(MESSAGE, ("127.0.0.1", sockets.ports.ike))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.1", sockets.ports.nat_t))
    assert [packet.data for packet in take(sockets, 2)] == [MESSAGE, MESSAGE]
    assert sum(counters.keepalives for counters in sockets.counters.values()) == 2


@pytest.mark.parametrize("nat_t", [False, True])
def test_a_message_that_is_too_long_is_dropped_and_not_cut(make, peer, nat_t):
    sockets = make(max_packet=100, **V4)
    port = sockets.ports.nat_t if nat_t else sockets.ports.ike
    marker = MARKER if nat_t else b""
    for length in (101, 5000, 100):
        peer.sendto(marker + b"x" * length, ("127.0.0.1", port))
    (packet,) = take(sockets)
    assert len(packet.data) == 100
    assert sum(counters.oversize for counters in sockets.counters.values()) == 2


def test_a_keepalive_is_one_octet_without_marker(sockets, peer):
    sockets.send_keepalive(Endpoint("127.0.0.3", sockets.ports.nat_t), endpoint(peer))
    assert peer.recvfrom(100) == (b"\xff", ("127.0.0.3", sockets.ports.nat_t))


def test_dscp_is_set_a_packet(sockets, peer):
    peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    for dscp in (46, 0, 8):
        sockets.send(Packet(Endpoint("", sockets.ports.ike), endpoint(peer), MESSAGE, dscp=dscp))
        _, control, _, _ = peer.recvmsg(100, 100)
        assert [data[0] >> 2 for _, kind, data in control if kind == socket.IP_TOS] == [dscp]


@pytest.mark.parametrize(
    ("source_port", "expected"), [("ike", b""), ("nat_t", MARKER), (0, MARKER), (9, MARKER)]
)
def test_the_source_port_selects_the_socket(sockets, peer, source_port, expected):
    number = getattr(sockets.ports, str(source_port), source_port)
    sockets.send(Packet(Endpoint("127.0.0.3", number), endpoint(peer), MESSAGE))
    data, (_, port) = peer.recvfrom(100)
    assert data == expected + MESSAGE
    assert port == (sockets.ports.nat_t if expected else sockets.ports.ike)


@pytest.mark.parametrize(
    "destination",
    ["gateway.example.org", "localhost", "", "2001:db8::1", "1.2.3.4.5", "nul\0", "127.0.0.1%lo"],
)
def test_what_is_no_address_of_the_family_is_refused_at_once(sockets, monkeypatch, destination):
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(OSError):
        sockets.send(Packet(Endpoint("", 0), Endpoint(destination, 500), MESSAGE))


def test_an_address_that_is_not_ours_is_refused(sockets, peer):
    packet = Packet(Endpoint("192.0.2.77", sockets.ports.ike), endpoint(peer), MESSAGE)
    with pytest.raises(OSError):
        sockets.send(packet)


# -- errors that the network tells --


def test_an_icmp_error_is_logged_and_harms_no_other_peer(sockets, peer, lines):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.7", 0))
        nobody = endpoint(gone)
    source = Endpoint("127.0.0.3", sockets.ports.ike)
    for number in range(3):
        sockets.send(Packet(source, nobody, MESSAGE))
        sockets.send(Packet(source, endpoint(peer), b"%d" % number))
    assert [peer.recv(100) for _ in range(3)] == [b"0", b"1", b"2"]
    assert sockets.receive(SOON) == []
    told = [text for text in lines.texts if "does not get our packets" in text]
    assert told[0] == (
        f"{nobody} does not get our packets: Connection refused (ICMP from 127.0.0.7)"
    )
    peer.sendto(MESSAGE, ("127.0.0.3", sockets.ports.ike))
    assert take(sockets)[0].data == MESSAGE


def test_errors_of_the_network_do_not_flood_the_log(sockets, lines):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.7", 0))
        nobody = endpoint(gone)
    for _ in range(60):
        sockets.send(Packet(Endpoint("127.0.0.3", sockets.ports.ike), nobody, MESSAGE))
        sockets.receive(0)
    assert sum("does not get" in text for text in lines.texts) <= 15


def test_an_unexpected_error_of_the_socket_is_logged(sockets, peer, lines, monkeypatch):
    port = sockets._by_fd[sockets.handles[0].fd]
    peer.sendto(MESSAGE, ("127.0.0.1", sockets.ports.ike))
    real = port.socket

    class Failing:
        def recvmsg_into(self, *args):
            raise OSError(errno.EIO, "I/O error")

        def close(self):
            real.close()

    monkeypatch.setattr(port, "socket", Failing())
    assert sockets.receive(SOON) == []
    assert "I/O error" in lines.texts[-1]


# -- ESP --


@pytest.fixture
def esp(sockets):
    """What the ESP receiver of the sockets was given."""
    taken = []
    sockets.esp_receiver = lambda data, size, source, local: taken.append(
        (bytes(data), size, source, local)
    )
    return taken


def await_esp(sockets, esp, octets):
    while sum(len(data) for data, *_ in esp) < octets:
        poll = select.poll()
        poll.register(sockets._epoll.fileno(), select.POLLIN)
        assert poll.poll(SOON * 1000), "nothing came"
        sockets.receive(0)


def test_esp_goes_to_its_receiver_and_ike_does_not(sockets, peer, esp):
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    assert [packet.data for packet in take(sockets)] == [MESSAGE]
    local = Endpoint("127.0.0.3", sockets.ports.nat_t)
    assert esp == [(ESP, 0, endpoint(peer), local)]


def test_without_a_receiver_esp_is_dropped_and_counted(sockets, peer):
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    take(sockets)
    assert sum(counters.esp_unclaimed for counters in sockets.counters.values()) == 1


def test_a_raising_esp_receiver_does_not_stop_the_reception(sockets, peer):
    def fail(*args):
        raise RuntimeError("no")

    sockets.esp_receiver = fail
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    assert take(sockets)[0].data == MESSAGE
    assert sum(counters.esp_failed for counters in sockets.counters.values()) == 1


def test_a_receiver_that_is_taken_away_gets_nothing_more(sockets, peer, esp):
    sockets.esp_receiver = None
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    take(sockets)
    assert esp == []


def test_a_receiver_set_before_the_sockets_open_is_kept(make, peer):
    sockets, taken = make(opened=False, **V4), []
    sockets.esp_receiver = lambda data, *rest: taken.append(bytes(data))
    sockets.open()
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    take(sockets)
    assert taken == [ESP]


TRAINS = [([64], 64), ([64], 0), ([64, 64, 64], 64), ([64, 64, 10], 64), ([1400] * 100, 1400)]


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("train", TRAINS)
def test_a_train_arrives_as_the_packets_that_it_consists_of(make, sockets, esp, offload, train):
    sender, (sizes, segment) = make(**V4), train
    for port in sender._ports:
        port.segments_on_send = port.segments_on_send and offload
    packets = [bytes([0xC0 + n % 60]) + b"x" * (size - 1) for n, size in enumerate(sizes)]
    sender.send_esp(
        b"".join(packets),
        segment,
        Endpoint("127.0.0.9", sender.ports.nat_t),
        Endpoint("127.0.0.3", sockets.ports.nat_t),
    )
    await_esp(sockets, esp, sum(sizes))
    arrived = []
    for data, size, source, local in esp:
        assert source == Endpoint("127.0.0.9", sender.ports.nat_t)
        assert local == Endpoint("127.0.0.3", sockets.ports.nat_t)
        step = size or len(data)
        arrived += [data[at : at + step] for at in range(0, len(data), step)]
    assert arrived == packets


def test_a_train_that_the_kernel_will_not_cut_is_sent_piece_by_piece(
    make, sockets, esp, monkeypatch
):
    sender = make(**V4)
    port = next(port for port in sender._ports if port.is_nat_t)
    if not port.segments_on_send:
        pytest.skip("no UDP_SEGMENT here")
    real, refused = port.socket, []

    class Refusing:
        def sendmsg(self, data, control, *rest):
            if any(kind == ancillary.UDP_SEGMENT for _, kind, _ in control):
                refused.append(len(data[0]))
                raise OSError(errno.EINVAL, "Invalid argument")
            return real.sendmsg(data, control, *rest)

        def close(self):
            real.close()

    monkeypatch.setattr(port, "socket", Refusing())
    target = Endpoint("127.0.0.3", sockets.ports.nat_t)
    for _ in range(2):
        sender.send_esp(ESP * 3, len(ESP), Endpoint("", 0), target)
    await_esp(sockets, esp, 6 * len(ESP))
    assert len(refused) == 1, "it is not tried again with this peer"


def test_a_train_with_ike_in_it_is_sorted(sockets, esp):
    """A train mixes what one peer sends in one size: ESP, IKE, and a last short datagram."""
    port = next(port for port in sockets._ports if port.is_nat_t)
    source, local = Endpoint("192.0.2.1", 4500), Endpoint("192.0.2.2", 4500)
    ike = MARKER + MESSAGE[: len(ESP) - 4]
    rare = b"\0\0\1\0" + ESP[4:]

    def sort(data, segment):
        esp.clear()
        packets = []
        port._buffer[: len(data)] = data
        port._sort_train(len(data), segment, source, local, packets)
        return [packet.data for packet in packets], [(data, size) for data, size, *_ in esp]

    size = len(ESP)
    assert sort(ESP * 3, size) == ([], [(ESP * 3, size)])
    assert sort(rare + ESP, size) == ([], [(rare + ESP, size)])
    assert sort(ESP + ike + ESP, size) == ([ike[4:]], [(ESP, 0), (ESP, 0)])
    assert sort(ike + ike, size) == ([ike[4:]] * 2, [])
    assert sort(ESP + ESP[:9], size) == ([], [(ESP + ESP[:9], size)])
    assert sort(ESP + b"\xff", size) == ([], [(ESP, 0)])
    assert sort(ESP + b"\xff\xff", size) == ([], [(ESP, 0)])
    assert sort(b"\xff" * 5, 1) == ([], [])


def test_a_kernel_without_offloads_is_done_without(make, peer, monkeypatch, lines):
    monkeypatch.setattr(ancillary, "UDP_GRO", 9999)
    monkeypatch.setattr(ancillary, "UDP_SEGMENT", 9998)
    sockets, taken = make(**V4), []
    sockets.esp_receiver = lambda data, size, *rest: taken.append((bytes(data), size))
    assert "not received and not sent" in lines.texts[-1]
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    await_esp_of = [(ESP, 0)]
    while taken != await_esp_of:
        sockets.receive(SOON)
    sockets.send_esp(ESP * 2, len(ESP), Endpoint("", 0), endpoint(peer))
    assert [peer.recv(1000) for _ in range(2)] == [ESP, ESP]


# -- waiting --


def test_wake_ends_a_wait(sockets):
    ended = []

    def wait():
        ended.append(sockets.receive())

    thread = threading.Thread(target=wait)
    thread.start()
    sockets.wake()
    thread.join(SOON)
    assert ended == [[]]


def test_a_wake_before_the_wait_counts_once(sockets):
    sockets.wake()
    sockets.wake()
    assert sockets.receive() == []
    assert sockets.receive(0) == []


def test_a_time_out_gives_nothing(sockets):
    assert sockets.receive(0.001) == []


def test_closed_sockets_neither_receive_nor_hang(make):
    sockets = make(**V4)
    sockets.close()
    assert sockets.receive() == []
    sockets.wake()
    sockets.close()
    with pytest.raises(OSError, match="no socket"):
        sockets.send(Packet(Endpoint("", 0), Endpoint("127.0.0.1", 500), MESSAGE))


def test_writability_is_watched_as_long_as_wanted(sockets):
    calls = []
    sockets.on_writable = lambda: calls.append(1)
    sockets.receive(0)
    assert calls == []
    sockets.watch_writable(wanted=True)
    sockets.receive(SOON)
    assert calls
    sockets.watch_writable(wanted=False)
    calls.clear()
    sockets.receive(0)
    assert calls == []


# -- opening --


def test_random_ports_are_the_same_in_both_families(make):
    sockets = make()
    numbers = {(handle.is_nat_t, sockets._by_fd[handle.fd].port) for handle in sockets.handles}
    assert numbers == {(False, sockets.ports.ike), (True, sockets.ports.nat_t)}
    assert sockets.ports.ike != sockets.ports.nat_t


def test_a_random_port_that_is_taken_in_the_other_family_is_drawn_again(make, monkeypatch):
    real, refused = binding._bind, []

    def bind(config, family, host, number, *, is_nat_t):
        if number and len(refused) < 3:
            refused.append(number)
            raise NetworkError("taken")
        return real(config, family, host, number, is_nat_t=is_nat_t)

    monkeypatch.setattr(binding, "_bind", bind)
    make(addresses=("127.0.0.1", "127.0.0.2"), **V4)
    assert len(refused) == 3


def test_addresses_that_are_named_get_sockets_of_their_own(make, peer):
    sockets = make(addresses=("127.0.0.3", "127.0.0.4"))
    assert len(sockets.handles) == 4
    for host in ("127.0.0.3", "127.0.0.4"):
        sockets.send(Packet(Endpoint(host, sockets.ports.ike), endpoint(peer), MESSAGE))
        assert peer.recvfrom(100)[1] == (host, sockets.ports.ike)
        peer.sendto(MESSAGE, (host, sockets.ports.ike))
        assert take(sockets)[0].destination == Endpoint(host, sockets.ports.ike)
    sockets.send(Packet(Endpoint("", sockets.ports.ike), endpoint(peer), MESSAGE))
    assert peer.recvfrom(100)[1][0] == "127.0.0.3"
    with pytest.raises(OSError, match="no socket"):
        sockets.send(Packet(Endpoint("127.0.0.8", 0), endpoint(peer), MESSAGE))


def test_a_taken_port_is_explained(make, peer):
    taken = endpoint(peer).port
    with pytest.raises(NetworkError, match="another IKE daemon uses the port"):
        make(addresses=("127.0.0.5",), port=taken)


def test_nothing_stays_open_after_a_failure(make, peer):
    sockets = make(opened=False, addresses=("127.0.0.5",), nat_port=endpoint(peer).port)
    with pytest.raises(NetworkError):
        sockets.open()
    assert sockets.handles == ()
    assert sockets._epoll is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 5, "nat_port": 5}, "differ"),
        ({"ipv4": False, "ipv6": False}, "no address to listen on"),
        ({"addresses": ("127.0.0.1",), "ipv4": False}, "no address to listen on"),
        ({"addresses": ("192.0.2.77",)}, "not one of this host"),
        ({"addresses": ("gateway.example.org",)}, "not an IPv4 address"),
    ],
)
def test_what_cannot_be_is_explained(make, options, text):
    with pytest.raises(NetworkError, match=text):
        make(**options)


def test_a_family_that_the_host_lacks_is_left_out(make, monkeypatch, lines):
    real = binding._has_family
    monkeypatch.setattr(
        binding, "_has_family", lambda family: family != socket.AF_INET6 and real(family)
    )
    sockets = make()
    assert {handle.family for handle in sockets.handles} == {socket.AF_INET}
    assert "no IPv6 on this host, going without it" in lines.texts


def test_the_receive_buffer_grows(make):
    def size(sockets):
        return sockets._ports[0].socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    assert size(make(receive_buffer=120000, **V4)) > size(make(receive_buffer=60000, **V4))


def test_sockets_are_not_inherited(sockets):
    assert not any(os.get_inheritable(handle.fd) for handle in sockets.handles)
    assert not os.get_inheritable(sockets._wake_fd)


def test_threads_send_while_one_receives(sockets, make):
    other = make(**V4)
    received = []
    stop = threading.Event()

    def receive():
        while not stop.is_set() or len(received) < 400:
            packets = sockets.receive(SOON)
            received.extend(packets)
            if not packets and stop.is_set():
                return

    def send(number):
        source = Endpoint("127.0.0.1", other.ports.ike)
        for index in range(100):
            data = b"%d.%d" % (number, index) + MESSAGE
            other.send(Packet(source, Endpoint("127.0.0.1", sockets.ports.ike), data))

    receiver = threading.Thread(target=receive)
    senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in (receiver, *senders):
        thread.start()
    for thread in senders:
        thread.join()
    stop.set()
    sockets.wake()
    receiver.join(2 * SOON)
    assert len({packet.data for packet in received}) == 400
