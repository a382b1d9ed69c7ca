"""The NAT-T port on another loop than that of the receiving thread."""

from __future__ import annotations

import select
import socket
import threading

import pytest

from charon_core.network import ancillary, udp_port
from charon_core.network import socket as ike_sockets
from charon_core.network.packet import Endpoint, Packet
from tests.unit.network.udp import ESP, MARKER, MESSAGE, SOON, endpoint, needs_ipv6, take

LOOPBACK = {socket.AF_INET: ("127.0.0.3", "127.0.0.5"), socket.AF_INET6: ("::1", "::1")}


class Borrower:
    """Reads the lent sockets when it is told to."""

    def __init__(self, sockets):
        self.sockets = sockets
        self.taken = []
        sockets.esp_receiver = lambda data, *rest: self.taken.append((bytes(data), *rest))
        self.readers = dict(sockets.lend())

    def read(self):
        """Wait for something, and call the handlers of what there is; tell how many."""
        poll = select.poll()
        for fd in self.readers:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(SOON * 1000)
        for fd, events in ready:
            self.readers[fd](events)
        return len(ready)


def nothing_for(sockets):
    """Whether the receiving thread has nothing to read."""
    poll = select.poll()
    poll.register(sockets._epoll.fileno(), select.POLLIN)
    return poll.poll(0) == []


@pytest.mark.parametrize(
    "family", [socket.AF_INET, pytest.param(socket.AF_INET6, marks=needs_ipv6)]
)
def test_who_borrows_the_port_gets_the_esp_and_the_receiving_thread_the_ike(make, family):
    is_ipv6 = family == socket.AF_INET6
    sockets = make(ipv4=not is_ipv6, ipv6=is_ipv6)
    borrower = Borrower(sockets)
    here, there = LOOPBACK[family]
    local = Endpoint(here, sockets.ports.nat_t)
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((there, 0))
        peer.sendto(MESSAGE, (here, sockets.ports.ike))
        for datagram in (ESP, b"\xff", b"ab", b"", MARKER + MESSAGE[:20], ESP):
            peer.sendto(datagram, (here, sockets.ports.nat_t))
        # Only the other port is read here.
        assert [packet.data for packet in take(sockets)] == [MESSAGE]
        assert nothing_for(sockets)
        borrower.read()
        assert borrower.taken == [(ESP, 0, endpoint(peer), local)] * 2
        (packet,) = sockets.receive(SOON)
        assert packet == Packet(endpoint(peer), local, MESSAGE[:20])
        assert nothing_for(sockets)
    counters = sockets.counters[str(Endpoint("::" if is_ipv6 else "0.0.0.0", local.port))]
    assert (counters.ike, counters.esp, counters.keepalives, counters.runts) == (1, 2, 1, 2)


def test_ike_at_the_end_of_a_train_is_found(sockets, peer):
    """The kernel joins what comes in a row; a DPD of a busy peer is shorter than its ESP."""
    if not ancillary.probe(peer, ancillary.UDP_SEGMENT):
        pytest.skip("no UDP_SEGMENT here")
    borrower = Borrower(sockets)
    ike = MARKER + MESSAGE[:30]
    control = [ancillary.segment_control(len(ESP))]
    peer.sendmsg([ESP * 5 + ike], control, 0, ("127.0.0.3", sockets.ports.nat_t))
    while sum(len(data) for data, *_ in borrower.taken) < 5 * len(ESP):
        borrower.read()
    assert b"".join(data for data, *_ in borrower.taken) == ESP * 5
    assert [packet.data for packet in take(sockets)] == [ike[4:]]


def test_every_address_is_lent(make, peer):
    sockets = make(addresses=("127.0.0.3", "127.0.0.4"))
    borrower = Borrower(sockets)
    assert len(borrower.readers) == 2
    for host in ("127.0.0.3", "127.0.0.4"):
        peer.sendto(ESP, (host, sockets.ports.nat_t))
        borrower.read()
        peer.sendto(MARKER + MESSAGE, (host, sockets.ports.nat_t))
        borrower.read()
        assert [packet.destination.host for packet in take(sockets)] == [host]
    assert [local.host for *_, local in borrower.taken] == ["127.0.0.3", "127.0.0.4"]


def test_the_port_is_taken_back(sockets, peer):
    borrower = Borrower(sockets)
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    assert nothing_for(sockets)
    sockets.take_back()
    assert [packet.data for packet in take(sockets)] == [MESSAGE]
    assert [data for data, *_ in borrower.taken] == [ESP]


def test_a_waiting_receiving_thread_gets_ike_from_a_lent_port(sockets, peer):
    borrower, packets = Borrower(sockets), []
    thread = threading.Thread(target=lambda: packets.extend(take(sockets)))
    thread.start()
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    borrower.read()
    thread.join(SOON)
    assert [packet.data for packet in packets] == [MESSAGE]


@pytest.mark.parametrize(("octets", "batches"), [(10**6, [64, 36]), (40 * len(ESP), [40, 40, 20])])
def test_a_borrower_takes_some_at_a_time(sockets, peer, monkeypatch, octets, batches):
    monkeypatch.setattr(udp_port, "BATCH_OCTETS", octets)
    borrower, taken = Borrower(sockets), []
    for _ in range(100):
        peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    while sum(taken) < 100:
        before = len(borrower.taken)
        borrower.read()
        taken.append(len(borrower.taken) - before)
    assert taken == batches


def test_ike_beyond_the_bound_is_dropped_and_counted(sockets, peer, monkeypatch):
    monkeypatch.setattr(ike_sockets, "ARRIVED_LIMIT", 10)
    borrower = Borrower(sockets)
    for number in range(12):
        peer.sendto(MARKER + MESSAGE + bytes([number]), ("127.0.0.3", sockets.ports.nat_t))
    borrower.read()
    borrower.read()
    assert [packet.data[-1] for packet in take(sockets)] == list(range(10))
    assert sum(counters.ike_dropped for counters in sockets.counters.values()) == 2
    peer.sendto(MARKER + MESSAGE, ("127.0.0.3", sockets.ports.nat_t))
    borrower.read()
    assert [packet.data for packet in take(sockets)] == [MESSAGE]


def test_errors_of_a_lent_socket_are_logged_once_and_leave_it_at_rest(sockets, peer, lines):
    borrower = Borrower(sockets)
    gone = endpoint(peer)
    peer.close()
    sockets.send_esp(ESP, 0, Endpoint("127.0.0.3", sockets.ports.nat_t), gone)
    assert borrower.read() == 1
    assert [line for line in lines.texts if "does not get our packets" in line]
    assert nothing_for(sockets)
    poll = select.poll()
    for fd in borrower.readers:
        poll.register(fd, select.POLLIN)
    assert poll.poll(0) == []


def test_a_lent_socket_is_watched_for_writability(sockets, peer):
    borrower, calls = Borrower(sockets), []
    sockets.on_writable = lambda: calls.append(1)
    sockets.watch_writable(wanted=True)
    peer.sendto(ESP, ("127.0.0.3", sockets.ports.nat_t))
    sockets.receive(SOON)
    assert len(calls) == 2
    sockets.watch_writable(wanted=False)
    assert nothing_for(sockets)
    assert borrower.taken == []


def test_closed_sockets_are_not_lent(make):
    sockets = make(opened=False)
    assert sockets.lend() == []
    sockets.take_back()
