"""NAT detection in IKE_SA_INIT, and the move to port 4500 (RFC 7296 2.23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.listener import Group, Level
from charon_core.crypto.key_derivation import nat_detection_hash
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.path import move_to_natt_port
from charon_core.sa.state import Trait
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.encoding.message import Message

_NO_SPI: Final = bytes(8)
_HASH_LENGTH: Final = 20
_MAX_SOURCE_HASHES: Final = 16
"""Source addresses that we compare; a peer may offer several, but not any number."""


class IkeNatd(Task):
    """Compares what each side sees of the other's address with what the other says it is."""

    __slots__ = ()
    name: ClassVar[str] = "IKE_NATD"

    def build_request(self, out: Outgoing) -> Outcome:
        """Tell the peer our addresses as we see them."""
        self._add_hashes(out, _NO_SPI)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """See whether a NAT is on the path, and move to port 4500 if so."""
        self._compare(message, message.responder_spi)
        if Trait.PEER_NATT in self.ike.traits and self.ike.traits.nat_anywhere:
            move_to_natt_port(self.ike)
        return Outcome.DONE

    def process_request(self, message: Message) -> Outcome:
        """See whether a NAT is on the path."""
        self._compare(message, _NO_SPI)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Tell the peer our addresses, if it told us its own."""
        if Trait.PEER_NATT in self.ike.traits:
            self._add_hashes(out, self.ike.responder_spi)
        return Outcome.DONE

    def _add_hashes(self, out: Outgoing, responder_spi: bytes) -> None:
        ike = self.ike
        spi_i = ike.initiator_spi
        if ike.forces_encapsulation:
            source = ike.env.random.bytes(_HASH_LENGTH)
            ike.traits |= Trait.NAT_FAKED
        else:
            source = nat_detection_hash(spi_i, responder_spi, *ike.local)
        destination = nat_detection_hash(spi_i, responder_spi, *ike.remote)
        out.append(Notify.of(NotifyType.NAT_DETECTION_SOURCE_IP, source))
        out.append(Notify.of(NotifyType.NAT_DETECTION_DESTINATION_IP, destination))

    def _compare(self, message: Message, responder_spi: bytes) -> None:
        ike = self.ike
        sources: list[bytes] = []
        destination: bytes | None = None
        for notify in message.all(Notify):
            if notify.notify_type == NotifyType.NAT_DETECTION_SOURCE_IP:
                sources.append(notify.data)
            elif notify.notify_type == NotifyType.NAT_DETECTION_DESTINATION_IP:
                destination = notify.data
        if not sources or destination is None:
            return
        ike.traits |= Trait.PEER_NATT
        spi_i = message.initiator_spi
        if (
            nat_detection_hash(spi_i, responder_spi, *ike.remote)
            not in sources[:_MAX_SOURCE_HASHES]
        ):
            ike.log(Group.IKE, Level.CONTROL, "remote host is behind NAT")
            ike.traits |= Trait.NAT_THERE
        if nat_detection_hash(spi_i, responder_spi, *ike.local) != destination:
            ike.log(Group.IKE, Level.CONTROL, "local host is behind NAT, sending keep alives")
            ike.traits |= Trait.NAT_HERE
