"""IKE_SA_INIT: algorithms, key exchange, nonces (RFC 7296 1.2, 2.6, 2.7, 2.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.ike import Fragmentation
from charon_core.config.proposal import Proposal, explain_mismatch, select
from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import generate, respond
from charon_core.crypto.signatures import SUPPORTED_HASHES
from charon_core.encoding.payloads import (
    KeyExchange,
    Nonce,
    Notify,
    SecurityAssociation,
)
from charon_core.encoding.registry import (
    HashId,
    KeyExchangeId,
    NotifyType,
    TransformType,
    name_of,
)
from charon_core.sa.keying import derive_keying
from charon_core.sa.methods import demanded_method, preferred_method
from charon_core.sa.reports import publish_ike_keys, report_peer_error
from charon_core.sa.state import IkeState, Trait
from charon_core.sa.tasks.task import Outcome, Outgoing, Task
from charon_core.sa.wire import NO_SPI

if TYPE_CHECKING:
    from charon_core.config.ike import IkeConfig
    from charon_core.crypto.key_exchange import KeyExchange as OwnKeyExchange
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

_NONCE_LENGTH: Final = 32
_HASH_ALGORITHMS: Final = b"".join(int(h).to_bytes(2, "big") for h in SUPPORTED_HASHES)
_KNOWN_HASHES: Final = tuple((value.to_bytes(2, "big"), value) for value in HashId)
_MAX_COOKIE: Final = 64


class IkeInit(Task):
    """Agrees on proposal and keys; as initiator it follows cookies and other KE methods."""

    __slots__ = (
        "_answer",
        "_cookie",
        "_key_exchange",
        "_method",
        "_public",
        "_restarts",
        "_shared",
    )
    name: ClassVar[str] = "IKE_INIT"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._cookie = b""
        self._restarts = 0
        self._method = 0
        self._key_exchange: OwnKeyExchange | None = None
        self._public = b""
        self._shared = b""
        self._answer: Notify | None = None

    @property
    def _config(self) -> IkeConfig:
        """The configuration that is negotiated; a responder has one once it has chosen."""
        config = self.ike.ike_config
        if config is None:
            raise RuntimeError(f"IKE_SA {self.ike} has no configuration yet")
        return config

    def build_request(self, out: Outgoing) -> Outcome:
        """Offer our proposals, with the key exchange that we like best."""
        ike = self.ike
        proposals = self._config.proposals
        if not self._restarts:
            ike.log(Group.IKE, Level.AUDIT, "initiating IKE_SA %s to %s", ike, ike.remote.host)
        if self._key_exchange is None:
            if not self._method:
                self._method = preferred_method(proposals)
            if not self._method:
                ike.log(
                    Group.CFG, Level.CONTROL,
                    "connection '%s' has no usable key exchange method in its IKE proposals; "
                    "name one, for example ike=aes256-sha256-x25519", ike.name,
                )  # fmt: skip
                return Outcome.DESTROY
            self._key_exchange = generate(self._method)
        if not ike.handshake.own_nonce:
            ike.handshake.own_nonce = ike.env.random.bytes(_NONCE_LENGTH)
        if self._cookie:
            out.append(Notify.of(NotifyType.COOKIE, self._cookie))
        out.append(
            SecurityAssociation(
                proposals=tuple(
                    proposal.to_wire(number, b"") for number, proposal in enumerate(proposals, 1)
                )
            )
        )
        out.append(KeyExchange(method=self._method, data=self._key_exchange.public_value))
        out.append(Nonce(data=ike.handshake.own_nonce))
        self._add_capabilities(out)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Take the responder's choice, or do as it asks and start again."""
        restart = self._restart(message)
        if restart is not None:
            return restart
        ike = self.ike
        error = next((n for n in message.all(Notify) if n.is_error), None)
        if error is not None:
            report_peer_error(ike, error)
            return Outcome.DESTROY
        security_association = message.first(SecurityAssociation)
        key_exchange = message.first(KeyExchange)
        nonce = message.first(Nonce)
        if security_association is None or key_exchange is None or nonce is None:
            ike.log(
                Group.IKE, Level.CONTROL,
                "IKE_SA_INIT response needs SA, KE and nonce payloads, got %s", message.summary(),
            )  # fmt: skip
            return Outcome.DESTROY
        chosen = [Proposal.from_wire(p) for p in security_association.proposals]
        selection = select(self._config.proposals, chosen) if len(chosen) == 1 else None
        if selection is None:
            ike.alert(
                AlertKind.PROPOSAL_MISMATCH_IKE,
                "peer selected an IKE proposal that was not offered; "
                + explain_mismatch(self._config.proposals, chosen),
            )
            return Outcome.DESTROY
        method = selection.proposal.first(TransformType.KE)
        if method is None or method.id != self._method or key_exchange.method != self._method:
            ike.log(
                Group.IKE, Level.CONTROL,
                "peer answers with key exchange %s and selects %s, we sent %s",
                name_of(KeyExchangeId, key_exchange.method), selection.proposal,
                name_of(KeyExchangeId, self._method),
            )  # fmt: skip
            return Outcome.DESTROY
        ike.handshake.peer_nonce = nonce.data
        if self._key_exchange is None:
            raise RuntimeError("IKE_SA_INIT response without a key exchange of our own")
        try:
            self._shared = self._key_exchange.shared_secret(key_exchange.data)
        except CryptoError as problem:
            ike.log(Group.IKE, Level.CONTROL, "peer's key exchange is refused: %s", problem)
            return Outcome.DESTROY
        if message.responder_spi == NO_SPI:
            ike.log(Group.IKE, Level.CONTROL, "peer accepts the IKE_SA without giving it an SPI")
            return Outcome.DESTROY
        self._learn_capabilities(message)
        ike.responder_spi = message.responder_spi
        return self._derive(selection.proposal)

    def process_request(self, message: Message) -> Outcome:
        """Choose among the initiator's proposals and complete its key exchange.

        A request that is no good gets no answer: nobody has vouched for it (RFC 7296 3.10.1).
        """
        ike = self.ike
        security_association = message.first(SecurityAssociation)
        key_exchange = message.first(KeyExchange)
        nonce = message.first(Nonce)
        if security_association is None or key_exchange is None or nonce is None:
            ike.log(
                Group.IKE, Level.CONTROL,
                "IKE_SA_INIT request needs SA, KE and nonce payloads, got %s", message.summary(),
            )  # fmt: skip
            return Outcome.DESTROY
        proposal = self._choose(message, security_association)
        if proposal is None:
            self._answer = Notify.of(NotifyType.NO_PROPOSAL_CHOSEN)
            return Outcome.MORE
        method = proposal.first(TransformType.KE)
        wanted = method.id if method is not None else 0
        if key_exchange.method != wanted:
            ike.log(
                Group.IKE, Level.CONTROL, "peer sent key exchange %s, requesting %s",
                name_of(KeyExchangeId, key_exchange.method), name_of(KeyExchangeId, wanted),
            )  # fmt: skip
            self._answer = Notify.of(NotifyType.INVALID_KE_PAYLOAD, wanted.to_bytes(2, "big"))
            return Outcome.MORE
        try:
            self._public, self._shared = respond(wanted, key_exchange.data)
        except CryptoError as problem:
            ike.log(Group.IKE, Level.CONTROL, "peer's key exchange is refused: %s", problem)
            return Outcome.DESTROY
        self._method = wanted
        ike.proposal = proposal
        ike.handshake.peer_nonce = nonce.data
        ike.handshake.own_nonce = ike.env.random.bytes(_NONCE_LENGTH)
        self._learn_capabilities(message)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Answer with the choice, or say why there is none."""
        ike = self.ike
        if self._answer is not None or ike.proposal is None:
            out[:] = [self._answer or Notify.of(NotifyType.NO_PROPOSAL_CHOSEN)]
            return Outcome.DESTROY
        out.append(
            SecurityAssociation(
                proposals=(ike.proposal.to_wire(ike.handshake.proposal_number, b""),)
            )
        )
        out.append(KeyExchange(method=self._method, data=self._public))
        out.append(Nonce(data=ike.handshake.own_nonce))
        self._add_capabilities(out)
        ike.set_state(IkeState.CONNECTING)
        return self._derive(ike.proposal)

    def _choose(
        self, message: Message, security_association: SecurityAssociation
    ) -> Proposal | None:
        """Return what is selected for the first configuration that has something in common."""
        ike = self.ike
        offered = [Proposal.from_wire(p) for p in security_association.proposals]
        if message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is None:
            # Whoever cannot do the exchange cannot mean it (RFC 9370 2.2.1).
            offered = [proposal.never_if_additional() for proposal in offered]
        configs = ike.env.backends.find_ike_configs(ike.local.host, ike.remote.host)
        if not configs:
            ike.alert(
                AlertKind.PEER_CONFIG_MISSING,
                f"no IKE config found for {ike.local.host}...{ike.remote.host}, sending "
                "NO_PROPOSAL_CHOSEN; load a connection whose addresses (left, right) fit",
                local=ike.local.host, remote=ike.remote.host,
            )  # fmt: skip
            return None
        for config in configs:
            selection = select(config.proposals, offered)
            if selection is not None:
                ike.ike_config = config
                chosen = security_association.proposals[selection.offered_index]
                ike.handshake.proposal_number = chosen.number
                ike.log(Group.CFG, Level.CONTROL, "selected proposal: %s", selection.proposal)
                return selection.proposal
        configured = [proposal for config in configs for proposal in config.proposals]
        ike.alert(
            AlertKind.PROPOSAL_MISMATCH_IKE,
            explain_mismatch(configured, offered, connection=configs[0].name),
            connection=configs[0].name,
        )
        return None

    def _restart(self, message: Message) -> Outcome | None:
        """Return what to do if the responder wants another IKE_SA_INIT request, else None."""
        ike = self.ike
        cookie = message.notify(NotifyType.COOKIE)
        other = message.notify(NotifyType.INVALID_KE_PAYLOAD)
        if cookie is None and other is None:
            return None
        self._restarts += 1
        if self._restarts > ike.env.parameters.init_restarts:
            ike.log(
                Group.IKE, Level.CONTROL, "giving up after %d restarts of IKE_SA_INIT",
                self._restarts - 1,
            )  # fmt: skip
            return Outcome.DESTROY
        if cookie is not None:
            if not 1 <= len(cookie.data) <= _MAX_COOKIE:
                ike.log(
                    Group.IKE, Level.CONTROL, "peer's cookie has %d octets, expected 1 to %d",
                    len(cookie.data), _MAX_COOKIE,
                )  # fmt: skip
                return Outcome.DESTROY
            self._cookie = cookie.data
            return Outcome.RETRY
        if other is None:
            return None
        method, is_sensible = demanded_method(other, self._config.proposals, self._method)
        if not is_sensible:
            ike.log(
                Group.IKE, Level.CONTROL,
                "peer asks for key exchange %s, which was not offered or was just sent",
                name_of(KeyExchangeId, method),
            )  # fmt: skip
            return Outcome.DESTROY
        ike.log(
            Group.IKE, Level.CONTROL, "peer didn't accept key exchange %s, it requested %s",
            name_of(KeyExchangeId, self._method), name_of(KeyExchangeId, method),
        )  # fmt: skip
        self._method = method
        self._key_exchange = None
        return Outcome.RETRY

    def _add_capabilities(self, out: Outgoing) -> None:
        ike = self.ike
        announces = self._config.fragmentation is not Fragmentation.NO
        if announces and (ike.is_initiator or Trait.PEER_FRAGMENTS in ike.traits):
            out.append(Notify.of(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))
        if ike.is_initiator or Trait.SIGNATURE_AUTH in ike.traits:
            out.append(Notify.of(NotifyType.SIGNATURE_HASH_ALGORITHMS, _HASH_ALGORITHMS))

    def _learn_capabilities(self, message: Message) -> None:
        ike = self.ike
        for notify in message.all(Notify):
            if notify.notify_type == NotifyType.IKEV2_FRAGMENTATION_SUPPORTED:
                ike.traits |= Trait.PEER_FRAGMENTS
            elif notify.notify_type == NotifyType.SIGNATURE_HASH_ALGORITHMS:
                ike.traits |= Trait.SIGNATURE_AUTH
                data = notify.data
                announced = {data[at : at + 2] for at in range(0, len(data) - 1, 2)}
                ike.handshake.peer_hashes = tuple(
                    # Only those known here: a stranger must not fill our memory with others.
                    value
                    for octets, value in _KNOWN_HASHES
                    if octets in announced
                )
        if (
            Trait.PEER_FRAGMENTS in ike.traits
            and self._config.fragmentation is not Fragmentation.NO
        ):
            ike.traits |= Trait.FRAGMENTATION

    def _derive(self, proposal: Proposal) -> Outcome:
        ike = self.ike
        if ike.is_initiator:
            ike.log(Group.CFG, Level.CONTROL, "selected proposal: %s", proposal)
        nonces = (ike.handshake.own_nonce, ike.handshake.peer_nonce)
        nonce_i, nonce_r = nonces if ike.is_initiator else nonces[::-1]
        ike.proposal = proposal
        ike.keying, keys = derive_keying(
            proposal,
            nonce_i=nonce_i,
            nonce_r=nonce_r,
            shared=self._shared,
            initiator_spi=ike.initiator_spi,
            responder_spi=ike.responder_spi,
            is_initiator=ike.is_initiator,
        )
        self._shared = b""
        self._key_exchange = None
        publish_ike_keys(ike, proposal, keys)
        return Outcome.DONE
