"""Creates a CHILD_SA, with IKE_AUTH or by CREATE_CHILD_SA (RFC 7296 1.2, 1.3.1, 2.9, 2.17)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.child import ChildMode
from charon_core.config.proposal import Proposal, explain_mismatch, select
from charon_core.config.traffic_selector import narrow
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import generate, respond
from charon_core.encoding.payloads import (
    KeyExchange,
    Nonce,
    Notify,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from charon_core.encoding.registry import (
    ExchangeType,
    KeyExchangeId,
    NotifyType,
    TransformType,
    name_of,
)
from charon_core.kernel.interface import KernelError
from charon_core.sa.child_sa import ChildSa
from charon_core.sa.methods import demanded_method, preferred_method
from charon_core.sa.reports import publish_child_keys
from charon_core.sa.selectors import are_within, from_wire, resolve, text_of, to_wire
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.task import Outcome, Outgoing, WatchedTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.child import ChildConfig
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.key_exchange import KeyExchange as OwnKeyExchange
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

_NONCE_LENGTH: Final = 32
_FAILURES: Final = frozenset(
    {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.TS_UNACCEPTABLE,
        NotifyType.SINGLE_PAIR_REQUIRED,
        NotifyType.NO_ADDITIONAL_SAS,
        NotifyType.INTERNAL_ADDRESS_FAILURE,
        NotifyType.FAILED_CP_REQUIRED,
        NotifyType.TEMPORARY_FAILURE,
        NotifyType.INVALID_SYNTAX,
        NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
    }
)


class ChildCreate(WatchedTask):
    """Negotiates and installs one CHILD_SA."""

    __slots__ = (
        "_child",
        "_config",
        "_key_exchange",
        "_local_ts",
        "_method",
        "_nonce_i",
        "_nonce_r",
        "_offer",
        "_public",
        "_refusal",
        "_remote_ts",
        "_selected",
        "_selected_number",
        "_shared",
    )
    name: ClassVar[str] = "CHILD_CREATE"

    def __init__(
        self,
        ike: IkeSa,
        config: ChildConfig | None = None,
        *,
        method: int = 0,
        on_done: Callable[[bool], None] | None = None,
    ) -> None:
        """Prepare the task.

        Args:
            ike: The IKE_SA that it belongs to.
            config: What is to be initiated; None for a responder, who finds it by selectors.
            method: The key exchange to begin with, 0 for the preferred one.
            on_done: Told once whether the CHILD_SA came up.
        """
        super().__init__(ike, on_done)
        self._config = config
        self._method = method
        self._child: ChildSa | None = None
        self._offer: Message | None = None
        self._key_exchange: OwnKeyExchange | None = None
        self._public = b""
        self._shared: bytes | None = None
        self._nonce_i = b""
        self._nonce_r = b""
        self._local_ts: tuple[TrafficSelector, ...] = ()
        self._remote_ts: tuple[TrafficSelector, ...] = ()
        self._selected: Proposal | None = None
        self._selected_number = 1
        self._refusal: Notify | None = None

    def again(self) -> ChildCreate:
        """Return a task that does the same from the start; whoever waits, waits for it."""
        return ChildCreate(self.ike, self._config, on_done=self.take_watch())

    # -- initiator ----------------------------------------------------------------------------

    def build_request(self, out: Outgoing) -> Outcome:
        """Offer proposals and selectors."""
        ike = self.ike
        exchange = ike.tasks.exchange
        if exchange == ExchangeType.IKE_SA_INIT or self._child is not None:
            return Outcome.MORE
        config = self._config
        if config is None:
            return Outcome.DONE
        if config.mode is not ChildMode.TUNNEL:
            ike.log(
                Group.CFG, Level.CONTROL,
                "CHILD_SA '%s' is configured for %s mode, expected TUNNEL: this daemon cannot "
                "negotiate another mode", config.name, config.mode.value,
            )  # fmt: skip
            self.finish(False)
            return Outcome.DONE
        child = ChildSa(
            ike.env, config, ike.ref, ike.local, ike.remote, encapsulated=ike.encapsulates
        )
        ike.log(Group.IKE, Level.AUDIT, "establishing CHILD_SA %s", child)
        try:
            spi = child.allocate_spi()
        except KernelError as error:
            ike.log(Group.IKE, Level.CONTROL, "unable to establish CHILD_SA %s: %s", child, error)
            self.finish(False)
            return Outcome.DONE
        self._child = child
        in_auth = exchange == ExchangeType.IKE_AUTH
        proposals = config.proposals
        if in_auth:
            proposals = tuple(proposal.without_key_exchanges() for proposal in proposals)
        out.append(
            SecurityAssociation(
                proposals=tuple(
                    proposal.to_wire(number, spi) for number, proposal in enumerate(proposals, 1)
                )
            )
        )
        if not in_auth:
            self._nonce_i = ike.env.random.bytes(_NONCE_LENGTH)
            out.append(Nonce(data=self._nonce_i))
            self._add_key_exchange(out, proposals)
        self._local_ts = resolve(config.local_ts, ike.local.host)
        self._remote_ts = resolve(config.remote_ts, ike.remote.host)
        out.append(TrafficSelectorsInitiator(selectors=to_wire(self._local_ts)))
        out.append(TrafficSelectorsResponder(selectors=to_wire(self._remote_ts)))
        self._add_notifies(out)
        return Outcome.MORE

    def _add_key_exchange(self, out: Outgoing, proposals: tuple[Proposal, ...]) -> None:
        """Begin a key exchange of the CHILD_SA's own, where the proposals have one (PFS)."""
        if not self._method:
            self._method = preferred_method(proposals)
        if self._method:
            self._key_exchange = generate(self._method)
            out.append(KeyExchange(method=self._method, data=self._key_exchange.public_value))

    def process_response(self, message: Message) -> Outcome:
        """Install what the responder chose."""
        ike = self.ike
        if ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        child, config = self._child, self._config
        if child is None or config is None:
            return Outcome.DONE
        in_auth = message.exchange == ExchangeType.IKE_AUTH
        if in_auth:
            self._nonce_i = ike.handshake.own_nonce
            self._nonce_r = ike.handshake.peer_nonce
        refusal = next(
            (
                n
                for n in message.all(Notify)
                if n.notify_type in _FAILURES or n.notify_type == NotifyType.INVALID_KE_PAYLOAD
            ),
            None,
        )
        if refusal is not None:
            return self._refused(refusal, child, config)
        problem = self._take_answer(message, child, config, in_auth=in_auth)
        if problem:
            ike.log(Group.IKE, Level.CONTROL, "no CHILD_SA built: %s", problem)
            return self._fail(child)
        return self._install(child, initiator=True)

    def _refused(self, refusal: Notify, child: ChildSa, config: ChildConfig) -> Outcome:
        ike = self.ike
        name = name_of(NotifyType, refusal.notify_type)
        if refusal.notify_type == NotifyType.INVALID_KE_PAYLOAD:
            method, is_sensible = demanded_method(refusal, config.proposals, self._method)
            if is_sensible:
                ike.log(
                    Group.IKE, Level.CONTROL,
                    "peer didn't accept key exchange %s, it requested %s",
                    name_of(KeyExchangeId, self._method), name_of(KeyExchangeId, method),
                )  # fmt: skip
                child.destroy()
                ike.tasks.queue(ChildCreate(ike, config, method=method, on_done=self.take_watch()))
                return Outcome.DONE
        ike.log(Group.IKE, Level.CONTROL, "received %s notify, no CHILD_SA built", name)
        kinds = {
            NotifyType.NO_PROPOSAL_CHOSEN: AlertKind.PROPOSAL_MISMATCH_CHILD,
            NotifyType.TS_UNACCEPTABLE: AlertKind.TS_MISMATCH,
        }
        kind = kinds.get(NotifyType(refusal.notify_type))
        if kind is AlertKind.PROPOSAL_MISMATCH_CHILD:
            offered_text = ", ".join(map(str, config.proposals))
            ike.alert(
                kind,
                f"peer accepts none of the proposals of CHILD_SA '{config.name}': {offered_text}; "
                "compare esp= at both ends",
                child=config.name,
            )
        elif kind is AlertKind.TS_MISMATCH:
            ike.alert(
                kind,
                f"peer has no CHILD_SA for the traffic selectors {text_of(self._local_ts)} === "
                f"{text_of(self._remote_ts)} of '{config.name}'; compare leftsubnet and "
                "rightsubnet at both ends",
                child=config.name,
            )
        return self._fail(child)

    def _take_answer(
        self, message: Message, child: ChildSa, config: ChildConfig, *, in_auth: bool
    ) -> str:
        """Check and keep what the responder chose; return what is wrong with it, or nothing."""
        security_association = message.first(SecurityAssociation)
        tsi = message.first(TrafficSelectorsInitiator)
        tsr = message.first(TrafficSelectorsResponder)
        if security_association is None or tsi is None or tsr is None:
            return f"the response lacks SA, TSi or TSr: {message.summary()}"
        answers = security_association.proposals
        chosen = [Proposal.from_wire(p) for p in answers]
        selection = (
            select(config.proposals, chosen, ignore_ke=in_auth) if len(chosen) == 1 else None
        )
        if selection is None or not chosen[0].is_single:
            return "peer selected a proposal that was not offered; " + explain_mismatch(
                config.proposals, chosen, ignore_ke=in_auth
            )
        if len(answers[0].spi) != 4:
            return f"the SPI of the peer has {len(answers[0].spi)} octets, expected 4"
        self.ike.log(Group.CFG, Level.CONTROL, "selected proposal: %s", selection.proposal)
        self._selected = selection.proposal
        child.remote_spi = int.from_bytes(answers[0].spi, "big")
        local = from_wire(tsi)
        remote = from_wire(tsr)
        if not are_within(local, self._local_ts) or not are_within(remote, self._remote_ts):
            return (
                f"peer widens the traffic selectors to {text_of(local)} === {text_of(remote)}, "
                f"offered were {text_of(self._local_ts)} === {text_of(self._remote_ts)}"
            )
        self._local_ts, self._remote_ts = tuple(local), tuple(remote)
        if in_auth:
            return ""
        nonce = message.first(Nonce)
        if nonce is None:
            return "the response lacks a nonce"
        self._nonce_r = nonce.data
        return self._complete_key_exchange(message, selection.proposal)

    def _complete_key_exchange(self, message: Message, proposal: Proposal) -> str:
        method = proposal.first(TransformType.KE)
        wanted = method.id if method is not None else 0
        key_exchange = message.first(KeyExchange)
        if not wanted:
            return "" if key_exchange is None else "peer sends a key exchange it did not select"
        if key_exchange is None or key_exchange.method != wanted or self._key_exchange is None:
            return f"the response lacks the key exchange {name_of(KeyExchangeId, wanted)}"
        if self._method != wanted:
            return f"peer selects key exchange {name_of(KeyExchangeId, wanted)}, not the one sent"
        try:
            self._shared = self._key_exchange.shared_secret(key_exchange.data)
        except CryptoError as error:
            return f"peer's key exchange is refused: {error}"
        return ""

    # -- responder ----------------------------------------------------------------------------

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
        if child is not None:
            try:
                spi = child.allocate_spi()
            except KernelError as error:
                ike.log(Group.IKE, Level.CONTROL, "unable to create CHILD_SA: %s", error)
                self._refuse(NotifyType.NO_ADDITIONAL_SAS)
            else:
                if self._install(child, initiator=False) is Outcome.MORE:
                    self._refuse(NotifyType.NO_ADDITIONAL_SAS)
        if self._refusal is not None or child is None or self._selected is None:
            out.append(self._refusal or Notify.of(NotifyType.NO_PROPOSAL_CHOSEN))
            if in_auth:
                ike.log(Group.IKE, Level.CONTROL, "failed to establish CHILD_SA, keeping IKE_SA")
            return Outcome.DONE
        out.append(
            SecurityAssociation(proposals=(self._selected.to_wire(self._selected_number, spi),))
        )
        if not in_auth:
            out.append(Nonce(data=self._nonce_r))
            if self._public:
                out.append(KeyExchange(method=self._method, data=self._public))
        out.append(TrafficSelectorsInitiator(selectors=to_wire(self._remote_ts)))
        out.append(TrafficSelectorsResponder(selectors=to_wire(self._local_ts)))
        self._add_notifies(out)
        return Outcome.DONE

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
        if len(ike.children) >= ike.env.parameters.max_children:
            ike.log(
                Group.IKE, Level.CONTROL, "IKE_SA %s has %d CHILD_SAs already, refusing another",
                ike, len(ike.children),
            )  # fmt: skip
            self._refuse(NotifyType.NO_ADDITIONAL_SAS)
            return None
        remote = from_wire(tsi)
        local = from_wire(tsr)
        config = self._find_config(local, remote)
        if config is None:
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
        if len(answer.spi) != 4 or int.from_bytes(answer.spi, "big") <= 0xFF:
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
            self._nonce_r = ike.env.random.bytes(_NONCE_LENGTH)
            if not self._respond_key_exchange(offer, selection.proposal):
                return None
        child = ChildSa(
            ike.env, config, ike.ref, ike.local, ike.remote, encapsulated=ike.encapsulates
        )
        child.remote_spi = int.from_bytes(answer.spi, "big")
        return child

    def _find_config(
        self, local: list[TrafficSelector], remote: list[TrafficSelector]
    ) -> ChildConfig | None:
        """Find the configuration that fits the selectors best, and narrow them (RFC 7296 2.9)."""
        ike = self.ike
        configs = ike.peer_config.children if ike.peer_config is not None else ()
        for config in configs:
            if config.mode is not ChildMode.TUNNEL:
                continue
            ours = narrow(resolve(config.local_ts, ike.local.host), local)
            theirs = narrow(resolve(config.remote_ts, ike.remote.host), remote)
            if ours and theirs:
                self._local_ts, self._remote_ts = tuple(ours), tuple(theirs)
                return config
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

    # -- both ---------------------------------------------------------------------------------

    def _install(self, child: ChildSa, *, initiator: bool) -> Outcome:
        """Install the CHILD_SA; MORE means that the kernel refused (the caller answers)."""
        ike = self.ike
        if self._selected is None or ike.keying is None:
            raise RuntimeError(f"CHILD_SA {child} was not negotiated")
        keys = ike.keying.child_keys(self._selected, self._nonce_i, self._nonce_r, self._shared)
        publish_child_keys(ike, child, self._selected, keys, we_initiated=initiator)
        try:
            child.install(
                keys,
                we_initiated=initiator,
                proposal=self._selected,
                remote_spi=child.remote_spi,
                local_ts=self._local_ts,
                remote_ts=self._remote_ts,
            )
        except KernelError as error:
            ike.log(Group.IKE, Level.CONTROL, "unable to install CHILD_SA %s: %s", child, error)
            return self._fail(child) if initiator else Outcome.MORE
        ike.add_child(child)
        child.announce()
        self._child = None
        self.finish(True)
        return Outcome.DONE

    def _fail(self, child: ChildSa) -> Outcome:
        child.destroy()
        self._child = None
        if self.ike.state is IkeState.ESTABLISHED:
            self.ike.log(Group.IKE, Level.CONTROL, "failed to establish CHILD_SA, keeping IKE_SA")
        self.finish(False)
        return Outcome.DONE

    def abort(self) -> None:
        """The IKE_SA ends: give the reserved SPI back."""
        if self._child is not None:
            self._child.destroy()
            self._child = None
        super().abort()

    def _add_notifies(self, out: Outgoing) -> None:
        out.append(Notify.of(NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED))
