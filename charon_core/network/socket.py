"""The IKE sockets: all addresses and both ports, as one thing that receives and sends."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.bus import Group, Level
from charon_core.network.binding import (
    ANY_ADDRESS,
    NetworkError,
    Ports,
    SocketConfig,
    bind_ports,
)
from charon_core.network.packet import Endpoint
from charon_core.network.rate import RateLimit
from charon_core.network.udp_port import IKE_PORT, KEEPALIVE, PortCounters, UdpPort

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus import Bus
    from charon_core.network.packet import Packet
    from charon_core.network.udp_port import Buffer, EspReceiver

__all__ = ["IkeSockets", "NetworkError", "Ports", "SocketConfig", "SocketHandle"]

ARRIVED_LIMIT: Final = 1024
"""IKE messages from a lent socket that may wait for the receiving thread."""


class SocketHandle(NamedTuple):
    """What a kernel backend needs of a socket, to set options of its own.

    Attributes:
        fd: The file descriptor.
        family: ``AF_INET`` or ``AF_INET6``.
        is_nat_t: Whether ESP in UDP arrives here.
    """

    fd: int
    family: int
    is_nat_t: bool


class IkeSockets:
    """UDP sockets for both ports and families.

    One thread receives; all may send. Packets keep their local address, and leave from the one
    that they name. On the NAT-T port the non-ESP marker is taken off and put on, and ESP goes to
    `esp_receiver` in trains where the kernel joins datagrams (UDP_GRO). As such a train may have
    IKE messages in it, one socket is for both; but it can be lent to a loop that has more to do
    with ESP, which then sorts out the IKE messages for the receiving thread.
    """

    def __init__(self, config: SocketConfig, bus: Bus) -> None:
        """Remember what to open; `open` does it."""
        self._config = config
        self._bus = bus
        self._ports: list[UdpPort] = []
        self._by_fd: dict[int, UdpPort] = {}
        # By family and whether it is NAT-T: the socket bound to all addresses, or the first.
        self._defaults: dict[tuple[bool, bool], UdpPort] = {}
        self._by_host: dict[tuple[str, bool], UdpPort] = {}
        self._numbers = Ports(config.port, config.nat_port)
        self._esp_receiver: EspReceiver | None = None
        self._error_lines = RateLimit(rate=1.0, burst=10)
        self._epoll: select.epoll | None = None
        self._wake_fd = -1
        # IKE messages from lent sockets: one thread appends, the receiving one takes away.
        self._arrived: deque[Packet] = deque()
        # Guards the two below: what is waited for.
        self._lock = threading.Lock()
        self._lent: list[UdpPort] = []
        self._writable_wanted = False
        self.on_writable: Callable[[], None] | None = None
        """Called by `receive` when a socket takes datagrams again, after `watch_writable`."""

    # -- opening and closing --

    def open(self) -> None:
        """Create and bind the sockets.

        Raises:
            NetworkError: A port is taken or not allowed, an address is not here, or nothing is
                left to listen on. No socket stays open then.
        """
        try:
            self._ports, self._numbers = bind_ports(self._config, self._notice)
            self._epoll = select.epoll()
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._epoll.register(self._wake_fd, select.EPOLLIN)
            for port in self._ports:
                self._epoll.register(port.socket.fileno(), select.EPOLLIN)
                self._by_fd[port.socket.fileno()] = port
                self._by_host[port.host, port.is_nat_t] = port
                self._defaults.setdefault((port.family == socket.AF_INET6, port.is_nat_t), port)
        except BaseException:
            self.close()
            raise
        self.esp_receiver = self._esp_receiver
        families = sorted(
            {"IPv6" if port.family == socket.AF_INET6 else "IPv4" for port in self._ports}
        )
        self._bus.log(
            Group.NET,
            Level.CONTROL,
            "listening on UDP ports %d and %d, %s",
            self._numbers.ike,
            self._numbers.nat_t,
            " and ".join(families),
        )

    def close(self) -> None:
        """Close everything; the receiving thread has to have ended."""
        for port in self._ports:
            port.close()
        self._ports, self._lent = [], []
        self._by_fd.clear()
        self._by_host.clear()
        self._defaults.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
        fd, self._wake_fd = self._wake_fd, -1
        if fd >= 0:
            os.close(fd)

    def _notice(self, text: str) -> None:
        self._bus.log(Group.NET, Level.CONTROL, "%s", text)

    # -- what others ask --

    @property
    def ports(self) -> Ports:
        """The ports; those set as 0 are known once the sockets are open."""
        return self._numbers

    @property
    def handles(self) -> tuple[SocketHandle, ...]:
        """The sockets, for a kernel backend to exempt from policies, or to decapsulate ESP."""
        return tuple(
            SocketHandle(port.socket.fileno(), port.family, port.is_nat_t) for port in self._ports
        )

    @property
    def counters(self) -> dict[str, PortCounters]:
        """The counters of each socket, by its local endpoint."""
        return {
            str(Endpoint(port.host or ANY_ADDRESS[port.family], port.port)): (port.counters)
            for port in self._ports
        }

    @property
    def esp_receiver(self) -> EspReceiver | None:
        """Who takes ESP datagrams: called with (data, segment size, source, local).

        The data are valid during the call only, and are overwritten by the next datagrams. A
        segment size of 0 says that they are one datagram, another that they are several of this
        size, of which the last may be shorter.
        """
        return self._esp_receiver

    @esp_receiver.setter
    def esp_receiver(self, receiver: EspReceiver | None) -> None:
        self._esp_receiver = receiver
        nat_t = [port for port in self._ports if port.is_nat_t]
        for port in nat_t:
            port.esp_receiver = receiver
            port.join_segments(wanted=receiver is not None)
        if receiver is not None and nat_t:
            self._bus.log(
                Group.NET,
                Level.CONTROL,
                "ESP in UDP: trains of datagrams are %s and %s",
                "received (UDP_GRO)" if nat_t[0].segments_on_receive else "not received",
                "sent (UDP_SEGMENT)" if nat_t[0].segments_on_send else "not sent",
            )

    # -- receiving --

    def receive(self, timeout: float | None = None) -> list[Packet]:
        """Wait for datagrams and take what is there.

        Args:
            timeout: Seconds to wait at most; None waits for ever.

        Returns:
            The IKE messages, none after `wake`, a time-out, or if only others came.
        """
        packets: list[Packet] = []
        if self._epoll is None:
            return packets
        for fd, events in self._epoll.poll(timeout):
            port = self._by_fd.get(fd)
            if port is None:
                self._forget_wake()
                continue
            if events & select.EPOLLERR:
                self._log_errors(port)
            if events & select.EPOLLOUT and self.on_writable is not None:
                self.on_writable()
            if events & select.EPOLLIN:
                self._log_failure(port, port.receive(packets))
        while self._arrived:
            packets.append(self._arrived.popleft())
        return packets

    def wake(self) -> None:
        """Let `receive` return, now or the next time that it is called."""
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def watch_writable(self, *, wanted: bool) -> None:
        """Have `on_writable` called by `receive` as long as a socket takes datagrams, or not."""
        with self._lock:
            self._writable_wanted = wanted
            self._update_interest()

    def _update_interest(self) -> None:
        if self._epoll is None:
            return
        writable = select.EPOLLOUT if self._writable_wanted else 0
        for fd, port in self._by_fd.items():
            self._epoll.modify(fd, writable if port in self._lent else writable | select.EPOLLIN)

    def _forget_wake(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _log_failure(self, port: UdpPort, error: OSError | None) -> None:
        if error is not None and self._error_lines.allow():
            self._bus.log(
                Group.NET,
                Level.CONTROL,
                "cannot receive on port %d: %s%s",
                port.port,
                error,
                self._error_lines.take_suppressed(),
            )

    def _log_errors(self, port: UdpPort) -> None:
        for peer, error in port.take_errors():
            if self._error_lines.allow():
                self._bus.log(
                    Group.NET,
                    Level.CONTROL,
                    "%s does not get our packets: %s (%s%s)%s",
                    peer,
                    os.strerror(error.number),
                    error.origin,
                    f" from {error.offender}" if error.offender else "",
                    self._error_lines.take_suppressed(),
                )

    # -- lending the NAT-T port --

    def lend(self) -> list[tuple[int, Callable[[int], None]]]:
        """Let somebody else read the NAT-T port; its IKE messages get to `receive` all the same.

        Returns:
            Descriptors, each with what is to be called, on one thread, with epoll's events
            whenever it can be read or has an error. `esp_receiver` is called by that.
        """
        with self._lock:
            self._lent = [port for port in self._ports if port.is_nat_t]
            self._update_interest()
            return [(port.socket.fileno(), partial(self._read_lent, port)) for port in self._lent]

    def take_back(self) -> None:
        """Have `receive` read the NAT-T port again; the borrower should have left off."""
        with self._lock:
            self._lent = []
            self._update_interest()

    def _read_lent(self, port: UdpPort, events: int) -> None:
        if events & select.EPOLLERR:
            self._log_errors(port)
        packets: list[Packet] = []
        self._log_failure(port, port.receive(packets))
        if packets:
            room = ARRIVED_LIMIT - len(self._arrived)
            port.counters.ike_dropped += max(0, len(packets) - room)
            self._arrived.extend(packets[:room])
            self.wake()

    # -- sending --

    def send(self, packet: Packet) -> None:
        """Send an IKE message from the port and address that it names; never waits.

        Raises:
            BlockingIOError: The kernel takes no more at the moment.
            OSError: It cannot be sent.
        """
        self._port_for(packet.source, packet.destination).send(packet)

    def send_keepalive(self, source: Endpoint, destination: Endpoint) -> None:
        """Send a NAT keepalive, a single octet (RFC 3948 section 2.3); raises as `send` does."""
        port = self._port_for(source, destination)
        port.send_octets([KEEPALIVE], source.host, destination)

    def send_esp(
        self, buffer: Buffer, segment_size: int, source: Endpoint, destination: Endpoint
    ) -> None:
        """Send ESP from the NAT-T port: in one system call where the kernel cuts it up.

        Args:
            buffer: One or several ESP packets, one behind the other.
            segment_size: Octets of each, of which the last may fall short; 0: it is one.
            source: The host selects the local address.
            destination: The peer.

        Raises:
            BlockingIOError: The kernel takes no more at the moment; some may have been sent.
            OSError: Not all could be sent.
        """
        port = self._port(source.host, destination, is_nat_t=True)
        port.send_train(buffer, segment_size, source.host, destination)

    def _port_for(self, source: Endpoint, destination: Endpoint) -> UdpPort:
        """Return the socket for a source port; one that is not ours leaves it to the peer's."""
        if source.port == self._numbers.nat_t:
            is_nat_t = True
        elif source.port == self._numbers.ike:
            is_nat_t = False
        else:
            is_nat_t = destination.port != IKE_PORT
        return self._port(source.host, destination, is_nat_t=is_nat_t)

    def _port(self, host: str, destination: Endpoint, *, is_nat_t: bool) -> UdpPort:
        port = self._by_host.get((host, is_nat_t)) if host else None
        if port is None:
            port = self._defaults.get((":" in destination.host, is_nat_t))
        if port is None or (port.host and host not in ("", port.host)):
            raise OSError(
                errno.EADDRNOTAVAIL, f"no socket to send from {host or 'any'} to {destination.host}"
            )
        return port
