"""Asks the peer for a CHILD_SA, in IKE_AUTH or by CREATE_CHILD_SA (RFC 7296 1.2, 1.3.1)."""

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
from charon_core.config.traffic_selector import merge, narrow
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import generate
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
from charon_core.sa.follow_ups import FollowUpRequests
from charon_core.sa.methods import demanded_method, preferred_method
from charon_core.sa.selectors import (
    are_within,
    from_wire,
    led_by_packet,
    resolve,
    text_of,
    to_wire,
)
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.child_create import (
    BEFORE_AUTH,
    NONCE_LENGTH,
    ChildCreate,
    add_notifies,
    is_usable_spi,
    obstacle,
)
from charon_core.sa.tasks.child_delete import ChildAbandon
from charon_core.sa.tasks.task import Outcome, Outgoing
from charon_core.sa.transport import answer_here, ask_for_transport, mode_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.child import ChildConfig
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.key_exchange import KeyExchange as OwnKeyExchange
    from charon_core.encoding.message import Message
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.traps import Packet

    Selectors = tuple[TrafficSelector, ...]


class ChildInitiate(ChildCreate):
    """Offers proposals and selectors, and installs what the responder makes of them.

    Rekeying does the same with what it puts into the methods from `_is_due` on.
    """

    __slots__ = ("_config", "_follow_ups", "_is_correction", "_key_exchange", "_packet")
    we_initiate: ClassVar[bool] = True

    def __init__(
        self,
        ike: IkeSa,
        config: ChildConfig,
        *,
        method: int = 0,
        on_done: Callable[[bool], None] | None = None,
        packet: Packet | None = None,
    ) -> None:
        """Prepare the task.

        Args:
            ike: The IKE_SA that it belongs to.
            config: What is to be initiated.
            method: The key exchange that the responder asked for, 0 for the one that we prefer.
            on_done: Told once whether the CHILD_SA came up.
            packet: Source and destination of the packet that it is wanted for.
        """
        super().__init__(ike, on_done)
        self._config = config
        self._method = method
        self._is_correction = bool(method)
        self._key_exchange: OwnKeyExchange | None = None
        self._packet = packet
        self._follow_ups: FollowUpRequests | None = None

    def is_for(self, config: ChildConfig) -> bool:
        """Whether it asks for a CHILD_SA of this configuration."""
        return self._config == config

    def again(self) -> ChildInitiate:
        """Return a task that does the same from the start; whoever waits, waits for it."""
        child, self._child = self._child, None
        if child is not None:
            child.destroy()
        return ChildInitiate(self.ike, self._config, on_done=self.take_watch(), packet=self._packet)

    def build_request(self, out: Outgoing) -> Outcome:
        """Offer proposals and selectors."""
        ike = self.ike
        exchange = ike.tasks.exchange
        if self._follow_ups is not None:
            self._follow_ups.build(out)
            return Outcome.MORE
        if exchange in BEFORE_AUTH or self._child is not None:
            return Outcome.MORE
        config = self._config
        if not self._is_due():
            return Outcome.DONE
        child = self._make_child(config)
        ike.log(Group.IKE, Level.AUDIT, "establishing CHILD_SA %s", child)
        if not self._proposals(config):
            ike.log(
                Group.IKE, Level.CONTROL,
                "unable to establish CHILD_SA %s: none of its proposals can be installed, %s; "
                "change esp=", child, ike.env.kernel.missing(config.proposals),
            )  # fmt: skip
            self._fail(child)
            return Outcome.DONE
        try:
            spi = child.allocate_spi()
        except KernelError as error:
            ike.log(Group.IKE, Level.CONTROL, "unable to establish CHILD_SA %s: %s", child, error)
            self._fail(child)
            return Outcome.DONE
        self._child = child
        self._lead(out)
        in_auth = exchange == ExchangeType.IKE_AUTH
        proposals = self._proposals(config)
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
            self._nonce_i = ike.env.random.bytes(NONCE_LENGTH)
            out.append(Nonce(data=self._nonce_i))
            self._add_key_exchange(out, proposals)
        self._local_ts, self._remote_ts = self._offered_selectors()
        out.append(TrafficSelectorsInitiator(selectors=to_wire(self._local_ts)))
        out.append(TrafficSelectorsResponder(selectors=to_wire(self._remote_ts)))
        self._mode = self._wanted_mode()
        if self._mode is ChildMode.TRANSPORT:
            ask_for_transport(out)
        add_notifies(out)
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
        child = self._child
        if child is None:
            return Outcome.DONE
        in_auth = message.exchange == ExchangeType.IKE_AUTH
        if in_auth:
            self._nonce_i = ike.handshake.own_nonce
            self._nonce_r = ike.handshake.peer_nonce
        refusal = next((n for n in message.all(Notify) if n.is_error), None)
        if refusal is not None:
            return self._refused(refusal, child)
        if self._follow_ups is not None:
            problem = self._follow_ups.process(message)
        else:
            problem = self._take_answer(message, child, in_auth=in_auth)
            if not problem and not in_auth:
                problem = self._plan_follow_ups(message)
        follow_ups = self._follow_ups
        if follow_ups is not None:
            # The responder installs nothing before the last one.
            if problem:
                ike.log(Group.IKE, Level.CONTROL, "no CHILD_SA built: %s", problem)
                self._fail(child)
                return Outcome.DONE
            if not follow_ups.is_done:
                ike.tasks.exchange = ExchangeType.IKE_FOLLOWUP_KE
                return Outcome.MORE
            self._additional = follow_ups.secret
        if problem:
            ike.log(Group.IKE, Level.CONTROL, "no CHILD_SA built: %s", problem)
        elif self._put_up(child):
            self.finish(self._carries_packet())
            return Outcome.DONE
        ike.tasks.queue(ChildAbandon(ike, child.protocol, child.local_spi))
        self._fail(child)
        return Outcome.DONE

    def _refused(self, refusal: Notify, child: ChildSa) -> Outcome:
        ike, config = self.ike, self._config
        name = name_of(NotifyType, refusal.notify_type)
        # Once: a responder that changes its mind each time would keep us busy for ever.
        if refusal.notify_type == NotifyType.INVALID_KE_PAYLOAD and not self._is_correction:
            method, is_sensible = demanded_method(refusal, self._proposals(config), self._method)
            if is_sensible:
                ike.log(
                    Group.IKE, Level.CONTROL,
                    "peer didn't accept key exchange %s, it requested %s",
                    name_of(KeyExchangeId, self._method), name_of(KeyExchangeId, method),
                )  # fmt: skip
                child.destroy()
                self._child = None
                ike.tasks.queue(self._corrected(method))
                return Outcome.DONE
        ike.log(Group.IKE, Level.CONTROL, "received %s notify, no CHILD_SA built", name)
        kinds: dict[int, AlertKind] = {
            NotifyType.NO_PROPOSAL_CHOSEN: AlertKind.PROPOSAL_MISMATCH_CHILD,
            NotifyType.TS_UNACCEPTABLE: AlertKind.TS_MISMATCH,
        }
        kind = kinds.get(refusal.notify_type)
        if kind is AlertKind.PROPOSAL_MISMATCH_CHILD:
            offered_text = ", ".join(map(str, self._proposals(config)))
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
        self._fail(child)
        return Outcome.DONE

    def _plan_follow_ups(self, message: Message) -> str:
        """See whether further key exchanges are due; return what is wrong, or nothing."""
        methods = additional_methods(self._selected) if self._selected is not None else ()
        if not methods:
            return ""
        self._follow_ups = FollowUpRequests(methods)
        return self._follow_ups.take_link(message)

    def _take_answer(self, message: Message, child: ChildSa, *, in_auth: bool) -> str:
        """Check and keep what the responder chose; return what is wrong with it, or nothing."""
        ike, config = self.ike, self._config
        security_association = message.first(SecurityAssociation)
        tsi = message.first(TrafficSelectorsInitiator)
        tsr = message.first(TrafficSelectorsResponder)
        if security_association is None or tsi is None or tsr is None:
            return f"the response lacks SA, TSi or TSr: {message.summary()}"
        answers = security_association.proposals
        chosen = [Proposal.from_wire(p) for p in answers]
        proposals = self._proposals(config)
        selection = select(proposals, chosen, ignore_ke=in_auth) if len(chosen) == 1 else None
        if selection is None or not chosen[0].is_single:
            return "peer selected a proposal that was not offered; " + explain_mismatch(
                proposals, chosen, ignore_ke=in_auth
            )
        if not is_usable_spi(answers[0].spi):
            return f"the SPI of the peer, {answers[0].spi.hex()}, is not usable"
        ike.log(Group.CFG, Level.CONTROL, "selected proposal: %s", selection.proposal)
        self._selected = selection.proposal
        child.remote_spi = int.from_bytes(answers[0].spi, "big")
        problem = self._settle_mode(message)
        if problem:
            return problem
        local, remote = from_wire(tsi), from_wire(tsr)
        if self._mode is ChildMode.TRANSPORT:
            local, remote = answer_here(self.ike, local, remote)
        if not are_within(local, self._local_ts) or not are_within(remote, self._remote_ts):
            return (
                f"peer widens the traffic selectors to {text_of(local)} === {text_of(remote)}, "
                f"offered were {text_of(self._local_ts)} === {text_of(self._remote_ts)}"
            )
        if ike.virtual.obstacle:
            return ike.virtual.obstacle
        if ike.virtual.local:
            # Offered was any address, since ours was not known yet.
            ours = resolve(config.local_ts, *ike.local_hosts)
            answered, local = local, narrow(ours, local)
            if not local:
                return f"peer answers {text_of(answered)}, which has nothing of {text_of(ours)}"
        self._local_ts, self._remote_ts = tuple(merge(local)), tuple(merge(remote))
        if not self._has_room():
            return "peer chooses too many traffic selectors"
        if in_auth:
            return ""
        nonce = message.first(Nonce)
        if nonce is None:
            return "the response lacks a nonce"
        self._nonce_r = nonce.data
        return self._complete_key_exchange(message, selection.proposal)

    def _settle_mode(self, message: Message) -> str:
        """Take tunnel mode where the peer grants no transport mode; return what is wrong."""
        granted = message.notify(NotifyType.USE_TRANSPORT_MODE) is not None
        if self._mode is not ChildMode.TRANSPORT:
            return "peer uses transport mode, which was not asked for" if granted else ""
        if not granted:
            self._mode = ChildMode.TUNNEL
            self.ike.log(
                Group.IKE, Level.CONTROL,
                "peer does not grant transport mode for '%s', using tunnel mode", self._config.name,
            )  # fmt: skip
        return ""

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

    def _fail(self, child: ChildSa) -> None:
        child.destroy()
        self._child = None
        self._failed()
        self.finish(False)

    # -- what rekeying does otherwise ---------------------------------------------------------

    def _is_due(self) -> bool:
        """Whether there is something to ask for; whoever waits is told if not."""
        problem = self.ike.virtual.obstacle or obstacle(self._config, self.ike.env.kernel.features)
        if problem:
            self.ike.log(
                Group.CFG, Level.CONTROL, "cannot establish CHILD_SA '%s': %s",
                self._config.name, problem,
            )  # fmt: skip
            self.finish(False)
        return not problem

    def _lead(self, out: Outgoing) -> None:
        """Add what stands before the proposals."""

    def _offered_selectors(self) -> tuple[Selectors, Selectors]:
        """Return the selectors of our side and of the peer's that are offered."""
        config, ike = self._config, self.ike
        local = resolve(config.local_ts, *ike.local_hosts)
        remote = resolve(config.remote_ts, *ike.remote_hosts)
        # A packet that leaves from our own address will have the virtual one: it leads to nothing.
        packet = None if ike.local_hosts != (ike.local.host,) else self._packet
        return led_by_packet(packet, local, remote)

    def _wanted_mode(self) -> ChildMode:
        hosts = self.ike.local.host, self.ike.remote.host
        return mode_between(self._config, hosts, self._local_ts, self._remote_ts)

    def _carries_packet(self) -> bool:
        """Whether the packet that asked for the CHILD_SA is within what was agreed on."""
        if self._packet is None:
            return True
        source, destination = self._packet
        # With a virtual address, the next packet has that as its source.
        has_source = self.ike.virtual.local or are_within([source], self._local_ts)
        if has_source and are_within([destination], self._remote_ts):
            return True
        self.ike.log(
            Group.IKE, Level.CONTROL, "peer leaves out %s === %s, which '%s' was initiated for",
            source, destination, self._config.name,
        )  # fmt: skip
        return False

    def _corrected(self, method: int) -> ChildInitiate:
        """Return a task that tries again with the key exchange that the responder wants."""
        return ChildInitiate(
            self.ike,
            self._config,
            method=method,
            on_done=self.take_watch(),
            packet=self._packet,
        )

    def _put_up(self, child: ChildSa) -> bool:
        """Install what was negotiated, and tell that it is there."""
        if not self._install(child):
            return False
        child.announce()
        return True

    def _failed(self) -> None:
        """There is no CHILD_SA, for whatever reason."""
        self.ike.log(Group.IKE, Level.CONTROL, "failed to establish CHILD_SA, keeping IKE_SA")
