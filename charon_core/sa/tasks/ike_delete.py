"""Deletes the IKE_SA with all that belongs to it (RFC 7296 1.4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.config.child import Action
from charon_core.encoding.payloads import Delete
from charon_core.encoding.registry import NotifyType, ProtocolId
from charon_core.sa.environment import TimerKind
from charon_core.sa.renewal import hold, renew
from charon_core.sa.reports import report_peer_error
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.task import Outcome, Outgoing, WatchedTask
from charon_core.sa.uniqueness import release

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa


class IkeDelete(WatchedTask):
    """Ends the IKE_SA, on our wish or on the peer's.

    When both sides delete at the same time, each answers the other's request and forgets the
    IKE_SA: nothing more is to be said (RFC 7296 2.25.2).
    """

    __slots__ = ()
    name: ClassVar[str] = "IKE_DELETE"

    def build_request(self, out: Outgoing) -> Outcome:
        """Announce the delete; the CHILD_SAs go with it, without being named."""
        ike = self.ike
        ike.log(Group.IKE, Level.AUDIT, "deleting IKE_SA %s between %s", ike, ike.ends_text())
        out.append(Delete(protocol=ProtocolId.IKE, spis=()))
        ike.set_state(IkeState.DELETING)
        release(ike)
        ike.log(Group.IKE, Level.CONTROL, "sending DELETE for IKE_SA %s", ike)
        if not ike.is_timed(TimerKind.DESTROY):
            ike.start_timer(TimerKind.DESTROY, ike.env.parameters.delete_timeout)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:  # noqa: ARG002
        """Whatever the response says, the IKE_SA is gone."""
        self.ike.log(Group.IKE, Level.AUDIT, "IKE_SA deleted")
        self.finish(True)
        return Outcome.DESTROY

    def process_request(self, message: Message) -> Outcome:
        """The peer deletes the IKE_SA, or says that it never came into being (2.21.2)."""
        ike = self.ike
        refusal = message.notify(NotifyType.AUTHENTICATION_FAILED)
        if refusal is not None:
            report_peer_error(ike, refusal)
        else:
            ike.log(Group.IKE, Level.CONTROL, "received DELETE for IKE_SA %s", ike)
        for task in ike.tasks.active:
            task.peer_deletes()
        if ike.state.is_up and refusal is None:
            reestablish(ike)
        if ike.state is not IkeState.DELETING:
            ike.log(Group.IKE, Level.AUDIT, "deleting IKE_SA %s between %s", ike, ike.ends_text())
            ike.set_state(IkeState.DELETING)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:  # noqa: ARG002
        """Acknowledge with an empty response."""
        self.ike.log(Group.IKE, Level.AUDIT, "IKE_SA deleted")
        self.ike.finish_deletes()
        return Outcome.DESTROY

    def abort(self) -> None:
        """The peer did not answer: gone is gone, the goal is reached."""
        self.finish(True)


def reestablish(ike: IkeSa) -> None:
    """The peer closes what is to be held or started again (closeaction=hold, restart)."""
    for child in ike.children:
        if child.config.close_action is Action.TRAP:
            hold(ike, child.config)
    ends = ike.claimed
    release(ike)
    if ends is not None and ike.env.peers.knows(ends):
        return  # It closes a duplicate; bringing that back would go on for ever.
    wanted = [child.config for child in ike.children if child.config.close_action is Action.START]
    if wanted and renew(ike, wanted):
        ike.log(
            Group.IKE, Level.AUDIT, "peer closes IKE_SA %s, establishing %s again",
            ike, ", ".join(dict.fromkeys(config.name for config in wanted)),
        )  # fmt: skip
