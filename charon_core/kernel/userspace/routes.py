"""Routes that lead protected traffic into the TUN device, and the rules that lead to them."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.kernel import rtnetlink
from charon_core.kernel.interface import KernelError, PolicyAction, Route
from charon_core.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attribute
from charon_core.kernel.userspace.selector import ADDRESS_BITS, Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.netlink import NetlinkSocket

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
_GONE: Final = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT})

_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_RTA_DST: Final = 1
_RTA_TABLE: Final = 15
_RTN_THROW: Final = 9
_RTPROT_STATIC: Final = 4
_SCOPE_LINK: Final = 253


class _Key(NamedTuple):
    """A destination in CIDR notation, and whether its packets go on to the next table."""

    destination: str
    is_throw: bool


class Routes:
    """The routes in charon's table, as policies come and go.

    The rules that lead to the table leave out packets with the mark that the IKE socket has, so
    that what carries a tunnel to 0.0.0.0/0 does not enter it. They are there from `open` to
    `close`, since without them traffic would go out unprotected. PASS policies become routes that
    go on to the next table (throw).
    """

    def __init__(
        self,
        netlink: Callable[[], NetlinkSocket],
        *,
        interface: int,
        table: int,
        priority: int,
        mark: int,
    ) -> None:
        """Add nothing yet.

        Args:
            netlink: Opens a socket of NETLINK_ROUTE.
            interface: Index of the TUN device.
            table: The routing table to use.
            priority: Priority of the rules.
            mark: What packets have that the rules leave out.
        """
        self._netlink = netlink
        self._interface = interface
        self._table = table
        self._priority = priority
        self._mark = mark
        # Guards _counts and _families, and keeps the kernel's order the same as theirs.
        self._lock = threading.Lock()
        self._counts: dict[_Key, int] = {}
        self._families: set[int] = set()

    def open(self) -> None:
        """Add the rules of both families, or of those that there are.

        Raises:
            KernelError: The kernel has no policy routing, or we may not.
        """
        with self._lock, self._netlink() as netlink:
            for family in _FAMILIES:
                body = self._rule(family)
                try:
                    netlink.request(rtnetlink.RTM_NEWRULE, body, NLM_F_CREATE | NLM_F_EXCL)
                except OSError as error:
                    if error.errno == errno.EEXIST:  # left behind, or somebody else's
                        continue
                    if family == socket.AF_INET6 and error.errno in _NO_FAMILY:
                        continue
                    raise _refused(
                        f"add rule {self._priority} for table {self._table}", error
                    ) from (error)
                self._families.add(family)

    def close(self) -> list[str]:
        """Remove everything that is left; return what could not be removed, in words."""
        problems = []
        with self._lock, self._netlink() as netlink:
            for key in self._counts:
                try:
                    netlink.request(rtnetlink.RTM_DELROUTE, self._route(key, None))
                except OSError as error:
                    problems.append(f"the route to {key.destination}: {error.strerror}")
            self._counts.clear()
            for family in self._families:
                try:
                    netlink.request(rtnetlink.RTM_DELRULE, self._rule(family))
                except OSError as error:
                    problems.append(f"rule {self._priority}: {error.strerror}")
            self._families.clear()
        return problems

    def add(self, spec: PolicySpec) -> None:
        """Lead the destinations of an outbound policy into the device.

        Raises:
            KernelError: Nothing was added.
        """
        done: list[_Key] = []
        with self._lock, self._netlink() as netlink:
            try:
                source = _preferred_source(netlink, spec)
                for key in _keys(spec):
                    if not self._counts.get(key):
                        self._install(netlink, key, source)
                    self._counts[key] = self._counts.get(key, 0) + 1
                    done.append(key)
            except OSError as error:
                for key in done:
                    self._drop(netlink, key)
                raise _refused(f"add the routes of policy {spec}", error) from error

    def remove(self, spec: PolicySpec) -> None:
        """Take back what `add` did for a policy.

        Raises:
            KernelError: A route is still there, and forgotten.
        """
        with self._lock, self._netlink() as netlink:
            for key in _keys(spec):
                self._drop(netlink, key)

    def _install(self, netlink: NetlinkSocket, key: _Key, source: str | None) -> None:
        flags = NLM_F_CREATE | NLM_F_REPLACE
        try:
            netlink.request(rtnetlink.RTM_NEWROUTE, self._route(key, source), flags)
        except OSError:
            # An IPv6 address that is still being checked for duplicates is refused as a source.
            if source is None:
                raise
            netlink.request(rtnetlink.RTM_NEWROUTE, self._route(key, None), flags)

    def _drop(self, netlink: NetlinkSocket, key: _Key) -> None:
        count = self._counts.get(key, 0)
        if count > 1:
            self._counts[key] = count - 1
        elif count:
            del self._counts[key]
            try:
                netlink.request(rtnetlink.RTM_DELROUTE, self._route(key, None))
            except OSError as error:
                # Gone with the device, or taken away by somebody else: that is what was wanted.
                if error.errno not in _GONE:
                    raise _refused(f"remove the route to {key.destination}", error) from error

    def _route(self, key: _Key, source: str | None) -> bytes:
        if not key.is_throw:
            route = Route(key.destination, source=source)
            return rtnetlink.encode_route(route, self._table, self._interface)
        network = ipaddress.ip_network(key.destination)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        header = _RTMSG.pack(family, network.prefixlen, 0, 0, 0, _RTPROT_STATIC, 0, _RTN_THROW, 0)
        destination = attribute(_RTA_DST, network.network_address.packed)
        return header + destination + attribute(_RTA_TABLE, struct.pack("=I", self._table))

    def _rule(self, family: int) -> bytes:
        return rtnetlink.encode_rule(family, self._table, self._priority, self._mark)


def _keys(spec: PolicySpec) -> Iterator[_Key]:
    selector = Selector.of(spec.destination)
    for address, prefix in selector.cidrs():
        packed = address.to_bytes(ADDRESS_BITS[selector.family] // 8, "big")
        family = socket.AF_INET if selector.family == 4 else socket.AF_INET6
        destination = f"{socket.inet_ntop(family, packed)}/{prefix}"
        yield _Key(destination, spec.action is PolicyAction.PASS)


def _preferred_source(netlink: NetlinkSocket, spec: PolicySpec) -> str | None:
    """Return an address of ours within the local selector; None where any would do."""
    selector = Selector.of(spec.source)
    bits = ADDRESS_BITS[selector.family]
    if selector.end - selector.start == (1 << bits) - 1:
        return None
    for frame in netlink.dump(rtnetlink.RTM_GETADDR, rtnetlink.encode_dump()):
        local = rtnetlink.parse_address(frame)
        if local is None or not _is_source(local):
            continue
        packed = rtnetlink.pack_host(local.host)
        inside = selector.start <= int.from_bytes(packed, "big") <= selector.end
        if len(packed) * 8 == bits and inside:
            return local.host
    return None


def _is_source(local: rtnetlink.InterfaceAddress) -> bool:
    """Whether it may be a preferred source; virtual addresses are deprecated, and they may."""
    return local.scope < _SCOPE_LINK


def _refused(operation: str, error: OSError) -> KernelError:
    code = error.errno or 0
    advice = "charon needs CAP_NET_ADMIN" if code == errno.EPERM else ""
    return KernelError(operation, str(getattr(error, "reason", error.strerror)), advice, code)
