"""Routes in charon's own table and the rules that lead there, reference counted."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.kernel import rtnetlink
from charon_core.kernel.interface import KernelError, SaNotFound
from charon_core.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.interface import Route
    from charon_core.kernel.netlink import NetlinkSocket


@dataclass(slots=True)
class _User:
    route: Route
    index: int
    count: int = 1


class HostRoutes:
    """What is in our table; the caller serialises the calls.

    The table has one route for a destination. Where several were asked for, the newest is
    installed, and the one before it comes back when it goes.
    """

    def __init__(
        self, netlink: Callable[[], NetlinkSocket], table: int, priority: int, mark: int
    ) -> None:
        self._netlink = netlink
        self._table = table
        self._priority = priority
        self._mark = mark
        self._users: dict[str, list[_User]] = {}
        self._rules: set[int] = set()

    def add(self, route: Route, index: int) -> None:
        """Install a route through interface ``index`` (0: the gateway tells), or count it.

        Raises:
            KernelError: nothing has changed.
        """
        users = self._users.get(route.destination, [])
        for user in users:
            if user.route == route:
                user.count += 1
                return
        self._add_rule(_family(route))
        self._install(route, index)
        self._users.setdefault(route.destination, []).append(_User(route, index))

    def remove(self, route: Route) -> None:
        """Drop one user of a route.

        Raises:
            SaNotFound: it was not added.
            KernelError: the kernel did not remove it; it is forgotten nevertheless.
        """
        users = self._users.get(route.destination, [])
        user = next((user for user in users if user.route == route), None)
        if user is None:
            raise SaNotFound(f"remove {_text(route)}", "it was never added")
        user.count -= 1
        if user.count:
            return
        was_installed = users[-1] is user
        users.remove(user)
        if users:
            if was_installed:
                self._install(users[-1].route, users[-1].index)
            return
        del self._users[route.destination]
        self._uninstall(route, user.index)
        if not any(_family(other[-1].route) == _family(route) for other in self._users.values()):
            self._remove_rule(_family(route))

    def clear(self) -> list[KernelError]:
        """Remove all routes and rules; return what failed."""
        failures: list[KernelError] = []
        for users in self._users.values():
            try:
                self._uninstall(users[-1].route, users[-1].index)
            except KernelError as error:
                failures.append(error)
        self._users.clear()
        for family in list(self._rules):
            try:
                self._remove_rule(family)
            except KernelError as error:
                failures.append(error)
        return failures

    def __len__(self) -> int:
        return len(self._users)

    def _install(self, route: Route, index: int) -> None:
        self._request(
            f"add {_text(route)}",
            rtnetlink.RTM_NEWROUTE,
            rtnetlink.encode_route(route, self._table, index),
            NLM_F_CREATE | NLM_F_REPLACE,
        )

    def _uninstall(self, route: Route, index: int) -> None:
        self._request(
            f"remove {_text(route)}",
            rtnetlink.RTM_DELROUTE,
            rtnetlink.encode_route(route, self._table, index),
        )

    def _add_rule(self, family: int) -> None:
        if family in self._rules:
            return
        body = rtnetlink.encode_rule(family, self._table, self._priority, self._mark)
        try:
            self._request(
                f"add the rule for table {self._table}",
                rtnetlink.RTM_NEWRULE,
                body,
                NLM_F_CREATE | NLM_F_EXCL,
            )
        except KernelError as error:
            if error.code == errno.EEXIST:  # it stands already, and is not ours to remove
                return
            raise
        self._rules.add(family)

    def _remove_rule(self, family: int) -> None:
        if family not in self._rules:
            return
        self._rules.discard(family)
        self._request(
            f"remove the rule for table {self._table}",
            rtnetlink.RTM_DELRULE,
            rtnetlink.encode_rule(family, self._table, self._priority, self._mark),
        )

    def _request(self, operation: str, kind: int, body: bytes, flags: int = 0) -> None:
        try:
            self._netlink().request(kind, body, flags)
        except NetlinkError as error:
            advice = "charon needs CAP_NET_ADMIN" if error.errno == errno.EPERM else ""
            raise KernelError(operation, error.reason, advice, error.errno or 0) from None
        except OSError as error:
            raise KernelError(operation, str(error.strerror or error)) from None


def _family(route: Route) -> int:
    is_ipv6 = ipaddress.ip_network(route.destination).version == 6
    return socket.AF_INET6 if is_ipv6 else socket.AF_INET


def _text(route: Route) -> str:
    parts = [f"route to {route.destination}"]
    if route.gateway:
        parts.append(f"via {route.gateway}")
    if route.interface:
        parts.append(f"dev {route.interface}")
    if route.source:
        parts.append(f"src {route.source}")
    return " ".join(parts)
