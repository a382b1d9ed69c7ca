"""Reauthentication: the IKE_SA is deleted, and set up anew with all it had (RFC 7296 2.8.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.encoding.notify_data import parse_number
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.lifetimes import limit_authentication
from charon_core.sa.renewal import renew
from charon_core.sa.tasks.ike_delete import IkeDelete
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.config.child import ChildConfig
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa


class IkeReauth(IkeDelete):
    """Deletes the IKE_SA, and has it set up anew when it is gone (break before make)."""

    __slots__ = ("_children",)
    name: ClassVar[str] = "IKE_REAUTH"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._children: tuple[ChildConfig, ...] | None = None

    def build_request(self, out: Outgoing) -> Outcome:
        """Note what there is, and announce the delete."""
        ike = self.ike
        ike.log(Group.IKE, Level.AUDIT, "reauthenticating IKE_SA %s", ike)
        self._children = tuple(child.config for child in ike.children)
        return super().build_request(out)

    def finish(self, reached: bool) -> None:
        """The old one is gone, whatever the peer said; unless somebody wants it to stay away."""
        children, self._children = self._children, None
        is_unwanted = any(type(task) is IkeDelete for task in self.ike.tasks.queued)
        if children is not None and not is_unwanted:
            renew(self.ike, children, anyway=True)
        super().finish(reached)


class IkeAuthLifetime(Task):
    """Takes the time after which the peer wants us to prove ourselves anew (RFC 4478 3)."""

    __slots__ = ()
    name: ClassVar[str] = "AUTH_LIFETIME"

    def process_request(self, message: Message) -> Outcome:
        """Reauthenticate in time; the answer is empty."""
        learn_lifetime(self.ike, message)
        return Outcome.MORE


def add_lifetime(ike: IkeSa, out: Outgoing) -> None:
    """Tell the initiator after which time it has to prove itself anew, if at all."""
    if ike.reauth_at is not None:
        seconds = int(ike.reauth_at - ike.env.clock())
        out.append(Notify.of(NotifyType.AUTH_LIFETIME, seconds.to_bytes(4, "big")))


def learn_lifetime(ike: IkeSa, message: Message) -> None:
    """Take the lifetime of our authentication from a message, if it tells one."""
    notify = message.notify(NotifyType.AUTH_LIFETIME)
    if notify is not None:
        limit_authentication(ike, parse_number(notify.data, 4, "AUTH_LIFETIME"))
