"""Opening the IKE sockets: which families, addresses and ports, and why it did not work."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.network import ancillary
from charon_core.network.packet import Endpoint
from charon_core.network.udp_port import UdpPort

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM_PORT_TRIES: Final = 16
"""How often a random port is drawn until it is free in every family."""

ANY_ADDRESS: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_FAMILY_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


class NetworkError(Exception):
    """The sockets cannot be opened; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class SocketConfig:
    """What to listen on.

    Attributes:
        port: UDP port for IKE, 0 for a random one.
        nat_port: UDP port for IKE and ESP through NATs, 0 for a random one.
        addresses: Local addresses to bind to; none for all.
        ipv4: Whether to listen on IPv4.
        ipv6: Whether to listen on IPv6.
        receive_buffer: Octets that the kernel keeps for each socket, 0 for its default. The
            default here holds some thousand messages, a second of a flood.
        max_packet: Octets of the largest IKE message that is taken.
    """

    port: int = 500
    nat_port: int = 4500
    addresses: tuple[str, ...] = ()
    ipv4: bool = True
    ipv6: bool = True
    receive_buffer: int = 4 << 20
    max_packet: int = 10000


class Ports(NamedTuple):
    """The ports in use, known once the sockets are open."""

    ike: int
    nat_t: int


def bind_ports(config: SocketConfig, notice: Callable[[str], None]) -> tuple[list[UdpPort], Ports]:
    """Open and bind all sockets.

    Args:
        config: What to listen on.
        notice: Told in a line what is left out because the host does not have it.

    Returns:
        The sockets, and the numbers of the ports.

    Raises:
        NetworkError: A port is taken or not allowed, an address is not here, or nothing is left
            to listen on. No socket stays open then.
    """
    if config.port and config.port == config.nat_port:
        raise NetworkError(
            f"port {config.port} is set for IKE and for NAT traversal; they have to differ"
        )
    hosts = _available(_hosts(config), notice)
    ike = _bind_everywhere(config, hosts, config.port, is_nat_t=False)
    try:
        nat_t = _bind_everywhere(config, hosts, config.nat_port, is_nat_t=True)
    except NetworkError:
        _close_all(ike)
        raise
    return [*ike, *nat_t], Ports(ike[0].port, nat_t[0].port)


def _hosts(config: SocketConfig) -> list[tuple[socket.AddressFamily, str]]:
    """Return family and address of what to bind to, "" for all."""
    wanted = {socket.AF_INET: config.ipv4, socket.AF_INET6: config.ipv6}
    if not config.addresses:
        return [(family, "") for family, on in wanted.items() if on]
    families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host in config.addresses]
    return [
        (family, host)
        for family, host in zip(families, config.addresses, strict=True)
        if wanted[family]
    ]


def _available(
    hosts: list[tuple[socket.AddressFamily, str]], notice: Callable[[str], None]
) -> list[tuple[socket.AddressFamily, str]]:
    """Leave out a family that the host lacks, unless an address of it is asked for."""
    left = []
    for family, host in hosts:
        if host or _has_family(family):
            left.append((family, host))
        else:
            notice(f"no {_FAMILY_NAMES[family]} on this host, going without it")
    if not left:
        raise NetworkError(
            "no address to listen on: switch on ipv4 or ipv6, or name addresses of a family that "
            "is switched on"
        )
    return left


def _has_family(family: socket.AddressFamily) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((ANY_ADDRESS[family], 0))
    except OSError:
        return False
    return True


def _bind_everywhere(
    config: SocketConfig,
    hosts: list[tuple[socket.AddressFamily, str]],
    number: int,
    *,
    is_nat_t: bool,
) -> list[UdpPort]:
    """Bind one port on all addresses; a random one gets the same number on all of them."""
    tries = 1 if number else RANDOM_PORT_TRIES
    while True:
        opened: list[UdpPort] = []
        chosen = number
        try:
            for family, host in hosts:
                opened.append(_bind(config, family, host, chosen, is_nat_t=is_nat_t))
                chosen = opened[0].port
        except NetworkError:
            _close_all(opened)
            tries -= 1
            if not tries:
                raise
        else:
            return opened


def _bind(
    config: SocketConfig,
    family: socket.AddressFamily,
    host: str,
    number: int,
    *,
    is_nat_t: bool,
) -> UdpPort:
    shown = Endpoint(host or ANY_ADDRESS[family], number)
    udp: socket.socket | None = None
    try:
        udp = socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        ancillary.prepare(udp, receive_buffer=config.receive_buffer)
        udp.bind(ancillary.address_of(family, shown.host, number))
        return UdpPort(udp, host=host, is_nat_t=is_nat_t, max_packet=config.max_packet)
    except OSError as error:
        if udp is not None:
            udp.close()
        raise NetworkError(_explained(shown, error)) from error


def _close_all(ports: list[UdpPort]) -> None:
    for port in ports:
        port.close()


def _explained(shown: Endpoint, error: OSError) -> str:
    """Return why a socket cannot be bound, and what to do about it."""
    advice = {
        errno.EADDRINUSE: "another IKE daemon uses the port; stop it, or set other ports",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE; start as root, or set ports",
        errno.EADDRNOTAVAIL: "the address is not one of this host; correct network.addresses",
    }.get(error.errno or 0, "see the socket settings")
    return f"cannot listen on {shown}: {error.strerror or error}; {advice}"
