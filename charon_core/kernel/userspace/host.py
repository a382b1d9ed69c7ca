"""What the backend wants of the host: devices, routes, marks, and whether there are any."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from charon_core.kernel import nftables, rtnetlink
from charon_core.kernel.interface import KernelError, KernelUnavailable, Route
from charon_core.kernel.netlink import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    EventSocket,
    NetlinkSocket,
    attribute,
)
from charon_core.kernel.userspace.bypass import Bypass
from charon_core.kernel.userspace.guard import SEND_BUFFER as GUARD_BUFFER
from charon_core.kernel.userspace.guard import Guard
from charon_core.kernel.userspace.guard_rules import skeleton
from charon_core.kernel.userspace.raw import RawEsp
from charon_core.kernel.userspace.routes import Routes
from charon_core.kernel.userspace.tun import Tun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.kernel.userspace.datapath import Device
    from charon_core.kernel.userspace.settings import UserspaceOptions
    from charon_core.kernel.userspace.types import Buffer

SEND_BUFFER: Final = 2 << 20
"""Octets that a socket may have under way: some trains, or a single one would fill it."""

_TEST_ROUTE: Final = Route("192.0.2.1/32")
"""Of the range for documentation (RFC 5737)."""

_IFINFO: Final = struct.Struct("=BxHiII")
_IFF_UP: Final = 1
_IFLA_MTU: Final = 4
_IFLA_AF_SPEC: Final = 26
_IFLA_INET6_ADDR_GEN_MODE: Final = 8
_ADDR_GEN_NONE: Final = 1

_SO_MARK: Final = 36
_SO_SNDBUFFORCE: Final = 32


class Host:
    """This host, as its kernel is; tests have another one."""

    def probe(self, options: UserspaceOptions) -> None:
        """Try device, routes, rule and mark; all of it vanishes again.

        Raises:
            KernelUnavailable: The first thing that does not work, and what would help.
        """
        with Tun(options.device, offloads=options.offloads) as tun, _netlink() as netlink:
            index = socket.if_nametoindex(tun.name)
            try:
                _set_up(netlink, index, options.mtu)
            except OSError as error:
                what = f"bringing {tun.name} up with MTU {options.mtu}"
                raise _unavailable(what, error) from error
            if options.install_routes:
                _probe_routes(netlink, index, options)
            if options.guard == "on":
                _probe_guard(tun.name, index, options.mark)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, options.mark)
            except OSError as error:
                raise _unavailable("marking packets (SO_MARK)", error) from error

    def open_device(self, options: UserspaceOptions) -> Device:
        """Create the TUN device and bring it up.

        Raises:
            KernelUnavailable, KernelError: There is no device then.
        """
        tun = Tun(options.device, offloads=options.offloads)
        try:
            with _netlink() as netlink:
                _set_up(netlink, socket.if_nametoindex(tun.name), options.mtu)
        except OSError as error:
            tun.close()
            raise KernelError(
                f"bring {tun.name} up with MTU {options.mtu}",
                os.strerror(error.errno or 0),
                code=error.errno or 0,
            ) from error
        return tun

    def open_routes(self, device: str, options: UserspaceOptions) -> Routes | None:
        """Add the routing rules; None where routes are not wanted.

        Raises:
            KernelError: The rules cannot be added.
        """
        if not options.install_routes:
            return None
        routes = Routes(
            _netlink,
            interface=socket.if_nametoindex(device),
            table=options.table,
            priority=options.priority,
            mark=options.mark,
        )
        routes.open()
        return routes

    def open_guard(
        self,
        device: str,
        options: UserspaceOptions,
        ports: Iterable[int],
        changed: Callable[[], None],
    ) -> Guard | None:
        """Create the guard's table; None where it is not wanted.

        Args:
            device: Name of the TUN device.
            options: The settings.
            ports: Where IKE and ESP in UDP arrive.
            changed: Called when somebody else has changed the table.

        Raises:
            KernelUnavailable: The kernel has no nf_tables, or lacks something of it.
        """
        if options.guard == "off":
            return None
        with contextlib.ExitStack() as undo:
            try:
                netlink = NetlinkSocket(NETLINK_NETFILTER, send_buffer=GUARD_BUFFER)
                undo.callback(netlink.close)
                events = EventSocket(NETLINK_NETFILTER, [nftables.EVENT_GROUP])
                undo.callback(events.close)
                index = socket.if_nametoindex(device)
                guard = Guard(
                    netlink,
                    events,
                    device=device,
                    index=index,
                    mark=options.mark,
                    changed=changed,
                )
                guard.open(ports)
            except OSError as error:
                raise _no_guard(error) from error
            undo.pop_all()
        return guard

    def open_raw(
        self, options: UserspaceOptions, deliver: Callable[[Buffer, int], None]
    ) -> RawEsp | None:
        """Open the sockets for plain ESP; None where we may not (CAP_NET_RAW)."""
        try:
            return RawEsp(options.mark, deliver)
        except OSError:
            return None

    def open_bypass(self, options: UserspaceOptions) -> Bypass | None:
        """Open the sockets for packets that are to pass; None where we may not (CAP_NET_RAW)."""
        try:
            return Bypass(options.mark)
        except OSError:
            return None

    def bypass(self, fd: int, family: int, mark: int) -> int:
        """Mark the packets of a socket, and let it have some trains of them under way.

        Returns:
            The port of the socket.

        Raises:
            OSError: The kernel refuses the mark.
        """
        with socket.socket(family, socket.SOCK_DGRAM, fileno=os.dup(fd)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
            port: int = sock.getsockname()[1]
            return port


def _netlink() -> NetlinkSocket:
    return NetlinkSocket(NETLINK_ROUTE)


def _set_up(netlink: NetlinkSocket, index: int, mtu: int) -> None:
    """Bring an interface up, with this MTU and without IPv6 addresses of its own making.

    Raises:
        OSError: The kernel refuses.
    """
    mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))
    quiet = attribute(_IFLA_AF_SPEC, attribute(socket.AF_INET6, mode))
    # Where IPv6 is off, the kernel knows no such attribute, and there is nothing to silence.
    with contextlib.suppress(OSError):
        netlink.request(rtnetlink.RTM_NEWLINK, _IFINFO.pack(0, 0, index, 0, 0) + quiet)
    body = _IFINFO.pack(0, 0, index, _IFF_UP, _IFF_UP)
    body += attribute(_IFLA_MTU, struct.pack("=I", mtu))
    netlink.request(rtnetlink.RTM_NEWLINK, body)


def _probe_routes(netlink: NetlinkSocket, index: int, options: UserspaceOptions) -> None:
    body = rtnetlink.encode_route(_TEST_ROUTE, options.table, index)
    try:
        # The route goes with the device.
        netlink.request(rtnetlink.RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_REPLACE)
    except OSError as error:
        raise _unavailable(f"a route in table {options.table}", error) from error
    body = rtnetlink.encode_rule(socket.AF_INET, options.table, options.priority, options.mark)
    try:
        netlink.request(rtnetlink.RTM_NEWRULE, body, NLM_F_CREATE | NLM_F_EXCL)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return
        raise _unavailable(f"a routing rule for table {options.table}", error) from error
    with contextlib.suppress(OSError):
        netlink.request(rtnetlink.RTM_DELRULE, body)


def _probe_guard(device: str, index: int, mark: int) -> None:
    """Make a guard's table and remove it in one transaction, so that nobody ever sees it."""
    table = nftables.Table(f"charon-probe-{device}")
    try:
        with NetlinkSocket(NETLINK_NETFILTER, send_buffer=GUARD_BUFFER) as netlink:
            netlink.transact(nftables.batch([*skeleton(table, index, mark), table.delete()]))
    except OSError as error:
        raise _no_guard(error) from error


def _no_guard(error: OSError) -> KernelUnavailable:
    advice = (
        "give the daemon CAP_NET_ADMIN in its network namespace"
        if error.errno == errno.EPERM
        else "the kernel needs nf_tables of Linux 5.6 (CONFIG_NF_TABLES_INET, CONFIG_NFT_FIB_INET)"
    )
    reason = getattr(error, "reason", error.strerror)
    return KernelUnavailable(f"the guard's nf_tables table cannot be made: {reason}; {advice}")


def _unavailable(what: str, error: OSError) -> KernelUnavailable:
    advice = {
        errno.EPERM: "give the daemon CAP_NET_ADMIN in its network namespace",
        errno.EOPNOTSUPP: "the kernel needs policy routing (CONFIG_IP_MULTIPLE_TABLES)",
        errno.EAFNOSUPPORT: "the kernel needs policy routing (CONFIG_IP_MULTIPLE_TABLES)",
    }.get(error.errno or 0, "look at the kernel's log")
    return KernelUnavailable(f"{what} failed: {os.strerror(error.errno or 0)}; {advice}")
