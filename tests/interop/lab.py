"""The network of the interop tests: our gateway, strongSwan's, a cable, a masquerading router.

ours 10.99.0.1, fd99::1 ---------------------------- 10.99.0.2, fd99::2 theirs
ours 192.168.7.2 ---- .1 router, hides both .1 ---- 192.168.8.2 theirs
"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from typing import TYPE_CHECKING

from tests.interop.network import Host, lay_cable, masquerade

if TYPE_CHECKING:
    from types import TracebackType


class Path(Enum):
    """A way between the gateways."""

    IPV4 = "v4"
    IPV6 = "v6"
    NAT = "nat"

    @property
    def ours(self) -> str:
        """Our gateway's address on it."""
        return _ADDRESSES[self][0]

    @property
    def theirs(self) -> str:
        """The address of the other gateway."""
        return _ADDRESSES[self][1]

    @property
    def interface(self) -> str:
        """Our gateway's interface on it."""
        return "lan" if self is Path.NAT else "wan"


_ADDRESSES = {
    Path.IPV4: ("10.99.0.1", "10.99.0.2"),
    Path.IPV6: ("fd99::1", "fd99::2"),
    Path.NAT: ("192.168.7.2", "192.168.8.2"),
}
ROUTER_AS_SEEN_BY_US = "192.168.7.1"
ROUTER_AS_SEEN_BY_THEM = "192.168.8.1"


class Lab:
    """The hosts, while it is a context."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Lab:
        with ExitStack() as stack:
            self.ours = self._host(stack, "ours")
            self.theirs = self._host(stack, "theirs")
            self.router = self._host(stack, "router")
            self._connect()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def hosts(self) -> tuple[Host, Host]:
        """Both gateways' hosts: ours, theirs."""
        return self.ours, self.theirs

    def _host(self, stack: ExitStack, role: str) -> Host:
        host = Host(role)
        stack.callback(host.close)
        return host

    def _connect(self) -> None:
        ours, theirs, router = self.ours, self.theirs, self.router
        lay_cable((ours, "wan"), (theirs, "wan"))
        ours.add_address("wan", "10.99.0.1/24", "fd99::1/64")
        theirs.add_address("wan", "10.99.0.2/24", "fd99::2/64")
        lay_cable((ours, "lan"), (router, "left"))
        lay_cable((theirs, "lan"), (router, "right"))
        ours.add_address("lan", "192.168.7.2/24")
        router.add_address("left", "192.168.7.1/24")
        router.add_address("right", "192.168.8.1/24")
        theirs.add_address("lan", "192.168.8.2/24")
        ours.ip("route", "add", "192.168.8.0/24", "via", "192.168.7.1")
        theirs.ip("route", "add", "192.168.7.0/24", "via", "192.168.8.1")
        masquerade(router)
