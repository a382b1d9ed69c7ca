"""Requests about policies: from the contract's values to XFRM messages, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from charon_core.kernel.interface import KernelError, PolicyAction, PolicyDirection
from charon_core.kernel.xfrm import constants
from charon_core.kernel.xfrm.messages import encode_body, userpolicy_id, userpolicy_info
from charon_core.kernel.xfrm.selectors import expand
from charon_core.kernel.xfrm.states import (
    MODES,
    family_of,
    mark_attributes,
    monotonic_from_wall,
)
from charon_core.kernel.xfrm.structs import PolicyInfo

if TYPE_CHECKING:
    from charon_core.kernel.interface import PolicySpec, PolicyTemplate
    from charon_core.kernel.netlink import Frame

_DIRECTIONS: Final = {
    PolicyDirection.IN: constants.XFRM_POLICY_IN,
    PolicyDirection.OUT: constants.XFRM_POLICY_OUT,
    PolicyDirection.FORWARD: constants.XFRM_POLICY_FWD,
}

_NO_LIMITS: Final = {
    "soft_byte_limit": constants.XFRM_INF,
    "hard_byte_limit": constants.XFRM_INF,
    "soft_packet_limit": constants.XFRM_INF,
    "hard_packet_limit": constants.XFRM_INF,
}


def encode_policies(spec: PolicySpec) -> list[bytes]:
    """Return the bodies of XFRM_MSG_UPDPOLICY; several where a selector has ranges.

    Raises:
        KernelError: the selectors or the mode cannot be expressed in XFRM.
    """
    blocked = spec.action is PolicyAction.DROP
    attrs = mark_attributes(spec.mark, spec.if_id)
    if spec.action is PolicyAction.PROTECT and spec.template is not None:
        attrs.insert(0, ("XFRMA_TMPL", [_template(spec.template, spec)]))
    bodies = []
    for selector in expand(spec.source, spec.destination):
        message = userpolicy_info()
        message.update(
            sel=selector,
            lft=_NO_LIMITS,
            priority=spec.priority or 0,
            dir=_DIRECTIONS[spec.direction],
            action=constants.XFRM_POLICY_BLOCK if blocked else constants.XFRM_POLICY_ALLOW,
            share=constants.XFRM_SHARE_ANY,
        )
        message["attrs"] = list(attrs)
        bodies.append(encode_body(message))
    return bodies


def encode_ids(spec: PolicySpec) -> list[bytes]:
    """Return the bodies of XFRM_MSG_GETPOLICY and XFRM_MSG_DELPOLICY, as many as above.

    Raises:
        KernelError: the selectors cannot be expressed in XFRM.
    """
    bodies = []
    for selector in expand(spec.source, spec.destination):
        message = userpolicy_id()
        message.update(sel=selector, dir=_DIRECTIONS[spec.direction])
        message["attrs"] = mark_attributes(spec.mark, spec.if_id)
        bodies.append(encode_body(message))
    return bodies


def decode_last_use(frame: Frame) -> float | None:
    """Return when a policy was last used, on the monotonic clock; None for never."""
    return monotonic_from_wall(PolicyInfo.unpack(frame.body)["curlft"]["use_time"])


def _template(template: PolicyTemplate, spec: PolicySpec) -> dict[str, Any]:
    mode = MODES.get(template.mode)
    if mode is None:
        raise KernelError(f"add policy {spec}", f"{template.mode.name} is not a mode of an SA")
    return {
        "id": {"daddr": template.destination, "proto": template.protocol},
        "family": family_of(template.destination),
        "saddr": template.source,
        "reqid": template.reqid,
        "mode": mode,
        "share": constants.XFRM_SHARE_ANY,
        "aalgos": constants.ANY_ALGORITHM,
        "ealgos": constants.ANY_ALGORITHM,
        "calgos": constants.ANY_ALGORITHM,
    }
