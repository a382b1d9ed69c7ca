"""Serves a peer's request for a CHILD_SA, in IKE_AUTH or CREATE_CHILD_SA (RFC 7296 1.3.1, 2.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.child import ChildMode
from charon_core.config.proposal import Proposal, explain_mismatch, select
from charon_core.config.traffic_selector import narrow
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import respond
from charon_core.encoding.payloads import (
    KeyExchange,
    Nonce,
    Notify,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from charon_core.encoding.registry import ExchangeType, NotifyType, TransformType
from charon_core.kernel.interface import KernelError
from charon_core.sa.selectors import are_within, from_wire, resolve, text_of, to_wire
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.child_create import (
    NONCE_LENGTH,
    ChildCreate,
    add_notifies,
    is_usable_spi,
    obstacle,
)
from charon_core.sa.tasks.task import Outcome, Outgoing
from charon_core.sa.transport import TransportOffer, ask_for_transport, offer_of

if TYPE_CHECKING:
    from charon_core.config.child import ChildConfig
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.encoding.message import Message
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa


class ChildRespond(ChildCreate):
    """Finds the configuration that fits the peer's request, installs it, and answers."""

    __slots__ = ("_offer", "_public", "_refusal", "_selected_number", "_transport")
    we_initiate: ClassVar[bool] = False

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._offer: Message | None = None
        self._public = b""
        self._refusal: Notify | None = None
        self._selected_number = 1
        self._transport: TransportOffer | None = None

    def process_request(self, message: Message) -> Outcome:
        """Keep the request; it is served when the peer is authenticated."""
        if self._offer is None and message.exchange != ExchangeType.IKE_SA_INIT:
            if message.exchange == ExchangeType.IKE_AUTH and (
                message.first(SecurityAssociation) is None
            ):
                return Outcome.DONE
            self._offer = message
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Choose, install and answer; or say why not, which leaves the IKE_SA as it is."""
        ike = self.ike
        offer = self._offer
        if offer is None or ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        in_auth = offer.exchange == ExchangeType.IKE_AUTH
        child = self._choose(offer, in_auth=in_auth)
        if child is None or not self._put_up(child) or self._selected is None:
            out.append(self._refusal or Notify.of(NotifyType.NO_PROPOSAL_CHOSEN))
            if in_auth:
                ike.log(Group.IKE, Level.CONTROL, "failed to establish CHILD_SA, keeping IKE_SA")
            return Outcome.DONE
        spi = child.local_spi.to_bytes(4, "big")
        out.append(
            SecurityAssociation(proposals=(self._selected.to_wire(self._selected_number, spi),))
        )
        if not in_auth:
            out.append(Nonce(data=self._nonce_r))
            if self._public:
                out.append(KeyExchange(method=self._method, data=self._public))
        local, remote = self._local_ts, self._remote_ts
        if self._transport is not None and self._mode is ChildMode.TRANSPORT:
            local, remote = self._transport.in_its_words(local, remote)
            ask_for_transport(out)
        out.append(TrafficSelectorsInitiator(selectors=to_wire(remote)))
        out.append(TrafficSelectorsResponder(selectors=to_wire(local)))
        add_notifies(out)
        return Outcome.DONE

    def _put_up(self, child: ChildSa) -> bool:
        """Install what was negotiated and tell that it is there, or leave a refusal."""
        if not self._take_into_kernel(child):
            return False
        child.announce()
        return True

    def _take_into_kernel(self, child: ChildSa, *, inbound_only: bool = False) -> bool:
        self._child = child
        try:
            child.allocate_spi()
        except KernelError as error:
            self.ike.log(Group.IKE, Level.CONTROL, "unable to create CHILD_SA: %s", error)
            is_installed = False
        else:
            is_installed = self._install(child, inbound_only=inbound_only)
        self._child = None
        if not is_installed:
            self._refuse(NotifyType.NO_ADDITIONAL_SAS)
        return is_installed

    def _choose(self, offer: Message, *, in_auth: bool) -> ChildSa | None:
        """Find configuration, selectors, proposal and keys, or leave a refusal."""
        ike = self.ike
        security_association = offer.first(SecurityAssociation)
        tsi = offer.first(TrafficSelectorsInitiator)
        tsr = offer.first(TrafficSelectorsResponder)
        nonce = offer.first(Nonce)
        if (
            security_association is None
            or tsi is None
            or tsr is None
            or (nonce is None and not in_auth)
        ):
            ike.log(
                Group.IKE, Level.CONTROL,
                "a request for a CHILD_SA needs SA, nonce, TSi and TSr payloads, got %s",
                offer.summary(),
            )  # fmt: skip
            self._refuse(NotifyType.INVALID_SYNTAX)
            return None
        if not self._is_allowed():
            return None
        local, remote = from_wire(tsr), from_wire(tsi)
        self._transport = offer_of(offer, ike, local, remote)
        config = self._find_config(local, remote)
        if config is None:
            return None
        if not self._has_room():
            self._refuse(NotifyType.NO_ADDITIONAL_SAS)
            return None
        offered = [Proposal.from_wire(p) for p in security_association.proposals]
        selection = select(config.proposals, offered, ignore_ke=in_auth)
        if selection is None:
            ike.alert(
                AlertKind.PROPOSAL_MISMATCH_CHILD,
                explain_mismatch(
                    config.proposals, offered, connection=config.name, ignore_ke=in_auth
                ),
                child=config.name,
            )
            self._refuse(NotifyType.NO_PROPOSAL_CHOSEN)
            return None
        answer = security_association.proposals[selection.offered_index]
        if not is_usable_spi(answer.spi):
            ike.log(Group.IKE, Level.CONTROL, "peer's SPI %s is not usable", answer.spi.hex())
            self._refuse(NotifyType.INVALID_SYNTAX)
            return None
        ike.log(Group.CFG, Level.CONTROL, "selected proposal: %s", selection.proposal)
        self._selected = selection.proposal
        self._selected_number = answer.number
        if in_auth:
            self._nonce_i = ike.handshake.peer_nonce
            self._nonce_r = ike.handshake.own_nonce
        else:
            self._nonce_i = nonce.data if nonce is not None else b""
            self._nonce_r = ike.env.random.bytes(NONCE_LENGTH)
            if not self._respond_key_exchange(offer, selection.proposal):
                return None
        child = self._make_child(config)
        child.remote_spi = int.from_bytes(answer.spi, "big")
        return child

    def _is_allowed(self) -> bool:
        """Whether this IKE_SA may have another CHILD_SA; leaves a refusal if not."""
        ike = self.ike
        if len(ike.children) < ike.env.parameters.max_children:
            return True
        ike.log(
            Group.IKE, Level.CONTROL, "IKE_SA %s has %d CHILD_SAs already, refusing another",
            ike, len(ike.children),
        )  # fmt: skip
        self._refuse(NotifyType.NO_ADDITIONAL_SAS)
        return False

    def _find_config(
        self, local: list[TrafficSelector], remote: list[TrafficSelector]
    ) -> ChildConfig | None:
        """Find the first configuration that fits the selectors, and narrow them (RFC 7296 2.9).

        The first selectors may be those of a packet: better one that does not leave it out.
        """
        ike = self.ike
        configs = ike.peer_config.children if ike.peer_config is not None else ()
        found: ChildConfig | None = None
        for config in configs:
            if obstacle(config, ike.env.kernel.features):
                continue
            mode, ours, theirs = ChildMode.TUNNEL, local, remote
            if self._transport is not None and config.mode is ChildMode.TRANSPORT:
                mode = ChildMode.TRANSPORT
                ours, theirs = list(self._transport.local), list(self._transport.remote)
            firsts = ours[:1], theirs[:1]
            ours = narrow(resolve(config.local_ts, ike.local.host), ours)
            theirs = narrow(resolve(config.remote_ts, ike.remote.host), theirs)
            if not ours or not theirs:
                continue
            is_led = are_within(firsts[0], ours) and are_within(firsts[1], theirs)
            if found is None or is_led:
                found, self._mode = config, mode
                self._local_ts, self._remote_ts = tuple(ours), tuple(theirs)
            if is_led:
                break
        if found is not None:
            return found
        accepted = "; ".join(
            f"'{config.name}' accepts {text_of(resolve(config.local_ts, ike.local.host))} === "
            f"{text_of(resolve(config.remote_ts, ike.remote.host))}"
            for config in configs
        )
        ike.alert(
            AlertKind.TS_MISMATCH,
            f"no acceptable traffic selectors: peer offers {text_of(local)} === {text_of(remote)}; "
            f"{accepted or 'the connection has no CHILD_SA configured'}",
            connection=ike.name,
        )
        self._refuse(NotifyType.TS_UNACCEPTABLE)
        return None

    def _respond_key_exchange(self, offer: Message, proposal: Proposal) -> bool:
        method = proposal.first(TransformType.KE)
        wanted = method.id if method is not None else 0
        if not wanted:
            return True
        key_exchange = offer.first(KeyExchange)
        if key_exchange is None or key_exchange.method != wanted:
            self._refuse(NotifyType.INVALID_KE_PAYLOAD, wanted.to_bytes(2, "big"))
            return False
        try:
            self._public, self._shared = respond(wanted, key_exchange.data)
        except CryptoError as error:
            self.ike.log(Group.IKE, Level.CONTROL, "peer's key exchange is refused: %s", error)
            self._refuse(NotifyType.INVALID_SYNTAX)
            return False
        self._method = wanted
        return True

    def _refuse(self, kind: NotifyType, data: bytes = b"") -> None:
        self._refusal = Notify.of(kind, data)
