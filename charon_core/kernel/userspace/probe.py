"""Whether ESP in user space can work on this host, found out without leaving anything behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import KernelUnavailable
from charon_core.kernel.userspace.netlink import Netlink, Network
from charon_core.kernel.userspace.tun import Tun

if TYPE_CHECKING:
    from charon_core.kernel.userspace.settings import UserspaceOptions

_TEST_NETWORK: Final = Network(4, 0xC0000201, 32)
"""192.0.2.1, of the range for documentation (RFC 5737)."""

SO_MARK: Final = 36


def set_mark(sock: socket.socket, mark: int) -> None:
    """Mark the packets of a socket, so that they do not see charon's routes.

    Raises:
        OSError: We may not (CAP_NET_ADMIN), or the kernel knows no marks.
    """
    sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)


def probe(options: UserspaceOptions) -> None:
    """Try device, routes, rule and mark; all of it vanishes again.

    Raises:
        KernelUnavailable: The first thing that does not work, and what would help.
    """
    with Tun(options.device, offloads=options.offloads) as tun:
        index = socket.if_nametoindex(tun.name)
        with Netlink() as netlink:
            try:
                netlink.set_up(index, options.mtu)
            except OSError as error:
                raise _unavailable(f"bringing {tun.name} up with MTU {options.mtu}", error) from (
                    error
                )
            if not options.install_routes:
                return
            try:
                # The route goes with the device.
                netlink.add_route(_TEST_NETWORK, options.table, index)
            except OSError as error:
                raise _unavailable(f"a route in table {options.table}", error) from error
            _probe_rule(netlink, options)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            set_mark(sock, options.mark)
        except OSError as error:
            raise _unavailable("marking packets (SO_MARK)", error) from error


def _probe_rule(netlink: Netlink, options: UserspaceOptions) -> None:
    rule = (4, options.table, options.priority, options.mark)
    try:
        netlink.add_rule(*rule)
    except FileExistsError:
        return
    except OSError as error:
        raise _unavailable(f"a routing rule for table {options.table}", error) from error
    with contextlib.suppress(OSError):
        netlink.remove_rule(*rule)


def _unavailable(what: str, error: OSError) -> KernelUnavailable:
    advice = {
        errno.EPERM: "give the daemon CAP_NET_ADMIN in its network namespace",
        errno.EOPNOTSUPP: "the kernel needs policy routing (CONFIG_IP_MULTIPLE_TABLES)",
        errno.EAFNOSUPPORT: "the kernel needs policy routing (CONFIG_IP_MULTIPLE_TABLES)",
    }.get(error.errno or 0, "look at the kernel's log")
    return KernelUnavailable(f"{what} failed: {os.strerror(error.errno or 0)}; {advice}")
