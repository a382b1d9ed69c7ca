"""Which addresses this host and a peer have, and by which paths they can be tried."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from charon_core.network.packet import Endpoint
from charon_core.sa.mobility import Path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.sa.ike_sa import IkeSa

MAX_TOLD: Final = 16
"""Addresses of ours that a peer is told."""

MAX_PATHS: Final = 16
"""Paths that are tried at the same time: each retransmission is so many datagrams."""


def own_addresses(ike: IkeSa) -> list[str]:
    """Return the addresses that this host can be reached at, those of the connection first."""
    only = ike.env.parameters.own_addresses
    hosts = [host for host in ike.env.kernel.net.local_addresses() if not only or host in only]
    config = ike.ike_config
    if config is None or not config.local_hosts:
        return hosts
    return sorted(hosts, key=lambda host: not config.match_local(host))


def further_addresses(ike: IkeSa) -> tuple[str, ...]:
    """Return our addresses but for the one in use: what the peer is told (RFC 4555 3.4)."""
    hosts = [host for host in own_addresses(ike) if host != ike.local.host and "%" not in host]
    return tuple(hosts[:MAX_TOLD])


def has_own_address(ike: IkeSa) -> bool:
    """Whether the address that an IKE_SA is sent from is still ours, on a link that is up."""
    host = ike.local.host
    if host in ike.env.kernel.net.local_addresses():
        return True
    # These are never listed; they are there, or are not.
    address = ip_address(host)
    return (address.is_loopback or address.is_link_local) and ike.env.kernel.net.is_local(host)


def is_path_usable(ike: IkeSa) -> bool:
    """Whether the path in use is there, as far as this host can tell."""
    net = ike.env.kernel.net
    return has_own_address(ike) and net.source_address(ike.remote.host) is not None


def paths_to_peer(ike: IkeSa) -> list[Path]:
    """Return the paths that can be tried, best first.

    That in use comes first if it is there; then, for each address of the peer, the path that the
    routing table prefers; then all other pairs of one family for which there is a route.
    """
    mobility = ike.mobility
    if mobility is None:
        return []
    port = ike.local.port
    preferred: list[Path] = []
    others: list[Path] = []
    current = Path(ike.local, ike.remote)
    if is_path_usable(ike):
        preferred.append(current)
    hosts = own_addresses(ike)
    for remote in _peer_endpoints(ike):
        source = ike.env.kernel.net.source_address(remote.host)
        if source is None:
            continue
        for host in hosts:
            if (":" in host) == remote.is_ipv6:
                path = Path(Endpoint(host, port), remote)
                (preferred if host == source else others).append(path)
    found = dict.fromkeys((*preferred, *others))
    return [path for path in found if path not in mobility.refused][:MAX_PATHS]


def _peer_endpoints(ike: IkeSa) -> Iterator[Endpoint]:
    """Yield where the peer may be: where it was last, then what it has told us."""
    yield ike.remote
    if ike.mobility is None:
        return
    for host in ike.mobility.peer_addresses:
        if host != ike.remote.host and is_usable_peer(host):
            yield Endpoint(host, ike.env.parameters.natt_port)


def is_usable_peer(host: str) -> bool:
    """Whether an address can be that of a peer at all."""
    address = ip_address(host.partition("%")[0])
    return not (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or address == ip_address("255.255.255.255")
    )
