"""When an SA was last used, on kernels that only tell it of policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.kernel.interface import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.kernel.interface import PolicySpec, SaUsage
    from charon_core.kernel.manager import KernelInterface


def with_last_use(
    kernel: KernelInterface, usage: SaUsage, policies: Iterable[PolicySpec]
) -> SaUsage:
    """Return the usage of an SA with its time, that of the policies if the SA has none.

    Linux notes the time of each packet in its SA since 6.2, and in its policy since ever. Without
    either, a peer whose ESP arrives would be asked whether it is alive.

    Args:
        kernel: Where they are installed.
        usage: What the kernel tells of the SA.
        policies: Those that the packets of the SA meet.
    """
    if usage.last_use is not None or not usage.packets:
        return usage
    latest: float | None = None
    for policy in policies:
        try:
            used = kernel.query_policy(policy)
        except KernelError:
            continue  # somebody has removed it; the counters are right nevertheless
        if used is not None and (latest is None or used > latest):
            latest = used
    return usage._replace(last_use=latest)
