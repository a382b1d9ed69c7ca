"""What the kernel's error numbers mean for XFRM, and what to do about them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import (
    AlgorithmNotSupported,
    KernelError,
    SaExists,
    SaNotFound,
)
from charon_core.kernel.netlink import NetlinkError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADVICE: Final[Mapping[int, str]] = {
    errno.EPERM: "charon needs CAP_NET_ADMIN",
    errno.EPROTONOSUPPORT: "the kernel lacks this IPsec protocol: modprobe esp4 esp6 (ah4 ah6)",
    errno.ENOSYS: "the kernel lacks an algorithm: load its crypto module, or propose another one",
    errno.ENOBUFS: "the kernel is out of memory for IPsec",
    errno.ENOMEM: "the kernel is out of memory for IPsec",
    errno.EAFNOSUPPORT: "the kernel lacks this address family",
}

_CLASSES: Final[Mapping[int, type[KernelError]]] = {
    errno.ESRCH: SaNotFound,
    errno.ENOENT: SaNotFound,
    errno.EEXIST: SaExists,
    errno.ENOSYS: AlgorithmNotSupported,
}


def kernel_error(operation: str, error: OSError) -> KernelError:
    """Return the exception of the contract for one of netlink."""
    if isinstance(error, TimeoutError):
        return KernelError(
            operation, "the kernel did not answer in time", "the machine is overloaded"
        )
    code = error.errno or 0
    reason = error.reason if isinstance(error, NetlinkError) else str(error.strerror or error)
    return _CLASSES.get(code, KernelError)(operation, reason, _ADVICE.get(code, ""), code)
