"""IKE_AUTH: both sides prove who they are, in one or several rounds (RFC 7296 1.2, RFC 4739)."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.sa.authenticators import announcements, certificates, ppk
from charon_core.sa.authenticators.initiator import AuthInitiator
from charon_core.sa.authenticators.responder import AuthResponder
from charon_core.sa.state import Trait
from charon_core.sa.tasks.child_initiate import ChildInitiate
from charon_core.sa.tasks.ike_reauth import add_lifetime, learn_lifetime
from charon_core.sa.tasks.task import Outcome, Outgoing, WatchedTask
from charon_core.sa.uniqueness import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa


class IkeAuth(WatchedTask):
    """Announces what we can in IKE_SA_INIT, and goes on until every round of both sides is over.

    What belongs to the IKE_SA as a whole acts with the last message: the state, uniqueness, the
    lifetime; so does the first CHILD_SA, whose task waits for the state.
    """

    __slots__ = ("_first", "_initiator", "_responder")
    name: ClassVar[str] = "IKE_AUTH"

    def __init__(self, ike: IkeSa, on_done: Callable[[bool], None] | None = None) -> None:
        super().__init__(ike, on_done)
        self._initiator: AuthInitiator | None = None
        self._responder: AuthResponder | None = None
        self._first: Message | None = None

    def checkpoint(self) -> Callable[[], None]:
        """Return what puts the task back to how it is now; see `Task.checkpoint`."""
        initiator = copy(self._initiator)
        responder = self._responder.copy() if self._responder is not None else None
        first = self._first

        def restore() -> None:
            self._initiator, self._responder, self._first = initiator, responder, first

        return restore

    # -- initiator ----------------------------------------------------------------------------

    def build_request(self, out: Outgoing) -> Outcome:
        """Say who we are and prove it, or go on with that."""
        exchange = self.ike.tasks.exchange
        if exchange == ExchangeType.IKE_SA_INIT:
            ppk.announce(self.ike, out)
        if exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        if self._initiator is None:
            config = self.ike.peer_config
            if config is None or not self._may_be_childless():
                return Outcome.DESTROY
            self._initiator = AuthInitiator(self.ike, config)
        return Outcome.MORE if self._initiator.build(out) else Outcome.DESTROY

    def _may_be_childless(self) -> bool:
        """Whether there is a CHILD_SA to ask for, or the responder does without (RFC 6023)."""
        ike = self.ike
        if Trait.PEER_CHILDLESS in ike.traits:
            return True
        if any(isinstance(task, ChildInitiate) for task in ike.tasks.active):
            return True
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer does not support IKE_SAs without CHILD_SA (CHILDLESS_IKEV2_SUPPORTED), and none "
            "is to be set up with '%s'; initiate one of its CHILD_SAs", ike.name,
        )  # fmt: skip
        return False

    def process_response(self, message: Message) -> Outcome:
        """Verify the responder; with its last proof the IKE_SA is established."""
        ike = self.ike
        if message.exchange == ExchangeType.IKE_SA_INIT:
            certificates.learn_requests(ike, message)
            ppk.learn_announcement(ike, message)
            announcements.learn(ike, message)
            if message.notify(NotifyType.MULTIPLE_AUTH_SUPPORTED) is not None:
                ike.traits |= Trait.PEER_MULTIPLE_AUTH
            if message.notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None:
                ike.traits |= Trait.PEER_CHILDLESS
        if message.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        if self._initiator is None:
            return Outcome.DESTROY
        if self._first is None:
            self._first = message
        outcome = self._initiator.process(message)
        if outcome is Outcome.DONE:
            settle(ike, self._first)
            ike.establish()
            learn_lifetime(ike, message)
            self.finish(True)
        return outcome

    # -- responder ----------------------------------------------------------------------------

    def process_request(self, message: Message) -> Outcome:
        """Find out who the initiator is, and verify it."""
        if message.exchange == ExchangeType.IKE_SA_INIT:
            ppk.learn_announcement(self.ike, message)
        if message.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        if self._responder is None:
            self._first = message
            self._responder = AuthResponder(self.ike)
        self._responder.process(message)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Prove who we are; with the last proof of both sides the IKE_SA is established."""
        ike = self.ike
        if ike.tasks.exchange == ExchangeType.IKE_SA_INIT:
            certificates.add_requests_of_candidates(ike, out)
            out.append(Notify.of(NotifyType.CHILDLESS_IKEV2_SUPPORTED))
            out.append(Notify.of(NotifyType.MULTIPLE_AUTH_SUPPORTED))
            ppk.announce(ike, out)
            if ike.env.parameters.announce_auth_methods:
                announcements.announce_all(out)
        if ike.tasks.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        if self._responder is None or self._first is None:
            return Outcome.DESTROY
        outcome = self._responder.build(out)
        if outcome is not Outcome.DONE:
            return outcome
        if not settle(ike, self._first):
            out[:] = [Notify.of(NotifyType.AUTHENTICATION_FAILED)]
            return Outcome.DESTROY
        ike.establish()
        add_lifetime(ike, out)
        return Outcome.DONE
