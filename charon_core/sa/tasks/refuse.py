"""Answers a CREATE_CHILD_SA request that cannot be served (RFC 7296 2.25, 1.3.2)."""

from __future__ import annotations

from typing import ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.tasks.task import Outcome, Outgoing, Task


class Refuse(Task):
    """Says TEMPORARY_FAILURE: the IKE_SA is about to be replaced, or to end."""

    __slots__ = ()
    name: ClassVar[str] = "REFUSE"

    def build_response(self, out: Outgoing) -> Outcome:
        """Say no."""
        self.ike.log(
            Group.IKE, Level.CONTROL,
            "unable to serve this request in state %s, sending TEMPORARY_FAILURE",
            self.ike.state.value,
        )  # fmt: skip
        out.append(Notify.of(NotifyType.TEMPORARY_FAILURE))
        return Outcome.DONE
