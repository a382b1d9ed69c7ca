"""IKE_INTERMEDIATE: further key exchanges before authentication (RFC 9242, RFC 9370 2.2.2).

Each exchange is protected by the keys of the one before; AUTH covers all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.proposal import additional_methods
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import generate, respond
from charon_core.encoding.message import intermediate_octets
from charon_core.encoding.payloads import KeyExchange, Notify
from charon_core.encoding.registry import ExchangeType, KeyExchangeId, NotifyType, name_of
from charon_core.sa.keying import derive_rekeyed
from charon_core.sa.reports import publish_ike_keys, report_peer_error
from charon_core.sa.state import Trait
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from charon_core.config.ike import IkeConfig
    from charon_core.crypto.key_exchange import KeyExchange as OwnKeyExchange
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

MAX_INTERMEDIATES: Final = 16
"""IKE_INTERMEDIATE exchanges of one IKE_SA: seven key exchanges, and as many for other ends."""


class IkeIntermediate(Task):
    """Adds the key exchanges that the proposal has beside the one of IKE_SA_INIT."""

    __slots__ = ("_key_exchange", "_public", "_shared")
    name: ClassVar[str] = "IKE_INTERMEDIATE"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._key_exchange: OwnKeyExchange | None = None
        self._public = b""
        self._shared = b""

    # -- initiator ----------------------------------------------------------------------------

    def build_request(self, out: Outgoing) -> Outcome:
        """Announce that we can; then begin the next key exchange, until there is none left."""
        ike = self.ike
        if ike.tasks.exchange == ExchangeType.IKE_SA_INIT:
            config = ike.ike_config
            if config is not None and _needs_intermediate(config):
                out.append(Notify.of(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
            return Outcome.MORE
        if ike.tasks.exchange != ExchangeType.IKE_INTERMEDIATE:
            return Outcome.DONE
        method = ike.handshake.additional[0]
        self._key_exchange = generate(method)
        out.append(KeyExchange(method=method, data=self._key_exchange.public_value))
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Complete the key exchange, and go on with new keys."""
        ike = self.ike
        if message.exchange == ExchangeType.IKE_SA_INIT:
            _learn_support(ike, message)
            return _plan(ike)
        error = next((n for n in message.all(Notify) if n.is_error), None)
        if error is not None:
            report_peer_error(ike, error)
            return Outcome.DESTROY
        method = ike.handshake.additional[0]
        answer = message.first(KeyExchange)
        if answer is None or answer.method != method or self._key_exchange is None:
            ike.log(
                Group.IKE, Level.CONTROL,
                "IKE_INTERMEDIATE response lacks the key exchange %s: %s",
                name_of(KeyExchangeId, method), message.summary(),
            )  # fmt: skip
            return Outcome.DESTROY
        try:
            shared = self._key_exchange.shared_secret(answer.data)
        except CryptoError as problem:
            ike.log(Group.IKE, Level.CONTROL, "peer's key exchange is refused: %s", problem)
            return Outcome.DESTROY
        self._key_exchange = None
        _add_key(ike, shared)
        ike.adopt_keying()
        return Outcome.MORE

    # -- responder ----------------------------------------------------------------------------

    def process_request(self, message: Message) -> Outcome:
        """Answer the initiator's key exchanges, in order and all of them."""
        ike = self.ike
        if message.exchange == ExchangeType.IKE_SA_INIT:
            _learn_support(ike, message)
            return Outcome.MORE
        if message.exchange == ExchangeType.IKE_AUTH:
            if ike.handshake.additional:
                # Without it the IKE_SA would have weaker keys than was agreed on.
                ike.log(
                    Group.IKE, Level.CONTROL,
                    "peer authenticates itself before the key exchange %s is done",
                    name_of(KeyExchangeId, ike.handshake.additional[0]),
                )  # fmt: skip
                return Outcome.DESTROY
            return Outcome.DONE
        if Trait.INTERMEDIATE not in ike.traits or (
            ike.handshake.intermediates > MAX_INTERMEDIATES
        ):
            ike.log(Group.IKE, Level.CONTROL, "too many IKE_INTERMEDIATE exchanges, giving up")
            return Outcome.DESTROY
        return self._answer(message.first(KeyExchange))

    def _answer(self, offer: KeyExchange | None) -> Outcome:
        ike = self.ike
        if offer is None:
            return Outcome.MORE  # an exchange for other ends: nothing that we know of
        expected = ike.handshake.additional[0] if ike.handshake.additional else 0
        if offer.method != expected:
            ike.log(
                Group.IKE, Level.CONTROL, "peer sent key exchange %s, agreed on was %s",
                name_of(KeyExchangeId, offer.method), name_of(KeyExchangeId, expected),
            )  # fmt: skip
            return Outcome.DESTROY
        try:
            self._public, self._shared = respond(expected, offer.data)
        except CryptoError as problem:
            ike.log(Group.IKE, Level.CONTROL, "peer's key exchange is refused: %s", problem)
            return Outcome.DESTROY
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Send our half; the answer still goes out under the old keys."""
        ike = self.ike
        if ike.tasks.exchange == ExchangeType.IKE_SA_INIT:
            outcome = _plan(ike)
            if Trait.INTERMEDIATE in ike.traits:
                out.append(Notify.of(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
            return outcome
        if self._public:
            out.append(KeyExchange(method=ike.handshake.additional[0], data=self._public))
            _add_key(ike, self._shared)
            self._public = self._shared = b""
        return Outcome.MORE


def cover(ike: IkeSa, message: Message, *, is_ours: bool) -> None:
    """Let AUTH cover an IKE_INTERMEDIATE message (RFC 9242 3.3.2).

    Args:
        ike: The IKE_SA, with the keys that protect the message.
        message: The message, sent or received.
        is_ours: Whether we sent it.
    """
    keying, handshake = ike.keying, ike.handshake
    if keying is None:
        raise RuntimeError(f"IKE_SA {ike} has no keys in IKE_INTERMEDIATE")
    by_initiator = is_ours is ike.is_initiator
    header, plaintext = intermediate_octets(message)
    previous = handshake.own_int_auth if is_ours else handshake.peer_int_auth
    covered = keying.intermediate_auth(
        initiator=by_initiator, previous=previous, header=header, plaintext=plaintext
    )
    if is_ours:
        handshake.own_int_auth = covered
    else:
        handshake.peer_int_auth = covered
    if not message.is_response:
        handshake.intermediates += 1


def _needs_intermediate(config: IkeConfig) -> bool:
    return any(additional_methods(proposal) for proposal in config.proposals)


def _learn_support(ike: IkeSa, message: Message) -> None:
    if message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None:
        ike.traits |= Trait.INTERMEDIATE


def _plan(ike: IkeSa) -> Outcome:
    """Note which key exchanges are due; an agreement on some needs both sides' support."""
    methods = additional_methods(ike.proposal) if ike.proposal is not None else ()
    ike.handshake.additional = list(methods)
    if methods and Trait.INTERMEDIATE not in ike.traits:
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer agrees to additional key exchanges without support for IKE_INTERMEDIATE",
        )  # fmt: skip
        return Outcome.DESTROY
    if not methods and ike.is_initiator:
        return Outcome.DONE
    return Outcome.MORE


def _add_key(ike: IkeSa, shared: bytes) -> None:
    """Derive the keys that follow from one more shared secret (RFC 9370 2.2.2)."""
    handshake = ike.handshake
    if ike.keying is None or ike.proposal is None:
        raise RuntimeError(f"IKE_SA {ike} has no keys to go on from")
    nonces = (handshake.own_nonce, handshake.peer_nonce)
    nonce_i, nonce_r = nonces if ike.is_initiator else nonces[::-1]
    ike.next_keying, keys = derive_rekeyed(
        ike.keying,
        ike.proposal,
        nonce_i=nonce_i,
        nonce_r=nonce_r,
        shared=shared,
        initiator_spi=ike.initiator_spi,
        responder_spi=ike.responder_spi,
        is_initiator=ike.is_initiator,
    )
    handshake.additional.pop(0)
    publish_ike_keys(ike, ike.proposal, keys)
