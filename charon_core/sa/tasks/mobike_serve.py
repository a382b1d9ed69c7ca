"""What MOBIKE asks of us in INFORMATIONAL requests (RFC 4555 3.5 to 3.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.encoding.mobike import parse_address_list, parse_cookie2
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa import moving
from charon_core.sa.nat_detection import (
    add_nat_detection,
    detect,
    has_nat_detection,
    is_nat_forbidden,
)
from charon_core.sa.roaming import peer_addresses_changed
from charon_core.sa.state import Trait
from charon_core.sa.tasks.mobike_update import queue_check
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.mobility import Path

_CONCERNS: Final = frozenset(
    {
        NotifyType.UPDATE_SA_ADDRESSES,
        NotifyType.ADDITIONAL_IP4_ADDRESS,
        NotifyType.ADDITIONAL_IP6_ADDRESS,
        NotifyType.NO_ADDITIONAL_ADDRESSES,
        NotifyType.COOKIE2,
        NotifyType.NAT_DETECTION_SOURCE_IP,
        NotifyType.NAT_DETECTION_DESTINATION_IP,
    }
)


class MobikeServe(Task):
    """Follows the peer, notes its addresses, and shows that we have seen its request."""

    __slots__ = ("_arrival", "_cookie", "_refusal", "_wants_nat_detection")
    name: ClassVar[str] = "IKE_MOBIKE"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._cookie: bytes | None = None
        self._refusal: NotifyType | None = None
        self._arrival: Path | None = None
        self._wants_nat_detection = False

    @staticmethod
    def concerns(message: Message) -> bool:
        """Whether a request has something for this task."""
        return any(notify.notify_type in _CONCERNS for notify in message.all(Notify))

    def process_request(self, message: Message) -> Outcome:
        """Take what concerns the IKE_SA, or the one that has taken its place."""
        ike, mobility = self.ike, self.ike.mobility
        self._cookie = parse_cookie2(message)
        if mobility is None:
            return Outcome.MORE
        self._arrival = mobility.arrival
        self._wants_nat_detection = has_nat_detection(message)
        if mobility.heir:
            with ike.env.borrow(mobility.heir) as heir:
                if heir is not None:
                    self._take(heir, message, mobility.arrival)
                    heir.tasks.initiate()
        else:
            self._take(ike, message, mobility.arrival)
        return Outcome.MORE

    def _take(self, ike: IkeSa, message: Message, arrival: Path) -> None:
        if message.notify(NotifyType.UPDATE_SA_ADDRESSES) is not None:
            self._update(ike, message, arrival)
        listed = parse_address_list(message)
        if listed is not None and self._refusal is None:
            peer_addresses_changed(ike, listed, arrival)

    def _update(self, ike: IkeSa, message: Message, arrival: Path) -> None:
        """Move to where the message came from: its header tells what NATs have made of it."""
        if Trait.WE_BEGAN in ike.traits:
            ike.log(
                Group.IKE, Level.CONTROL,
                "ignoring UPDATE_SA_ADDRESSES of %s: as initiator we decide on the addresses",
                arrival.remote,
            )  # fmt: skip
            return
        if is_nat_forbidden(message, *arrival):
            self._refusal = NotifyType.UNEXPECTED_NAT_DETECTED
        elif not moving.is_acceptable(ike, arrival.remote):
            self._refusal = NotifyType.UNACCEPTABLE_ADDRESSES
        if self._refusal is not None:
            ike.alert(
                AlertKind.PEER_ADDRESS_INVALID,
                f"IKE_SA {ike} does not follow its peer to {arrival.remote}: "
                f"{self._refusal.name}; see ike.mobike_networks",
                remote=str(arrival.remote),
            )
            return
        detected = detect(message, self.ike.responder_spi, *arrival)
        if moving.relocate(ike, *arrival, detected):
            queue_check(ike)

    def build_response(self, out: Outgoing) -> Outcome:
        """Answer, and go on with what we asked: by the path that is in use now."""
        ike, path = self.ike, self._arrival
        if self._refusal is not None:
            out.append(Notify.of(self._refusal))
        elif path is not None and self._wants_nat_detection and Trait.PEER_NATT in ike.traits:
            add_nat_detection(ike, out, ike.responder_spi, *path)
        if self._cookie is not None:
            out.append(Notify.of(NotifyType.COOKIE2, self._cookie))
        return Outcome.DONE
