"""What we ask of a peer to keep both sides at the right addresses (RFC 4555 3.5 to 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.encoding.mobike import address_list
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType, name_of
from charon_core.sa import moving
from charon_core.sa.candidates import further_addresses
from charon_core.sa.mobility import Path
from charon_core.sa.nat_detection import add_nat_detection, detect, forbid_nats
from charon_core.sa.state import Trait
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

_COOKIE_LENGTH: Final = 16
_REFUSALS: Final = frozenset(
    {NotifyType.UNACCEPTABLE_ADDRESSES, NotifyType.UNEXPECTED_NAT_DETECTED}
)


class _Mobike(Task):
    """A request of MOBIKE's, with a cookie that shows whether the peer has seen it."""

    __slots__ = ("_cookie", "_generation")
    name: ClassVar[str] = "IKE_MOBIKE"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._cookie = b""
        self._generation = 0

    def _add_cookie(self, out: Outgoing) -> None:
        self._cookie = self.ike.env.random.bytes(_COOKIE_LENGTH)
        out.append(Notify.of(NotifyType.COOKIE2, self._cookie))

    def _is_genuine(self, message: Message) -> bool:
        """Whether the peer has seen the request; if not, the IKE_SA has to end (RFC 4555 3.7)."""
        notify = message.notify(NotifyType.COOKIE2)
        if notify is not None and notify.data == self._cookie:
            return True
        self.ike.alert(
            AlertKind.PARSE_ERROR,
            f"{self.ike.remote} answers without having seen the request: its COOKIE2 is "
            f"{'another one' if notify is not None else 'missing'}; closing IKE_SA {self.ike}",
        )
        return False


class MobikeUpdate(_Mobike):
    """Tells the responder that we are at other addresses (UPDATE_SA_ADDRESSES)."""

    __slots__ = ("_path",)

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._path: Path | None = None

    def build_request(self, out: Outgoing) -> Outcome:
        """Ask for the change to where this message comes from."""
        ike, mobility = self.ike, self.ike.mobility
        if mobility is None or mobility.heir:
            return Outcome.DONE
        ike.log(Group.IKE, Level.CONTROL, "requesting address change using MOBIKE")
        self._generation = mobility.generation
        self._path = Path(ike.local, ike.remote)
        mobility.known = None
        out.append(Notify.of(NotifyType.UPDATE_SA_ADDRESSES))
        if Trait.PEER_NATT in ike.traits:
            add_nat_detection(ike, out, ike.responder_spi, ike.local, ike.remote)
        if ike.env.parameters.mobike_no_nats and not ike.forces_encapsulation:
            forbid_nats(out, ike.local, ike.remote)
        self._add_cookie(out)
        mobility.told = further_addresses(ike)
        out += address_list(mobility.told)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Have the CHILD_SAs follow, unless the addresses have changed since."""
        ike, mobility, path = self.ike, self.ike.mobility, self._path
        if not self._is_genuine(message):
            return Outcome.DESTROY
        if mobility is None or path is None:
            return Outcome.DONE
        if mobility.heir:
            with ike.env.borrow(mobility.heir) as heir:
                if heir is not None:
                    self._apply(heir, message, path)
                    heir.tasks.initiate()
        else:
            self._apply(ike, message, path)
        return Outcome.DONE

    def _apply(self, ike: IkeSa, message: Message, path: Path) -> None:
        """Take the answer for an IKE_SA: ours, or the one that has taken its place."""
        mobility = ike.mobility
        if mobility is None or mobility.generation != self._generation:
            return  # A newer request is on its way, or waits for its turn.
        refusal = next((n for n in message.all(Notify) if n.notify_type in _REFUSALS), None)
        error = refusal or next((n for n in message.all(Notify) if n.is_error), None)
        if error is not None:
            ike.alert(
                AlertKind.PEER_ADDRESS_INVALID,
                f"peer refuses to follow to {path}: {name_of(NotifyType, error.notify_type)}",
                path=str(path),
            )
            self._try_another(ike, path)
            return
        mobility.known = path
        # The hashes are of the IKE_SA by which the message came.
        detected = detect(message, self.ike.responder_spi, *path)
        moving.confirm(ike, detected)

    def _try_another(self, ike: IkeSa, refused: Path) -> None:
        other = moving.next_path(ike, refused)
        if other is None:
            ike.log(
                Group.IKE, Level.CONTROL,
                "no other path to %s: staying until addresses or routes change", ike.remote,
            )  # fmt: skip
            return
        moving.take(ike, other, is_proved=False)
        queue_update(ike)

    def abort(self) -> None:
        """The IKE_SA ends: whichever takes its place asks again."""
        mobility = self.ike.mobility
        if mobility is None or not mobility.heir:
            return
        with self.ike.env.borrow(mobility.heir) as heir:
            if heir is not None and heir.state.is_up:
                queue_update(heir)
                heir.tasks.initiate()


class MobikeAddresses(Task):
    """Tells the peer which further addresses we have now (RFC 4555 3.6)."""

    __slots__ = ()
    name: ClassVar[str] = "IKE_MOBIKE"

    def build_request(self, out: Outgoing) -> Outcome:
        """List them, as they are now."""
        ike, mobility = self.ike, self.ike.mobility
        if mobility is None or mobility.heir:
            return Outcome.DONE
        hosts = further_addresses(ike)
        if hosts == mobility.told:
            return Outcome.DONE
        mobility.told = hosts
        ike.log(
            Group.IKE, Level.CONTROL, "telling the peer our further addresses: %s",
            ", ".join(hosts) or "none",
        )  # fmt: skip
        out += address_list(hosts)
        return Outcome.MORE


class PathCheck(Task):
    """A liveness check that shows whether NATs have changed our mapping, too (RFC 4555 3.8)."""

    __slots__ = ("_path",)
    name: ClassVar[str] = "IKE_DPD"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._path: Path | None = None

    def build_request(self, out: Outgoing) -> Outcome:
        """Say where this comes from; by several paths at once there is no saying."""
        ike, mobility = self.ike, self.ike.mobility
        if mobility is not None and not mobility.paths and Trait.PEER_NATT in ike.traits:
            self._path = Path(ike.local, ike.remote)
            add_nat_detection(ike, out, ike.responder_spi, ike.local, ike.remote)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Ask for an update if the peer sees us elsewhere than before."""
        ike, path = self.ike, self._path
        if path is not None and path == (ike.local, ike.remote):
            detected = detect(message, ike.responder_spi, *path)
            if detected is not None and moving.has_mapping_changed(ike, detected):
                queue_update(ike)
        return Outcome.DONE


class RoutabilityCheck(_Mobike):
    """Sees whether the peer is where it says: whether it can read what we send there (3.7)."""

    __slots__ = ()

    def build_request(self, out: Outgoing) -> Outcome:
        """Send something that cannot be guessed."""
        ike, mobility = self.ike, self.ike.mobility
        if mobility is None or mobility.heir:
            return Outcome.DONE
        ike.log(Group.IKE, Level.CONTROL, "checking that the peer can be reached at %s", ike.remote)
        self._generation = mobility.generation
        self._add_cookie(out)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """The CHILD_SAs may follow, unless the peer has moved on meanwhile."""
        if not self._is_genuine(message):
            return Outcome.DESTROY
        ike, mobility = self.ike, self.ike.mobility
        if mobility is None:
            return Outcome.DONE
        if mobility.heir:
            with ike.env.borrow(mobility.heir) as heir:
                if heir is not None:
                    self._let_follow(heir)
                    heir.tasks.initiate()
        else:
            self._let_follow(ike)
        return Outcome.DONE

    def _let_follow(self, ike: IkeSa) -> None:
        if not moving.is_reached(ike, self._generation):
            queue_check(ike)

    def abort(self) -> None:
        """The IKE_SA ends: whichever takes its place asks again."""
        mobility = self.ike.mobility
        if mobility is None or not mobility.heir:
            return
        with self.ike.env.borrow(mobility.heir) as heir:
            if heir is not None and heir.state.is_up and moving.waits_for_check(heir):
                queue_check(heir)
                heir.tasks.initiate()


def queue_update(ike: IkeSa) -> None:
    """Have the responder told of our addresses when its turn comes; once is enough."""
    _queue_once(ike, MobikeUpdate)


def queue_check(ike: IkeSa) -> None:
    """Have it checked that the peer is where it says."""
    _queue_once(ike, RoutabilityCheck)


def queue_addresses(ike: IkeSa) -> None:
    """Have the peer told of our further addresses, if they have changed."""
    if ike.mobility is not None and further_addresses(ike) != ike.mobility.told:
        _queue_once(ike, MobikeAddresses)


def _queue_once(ike: IkeSa, kind: type[Task]) -> None:
    if not any(type(task) is kind for task in ike.tasks.queued):
        ike.tasks.queue(kind(ike))
