"""A net backend that knows what it was told and asks no kernel: for tests and load generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from charon_core.kernel.interface import KernelError, SaNotFound, Way

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.kernel.interface import KernelEvents, Route

DEFAULT_MTU = 1500

_Key = TypeVar("_Key")


class StaticNet:
    """Addresses and routes from a table.

    Attributes:
        addresses: address -> interface.
        virtual: (address, interface) -> number of users, of what was added.
        routes: route -> number of users.
        sources: destination -> source address, where it is not the first address of its family.
    """

    def __init__(
        self,
        addresses: Mapping[str, str] | None = None,
        *,
        sources: Mapping[str, str | None] | None = None,
        mtu: int = DEFAULT_MTU,
    ) -> None:
        """Take over the tables; by default this host is 127.0.0.1 and ::1 on ``lo``."""
        if addresses is None:
            addresses = {"127.0.0.1": "lo", "::1": "lo"}
        self.addresses = dict(addresses)
        self.sources = dict(sources or {})
        self.virtual: dict[tuple[str, str], int] = {}
        self.routes: dict[Route, int] = {}
        self._mtu = mtu
        self._events: KernelEvents | None = None

    def start(self, events: KernelEvents) -> None:
        """Remember whom :meth:`inject_roam` tells."""
        self._events = events

    def stop(self) -> None:
        """Tell nobody any more."""
        self._events = None

    def source_address(self, destination: str) -> str | None:
        """Return the source of the table, or the first address of the same family."""
        if destination in self.sources:
            return self.sources[destination]
        if destination in self.addresses:
            return destination
        is_ipv6 = ":" in destination
        return next((host for host in self.addresses if (":" in host) == is_ipv6), None)

    def interface_of(self, host: str) -> str | None:
        """Return the interface of the table."""
        return self.addresses.get(host)

    def local_addresses(self) -> list[str]:
        """Return the addresses of the table."""
        return list(self.addresses)

    def is_local(self, host: str) -> bool:
        """Tell whether ``host`` is in the table, or a virtual address."""
        return host in self.addresses or self.is_virtual(host)

    def mtu(self, destination: str) -> int | None:
        """Return the one MTU."""
        return self._mtu if self.source_address(destination) is not None else None

    def way_to(self, destination: str) -> Way | None:
        """Return the interface of the source address: everything is on the link."""
        source = self.source_address(destination)
        interface = self.addresses.get(source) if source is not None else None
        return Way(interface) if interface is not None else None

    def virtual_addresses(self) -> list[str]:
        """Return the virtual addresses of the table."""
        return list(dict.fromkeys(host for host, _ in self.virtual))

    def is_virtual(self, host: str) -> bool:
        """Tell whether ``host`` is one of these."""
        return any(host == added for added, _ in self.virtual)

    def add_address(self, host: str, interface: str) -> None:
        """Count a virtual address."""
        if interface not in self.addresses.values():
            raise KernelError(f"add virtual address {host}", f"there is no interface {interface}")
        self.virtual[host, interface] = self.virtual.get((host, interface), 0) + 1

    def remove_address(self, host: str, interface: str) -> None:
        """Count down a virtual address."""
        _count_down(self.virtual, (host, interface), f"remove virtual address {host}")

    def add_route(self, route: Route) -> None:
        """Count a route."""
        self.routes[route] = self.routes.get(route, 0) + 1

    def remove_route(self, route: Route) -> None:
        """Count down a route."""
        _count_down(self.routes, route, f"remove route to {route.destination}")

    def inject_roam(self, *, address_change: bool = True) -> None:
        """Report a change of addresses (or of routes only)."""
        if self._events is None:
            raise RuntimeError("the net backend was not started: nobody listens to its events")
        self._events.roam(address_change)


def _count_down(table: dict[_Key, int], key: _Key, operation: str) -> None:
    count = table.get(key, 0)
    if count == 0:
        raise SaNotFound(operation, "it was never added")
    if count == 1:
        del table[key]
    else:
        table[key] = count - 1
