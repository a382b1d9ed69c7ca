"""What ESP in user space cannot do is refused, before anything is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.config.child import ChildMode
from charon_core.kernel.interface import IpsecProtocol, KernelError, PolicyAction

if TYPE_CHECKING:
    from charon_core.kernel.interface import Encapsulation, PolicySpec, SaSpec


def check_sa(spec: SaSpec, *, has_raw: bool) -> None:
    """Refuse an SA that would not work.

    Args:
        spec: The SA.
        has_raw: Whether there are sockets for plain ESP.

    Raises:
        KernelError: What it is that does not.
    """
    operation = f"add SA {spec.id}"
    if spec.id.protocol is not IpsecProtocol.ESP:
        raise KernelError(operation, "ESP in user space does not do AH")
    _check_mode(operation, spec.mode)
    if spec.mark is not None or spec.if_id:
        raise _no_marks(operation)
    check_transport(operation, spec.encapsulation, has_raw=has_raw)


def check_transport(operation: str, encapsulation: Encapsulation | None, *, has_raw: bool) -> None:
    """Refuse plain ESP where there are no sockets for it.

    Raises:
        KernelError: There are none.
    """
    if encapsulation is None and not has_raw:
        raise KernelError(
            operation,
            "plain ESP needs raw sockets",
            "give the daemon CAP_NET_RAW, or let the peer do NAT traversal",
        )


def check_policy(spec: PolicySpec, *, has_bypass: bool) -> None:
    """Refuse a policy that would hold for other packets than those that are meant, or for none.

    Args:
        spec: The policy.
        has_bypass: Whether there are sockets for packets that pass.

    Raises:
        KernelError: What does not work.
    """
    operation = f"add policy {spec}"
    if spec.mark is not None or spec.if_id:
        raise _no_marks(operation)
    if spec.action is PolicyAction.PROTECT and spec.template is not None:
        _check_mode(operation, spec.template.mode)
    elif spec.action is PolicyAction.PASS and not has_bypass:
        raise KernelError(
            operation, "letting packets pass needs raw sockets", "give the daemon CAP_NET_RAW"
        )


def _check_mode(operation: str, mode: ChildMode) -> None:
    if mode is not ChildMode.TUNNEL:
        raise KernelError(
            operation,
            f"ESP in user space does tunnel mode only, not {mode.value}",
            "set type=tunnel",
        )


def _no_marks(operation: str) -> KernelError:
    return KernelError(operation, "ESP in user space knows no marks or XFRM interfaces")
