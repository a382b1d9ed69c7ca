"""Replaces the IKE_SA by a new one with fresh keys (RFC 7296 1.3.2, 2.8, 2.25.2).

Whoever asks for the new one deletes the old one. Where both ask at once there are two new ones:
the one that was made with the lowest of the four nonces is redundant, and whoever asked for it
deletes it. The CHILD_SAs go to the one that stays.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.proposal import (
    Proposal,
    additional_methods,
    explain_mismatch,
    select,
)
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import generate, is_supported, respond
from charon_core.encoding.payloads import KeyExchange, Nonce, Notify, SecurityAssociation
from charon_core.encoding.registry import (
    ExchangeType,
    KeyExchangeId,
    NotifyType,
    ProtocolId,
    TransformType,
    name_of,
)
from charon_core.sa.crash_detection import add_token, token_of
from charon_core.sa.follow_ups import FollowUpAnswers, FollowUpRequests
from charon_core.sa.lifetimes import try_rekeying_again
from charon_core.sa.methods import demanded_method, preferred_method
from charon_core.sa.state import IkeState
from charon_core.sa.succession import Agreement, await_delete, make_successor, take_over
from charon_core.sa.tasks.child_create import NONCE_LENGTH, ChildCreate
from charon_core.sa.tasks.child_delete import ChildDelete
from charon_core.sa.tasks.ike_crash import CrashTokenUpdate
from charon_core.sa.tasks.ike_delete import IkeDelete
from charon_core.sa.tasks.task import Outcome, Outgoing, Task, WatchedTask
from charon_core.sa.wire import NO_SPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.crypto.key_exchange import KeyExchange as OwnKeyExchange
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

_SPI_LENGTH = 8


class _Rival(NamedTuple):
    """What the peer's request to rekey the same IKE_SA has made."""

    unique_id: int
    """Its number: other threads may work on it already."""
    lowest_nonce: bytes


class IkeRekey(WatchedTask):
    """Asks for an IKE_SA in the place of this one, and deletes this one."""

    __slots__ = (
        "_agreed",
        "_follow_ups",
        "_is_correction",
        "_key_exchange",
        "_method",
        "_nonce",
        "_rival",
        "_spi",
        "_token",
    )
    name: ClassVar[str] = "IKE_REKEY"

    def __init__(
        self,
        ike: IkeSa,
        *,
        method: int = 0,
        on_done: Callable[[bool], None] | None = None,
    ) -> None:
        """Prepare the task.

        Args:
            ike: The IKE_SA.
            method: The key exchange that the responder asked for, 0 for the one in use.
            on_done: Told once whether there is a new one.
        """
        super().__init__(ike, on_done)
        self._method = method
        self._is_correction = bool(method)
        self._key_exchange: OwnKeyExchange | None = None
        self._nonce = b""
        self._spi = b""
        self._rival: _Rival | None = None
        self._agreed: Agreement | None = None
        self._follow_ups: FollowUpRequests | None = None
        self._token = b""

    @property
    def _proposals(self) -> tuple[Proposal, ...]:
        return self.ike.ike_config.proposals if self.ike.ike_config is not None else ()

    def meet(self, rival: IkeSa, lowest_nonce: bytes) -> None:
        """Learn that the peer asks for the same, and what our answer has made of it."""
        self._rival = _Rival(rival.unique_id, lowest_nonce)

    @contextmanager
    def _borrow_rival(self) -> Iterator[IkeSa | None]:
        """Check out what the peer's request has made, if there is such a thing, and it lives."""
        if self._rival is None:
            yield None
            return
        with self.ike.env.borrow(self._rival.unique_id) as rival:
            is_there = rival is not None and rival.state is IkeState.ESTABLISHED
            yield rival if is_there else None

    def peer_deletes(self) -> None:
        """Let the peer's new IKE_SA count, for which it deletes this one."""
        if self._yield():
            self.finish(True)

    def _yield(self) -> bool:
        """Let the peer's new IKE_SA take over, if there is one."""
        with self._borrow_rival() as rival:
            if rival is None:
                return False
            self._rival = None
            take_over(rival, self.ike)
            rival.tasks.initiate()
            return True

    def abort(self) -> None:
        """The IKE_SA ends before it was settled who replaces it: what the peer asked for ends, too.

        Nobody would ever use it, or delete it.
        """
        with self._borrow_rival() as rival:
            self._rival = None
            if rival is not None:
                rival.set_state(IkeState.DESTROYING)
        super().abort()

    def build_request(self, out: Outgoing) -> Outcome:
        """Offer our proposals with a new SPI; or begin a further key exchange."""
        ike = self.ike
        if self._follow_ups is not None:
            self._follow_ups.build(out)
            return Outcome.MORE
        if ike.state is not IkeState.ESTABLISHED:
            self.finish(False)
            return Outcome.DONE
        if not self._method:
            self._method = _method_in_use(ike) or preferred_method(self._proposals)
        ike.log(Group.IKE, Level.AUDIT, "initiating rekeying of IKE_SA %s", ike)
        ike.set_state(IkeState.REKEYING)
        self._spi = ike.env.new_spi()
        self._nonce = ike.env.random.bytes(NONCE_LENGTH)
        self._key_exchange = generate(self._method)
        proposals = [
            proposal.to_wire(number, self._spi)
            for number, proposal in enumerate(self._proposals, 1)
        ]
        out.append(SecurityAssociation(proposals=tuple(proposals)))
        out.append(Nonce(data=self._nonce))
        out.append(KeyExchange(method=self._method, data=self._key_exchange.public_value))
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Take what the responder chose, and settle which IKE_SA stays."""
        ike = self.ike
        error = next((n for n in message.all(Notify) if n.is_error), None)
        if error is not None:
            self._refused(error)
            return Outcome.DONE
        agreed = self._go_on(message)
        if agreed is None:
            ike.tasks.exchange = ExchangeType.IKE_FOLLOWUP_KE
            return Outcome.MORE
        if isinstance(agreed, str):
            ike.alert(AlertKind.PROPOSAL_MISMATCH_IKE, f"rekeying of IKE_SA {ike} failed: {agreed}")
            self._failed()
            return Outcome.DONE
        new = make_successor(ike, agreed)
        if new is None:
            self._failed()
            return Outcome.DONE
        if ike.peer_token:
            new.peer_token = self._token
            new.tasks.queue(CrashTokenUpdate(new))
        self._settle(new, agreed)
        return Outcome.DONE

    def _go_on(self, message: Message) -> Agreement | str | None:
        """Return the agreement, what is wrong, or None while further key exchanges are due."""
        if self._agreed is None:
            agreed = self._take_answer(message)
            if isinstance(agreed, str):
                return agreed
            self._agreed = agreed
            self._token = token_of(message)
            methods = additional_methods(agreed.proposal)
            if not methods:
                return agreed
            self._follow_ups = FollowUpRequests(methods)
            return self._follow_ups.take_link(message) or None
        if self._follow_ups is None:
            raise RuntimeError("a further answer without a further key exchange")
        problem = self._follow_ups.process(message)
        if problem:
            return problem
        if not self._follow_ups.is_done:
            return None
        return replace(self._agreed, additional=self._follow_ups.secret)

    def _settle(self, new: IkeSa, agreed: Agreement) -> None:
        ike = self.ike
        with self._borrow_rival() as rival:
            limit = self._rival.lowest_nonce if self._rival is not None else b""
            if rival is not None and agreed.lowest_nonce < limit:
                ike.log(
                    Group.IKE, Level.CONTROL,
                    "rekeying of IKE_SA %s collided with the peer's, deleting our redundant %s",
                    ike, new,
                )  # fmt: skip
                take_over(rival, ike)
                await_delete(ike)
                rival.tasks.initiate()
                new.tasks.queue(IkeDelete(new))
            else:
                if rival is not None:
                    ike.log(
                        Group.IKE, Level.CONTROL,
                        "rekeying of IKE_SA %s collided with the peer's, whose %s is redundant",
                        ike, rival,
                    )  # fmt: skip
                    await_delete(rival)
                take_over(new, ike)
                ike.tasks.queue(IkeDelete(ike))
        new.tasks.initiate()
        self.finish(True)

    def _refused(self, error: Notify) -> None:
        ike = self.ike
        name = name_of(NotifyType, error.notify_type)
        if error.notify_type == NotifyType.INVALID_KE_PAYLOAD and not self._is_correction:
            method, is_sensible = demanded_method(error, self._proposals, self._method)
            if is_sensible:
                ike.log(
                    Group.IKE, Level.CONTROL,
                    "peer didn't accept key exchange %s, it requested %s",
                    name_of(KeyExchangeId, self._method), name_of(KeyExchangeId, method),
                )  # fmt: skip
                if self._rival is None:
                    ike.set_state(IkeState.ESTABLISHED)
                    ike.tasks.queue(IkeRekey(ike, method=method, on_done=self.take_watch()))
                    return
        ike.log(Group.IKE, Level.CONTROL, "received %s notify, IKE_SA is not rekeyed", name)
        self._failed()

    def _failed(self) -> None:
        """Go on with the old one, or with what the peer has asked for meanwhile."""
        ike = self.ike
        if self._yield():
            await_delete(ike)
            self.finish(True)
            return
        ike.set_state(IkeState.ESTABLISHED)
        delay = try_rekeying_again(ike)
        ike.log(
            Group.IKE, Level.CONTROL, "IKE_SA rekeying failed, trying again in %d seconds", delay
        )
        self.finish(False)

    def _take_answer(self, message: Message) -> Agreement | str:
        """Return what was agreed on, or what is wrong with the answer."""
        security_association = message.first(SecurityAssociation)
        key_exchange, nonce = message.first(KeyExchange), message.first(Nonce)
        if security_association is None or key_exchange is None or nonce is None:
            return f"the response needs SA, nonce and KE payloads, got {message.summary()}"
        answers = security_association.proposals
        chosen = [Proposal.from_wire(p) for p in answers]
        selection = select(self._proposals, chosen) if len(chosen) == 1 else None
        if selection is None or not chosen[0].is_single:
            return "peer selected a proposal that was not offered; " + explain_mismatch(
                self._proposals, chosen
            )
        if not _is_usable_spi(answers[0].spi):
            return f"the SPI of the peer, {answers[0].spi.hex()}, is not usable"
        method = selection.proposal.first(TransformType.KE)
        if method is None or not method.id == self._method == key_exchange.method:
            return f"the response lacks the key exchange {name_of(KeyExchangeId, self._method)}"
        if self._key_exchange is None:
            raise RuntimeError("response to a rekeying without a key exchange of our own")
        try:
            shared = self._key_exchange.shared_secret(key_exchange.data)
        except CryptoError as error:
            return f"peer's key exchange is refused: {error}"
        return Agreement(
            selection.proposal,
            self._spi,
            answers[0].spi,
            nonce_i=self._nonce,
            nonce_r=nonce.data,
            shared=shared,
            we_initiated=True,
        )


class IkeRekeyRespond(Task):
    """Makes an IKE_SA in the place of this one, as the peer asks."""

    __slots__ = ("_agreed", "_follow_ups", "_number", "_public", "_refusal")
    name: ClassVar[str] = "IKE_REKEY"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._agreed: Agreement | None = None
        self._number = 1
        self._public = b""
        self._refusal: Notify | None = None
        self._follow_ups: FollowUpAnswers | None = None

    def process_request(self, message: Message) -> Outcome:
        """Choose a proposal and complete the key exchange, or find out why not."""
        if self._follow_ups is not None:
            self._refusal = self._follow_ups.process(message)
        else:
            self._refusal = self._serve(message)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Answer with the choice, or with our half of a further key exchange."""
        ike, agreed = self.ike, self._agreed
        if self._refusal is None and self._is_busy():
            self._refusal = Notify.of(NotifyType.TEMPORARY_FAILURE)
        if agreed is None or self._refusal is not None:
            out.append(self._refusal or Notify.of(NotifyType.TEMPORARY_FAILURE))
            return Outcome.DONE
        answer: Outgoing = []
        if self._follow_ups is None:
            self._add_choice(agreed, answer)
        else:
            self._follow_ups.build(answer)
        if self._follow_ups is not None and not self._follow_ups.is_done:
            ike.tasks.keep_follow_up(self._follow_ups.link, self)
        elif not self._replace(agreed):
            out.append(Notify.of(NotifyType.TEMPORARY_FAILURE))
            return Outcome.DONE
        out += answer
        return Outcome.DONE

    def _add_choice(self, agreed: Agreement, out: Outgoing) -> None:
        chosen = agreed.proposal.to_wire(self._number, agreed.own_spi)
        out.append(SecurityAssociation(proposals=(chosen,)))
        out.append(Nonce(data=agreed.nonce_r))
        method = agreed.proposal.first(TransformType.KE)
        out.append(KeyExchange(method=method.id if method is not None else 0, data=self._public))
        if self.ike.peer_token:
            add_token(self.ike, out, (agreed.peer_spi, agreed.own_spi))
        methods = additional_methods(agreed.proposal)
        if methods:
            self._follow_ups = FollowUpAnswers(methods, self.ike.env.random)
            self._follow_ups.announce(out)

    def _replace(self, agreed: Agreement) -> bool:
        """Make the new IKE_SA; the CHILD_SAs go to it, unless it is contested."""
        ike = self.ike
        if self._follow_ups is not None:
            agreed = replace(agreed, additional=self._follow_ups.secret)
        new = make_successor(ike, agreed)
        if new is None:
            return False
        ours = next((task for task in ike.tasks.active if isinstance(task, IkeRekey)), None)
        if ours is not None:
            ours.meet(new, agreed.lowest_nonce)
        else:
            take_over(new, ike)
            await_delete(ike)
            new.start_queued_soon()
        return True

    def _is_busy(self) -> bool:
        """Whether we work on a CHILD_SA just now (RFC 7296 2.25.2)."""
        ike = self.ike
        if not any(isinstance(task, ChildCreate | ChildDelete) for task in ike.tasks.active):
            return False
        ike.log(Group.IKE, Level.CONTROL, "peer rekeys IKE_SA %s while we work on a CHILD_SA", ike)
        return True

    def _serve(self, message: Message) -> Notify | None:
        """Agree on a new IKE_SA; return the refusal if there is to be none."""
        ike = self.ike
        security_association = message.first(SecurityAssociation)
        key_exchange, nonce = message.first(KeyExchange), message.first(Nonce)
        if (
            security_association is None
            or key_exchange is None
            or nonce is None
            or ike.ike_config is None
        ):
            ike.log(
                Group.IKE, Level.CONTROL,
                "a request to rekey the IKE_SA needs SA, nonce and KE payloads, got %s",
                message.summary(),
            )  # fmt: skip
            return Notify.of(NotifyType.INVALID_SYNTAX)
        configured = ike.ike_config.proposals
        offered = [Proposal.from_wire(p) for p in security_association.proposals]
        selection = select(configured, offered)
        if selection is None:
            ike.alert(
                AlertKind.PROPOSAL_MISMATCH_IKE,
                explain_mismatch(configured, offered, connection=ike.name),
                connection=ike.name,
            )
            return Notify.of(NotifyType.NO_PROPOSAL_CHOSEN)
        chosen = security_association.proposals[selection.offered_index]
        if chosen.protocol != ProtocolId.IKE or not _is_usable_spi(chosen.spi):
            ike.log(Group.IKE, Level.CONTROL, "peer's SPI %s is not usable", chosen.spi.hex())
            return Notify.of(NotifyType.INVALID_SYNTAX)
        method = selection.proposal.first(TransformType.KE)
        wanted = method.id if method is not None else 0
        if key_exchange.method != wanted:
            return Notify.of(NotifyType.INVALID_KE_PAYLOAD, wanted.to_bytes(2, "big"))
        try:
            self._public, shared = respond(wanted, key_exchange.data)
        except CryptoError as error:
            ike.log(Group.IKE, Level.CONTROL, "peer's key exchange is refused: %s", error)
            return Notify.of(NotifyType.INVALID_SYNTAX)
        ike.log(Group.CFG, Level.CONTROL, "selected proposal: %s", selection.proposal)
        self._number = chosen.number
        self._agreed = Agreement(
            selection.proposal,
            ike.env.new_spi(),
            chosen.spi,
            nonce_i=nonce.data,
            nonce_r=ike.env.random.bytes(NONCE_LENGTH),
            shared=shared,
            we_initiated=False,
        )
        return None


def _method_in_use(ike: IkeSa) -> int:
    """Return the key exchange that the IKE_SA was made with, if it can be used again, or 0."""
    transform = ike.proposal.first(TransformType.KE) if ike.proposal is not None else None
    return transform.id if transform is not None and is_supported(transform.id) else 0


def _is_usable_spi(spi: bytes) -> bool:
    return len(spi) == _SPI_LENGTH and spi != NO_SPI
