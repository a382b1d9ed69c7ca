"""Socket options of the IKE socket: free of policies, and a receiver of ESP in UDP."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from charon_core.kernel.specs import BYPASS_MARK
from charon_core.kernel.xfrm import constants
from charon_core.kernel.xfrm.errors import kernel_error
from charon_core.kernel.xfrm.structs import PolicyInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

_SO_MARK: Final = 36
_NO_LIMITS: Final = {
    "soft_byte_limit": constants.XFRM_INF,
    "hard_byte_limit": constants.XFRM_INF,
    "soft_packet_limit": constants.XFRM_INF,
    "hard_packet_limit": constants.XFRM_INF,
}


def bypass_policies(fd: int, family: int) -> None:
    """Give a socket policies of its own, in and out, that let everything pass.

    Its packets have the mark that the rule for charon's routes leaves out: a route with a virtual
    address as its source is not for them.

    Raises:
        KernelError: the kernel refused.
    """
    level, option = (
        (socket.IPPROTO_IPV6, constants.IPV6_XFRM_POLICY)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, constants.IP_XFRM_POLICY)
    )
    with _borrowed(fd) as borrowed:
        # Without CAP_NET_ADMIN there are no such routes either.
        with contextlib.suppress(OSError):
            borrowed.setsockopt(socket.SOL_SOCKET, _SO_MARK, BYPASS_MARK)
        for direction in (constants.XFRM_POLICY_OUT, constants.XFRM_POLICY_IN):
            policy = PolicyInfo.pack(
                {
                    "sel": {"family": family},
                    "lft": _NO_LIMITS,
                    "dir": direction,
                    "action": constants.XFRM_POLICY_ALLOW,
                }
            )
            try:
                borrowed.setsockopt(level, option, policy)
            except OSError as error:
                raise kernel_error("exempt the IKE socket from IPsec policies", error) from None


def take_esp_in_udp(fd: int, family: int) -> None:
    """Let the kernel take ESP in UDP (RFC 3948 section 2.1) from a socket.

    Raises:
        KernelError: the kernel refused (IPv6 needs Linux 5.8).
    """
    with _borrowed(fd) as borrowed:
        try:
            borrowed.setsockopt(
                socket.IPPROTO_UDP, constants.UDP_ENCAP, constants.UDP_ENCAP_ESPINUDP
            )
        except OSError as error:
            name = "IPv6" if family == socket.AF_INET6 else "IPv4"
            raise kernel_error(f"receive ESP in UDP over {name}", error) from None


@contextlib.contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object for somebody else's descriptor, which stays open."""
    with socket.socket(fileno=os.dup(fd)) as borrowed:
        yield borrowed
