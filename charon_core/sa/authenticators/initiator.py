"""The initiator's side of IKE_AUTH: our rounds, and the responder's (RFC 7296 2.15, 2.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass
from charon_core.eap.method import EapStatus
from charon_core.eap.names import kind_name
from charon_core.encoding.payloads import (
    Authentication,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    Notify,
)
from charon_core.encoding.registry import NotifyType
from charon_core.sa.authenticators import (
    announcements,
    certificates,
    eap,
    identities,
    ppk,
    signing,
    verification,
)
from charon_core.sa.authenticators.proof import AuthenticationError, own_proof, peer_proof
from charon_core.sa.authenticators.stages import Stage, misfit
from charon_core.sa.authenticators.verification import Claim
from charon_core.sa.reports import report_peer_error
from charon_core.sa.state import Trait
from charon_core.sa.tasks.task import Outcome
from charon_core.sa.uniqueness import add_initial_contact

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.peer import AuthConfig, PeerConfig
    from charon_core.eap.peer import EapPeer
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.keying import IkeKeying
    from charon_core.sa.tasks.task import Outgoing

CHILD_ERRORS: Final = frozenset(
    {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.TS_UNACCEPTABLE,
        NotifyType.SINGLE_PAIR_REQUIRED,
        NotifyType.NO_ADDITIONAL_SAS,
        NotifyType.INTERNAL_ADDRESS_FAILURE,
        NotifyType.FAILED_CP_REQUIRED,
    }
)
"""Errors of the CHILD_SA alone: the IKE_SA lives on (RFC 7296 1.2)."""


class AuthInitiator:
    """Proves who we are, round after round, and has the responder do the same."""

    __slots__ = (
        "_answer",
        "_config",
        "_conversation",
        "_has_proved",
        "_identity",
        "_mixed",
        "_peer_identity",
        "_peer_round",
        "_peer_stage",
        "_round",
        "_stage",
        "ike",
    )

    def __init__(self, ike: IkeSa, config: PeerConfig) -> None:
        self.ike = ike
        self._config = config
        self._round = 0
        self._stage = Stage.CLAIM
        self._identity = Identification.any()
        self._peer_round = 0
        self._peer_stage = Stage.CLAIM
        self._peer_identity = Identification.any()
        self._conversation: EapPeer | None = None
        self._answer = b""
        self._has_proved = False
        self._mixed: IkeKeying | None = None

    # -- requests -----------------------------------------------------------------------------

    def build(self, out: Outgoing) -> bool:
        """Add what is due to an IKE_AUTH request; False if we cannot, which is logged."""
        try:
            if self._stage is Stage.CLAIM:
                self._claim(out)
            elif self._stage is Stage.EAP:
                out.append(Eap(self._answer))
            elif self._stage is Stage.PROVE:
                self._prove_by_eap(out)
        except AuthenticationError as error:
            self.ike.alert(
                AlertKind.LOCAL_AUTHENTICATION_FAILED, str(error), connection=self._config.name
            )
            return False
        return True

    def _claim(self, out: Outgoing) -> None:
        """Begin a round: say who we are, and prove it at once unless EAP is to do that."""
        ike = self.ike
        auth = self._config.local[self._round]
        identity = self._identity = identities.own_identity(ike, auth)
        is_first = not self._round
        if is_first:
            self._check_config()
            ike.local_id = identity
        expected = self._config.remote[min(self._peer_round, len(self._config.remote) - 1)]
        out.append(IdentificationInitiator(id_type=identity.id_type, data=identity.data))
        if is_first:
            add_initial_contact(ike, (identity, expected.identity), out)
        certificates.add_own(ike, auth, out)
        if is_first:
            self._say_whom_we_expect(out)
        if auth.auth_class is AuthClass.EAP:
            self._conversation = eap.peer_conversation(ike, auth, identity, expected)
            self._stage = Stage.EAP
        else:
            other = self._peer_name
            self._add_proof(out, lambda keying: signing.sign(ike, auth, identity, other, keying))
            self._announce_next(out)
            self._end_round()
        if is_first:
            out.append(Notify.of(NotifyType.MULTIPLE_AUTH_SUPPORTED))
            announcements.announce_demands(self._config.remote, out)
            if self._may_be_eap_only:
                out.append(Notify.of(NotifyType.EAP_ONLY_AUTHENTICATION))

    def _check_config(self) -> None:
        problem = eap.obstacle(self.ike, self._config)
        if not problem and len(self._config.local) > 1 and not self._peer_takes_several:
            problem = (
                f"proves us in {len(self._config.local)} rounds, and the peer takes one only "
                "(it does not announce RFC 4739)"
            )
        if problem:
            raise AuthenticationError(f"connection '{self._config.name}' {problem}")

    @property
    def _peer_takes_several(self) -> bool:
        return Trait.PEER_MULTIPLE_AUTH in self.ike.traits

    @property
    def _may_be_eap_only(self) -> bool:
        """Whether the responder may leave its proof to our EAP method (RFC 5998)."""
        return any(auth.auth_class is AuthClass.EAP for auth in self._config.remote)

    def _say_whom_we_expect(self, out: Outgoing) -> None:
        config = self._config
        for expected in config.remote:
            if certificates.add_requests(self.ike, expected, out):
                break
        other = config.remote[0]
        identity = other.identity
        if not identity.is_any and not identity.is_pattern and not other.loose_identity:
            out.append(IdentificationResponder(id_type=identity.id_type, data=identity.data))

    def _prove_by_eap(self, out: Outgoing) -> None:
        conversation = self._conversation
        if conversation is None:
            raise AuthenticationError("EAP has to prove us, and has not begun")
        ike, identity, other, msk = self.ike, self._identity, self._peer_name, conversation.msk
        self._add_proof(out, lambda keying: eap.sign(own_proof(ike, identity, other, keying), msk))
        self._announce_next(out)
        self._stage = Stage.CONFIRM

    def _add_proof(self, out: Outgoing, sign: Callable[[IkeKeying | None], Authentication]) -> None:
        """Add AUTH; the first one decides about a post-quantum preshared key (RFC 8784)."""
        ike, config = self.ike, self._config
        if self._has_proved:
            out.append(sign(None))
            return
        self._has_proved = True
        self._mixed = ppk.keying_of_initiator(ike, config)
        out.append(sign(self._mixed))
        if self._mixed is not None:
            ppk.add_claim(config, None if config.ppk_required else sign(None), out)

    def _take_ppk(self, message: Message) -> None:
        """Learn whether the responder uses the preshared key that we have named."""
        mixed, self._mixed = self._mixed, None
        is_used = ppk.is_used_by_responder(message)
        if mixed is None:
            if is_used:
                raise AuthenticationError(
                    "the peer uses a post-quantum preshared key that we have not named"
                )
            return
        if is_used:
            ppk.use(self.ike, mixed, self._config.ppk_id)
        elif self._config.ppk_required:
            raise AuthenticationError(
                f"the peer does not use the post-quantum preshared key "
                f"'{ppk.shown(self._config.ppk_id)}', "
                "which is required (ppk_required)"
            )
        else:
            self.ike.log(
                Group.CFG, Level.CONTROL, "peer didn't use PPK for PPK_ID '%s'",
                ppk.shown(self._config.ppk_id),
            )  # fmt: skip

    def _announce_next(self, out: Outgoing) -> None:
        if self._round + 1 < len(self._config.local):
            out.append(Notify.of(NotifyType.ANOTHER_AUTH_FOLLOWS))

    def _end_round(self) -> None:
        self._conversation = None
        self._round += 1
        self._stage = Stage.CLAIM if self._round < len(self._config.local) else Stage.OVER

    # -- responses ----------------------------------------------------------------------------

    def process(self, message: Message) -> Outcome:
        """Take a response: DONE if both sides have proved all that there is to prove."""
        ike = self.ike
        error = next(
            (n for n in message.all(Notify) if n.is_error and n.notify_type not in CHILD_ERRORS),
            None,
        )
        has_identity = message.first(IdentificationResponder) is not None
        is_unanswered = self._peer_stage is Stage.CLAIM and not self._peer_round
        if error is None and is_unanswered and not has_identity:
            # Refusing us is all that such a response can be.
            error = next(iter(message.all(Notify)), None) if not message.first(Eap) else None
        if error is not None:
            report_peer_error(ike, error)
            return Outcome.DESTROY
        try:
            self._take(message)
        except AuthenticationError as problem:
            ike.alert(
                AlertKind.PEER_AUTHENTICATION_FAILED,
                f"authentication of '{self._peer_name}' failed: {problem}",
                connection=self._config.name,
            )
            # The responder may believe that the IKE_SA is up: it is told (RFC 7296 2.21.2).
            ike.tell_authentication_failed()
            return Outcome.DESTROY
        return Outcome.DONE if self._is_over else Outcome.MORE

    @property
    def _peer_name(self) -> Identification:
        """Who the responder has said it is, with its last round; until then, who it has to be."""
        said = self._peer_identity
        return self._config.remote[0].identity if said.is_any else said

    @property
    def _is_over(self) -> bool:
        return self._stage is Stage.OVER and self._peer_stage is Stage.OVER

    def _take(self, message: Message) -> None:
        problem = misfit(message, self._stage)
        if problem:
            raise AuthenticationError(problem)
        self._take_ppk(message)
        before = self._peer_round
        has_claim = message.first(IdentificationResponder) is not None
        if has_claim:
            self._take_claim(message)
        elif not before and self._peer_stage is Stage.CLAIM:
            raise AuthenticationError(
                f"IKE_AUTH response needs IDr and AUTH, got {message.summary()}"
            )
        if self._stage is Stage.EAP:
            self._take_eap(message)
        elif self._stage is Stage.CONFIRM:
            self._confirm(message)
        elif self._stage is Stage.OVER and not has_claim and not self._is_over:
            raise AuthenticationError("the peer neither proves itself further nor ends")
        follows = message.notify(NotifyType.ANOTHER_AUTH_FOLLOWS) is not None
        if follows and self._peer_round == before and self._peer_stage is not Stage.CLAIM:
            raise AuthenticationError("the peer announces another round without a proof")

    def _take_claim(self, message: Message) -> None:
        """The responder begins a round of its own."""
        ike = self.ike
        payload = message.first(IdentificationResponder)
        if payload is None or self._peer_stage is not Stage.CLAIM:
            raise AuthenticationError(
                f"the peer proves more than it has announced, got {message.summary()}"
            )
        identity = Identification.from_wire(payload.id_type, payload.data)
        ike.handshake.peer_id_body = payload.encode_body()
        if ike.remote_id is None or not self._peer_round:
            ike.remote_id = identity
        self._peer_identity = identity
        expected = self._config.remote[self._peer_round]
        auth = message.first(Authentication)
        if auth is None:
            self._leave_to_eap(message, identity, expected)
            return
        if expected.auth_class is AuthClass.EAP:
            raise AuthenticationError(
                f"it proves itself by AUTH method {auth.method}, expected is EAP; set rightauth "
                "to what it uses"
            )
        claim = Claim(identity, auth, tuple(certificates.presented(ike, message)))
        verification.verify(ike, claim, expected, self._identity)
        self._end_peer_round(message)

    def _leave_to_eap(
        self, message: Message, identity: Identification, expected: AuthConfig
    ) -> None:
        """The responder leaves its proof to our EAP method (RFC 5998)."""
        conversation = self._conversation
        if expected.auth_class is not AuthClass.EAP or conversation is None:
            raise AuthenticationError(
                f"IKE_AUTH response needs IDr and AUTH, got {message.summary()}"
            )
        verification.check_identity(identity, expected)
        verification.check_groups(expected, "EAP")
        conversation.must_be_mutual = True
        self._peer_stage = Stage.EAP

    def _take_eap(self, message: Message) -> None:
        conversation, payload = self._conversation, message.first(Eap)
        if conversation is None or payload is None:
            raise AuthenticationError("EAP has to prove us, and has not begun")
        before, shown = conversation.kind, conversation.notification
        step = conversation.process(payload.data)
        if conversation.kind != before:
            self.ike.log(
                Group.IKE, Level.CONTROL, "server requested %s authentication",
                kind_name(conversation.kind),
            )  # fmt: skip
        if conversation.notification != shown:
            self.ike.log(Group.IKE, Level.CONTROL, "server says: %s", conversation.notification)
        if step.status is EapStatus.FAILURE:
            raise AuthenticationError(conversation.problem)
        if step.status is EapStatus.MORE:
            self._answer = step.packet
            return
        self.ike.log(
            Group.IKE, Level.CONTROL, "EAP method %s succeeded, %sMSK established",
            kind_name(conversation.kind), "" if conversation.msk else "no ",
        )  # fmt: skip
        self._stage = Stage.PROVE

    def _confirm(self, message: Message) -> None:
        """The responder proves that it has the key of the EAP method, too."""
        auth, conversation = message.first(Authentication), self._conversation
        if auth is None or conversation is None:
            raise AuthenticationError("the peer does not prove that it has the key of EAP")
        ike = self.ike
        is_own_round = self._peer_stage is Stage.EAP
        identity = self._peer_name
        eap.verify(peer_proof(ike, identity, self._identity), conversation.msk, auth)
        ike.log(Group.IKE, Level.CONTROL, "authentication of '%s' with EAP successful", identity)
        self._end_round()
        if is_own_round:
            self._end_peer_round(message)

    def _end_peer_round(self, message: Message) -> None:
        """A proof of the responder holds: see whether the number of rounds is right, too."""
        rounds = len(self._config.remote)
        self._peer_round += 1
        follows = message.notify(NotifyType.ANOTHER_AUTH_FOLLOWS) is not None
        if follows and not self._peer_takes_several:
            raise AuthenticationError(
                "the peer announces another authentication round, but not that it knows of them"
            )
        if follows != (self._peer_round < rounds):
            raise AuthenticationError(
                f"the peer {'goes on' if follows else 'ends'} after {self._peer_round} "
                f"authentication round(s), expected are {rounds} (rightauth2)"
            )
        self._peer_stage = Stage.CLAIM if follows else Stage.OVER
