"""Agreeing on MOBIKE in IKE_AUTH, with the addresses of both sides (RFC 4555 3.2 to 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.encoding.mobike import address_list, parse_address_list
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.sa.candidates import further_addresses
from charon_core.sa.mobility import Mobility, Path
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa


class MobikeSetup(Task):
    """Says that we can MOBIKE, if the connection allows it, and learns whether the peer can."""

    __slots__ = ("_asked", "_peer_addresses", "_peer_can", "_told")
    name: ClassVar[str] = "IKE_MOBIKE"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._asked = False
        self._peer_can = False
        self._peer_addresses: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()

    def build_request(self, out: Outgoing) -> Outcome:
        """Offer it, once, in the message with the SA payload."""
        ike = self.ike
        if ike.tasks.exchange != ExchangeType.IKE_AUTH or self._asked:
            return Outcome.MORE
        if ike.peer_config is None or not ike.peer_config.mobike:
            return Outcome.DONE
        self._asked = True
        self._add(out)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Both sides can, if the responder says so."""
        if message.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        self._learn(message)
        if self.ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        if self._peer_can:
            self._begin()
        return Outcome.DONE

    def process_request(self, message: Message) -> Outcome:
        """Note whether the initiator can."""
        if message.exchange == ExchangeType.IKE_AUTH:
            self._learn(message)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Agree in the last message of IKE_AUTH, where the connection allows it."""
        ike = self.ike
        if ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        if self._peer_can and ike.peer_config is not None and ike.peer_config.mobike:
            self._add(out)
            self._begin()
        return Outcome.DONE

    def _add(self, out: Outgoing) -> None:
        self._told = further_addresses(self.ike)
        out.append(Notify.of(NotifyType.MOBIKE_SUPPORTED))
        out += address_list(self._told)

    def _learn(self, message: Message) -> None:
        self._peer_can = self._peer_can or message.notify(NotifyType.MOBIKE_SUPPORTED) is not None
        self._peer_addresses = parse_address_list(message) or self._peer_addresses

    def _begin(self) -> None:
        ike = self.ike
        ike.log(Group.IKE, Level.CONTROL, "peer supports MOBIKE")
        ike.mobility = Mobility(Path(ike.local, ike.remote), self._peer_addresses, self._told)
