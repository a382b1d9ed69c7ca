"""Exchanges tokens for quick crash detection in IKE_AUTH (RFC 6290 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.encoding.registry import ExchangeType
from charon_core.sa.crash_detection import add_token, token_of
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa


class CrashTokenExchange(Task):
    """Gives the peer our token, and keeps the peer's once the peer has proved who it is."""

    __slots__ = ("_is_given", "_token")
    name: ClassVar[str] = "CRASH_TOKEN"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._is_given = False
        self._token = b""

    def build_request(self, out: Outgoing) -> Outcome:
        """Give our token in the first IKE_AUTH request."""
        if self.ike.tasks.exchange == ExchangeType.IKE_AUTH and not self._is_given:
            self._is_given = True
            add_token(self.ike, out)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Keep the responder's token, which comes with its last response."""
        if self.ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        self.ike.peer_token = token_of(message)
        return Outcome.DONE

    def process_request(self, message: Message) -> Outcome:
        """Note the initiator's token, whichever of its requests brings it."""
        if message.exchange == ExchangeType.IKE_AUTH:
            self._token = token_of(message) or self._token
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Answer with ours once the initiator is authenticated."""
        if self.ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        self.ike.peer_token = self._token
        if self._token:
            add_token(self.ike, out)
        return Outcome.DONE


class CrashTokenUpdate(Task):
    """Gives the peer our token of an IKE_SA that we have rekeyed (RFC 6290 4.3).

    It could not come with the request, when the SPIs were not known yet.
    """

    __slots__ = ()
    name: ClassVar[str] = "CRASH_TOKEN"

    def build_request(self, out: Outgoing) -> Outcome:
        """Give our token."""
        add_token(self.ike, out)
        return Outcome.MORE

    def process_request(self, message: Message) -> Outcome:
        """Keep the peer's."""
        self.ike.peer_token = token_of(message)
        return Outcome.MORE
