"""Addresses, interfaces and routes of this host, through rtnetlink."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from charon_core.kernel import rtnetlink
from charon_core.kernel.host_routes import HostRoutes
from charon_core.kernel.interface import (
    BYPASS_MARK,
    ROUTE_TABLE,
    RULE_PRIORITY,
    KernelError,
    KernelUnavailable,
    SaNotFound,
    Way,
)
from charon_core.kernel.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    EventSocket,
    NetlinkError,
    NetlinkSocket,
    OverrunError,
)
from charon_core.kernel.roaming import Change, RoamFilter

if TYPE_CHECKING:
    from charon_core.kernel.interface import BackendContext, KernelEvents, Route, RunningLoop
    from charon_core.kernel.rtnetlink import InterfaceAddress, KernelRoute, Link

ROAM_DELAY: Final = 0.1
"""Seconds within which changes of addresses and routes count as one."""

_GROUPS: Final = (
    rtnetlink.RTNLGRP_LINK,
    rtnetlink.RTNLGRP_IPV4_IFADDR,
    rtnetlink.RTNLGRP_IPV4_ROUTE,
    rtnetlink.RTNLGRP_IPV6_IFADDR,
    rtnetlink.RTNLGRP_IPV6_ROUTE,
)
_LEVEL_CONTROL: Final = 1
_LEVEL_MORE: Final = 2
_STOP_SECONDS: Final = 2.0
_DISCARD_PORT: Final = 9
_UNREACHABLE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES, errno.ENODEV}
)


class RtnetlinkNet:
    """The net backend of Linux.

    Route lookups ask rtnetlink (24 us) rather than connect a UDP socket (12 us): a connect would
    run into our own IPsec policies, set off an acquire for the peer's address, and could not
    leave charon's own routes out. Where there is no rtnetlink, the socket has to do.
    """

    def __init__(
        self,
        context: BackendContext,
        *,
        table: int = ROUTE_TABLE,
        rule_priority: int = RULE_PRIORITY,
        roam_delay: float = ROAM_DELAY,
    ) -> None:
        """Remember the surroundings; sockets are opened when they are needed.

        Args:
            context: gives the loop and the log.
            table: routing table that takes our routes.
            rule_priority: priority of the rule that leads to it.
            roam_delay: seconds within which changes count as one.
        """
        self._context = context
        self._roam_delay = roam_delay
        # Guards everything below except what the loop alone uses.
        self._lock = threading.RLock()
        self._netlink: NetlinkSocket | None = None
        self._routes = HostRoutes(self._open, table, rule_priority, BYPASS_MARK)
        self._virtual: dict[tuple[str, int], int] = {}
        self._foreign: set[tuple[str, int]] = set()
        self._addresses: dict[str, InterfaceAddress] | None = None
        self._links: dict[int, Link] = {}
        self._watching = False
        # Of the loop:
        self._filter = RoamFilter(table)
        self._watcher: EventSocket | None = None
        self._loop: RunningLoop | None = None
        self._events: KernelEvents | None = None
        self._pending = Change.NOTHING
        self._due = 0.0

    # -- life ---------------------------------------------------------------------------------

    def start(self, events: KernelEvents) -> None:
        """Open the sockets and report changes from now on.

        Raises:
            KernelUnavailable: there is no rtnetlink.
        """
        self._events = events
        try:
            self._watcher = EventSocket(NETLINK_ROUTE, _GROUPS)
            self._watching = True
            self._learn()
        except OSError as error:
            self.stop()
            raise KernelUnavailable(f"no rtnetlink: {error.strerror or error}") from None
        watcher = self._watcher
        self._loop = self._context.run_loop("network changes", self._watch, watcher.wake)

    def stop(self) -> None:
        """Remove virtual addresses, routes and rules that are left, and close the sockets."""
        ended = self._loop is None or self._loop.stop(_STOP_SECONDS)
        if self._watcher is not None and ended:
            self._watcher.close()
        self._loop = self._watcher = None
        self._watching = False
        with self._lock:
            for error in [*self._routes.clear(), *self._remove_virtual()]:
                self._context.log(_LEVEL_CONTROL, "cleaning up the network: %s", error)
            if self._netlink is not None:
                self._netlink.close()
                self._netlink = None

    # -- questions ----------------------------------------------------------------------------

    def source_address(self, destination: str) -> str | None:
        """Return the address that packets to ``destination`` leave with; None if unreachable."""
        host, zone = _split_zone(destination)
        route = self._lookup(host, zone)
        if route is not None and route.source:
            return f"{route.source}%{zone}" if zone else route.source
        return _connected_source(destination) if route is None and self._is_deaf else None

    def interface_of(self, host: str) -> str | None:
        """Return the name of the interface that has ``host``; None if it is not ours."""
        with self._lock:
            address = self._known().get(_split_zone(host)[0])
        if address is None:
            return None
        try:
            return socket.if_indextoname(address.ifindex)
        except OSError:  # it has just gone
            return None

    def local_addresses(self) -> list[str]:
        """Return the addresses that peers can reach us at.

        Without loopback and link-local ones, those of interfaces that are down, those that are
        tentative or deprecated, and the virtual ones that we added ourselves.
        """
        with self._lock:
            virtual = {host for host, _ in self._virtual}
            return [
                address.host
                for address in self._known().values()
                if address.is_usable
                and address.host not in virtual
                and address.origin != rtnetlink.IFAPROT_CHARON
                and (link := self._links.get(address.ifindex)) is not None
                and link.is_up
                and not link.is_loopback
            ]

    def is_local(self, host: str) -> bool:
        """Tell whether ``host`` is an address of this host, loopback included."""
        with self._lock:
            return _split_zone(host)[0] in self._known()

    def mtu(self, destination: str) -> int | None:
        """Return the MTU of the route or of the interface towards ``destination``."""
        route = self._lookup(*_split_zone(destination))
        if route is None:
            return None
        if route.mtu:
            return route.mtu
        with self._lock:
            self._known()
            link = self._links.get(route.ifindex)
        return link.mtu if link is not None and link.mtu else None

    def way_to(self, destination: str) -> Way | None:
        """Return how packets to ``destination`` leave, without our routes; None if they do not."""
        route = self._lookup(*_split_zone(destination))
        if route is None or not route.ifindex:
            return None
        try:
            return Way(socket.if_indextoname(route.ifindex), route.gateway)
        except OSError:  # it has just gone
            return None

    def virtual_addresses(self) -> list[str]:
        """Return the addresses that were added, the oldest first."""
        with self._lock:
            return list(dict.fromkeys(host for host, _ in self._virtual))

    def is_virtual(self, host: str) -> bool:
        """Tell whether ``host`` was added, by us or by a daemon that has left it behind."""
        with self._lock:
            known = self._known().get(host)
            was_left = known is not None and known.origin == rtnetlink.IFAPROT_CHARON
            return was_left or any(host == added for added, _ in self._virtual)

    # -- changes ------------------------------------------------------------------------------

    def add_address(self, host: str, interface: str) -> None:
        """Add a virtual address, or count one more user of it.

        An address that somebody else has put there is used as it is, and stays; one that a
        daemon left behind which has crashed becomes ours.
        """
        operation = f"add virtual address {host} to {interface}"
        index = _index_of(interface, operation)
        with self._lock:
            key = (host, index)
            if key not in self._virtual:
                self._add_address(operation, host, index)
            self._virtual[key] = self._virtual.get(key, 0) + 1
            self._addresses = None

    def remove_address(self, host: str, interface: str) -> None:
        """Drop one user of a virtual address; the last one removes it.

        Raises:
            SaNotFound: it was not added.
            KernelError: the kernel did not remove it.
        """
        operation = f"remove virtual address {host} from {interface}"
        index = _index_of(interface, operation)
        with self._lock:
            key = (host, index)
            count = self._virtual.get(key, 0)
            if count == 0:
                raise SaNotFound(operation, "it was never added")
            if count > 1:
                self._virtual[key] = count - 1
                return
            del self._virtual[key]
            self._addresses = None
            self._remove_address(operation, host, index)

    def add_route(self, route: Route) -> None:
        """Install a route into our table, or count one more user of it."""
        index = _index_of(route.interface, f"add {route}") if route.interface else 0
        with self._lock:
            self._routes.add(route, index)

    def remove_route(self, route: Route) -> None:
        """Drop one user of a route; the last one removes it."""
        with self._lock:
            self._routes.remove(route)

    # -- inside -------------------------------------------------------------------------------

    def _open(self) -> NetlinkSocket:
        with self._lock:
            if self._netlink is None:
                self._netlink = NetlinkSocket(NETLINK_ROUTE)
            return self._netlink

    @property
    def _is_deaf(self) -> bool:
        """Whether rtnetlink cannot be used here at all."""
        try:
            self._open()
        except OSError:
            return True
        return False

    def _lookup(self, host: str, zone: str) -> KernelRoute | None:
        try:
            index = socket.if_nametoindex(zone) if zone else 0
            body = rtnetlink.encode_lookup(host, BYPASS_MARK, index)
            return rtnetlink.parse_route(self._open().query(rtnetlink.RTM_GETROUTE, body))
        except OSError as error:
            if error.errno not in _UNREACHABLE:
                self._context.log(_LEVEL_MORE, "looking up the route to %s: %s", host, error)
            return None

    def _known(self) -> dict[str, InterfaceAddress]:
        if self._addresses is None or not self._watching:
            try:
                return self._refresh()
            except OSError as error:
                self._context.log(_LEVEL_CONTROL, "listing local addresses: %s", error)
                return {}
        return self._addresses

    def _refresh(self) -> dict[str, InterfaceAddress]:
        netlink = self._open()
        links = map(rtnetlink.parse_link, netlink.dump(rtnetlink.RTM_GETLINK, _DUMP))
        self._links = {link.ifindex: link for link in links}
        found = map(rtnetlink.parse_address, netlink.dump(rtnetlink.RTM_GETADDR, _DUMP))
        self._addresses = {address.host: address for address in found if address is not None}
        return self._addresses

    def _request(self, operation: str, kind: int, body: bytes, flags: int = 0) -> None:
        try:
            self._open().request(kind, body, flags)
        except NetlinkError as error:
            advice = "charon needs CAP_NET_ADMIN" if error.errno == errno.EPERM else ""
            raise KernelError(operation, error.reason, advice, error.errno or 0) from None
        except OSError as error:
            raise KernelError(operation, str(error.strerror or error)) from None

    def _add_address(self, operation: str, host: str, index: int) -> None:
        body = rtnetlink.encode_address(host, index)
        try:
            self._request(operation, rtnetlink.RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)
        except KernelError as error:
            if error.code != errno.EEXIST:
                raise
            if not self.is_virtual(host):
                self._foreign.add((host, index))

    def _remove_address(self, operation: str, host: str, index: int) -> None:
        if (host, index) in self._foreign:
            self._foreign.discard((host, index))
            return
        self._request(operation, rtnetlink.RTM_DELADDR, rtnetlink.encode_address(host, index))

    def _remove_virtual(self) -> list[KernelError]:
        failures = []
        for host, index in self._virtual:
            try:
                self._remove_address(f"remove virtual address {host}", host, index)
            except KernelError as error:
                failures.append(error)
        self._virtual.clear()
        return failures

    # -- the loop -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Wait for events, or for the end of the time in which they are merged."""
        watcher = self._watcher
        if watcher is None:
            return
        waiting = self._pending is not Change.NOTHING
        try:
            frames = watcher.receive(self._due - time.monotonic() if waiting else None)
        except OverrunError:
            self._changed(Change.ADDRESS)
            self._learn()
        else:
            ours = self._netlink.port if self._netlink is not None else -1
            for frame in frames:
                if frame.type in _TABLE_EVENTS:
                    self._forget()
                change = self._filter.judge(frame)
                if change is not Change.NOTHING and frame.port != ours:
                    self._changed(change)
        if self._pending is not Change.NOTHING and time.monotonic() >= self._due:
            pending, self._pending = self._pending, Change.NOTHING
            if self._events is not None:
                self._events.roam(pending is Change.ADDRESS)

    def _learn(self) -> None:
        with self._lock:
            addresses = self._refresh()
            self._filter.learn(addresses.values(), self._links.values())

    def _changed(self, change: Change) -> None:
        if self._pending is Change.NOTHING:
            self._due = time.monotonic() + self._roam_delay
        self._pending = max(self._pending, change)
        self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._addresses = None


_DUMP: Final = rtnetlink.encode_dump()
_TABLE_EVENTS: Final = frozenset(
    {
        rtnetlink.RTM_NEWADDR,
        rtnetlink.RTM_DELADDR,
        rtnetlink.RTM_NEWLINK,
        rtnetlink.RTM_DELLINK,
    }
)


def _split_zone(host: str) -> tuple[str, str]:
    """``fe80::1%eth0`` -> (``fe80::1``, ``eth0``)."""
    address, _, zone = host.partition("%")
    return address, zone


def _index_of(interface: str, operation: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise KernelError(operation, f"there is no interface {interface}") from None


def _connected_source(destination: str) -> str | None:
    """Ask through a UDP socket, which sends nothing; for hosts without rtnetlink."""
    family = rtnetlink.family_of(destination)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((destination, _DISCARD_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return None
