"""Routes that lead protected traffic into the TUN device, and the rules that lead to them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from charon_core.kernel import rtnetlink
from charon_core.kernel.interface import KernelError, PolicyAction, Route
from charon_core.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attribute
from charon_core.kernel.userspace.exceptions import Exceptions
from charon_core.kernel.userspace.selector import ADDRESS_BITS, Selector

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.netlink import NetlinkSocket

    _Wish = tuple[Counter[str], str]
    """That a destination (CIDR notation) is led into the device, or past it: which counter."""

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
_GONE: Final = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT})

_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_RTA_DST: Final = 1
_RTA_TABLE: Final = 15
_RTN_THROW: Final = 9
_RTPROT_STATIC: Final = 4
_SCOPE_LINK: Final = 253


class Routes:
    """The routes in charon's table, as policies come and go.

    The rules that lead to the table leave out packets with the mark that the IKE socket has, so
    that what carries a tunnel to 0.0.0.0/0 does not enter it. They are there from `open` to
    `close`, since without them traffic would go out unprotected.

    Two kinds of routes go on to the next table (throw): those to the destinations of PASS policies,
    and those to our own side of each PROTECT policy, or a tunnel to 0.0.0.0/0 would swallow what
    came out of it for the network behind us. Where one destination is wanted for both, the device
    has it; so it has the destinations of PASS policies that other policies contradict.
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
        # Guards the following, and keeps the kernel's order the same as theirs.
        self._lock = threading.Lock()
        # How many policies want a destination (CIDR notation) led into the device, or past it.
        self._into: Counter[str] = Counter()
        self._past: Counter[str] = Counter()
        # What is in the kernel: the destination, and whether it is led past the device.
        self._installed: dict[str, bool] = {}
        self._exceptions = Exceptions()
        # How the PASS policies are led at present.
        self._passes: dict[PolicySpec, list[_Wish]] = {}
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
                    if error.errno == errno.EEXIST:
                        # Exactly ours, from a daemon that died: now it is ours to remove.
                        self._families.add(family)
                        self._clear(netlink, family)
                        continue
                    if family == socket.AF_INET6 and error.errno in _NO_FAMILY:
                        continue
                    raise _refused(
                        f"add rule {self._priority} for table {self._table}", error
                    ) from (error)
                self._families.add(family)

    def _clear(self, netlink: NetlinkSocket, family: int) -> None:
        """Remove what a daemon that died has left in the table; its device took the rest along."""
        for frame in netlink.dump(rtnetlink.RTM_GETROUTE, rtnetlink.encode_dump(family)):
            route = rtnetlink.parse_route(frame)
            if route is None or route.table != self._table or route.protocol != _RTPROT_STATIC:
                continue
            if route.kind == _RTN_THROW:
                unspecified = "0.0.0.0" if family == socket.AF_INET else "::"
                destination = f"{route.destination or unspecified}/{route.prefix}"
                with suppress(OSError):
                    body = self._route(destination, is_throw=True)
                    netlink.request(rtnetlink.RTM_DELROUTE, body)

    def close(self) -> list[str]:
        """Remove everything that is left; return what could not be removed, in words."""
        problems = []
        with self._lock, self._netlink() as netlink:
            for destination, is_throw in self._installed.items():
                try:
                    body = self._route(destination, is_throw=is_throw)
                    netlink.request(rtnetlink.RTM_DELROUTE, body)
                except OSError as error:
                    problems.append(f"the route to {destination}: {error.strerror}")
            for table in (self._into, self._past, self._installed, self._exceptions, self._passes):
                table.clear()
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
        with self._lock, self._netlink() as netlink:
            contradicted = self._exceptions.add(spec)
            led: list[PolicySpec] = []
            try:
                for other in contradicted:
                    self._lead_anew(netlink, other)
                    led.append(other)
                wanted = self._lead(netlink, spec)
            except OSError as error:
                self._exceptions.remove(spec)
                for other in led:
                    with contextlib.suppress(OSError):
                        self._lead_anew(netlink, other)
                raise _refused(f"add the routes of policy {spec}", error) from error
            if spec.action is PolicyAction.PASS:
                self._passes[spec] = wanted

    def remove(self, spec: PolicySpec) -> None:
        """Take back what `add` did for a policy.

        Raises:
            KernelError: A route is still there, and forgotten.
        """
        with self._lock, self._netlink() as netlink:
            error = self._take_back(netlink, self._wanted(spec))
            for other in self._exceptions.remove(spec):
                try:
                    self._lead_anew(netlink, other)
                except OSError as failure:
                    error = failure
            if not self._exceptions.knows(spec):
                self._passes.pop(spec, None)
        if error is not None:
            raise _refused(f"remove the routes of policy {spec}", error) from error

    def _lead(self, netlink: NetlinkSocket, spec: PolicySpec) -> list[_Wish]:
        """Lead the destinations of a policy as it wants them; return what it wants.

        Raises:
            OSError: All is as it was.
        """
        wanted = self._wanted(spec)
        for counter, destination in wanted:
            counter[destination] += 1
        try:
            source = _preferred_source(netlink, spec)
            for _, destination in wanted:
                self._settle(netlink, destination, source)
        except OSError:
            self._take_back(netlink, wanted)
            raise
        return wanted

    def _lead_anew(self, netlink: NetlinkSocket, spec: PolicySpec) -> None:
        """Lead a PASS policy otherwise than before; the new routes come before the old ones go.

        Raises:
            OSError: All is as it was, or an old route is still there.
        """
        before = self._passes[spec]
        self._passes[spec] = self._lead(netlink, spec)
        error = self._take_back(netlink, before)
        if error is not None:
            raise error

    def _wanted(self, spec: PolicySpec) -> list[_Wish]:
        """Return which destinations a policy wants led into the device, and which past it."""
        there = _networks(spec.destination)
        if spec.action is PolicyAction.PASS and not self._exceptions.is_contradicted(spec):
            return [(self._past, destination) for destination in there]
        wanted = [(self._into, destination) for destination in there]
        if spec.action is PolicyAction.PROTECT:
            wanted += [(self._past, destination) for destination in _networks(spec.source)]
        return wanted

    def _take_back(self, netlink: NetlinkSocket, wanted: list[_Wish]) -> OSError | None:
        """Count down, and remove what nobody wants; return what went wrong last."""
        failure: OSError | None = None
        for counter, destination in wanted:
            counter[destination] -= 1
            if counter[destination] <= 0:
                del counter[destination]
            try:
                self._settle(netlink, destination, None)
            except OSError as error:
                failure = error
        return failure

    def _settle(self, netlink: NetlinkSocket, destination: str, source: str | None) -> None:
        """Bring the kernel's route to a destination to what is wanted."""
        current = self._installed.get(destination)
        target: bool | None = None
        if destination in self._into:
            target = False
        elif destination in self._past:
            target = True
        if target == current:
            return
        if current is not None:
            del self._installed[destination]
            body = self._route(destination, is_throw=current)
            try:
                netlink.request(rtnetlink.RTM_DELROUTE, body)
            except OSError as error:
                # Gone with the device, or taken away by somebody else: that is what was wanted.
                if error.errno not in _GONE:
                    raise
        if target is not None:
            self._install(netlink, destination, source, is_throw=target)
            self._installed[destination] = target

    def _install(
        self, netlink: NetlinkSocket, destination: str, source: str | None, *, is_throw: bool
    ) -> None:
        flags = NLM_F_CREATE | NLM_F_REPLACE
        try:
            body = self._route(destination, source, is_throw=is_throw)
            netlink.request(rtnetlink.RTM_NEWROUTE, body, flags)
        except OSError:
            # An IPv6 address that is still being checked for duplicates is refused as a source.
            if source is None or is_throw:
                raise
            body = self._route(destination, is_throw=False)
            netlink.request(rtnetlink.RTM_NEWROUTE, body, flags)

    def _route(self, destination: str, source: str | None = None, *, is_throw: bool) -> bytes:
        if not is_throw:
            route = Route(destination, source=source)
            return rtnetlink.encode_route(route, self._table, self._interface)
        network = ipaddress.ip_network(destination)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        header = _RTMSG.pack(family, network.prefixlen, 0, 0, 0, _RTPROT_STATIC, 0, _RTN_THROW, 0)
        attributes = attribute(_RTA_DST, network.network_address.packed)
        return header + attributes + attribute(_RTA_TABLE, struct.pack("=I", self._table))

    def _rule(self, family: int) -> bytes:
        return rtnetlink.encode_rule(family, self._table, self._priority, self._mark)


def _networks(selector: TrafficSelector) -> list[str]:
    """Return the networks of a selector, in CIDR notation."""
    ranges = Selector.of(selector)
    size = ADDRESS_BITS[ranges.family] // 8
    family = socket.AF_INET if ranges.family == 4 else socket.AF_INET6
    return [
        f"{socket.inet_ntop(family, address.to_bytes(size, 'big'))}/{prefix}"
        for address, prefix in ranges.cidrs()
    ]


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
