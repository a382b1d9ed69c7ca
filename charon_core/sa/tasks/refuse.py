"""Answers a request that cannot be served (RFC 7296 2.25, RFC 9370 2.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa


class Refuse(Task):
    """Says that it is the wrong time, or that we know nothing of what the request goes on with."""

    __slots__ = ("_kind",)
    name: ClassVar[str] = "REFUSE"

    def __init__(self, ike: IkeSa, kind: NotifyType = NotifyType.TEMPORARY_FAILURE) -> None:
        super().__init__(ike)
        self._kind = kind

    def build_response(self, out: Outgoing) -> Outcome:
        """Say no."""
        self.ike.log(
            Group.IKE, Level.CONTROL, "unable to serve this request in state %s, sending %s",
            self.ike.state.value, self._kind.name,
        )  # fmt: skip
        out.append(Notify.of(self._kind))
        return Outcome.DONE
