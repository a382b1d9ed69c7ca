"""Routes that make traffic for a tunnel leave with a virtual address as its source.

A policy whose own side is a virtual address only matches packets that have it. Which source a
packet of this host gets the routing table decides: without such a route it would leave with
another one, and unprotected.
"""

from __future__ import annotations

import ipaddress
import threading
from typing import TYPE_CHECKING

from charon_core.config.child import ChildMode
from charon_core.kernel.interface import KernelError, PolicyAction, PolicyDirection, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import NetBackend, PolicySpec


class SourceRoutes:
    """The routes of outbound policies whose own side has a virtual address of ours."""

    def __init__(self, net: NetBackend, report: Callable[[str], None]) -> None:
        """Have no routes.

        Args:
            net: Knows which addresses are virtual ones, and installs the routes.
            report: Takes a line about a route that could not be removed.
        """
        self._net = net
        self._report = report
        # Guards the table: the routes of each policy, once for each time that it was added.
        self._lock = threading.Lock()
        self._routes: dict[PolicySpec, list[tuple[Route, ...]]] = {}

    def add(self, spec: PolicySpec) -> None:
        """Install the routes of a policy, if it needs some.

        Raises:
            KernelError: None of them is installed.
        """
        routes = self._routes_of(spec)
        if not routes:
            return
        installed: list[Route] = []
        try:
            for route in routes:
                self._net.add_route(route)
                installed.append(route)
        except KernelError:
            self._remove(installed)
            raise
        with self._lock:
            self._routes.setdefault(spec, []).append(routes)

    def remove(self, spec: PolicySpec) -> None:
        """Take back what one `add` did for a policy; goes on where a removal fails."""
        with self._lock:
            added = self._routes.get(spec)
            routes = added.pop() if added else ()
            if not added:
                self._routes.pop(spec, None)
        self._remove(routes)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            left = [routes for added in self._routes.values() for routes in added]
            self._routes.clear()
        for routes in left:
            self._remove(routes)

    def _remove(self, routes: tuple[Route, ...] | list[Route]) -> None:
        for route in routes:
            try:
                self._net.remove_route(route)
            except KernelError as error:
                self._report(f"removing the route to {route.destination}: {error}")

    def _routes_of(self, spec: PolicySpec) -> tuple[Route, ...]:
        template = spec.template
        if (
            spec.direction is not PolicyDirection.OUT
            or spec.action is not PolicyAction.PROTECT
            or template is None
            or template.mode is not ChildMode.TUNNEL
        ):
            return ()
        own = spec.source
        source = next(filter(own.includes, self._net.virtual_addresses()), None)
        if source is None:
            return ()
        if not own.is_host and any(map(own.includes, self._net.local_addresses())):
            # A tunnel for a network that we have an ordinary address in, too: any source will do,
            # and the virtual address may be another tunnel's.
            return ()
        way = self._net.way_to(template.destination)
        if way is None:
            raise KernelError(
                f"lead {spec} to its tunnel", f"there is no route to {template.destination}"
            )
        same_family = (":" in way.gateway) == (spec.destination.family == 6)
        return tuple(
            Route(
                destination,
                interface=way.interface,
                gateway=way.gateway or None if same_family else None,
                source=source,
            )
            for destination in networks_of(spec.destination)
        )


def networks_of(selector: TrafficSelector) -> list[str]:
    """Return the networks that a selector's range of addresses is made of, in CIDR notation."""
    first, last = map(ipaddress.ip_address, (selector.first_address, selector.last_address))
    found = ipaddress.summarize_address_range(first, last)
    return [str(network) for network in found]
