"""The kernel backends of charon-core; each is imported when it is tried, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.plugin import Feature, hookimpl

if TYPE_CHECKING:
    from charon_core.kernel.backends import BackendRegistry
    from charon_core.kernel.interface import BackendContext, IpsecBackend


class XfrmKernel:
    """The Linux kernel's IPsec: the first choice where it works."""

    @hookimpl
    def charon_features(self) -> tuple[Feature, ...]:
        """Provide a kernel backend."""
        return (Feature("kernel-ipsec:xfrm"),)

    @hookimpl
    def charon_register_kernel(self, kernel: BackendRegistry) -> None:
        """Add the backend."""
        kernel.register("xfrm", _make_xfrm, auto_rank=10)


class UserspaceKernel:
    """ESP in this process over a TUN device: the second choice."""

    @hookimpl
    def charon_features(self) -> tuple[Feature, ...]:
        """Provide a kernel backend."""
        return (Feature("kernel-ipsec:userspace"),)

    @hookimpl
    def charon_register_kernel(self, kernel: BackendRegistry) -> None:
        """Add the backend."""
        kernel.register("userspace", _make_userspace, auto_rank=20)


class NullKernel:
    """Keeps what it is told and moves no traffic: for tests, taken by name only."""

    @hookimpl
    def charon_features(self) -> tuple[Feature, ...]:
        """Provide a kernel backend."""
        return (Feature("kernel-ipsec:null"),)

    @hookimpl
    def charon_register_kernel(self, kernel: BackendRegistry) -> None:
        """Add the backend."""
        kernel.register("null", _make_null)


def _make_xfrm(context: BackendContext) -> IpsecBackend:
    from charon_core.kernel.xfrm.backend import XfrmBackend

    return XfrmBackend(context)


def _make_userspace(context: BackendContext) -> IpsecBackend:
    from charon_core.kernel.userspace.backend import UserspaceBackend

    return UserspaceBackend(context)


def _make_null(context: BackendContext) -> IpsecBackend:
    from charon_core.kernel.null import NullBackend

    return NullBackend(context)
