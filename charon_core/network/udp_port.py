"""One bound UDP socket: datagrams with their local address, markers, segments and errors."""

from __future__ import annotations

import errno
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.network import ancillary
from charon_core.network.packet import Endpoint, Packet

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from charon_core.network.ancillary import Control, SocketError

    EspReceiver: TypeAlias = Callable[[memoryview, int, Endpoint, Endpoint], None]
    Buffer: TypeAlias = bytes | bytearray | memoryview

IKE_PORT: Final = 500
"""The port on which a peer expects messages without the non-ESP marker (RFC 7296 section 2.23)."""

MARKER: Final = bytes(4)
"""Tells IKE from ESP on port 4500 (RFC 3948 section 2.2)."""

KEEPALIVE: Final = b"\xff"
"""The one octet of a NAT keepalive (RFC 3948 section 2.3)."""

BATCH: Final = 64
"""Datagrams that are taken from one socket before the others have their turn."""

BATCH_OCTETS: Final = 1 << 19
"""As many octets end the turn as well: of trains, fewer are taken."""

MAX_SEGMENTS: Final = 64
"""Datagrams in one call with UDP_SEGMENT."""

MAX_TRAIN: Final = 65507
"""Octets in one call with UDP_SEGMENT."""

_CACHE_SIZE: Final = 1024

# Errors that belong to a datagram sent before, or that a peer's network causes.
_ICMP_ERRORS: Final = frozenset({
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE, errno.EHOSTDOWN,
    errno.EACCES, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP,
})  # fmt: skip


@dataclass(slots=True)
class PortCounters:
    """What happened to the datagrams of a socket.

    Attributes:
        ike: IKE messages received.
        ike_dropped: Those of them dropped since too many wait for the receiving thread.
        esp: ESP datagrams received and handed on; those of one train count as one.
        esp_unclaimed: ESP datagrams dropped since nobody takes them.
        keepalives: NAT keepalives dropped.
        runts: Datagrams too short to be anything.
        oversize: Datagrams dropped since they are longer than allowed.
        errors: Errors that the kernel told of datagrams sent before.
        esp_failed: ESP datagrams whose receiver raised.
    """

    ike: int = 0
    ike_dropped: int = 0
    esp: int = 0
    esp_unclaimed: int = 0
    keepalives: int = 0
    runts: int = 0
    oversize: int = 0
    errors: int = 0
    esp_failed: int = 0


class UdpPort:
    """A UDP socket of one address family, bound to a port and maybe to an address.

    One thread at a time receives; sending is for all.
    """

    def __init__(self, udp: socket.socket, *, host: str, is_nat_t: bool, max_packet: int) -> None:
        """Take over a bound socket.

        Args:
            udp: The socket, made ready by `ancillary.prepare`.
            host: The address to which it is bound, "" for all.
            is_nat_t: Whether IKE has markers here, and datagrams without are ESP.
            max_packet: Octets of the largest IKE message that is taken.
        """
        udp.setblocking(False)
        self.socket = udp
        self.host = host
        self.is_nat_t = is_nat_t
        self.family = udp.family
        self.port: int = udp.getsockname()[1]
        self.counters = PortCounters()
        self.esp_receiver: EspReceiver | None = None
        self.segments_on_send = is_nat_t and ancillary.probe(udp, ancillary.UDP_SEGMENT)
        self.segments_on_receive = False
        self._max_packet = max_packet
        self._buffer = bytearray(0x10000 if is_nat_t else max_packet)
        self._view = memoryview(self._buffer)
        # Guards the buffer and what is known of addresses: another thread may take over receiving.
        self._receiving = threading.Lock()
        self._is_ipv6 = udp.family == socket.AF_INET6
        # By the octets of the control message. Few, for they are addresses of this host.
        self._locals: dict[bytes, Endpoint] = {}
        self._controls: dict[tuple[str, int], list[Control]] = {}
        # Peers to which the kernel does not cut trains, for instance because of a small MTU.
        self._uncut: set[str] = set()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def join_segments(self, *, wanted: bool) -> bool:
        """Have the kernel hand over ESP datagrams in trains, or not; return whether it does."""
        try:
            self.socket.setsockopt(socket.IPPROTO_UDP, ancillary.UDP_GRO, int(wanted))
        except OSError:
            wanted = False
        self.segments_on_receive = wanted
        return wanted

    # -- receiving --

    def receive(self, packets: list[Packet]) -> OSError | None:
        """Append what has come in, a bounded batch; hand ESP to its receiver.

        Returns:
            An error that is none of a single datagram, after which nothing more was read.
        """
        with self._receiving:
            return self._receive(packets)

    def _receive(self, packets: list[Packet]) -> OSError | None:
        receive, buffers, view = self.socket.recvmsg_into, [self._buffer], self._view
        octets = 0
        for _ in range(BATCH):
            if octets >= BATCH_OCTETS:
                break
            try:
                size, control, flags, address = receive(buffers, ancillary.RECEIVE_SPACE)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _ICMP_ERRORS:
                    self.counters.errors += 1
                    continue
                return error
            if flags & socket.MSG_TRUNC:
                self.counters.oversize += 1
                continue
            octets += size
            local, segment = self._read_control(control)
            if self._is_ipv6 and address[3]:
                source = Endpoint(ancillary.with_zone(address[0], address[3]), address[1])
            else:
                source = Endpoint(address[0], address[1])
            if not self.is_nat_t and size > len(MARKER):
                self.counters.ike += 1
                packets.append(Packet(source, local, bytes(view[:size])))
            elif segment == 0 or segment >= size:
                self._sort(view[:size], source, local, packets)
            else:
                self._sort_train(size, segment, source, local, packets)
        return None

    def take_errors(self) -> list[tuple[Endpoint, SocketError]]:
        """Return what the kernel knows of datagrams sent before: to whom, and what went wrong."""
        taken: list[tuple[Endpoint, SocketError]] = []
        for _ in range(BATCH):
            try:
                _, control, _, address = self.socket.recvmsg(
                    0, ancillary.ERROR_SPACE, ancillary.MSG_ERRQUEUE
                )
            except OSError:
                break
            self.counters.errors += 1
            error = ancillary.socket_error(control)
            if error is not None and address:
                taken.append((Endpoint(address[0], address[1]), error))
        # The error is pending at the socket too, where it would hit the next call.
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return taken

    def _read_control(self, control: list[Control]) -> tuple[Endpoint, int]:
        local: Endpoint | None = None
        segment = 0
        for level, _kind, data in control:
            if level == socket.IPPROTO_UDP:
                segment = ancillary.segment_size(data)
            else:
                local = self._locals.get(data)
                if local is None:
                    local = self._new_local(data)
        return local or Endpoint(self.host, self.port), segment

    def _new_local(self, data: bytes) -> Endpoint:
        read = ancillary.local_host6 if self._is_ipv6 else ancillary.local_host4
        local = Endpoint(read(data), self.port)
        if len(self._locals) >= _CACHE_SIZE:
            self._locals.clear()
        self._locals[data] = local
        return local

    def _sort(
        self, data: memoryview, source: Endpoint, local: Endpoint, packets: list[Packet]
    ) -> None:
        """Tell IKE, ESP and keepalives apart (RFC 3948 section 2)."""
        counters, size = self.counters, len(data)
        if size < len(MARKER) + 1:
            if data.tobytes() == KEEPALIVE:
                counters.keepalives += 1
            else:
                counters.runts += 1
        elif data[:4] == MARKER:
            if size - len(MARKER) > self._max_packet:
                counters.oversize += 1
            else:
                counters.ike += 1
                packets.append(Packet(source, local, bytes(data[4:])))
        else:
            self._hand_on(data, 0, source, local)

    def _sort_train(
        self, size: int, segment: int, source: Endpoint, local: Endpoint, packets: list[Packet]
    ) -> None:
        """Sort a train of datagrams of one size, which the last of them may fall short of."""
        view = self._view
        rest = size % segment
        is_esp = (rest == 0 or rest > len(MARKER)) and segment > len(MARKER)
        # An SPI that begins with a zero octet is rare: the look at each marker is for these.
        if is_esp and 0 in self._buffer[0:size:segment]:
            is_esp = all(view[at : at + 4] != MARKER for at in range(0, size, segment))
        if is_esp:
            self._hand_on(view[:size], segment, source, local)
            return
        for at in range(0, size, segment):
            self._sort(view[at : min(at + segment, size)], source, local, packets)

    def _hand_on(self, data: memoryview, segment: int, source: Endpoint, local: Endpoint) -> None:
        receiver = self.esp_receiver
        if receiver is None:
            self.counters.esp_unclaimed += 1
            return
        self.counters.esp += 1
        try:
            receiver(data, segment, source, local)
        except Exception:  # noqa: BLE001  one datagram may not stop the reception of the others
            self.counters.esp_failed += 1

    # -- sending --

    def send(self, packet: Packet) -> None:
        """Send an IKE message, with a marker where the peer expects one.

        Raises:
            BlockingIOError: The kernel takes no more at the moment.
            OSError: It cannot be sent, or the address is none.
        """
        data: list[Buffer] = [packet.data]
        if self.is_nat_t and packet.destination.port != IKE_PORT:
            data.insert(0, MARKER)
        self.send_octets(data, packet.source.host, packet.destination, packet.dscp)

    def send_octets(
        self, data: list[Buffer], source: str, destination: Endpoint, dscp: int = 0
    ) -> None:
        """Send one datagram as it is; raises as `send` does."""
        address = ancillary.address_of(self.family, *destination)
        control = self._control(source, dscp)
        try:
            self.socket.sendmsg(data, control, 0, address)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _ICMP_ERRORS:
                raise
            # It may be the error of an earlier datagram, perhaps to another peer.
            self.socket.sendmsg(data, control, 0, address)

    def send_train(self, buffer: Buffer, segment: int, source: str, destination: Endpoint) -> None:
        """Send a buffer as datagrams of ``segment`` octets, of which the last may be shorter.

        Raises:
            BlockingIOError: The kernel takes no more at the moment; some may have been sent.
            OSError: Not all could be sent.
        """
        size = len(buffer)
        if segment <= 0 or segment >= size:
            self.send_octets([buffer], source, destination)
            return
        view = memoryview(buffer)
        if self.segments_on_send and destination.host not in self._uncut:
            step = segment * max(1, min(MAX_SEGMENTS, MAX_TRAIN // segment))
            address = ancillary.address_of(self.family, *destination)
            control = [*self._control(source, 0), ancillary.segment_control(segment)]
            try:
                for at in range(0, size, step):
                    self.socket.sendmsg([view[at : at + step]], control, 0, address)
            except BlockingIOError:
                raise
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP):
                    raise
                self._no_trains_to(destination.host)
                view = view[at:]
            else:
                return
        for at in range(0, len(view), segment):
            self.send_octets([view[at : at + segment]], source, destination)

    def _no_trains_to(self, host: str) -> None:
        if len(self._uncut) >= _CACHE_SIZE:
            self._uncut.clear()
        self._uncut.add(host)

    def _control(self, source: str, dscp: int) -> list[Control]:
        """Return the control messages for a local address and a DSCP."""
        known = self._controls.get((source, dscp))
        if known is not None:
            return known
        control: list[Control] = []
        if source and source != self.host:
            host, interface = ancillary.split_zone(source)
            address = ancillary.packed(self.family, host)
            if any(address):
                pack = ancillary.local_control6 if self._is_ipv6 else ancillary.local_control4
                control.append(pack(address, interface))
        if dscp:
            control.append(ancillary.dscp_control(self.family, dscp))
        if len(self._controls) >= _CACHE_SIZE:
            self._controls.clear()
        self._controls[source, dscp] = control
        return control
