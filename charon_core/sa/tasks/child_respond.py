"""Serves a peer's request for a CHILD_SA, in IKE_AUTH or CREATE_CHILD_SA (RFC 7296 1.3.1, 2.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.child import ChildMode
from charon_core.config.proposal import (
    Proposal,
    additional_methods,
    explain_mismatch,
    select,
)
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
from charon_core.sa.follow_ups import FollowUpAnswers
from charon_core.sa.selectors import are_within, from_wire, resolve, text_of, to_wire
from charon_core.sa.tasks.child_create import (
    BEFORE_AUTH,
    NONCE_LENGTH,
    ChildCreate,
    add_notifies,
    is_usable_spi,
    obstacle,
)
from charon_core.sa.tasks.task import Outcome, Outgoing
from charon_core.sa.transport import TransportOffer, ask_for_transport, offer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.child import ChildConfig
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.encoding.message import Message
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa


class ChildRespond(ChildCreate):
    """Finds the configuration that fits the peer's request, installs it, and answers."""

    __slots__ = (
        "_follow_ups",
        "_offer",
        "_public",
        "_refusal",
        "_selected_number",
        "_transport",
    )
    we_initiate: ClassVar[bool] = False

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._offer: Message | None = None
        self._public = b""
        self._refusal: Notify | None = None
        self._selected_number = 1
        self._transport: TransportOffer | None = None
        self._follow_ups: FollowUpAnswers | None = None

    def process_request(self, message: Message) -> Outcome:
        """Keep the request; it is served when the peer is authenticated."""
        if self._follow_ups is not None:
            self._refusal = self._follow_ups.process(message)
            return Outcome.MORE
        if self._offer is None and message.exchange not in BEFORE_AUTH:
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
        if offer is None or not ike.state.is_up:
            return Outcome.MORE
        if self._follow_ups is not None:
            return self._follow_up(self._follow_ups, out)
        in_auth = offer.exchange == ExchangeType.IKE_AUTH
        if ike.virtual.refusal is not None:
            ike.log(Group.IKE, Level.CONTROL, "no CHILD_SA without a virtual address for the peer")
            out.append(Notify.of(ike.virtual.refusal))
            return Outcome.DONE
        child = self._choose(offer, in_auth=in_auth)
        if child is None or not self._begin(child, in_auth=in_auth) or self._selected is None:
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
        self._announce_follow_ups(out)
        return Outcome.DONE

    def _announce_follow_ups(self, out: Outgoing) -> None:
        """Say that further key exchanges are due, if so, and wait for them."""
        if self._follow_ups is not None:
            self._follow_ups.announce(out)
            self.ike.tasks.keep_follow_up(self._follow_ups.link, self)

    def _begin(self, child: ChildSa, *, in_auth: bool) -> bool:
        """Put the CHILD_SA up, or if further key exchanges are due, reserve its SPI."""
        methods = additional_methods(self._selected) if self._selected is not None else ()
        if in_auth or not methods:
            return self._put_up(child)
        self._child = child
        if not self._reserve(child):
            self._child = None
            return False
        self._follow_ups = FollowUpAnswers(methods, self.ike.env.random)
        return True

    def _follow_up(self, follow_ups: FollowUpAnswers, out: Outgoing) -> Outcome:
        """Answer a further key exchange; the last one puts the CHILD_SA up."""
        child = self._child
        if child is not None and self._refusal is None:
            answer: Outgoing = []
            follow_ups.build(answer)
            if not follow_ups.is_done:
                self.ike.tasks.keep_follow_up(follow_ups.link, self)
                out += answer
                return Outcome.DONE
            self._additional = follow_ups.secret
            # What has become of the IKE_SA and of a CHILD_SA that is replaced, meanwhile.
            if self._is_allowed() and self._has_room() and self._put_up(child):
                out += answer
                return Outcome.DONE
        if child is not None:
            child.destroy()
            self._child = None
        out.append(self._refusal or Notify.of(NotifyType.NO_ADDITIONAL_SAS))
        return Outcome.DONE

    def _put_up(self, child: ChildSa) -> bool:
        """Install what was negotiated and tell that it is there, or leave a refusal."""
        if not self._take_into_kernel(child):
            return False
        child.announce()
        return True

    def _take_into_kernel(self, child: ChildSa, *, inbound_only: bool = False) -> bool:
        self._child = child
        is_installed = self._reserve(child) and self._install(child, inbound_only=inbound_only)
        self._child = None
        if not is_installed:
            self._refuse(NotifyType.NO_ADDITIONAL_SAS)
        return is_installed

    def _reserve(self, child: ChildSa) -> bool:
        """Have an SPI for the CHILD_SA, or leave a refusal."""
        try:
            child.allocate_spi()
        except KernelError as error:
            self.ike.log(Group.IKE, Level.CONTROL, "unable to create CHILD_SA: %s", error)
            self._refuse(NotifyType.NO_ADDITIONAL_SAS)
            return False
        return True

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
        offered = [Proposal.from_wire(p) for p in security_association.proposals]
        config = self._find_config(
            local,
            remote,
            lambda config: select(config.proposals, offered, ignore_ke=in_auth) is not None,
        )
        if config is None:
            return None
        if not self._has_room():
            self._refuse(NotifyType.NO_ADDITIONAL_SAS)
            return None
        proposals = self._proposals(config)
        selection = select(proposals, offered, ignore_ke=in_auth)
        if selection is None:
            ike.alert(
                AlertKind.PROPOSAL_MISMATCH_CHILD,
                explain_mismatch(
                    proposals or config.proposals,
                    offered,
                    connection=config.name,
                    ignore_ke=in_auth,
                )
                + self._lack(config),
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

    def _lack(self, config: ChildConfig) -> str:
        missing = self.ike.env.kernel.missing(config.proposals)
        return f"; {missing}" if missing else ""

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
        self,
        local: list[TrafficSelector],
        remote: list[TrafficSelector],
        agrees: Callable[[ChildConfig], bool],
    ) -> ChildConfig | None:
        """Find the first configuration that fits the selectors, and narrow them (RFC 7296 2.9).

        Of several that fit, one that agrees to the proposals as well is taken, and of these one
        that does not leave out the first selectors: they may be those of a packet.
        """
        ike = self.ike
        configs = ike.peer_config.children if ike.peer_config is not None else ()
        found: ChildConfig | None = None
        merits = (False, False)
        for config in configs:
            if obstacle(config, ike.env.kernel.features):
                continue
            mode, ours, theirs = ChildMode.TUNNEL, local, remote
            if self._transport is not None and config.mode is ChildMode.TRANSPORT:
                mode = ChildMode.TRANSPORT
                ours, theirs = list(self._transport.local), list(self._transport.remote)
            firsts = ours[:1], theirs[:1]
            ours = narrow(resolve(config.local_ts, *ike.local_hosts), ours)
            theirs = narrow(resolve(config.remote_ts, *ike.remote_hosts), theirs)
            if not ours or not theirs:
                continue
            is_led = are_within(firsts[0], ours) and are_within(firsts[1], theirs)
            merit = (agrees(config), is_led)
            if found is None or merit > merits:
                found, merits, self._mode = config, merit, mode
                self._local_ts, self._remote_ts = tuple(ours), tuple(theirs)
            if all(merits):
                break
        if found is not None:
            return found
        accepted = "; ".join(
            f"'{config.name}' accepts {text_of(resolve(config.local_ts, *ike.local_hosts))} === "
            f"{text_of(resolve(config.remote_ts, *ike.remote_hosts))}"
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
