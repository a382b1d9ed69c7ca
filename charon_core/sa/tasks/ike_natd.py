"""NAT detection in IKE_SA_INIT, and the move to port 4500 (RFC 7296 2.23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.listener import Group, Level
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.nat_detection import (
    add_nat_detection,
    detect,
    forbid_nats,
    is_nat_forbidden,
    note_nats,
)
from charon_core.sa.path import IKE_PORT, move_to_natt_port
from charon_core.sa.state import Trait
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

_NO_SPI: Final = bytes(8)


class IkeNatd(Task):
    """Compares what each side sees of the other's address with what the other says it is."""

    __slots__ = ("_is_forbidden",)
    name: ClassVar[str] = "IKE_NATD"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._is_forbidden = False

    def build_request(self, out: Outgoing) -> Outcome:
        """Tell the peer our addresses as we see them."""
        ike = self.ike
        add_nat_detection(ike, out, _NO_SPI, ike.local, ike.remote)
        if ike.env.parameters.mobike_no_nats and not ike.forces_encapsulation:
            forbid_nats(out, ike.local, ike.remote)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """See whether a NAT is on the path, and move to port 4500 if so, or to be mobile."""
        ike = self.ike
        self._compare(message, message.responder_spi)
        if Trait.PEER_NATT in ike.traits and (ike.traits.nat_anywhere or _may_move(ike)):
            move_to_natt_port(ike)
        return Outcome.DONE

    def process_request(self, message: Message) -> Outcome:
        """See whether a NAT is on the path."""
        self._is_forbidden = is_nat_forbidden(message, self.ike.local, self.ike.remote)
        self._compare(message, _NO_SPI)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Tell the peer our addresses, if it told us its own."""
        ike = self.ike
        if self._is_forbidden:
            ike.log(
                Group.IKE, Level.CONTROL,
                "a NAT changes the addresses of %s, which does not allow that, sending "
                "UNEXPECTED_NAT_DETECTED", ike.remote,
            )  # fmt: skip
            out[:] = [Notify.of(NotifyType.UNEXPECTED_NAT_DETECTED)]
            return Outcome.DESTROY
        if Trait.PEER_NATT in ike.traits:
            add_nat_detection(ike, out, ike.responder_spi, ike.local, ike.remote)
        return Outcome.DONE

    def _compare(self, message: Message, responder_spi: bytes) -> None:
        ike = self.ike
        detected = detect(message, responder_spi, ike.local, ike.remote)
        if detected is not None:
            ike.traits |= Trait.PEER_NATT
            note_nats(ike, detected)


def _may_move(ike: IkeSa) -> bool:
    """Whether the addresses may come to change, for which port 4500 is needed (RFC 4555 3.3).

    Whoever names another port than 500 has its reasons.
    """
    return (
        ike.peer_config is not None
        and ike.peer_config.mobike
        and ike.ike_config is not None
        and ike.ike_config.remote_port == IKE_PORT
    )
