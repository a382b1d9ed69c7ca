"""Answers a CREATE_CHILD_SA request that cannot be served (RFC 7296 2.25, 1.3.2)."""

from __future__ import annotations

from typing import ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.task import Outcome, Outgoing, Task


class Refuse(Task):
    """Says TEMPORARY_FAILURE while we delete the IKE_SA, NO_ADDITIONAL_SAS otherwise."""

    __slots__ = ()
    name: ClassVar[str] = "REFUSE"

    def build_response(self, out: Outgoing) -> Outcome:
        """Say no."""
        deleting = self.ike.state is IkeState.DELETING
        kind = NotifyType.TEMPORARY_FAILURE if deleting else NotifyType.NO_ADDITIONAL_SAS
        self.ike.log(
            Group.IKE, Level.CONTROL, "unable to serve this request, sending %s", kind.name
        )
        out.append(Notify.of(kind))
        return Outcome.DONE
