"""Routes that lead protected traffic into the TUN device, and the rule that leads to them."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from charon_core.kernel.interface import KernelError, PolicyAction
from charon_core.kernel.userspace.netlink import Network
from charon_core.kernel.userspace.selector import ADDRESS_BITS, Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.userspace.netlink import Netlink


class Routes:
    """The routes in charon's table, as policies come and go.

    The rule that leads to the table leaves out packets with `mark`, which the IKE socket has, so
    that what carries a tunnel to 0.0.0.0/0 does not enter it. PASS policies become routes that go
    on to the next table. Rules and routes are counted; `close` removes what is left.
    """

    def __init__(
        self,
        netlink: Callable[[], Netlink],
        *,
        interface: int,
        table: int,
        priority: int,
        mark: int,
    ) -> None:
        self._netlink = netlink
        self._interface = interface
        self._table = table
        self._priority = priority
        self._mark = mark
        # Guards _counts and _rules, and keeps the kernel's order the same as theirs.
        self._lock = threading.Lock()
        self._counts: dict[tuple[Network, int | None], int] = {}
        self._rules: set[int] = set()

    def open(self) -> None:
        """Add the rules, of both families or of what there is.

        Raises:
            KernelError: The kernel has no policy routing, or we may not.
        """
        with self._lock, self._netlink() as netlink:
            for family in (4, 6):
                try:
                    netlink.add_rule(family, self._table, self._priority, self._mark)
                except FileExistsError:
                    continue
                except OSError as error:
                    if family == 6 and error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                        continue
                    raise KernelError(
                        f"add the IPv{family} rule {self._priority} for table {self._table}",
                        os.strerror(error.errno or 0),
                        "the kernel needs policy routing, and the daemon CAP_NET_ADMIN",
                        error.errno or 0,
                    ) from error
                self._rules.add(family)

    def close(self) -> list[str]:
        """Remove everything that is left; return what could not be removed, as text."""
        problems = []
        with self._lock, self._netlink() as netlink:
            for network, index in self._counts:
                try:
                    netlink.remove_route(network, self._table, index)
                except OSError as error:
                    problems.append(f"route to {network}: {error.strerror}")
            self._counts.clear()
            for family in self._rules:
                try:
                    netlink.remove_rule(family, self._table, self._priority, self._mark)
                except OSError as error:
                    problems.append(f"IPv{family} rule {self._priority}: {error.strerror}")
            self._rules.clear()
        return problems

    def add(self, spec: PolicySpec) -> None:
        """Lead the destinations of an outbound policy into the device.

        Raises:
            KernelError: Nothing was added.
        """
        done: list[tuple[Network, int | None]] = []
        with self._lock, self._netlink() as netlink:
            source = self._preferred_source(netlink, spec)
            try:
                for key in self._keys(spec):
                    if not self._counts.get(key):
                        self._install(netlink, key, source)
                    self._counts[key] = self._counts.get(key, 0) + 1
                    done.append(key)
            except OSError as error:
                for added in done:
                    self._drop(netlink, added)
                raise KernelError(
                    f"add the route of policy {spec}",
                    os.strerror(error.errno or 0),
                    code=error.errno or 0,
                ) from error

    def remove(self, spec: PolicySpec) -> None:
        """Take back what `add` did for a policy."""
        with self._lock, self._netlink() as netlink:
            for key in self._keys(spec):
                self._drop(netlink, key)

    def _keys(self, spec: PolicySpec) -> Iterator[tuple[Network, int | None]]:
        selector = Selector.of(spec.destination)
        index = None if spec.action is PolicyAction.PASS else self._interface
        for address, prefix in selector.cidrs():
            yield Network(selector.family, address, prefix), index

    def _install(
        self, netlink: Netlink, key: tuple[Network, int | None], source: int | None
    ) -> None:
        network, index = key
        try:
            netlink.add_route(network, self._table, index, source if index is not None else None)
        except OSError:
            # An IPv6 address that is still being checked for duplicates is refused as a source.
            if source is None or index is None:
                raise
            netlink.add_route(network, self._table, index)

    def _drop(self, netlink: Netlink, key: tuple[Network, int | None]) -> None:
        count = self._counts.get(key, 0)
        if count > 1:
            self._counts[key] = count - 1
        elif count:
            del self._counts[key]
            try:
                netlink.remove_route(key[0], self._table, key[1])
            except OSError as error:
                # Gone with the device, or taken away by somebody else: that is what was wanted.
                if error.errno not in (errno.ESRCH, errno.ENODEV, errno.ENOENT):
                    raise KernelError(
                        f"remove the route to {key[0]}",
                        os.strerror(error.errno or 0),
                        code=error.errno or 0,
                    ) from error

    def _preferred_source(self, netlink: Netlink, spec: PolicySpec) -> int | None:
        """Return an address of ours within the local selector; None where any would do."""
        selector = Selector.of(spec.source)
        if selector.end - selector.start == (1 << ADDRESS_BITS[selector.family]) - 1:
            return None
        for local in netlink.local_addresses():
            inside = selector.start <= local.address <= selector.end
            if local.family == selector.family and inside:
                return local.address
        return None
