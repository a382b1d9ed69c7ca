"""The responder's side of IKE_AUTH: the initiator's rounds, and ours (RFC 7296 2.15, 2.16)."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass
from charon_core.eap.method import EapStatus
from charon_core.eap.names import kind_name
from charon_core.eap.server import EapServer, ServerPlan
from charon_core.encoding.payloads import (
    Authentication,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    Notify,
)
from charon_core.encoding.registry import NotifyType
from charon_core.sa.authenticators import announcements, certificates, eap, ppk, signing
from charon_core.sa.authenticators.candidates import Candidates, Evidence
from charon_core.sa.authenticators.identities import parse_eap_name
from charon_core.sa.authenticators.proof import AuthenticationError, own_proof, peer_proof
from charon_core.sa.authenticators.stages import Stage, misfit
from charon_core.sa.authenticators.verification import Claim
from charon_core.sa.state import Trait
from charon_core.sa.tasks.task import Outcome

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from charon_core.eap.method import EapStep
    from charon_core.encoding.message import Message
    from charon_core.sa.authenticators.ppk import PpkClaim
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing


class AuthResponder:
    """Has the initiator prove who it is, round after round, and does the same."""

    __slots__ = (
        "_candidates",
        "_conversation",
        "_is_eap_only",
        "_msk",
        "_must_confirm",
        "_packet",
        "_peer_stage",
        "_ppk_is_settled",
        "_refused",
        "_round",
        "_stage",
        "ike",
    )

    def __init__(self, ike: IkeSa) -> None:
        self.ike = ike
        self._candidates: Candidates | None = None
        self._peer_stage = Stage.CLAIM
        self._round = 0
        self._stage = Stage.CLAIM
        self._conversation: EapServer | None = None
        self._is_eap_only = False
        self._packet = b""
        self._msk: bytes | None = None
        self._must_confirm = False
        self._ppk_is_settled = False
        self._refused = False

    def copy(self) -> AuthResponder:
        """Return a copy that the processing of a message does not change, unless it is of EAP."""
        other = copy(self)
        other.detach()
        return other

    def detach(self) -> None:
        """Have candidates of its own, after having been copied."""
        if self._candidates is not None:
            self._candidates = self._candidates.copy()

    # -- requests -----------------------------------------------------------------------------

    def process(self, message: Message) -> None:
        """Take a request; what is wrong with it is logged, and told by the response."""
        self._must_confirm = False
        self._packet = b""
        ike = self.ike
        try:
            problem = misfit(message, self._peer_stage)
            if problem:
                raise AuthenticationError(f"IKE_AUTH request is not in order: {problem}")
            if self._peer_stage is Stage.OVER and self._stage is Stage.OVER:
                raise AuthenticationError("the peer goes on after the last round")
            if self._peer_stage is not Stage.PROVE:
                self._refuse_early_announcement(message)
            if self._peer_stage is Stage.CLAIM:
                self._take_claim(message)
            elif self._peer_stage is Stage.EAP:
                self._take_eap(message)
            elif self._peer_stage is Stage.PROVE:
                self._take_proof(message)
        except AuthenticationError as error:
            self._refused = True
            if str(error):
                ike.alert(
                    AlertKind.PEER_AUTHENTICATION_FAILED, str(error),
                    identity=str(ike.remote_id or "%any"),
                )  # fmt: skip

    def _refuse_early_announcement(self, message: Message) -> None:
        follows = message.notify(NotifyType.ANOTHER_AUTH_FOLLOWS) is not None
        if follows and message.first(Authentication) is None:
            raise AuthenticationError("the peer announces another round without a proof")

    def _take_claim(self, message: Message) -> None:
        """The initiator begins a round."""
        ike = self.ike
        payload = message.first(IdentificationInitiator)
        if payload is None:
            raise AuthenticationError(f"IKE_AUTH request needs an IDi, got {message.summary()}")
        identity = Identification.from_wire(payload.id_type, payload.data)
        ike.handshake.peer_id_body = payload.encode_body()
        candidates = self._candidates
        if candidates is None:
            candidates = self._candidates = self._begin(message, identity)
        auth = message.first(Authentication)
        claim = Claim(identity, auth, tuple(certificates.presented(ike, message)))
        follows = None if auth is None else self._learn_follows(message)
        evidence = Evidence(claim, follows, len(candidates.proved))
        if auth is not None:
            evidence.ppk = self._take_ppk(message)
        candidates.evidence.append(evidence)
        config = self._narrow(candidates)
        if auth is None:
            self._begin_eap(config, identity)
        else:
            self._peer_stage = Stage.CLAIM if follows else Stage.OVER

    def _begin(self, message: Message, identity: Identification) -> Candidates:
        """Look up what there is for the two identities."""
        ike = self.ike
        ike.remote_id = identity
        wanted = message.first(IdentificationResponder)
        own = Identification.from_wire(wanted.id_type, wanted.data) if wanted is not None else None
        certificates.learn_requests(ike, message)
        announcements.learn(ike, message)
        if message.notify(NotifyType.MULTIPLE_AUTH_SUPPORTED) is not None:
            ike.traits |= Trait.PEER_MULTIPLE_AUTH
        self._is_eap_only = message.notify(NotifyType.EAP_ONLY_AUTHENTICATION) is not None
        found = ike.env.backends.find_peer_configs(ike.local.host, ike.remote.host, own, identity)
        if not found:
            ike.alert(
                AlertKind.PEER_CONFIG_MISSING,
                f"no matching peer config found for {ike.local.host}[{own or '%any'}]..."
                f"{ike.remote.host}[{identity}]; load a connection whose addresses and "
                "identities (leftid, rightid) fit",
                identity=str(identity),
            )
            raise AuthenticationError
        return Candidates(ike, found, own)

    def _take_ppk(self, message: Message) -> PpkClaim | None:
        """A preshared key is named with the first proof, and holds for all of them."""
        claim = ppk.claim_of(self.ike, message)
        if claim is not None and self._ppk_is_settled:
            raise AuthenticationError("the peer names a post-quantum preshared key again")
        return claim

    def _settle_ppk(self, out: Outgoing) -> None:
        """Tell the initiator, when its first proof has held, whether its key is used."""
        candidates = self._candidates
        if candidates is None or self._ppk_is_settled or self._peer_stage is Stage.EAP:
            return
        if self._peer_stage is Stage.PROVE:
            return
        self._ppk_is_settled = True
        candidates.keep_keying()
        if candidates.uses_ppk:
            ppk.use(self.ike, candidates.keying, candidates.ppk_identity)
            ppk.add_use(out)

    def _learn_follows(self, message: Message) -> bool:
        follows = message.notify(NotifyType.ANOTHER_AUTH_FOLLOWS) is not None
        if follows and Trait.PEER_MULTIPLE_AUTH not in self.ike.traits:
            raise AuthenticationError(
                "the peer announces another authentication round, but not that it knows of them "
                "(MULTIPLE_AUTH_SUPPORTED)"
            )
        return follows

    def _narrow(self, candidates: Candidates) -> PeerConfig:
        before = self.ike.peer_config
        config = candidates.narrow()
        if config is None:
            raise AuthenticationError(
                f"authentication of '{self.ike.remote_id}' failed with each connection that fits: "
                f"{candidates.reasons}"
            )
        if before is not None and before is not config and len(candidates.evidence) > 1:
            self.ike.log(Group.CFG, Level.CONTROL, "switching to connection '%s'", config.name)
        return config

    # -- EAP ----------------------------------------------------------------------------------

    def _begin_eap(self, config: PeerConfig, identity: Identification) -> None:
        number = self._number
        expected = config.remote[number]
        wants_identity = expected.eap_identity is not None
        ike = self.ike
        self._conversation = EapServer(
            ike.env.eap,
            self._plan(config, identity),
            ike.env.random.bytes(1)[0],
            self._place if wants_identity else None,
        )
        self._peer_stage = Stage.EAP
        self._stepped(self._conversation.begin())

    @property
    def _number(self) -> int:
        """Which of the initiator's rounds is under way, counted from 0."""
        return len(self._candidates.evidence) - 1 if self._candidates is not None else 0

    def _plan(self, config: PeerConfig, identity: Identification) -> ServerPlan:
        mutual = self._stage is not Stage.OVER and (
            config.local[self._round].auth_class is AuthClass.EAP
        )
        return eap.server_plan(self.ike, config.remote[self._number], identity, mutual=mutual)

    def _place(self, said: bytes) -> ServerPlan | None:
        """The initiator says who it is inside of EAP: find the configuration for that."""
        candidates = self._candidates
        if candidates is None:
            return None
        evidence = candidates.evidence[-1]
        identity = parse_eap_name(said) if said else evidence.claim.identity
        self.ike.log(Group.IKE, Level.CONTROL, "received EAP identity '%s'", identity)
        evidence.eap_identity = identity
        try:
            return self._plan(self._narrow(candidates), identity)
        except AuthenticationError as error:
            self.ike.log(Group.IKE, Level.CONTROL, "%s", error)
            return None

    def _take_eap(self, message: Message) -> None:
        payload, conversation = message.first(Eap), self._conversation
        if payload is None or conversation is None:
            raise AuthenticationError("EAP has to prove the peer, and has not begun")
        self._stepped(conversation.process(payload.data))

    def _stepped(self, step: EapStep) -> None:
        conversation, candidates = self._conversation, self._candidates
        if conversation is None or candidates is None:
            raise AuthenticationError("EAP has to prove the peer, and has not begun")
        ike = self.ike
        self._packet = step.packet
        evidence = candidates.evidence[-1]
        if step.status is EapStatus.FAILURE:
            raise AuthenticationError(f"EAP with '{ike.remote_id}' failed: {conversation.problem}")
        if conversation.kind is not None and conversation.kind != evidence.eap_kind:
            evidence.eap_kind = conversation.kind
            ike.log(Group.IKE, Level.CONTROL, "initiating %s method", kind_name(conversation.kind))
        if step.status is EapStatus.MORE:
            return
        self._narrow(candidates)
        self._msk = conversation.msk
        ike.log(
            Group.IKE, Level.CONTROL, "EAP method %s succeeded, %sMSK established",
            kind_name(conversation.kind), "" if self._msk else "no ",
        )  # fmt: skip
        self._peer_stage = Stage.PROVE

    def _take_proof(self, message: Message) -> None:
        """The initiator proves that it is the one whom EAP has proved."""
        auth, candidates = message.first(Authentication), self._candidates
        if auth is None or candidates is None:
            raise AuthenticationError("the peer does not prove that it has the key of EAP")
        ike = self.ike
        evidence = candidates.evidence[-1]
        identity = evidence.claim.identity
        evidence.follows = self._learn_follows(message)
        evidence.ppk = self._take_ppk(message)
        self._narrow(candidates)
        own = candidates.last_own_identity
        if candidates.without_ppk:
            auth = replace(auth, data=candidates.without_ppk)
        eap.verify(peer_proof(ike, identity, own, candidates.keying), self._msk, auth)
        ike.log(Group.IKE, Level.CONTROL, "authentication of '%s' with EAP successful", identity)
        ike.remote_eap_id = evidence.eap_identity or identity
        self._conversation = None
        self._must_confirm = True
        self._peer_stage = Stage.CLAIM if evidence.follows else Stage.OVER

    # -- responses ----------------------------------------------------------------------------

    def build(self, out: Outgoing) -> Outcome:
        """Answer: DONE if both sides have proved all that there is to prove."""
        ike = self.ike
        config = ike.peer_config
        if self._refused or config is None or self._candidates is None:
            return self._refuse(out)
        try:
            self._settle_ppk(out)
            if self._must_confirm:
                self._confirm(config, out)
            elif self._stage is Stage.CLAIM:
                self._claim(config, self._candidates, out)
        except AuthenticationError as error:
            ike.alert(AlertKind.LOCAL_AUTHENTICATION_FAILED, str(error), connection=config.name)
            return self._refuse(out)
        if self._packet:
            out.append(Eap(self._packet))
        is_over = self._stage is Stage.OVER and self._peer_stage is Stage.OVER
        return Outcome.DONE if is_over else Outcome.MORE

    def _refuse(self, out: Outgoing) -> Outcome:
        """Say no: by EAP Failure where EAP has failed, which is final as well."""
        if self._packet:
            out[:] = [Eap(self._packet)]
        else:
            out[:] = [Notify.of(NotifyType.AUTHENTICATION_FAILED)]
        return Outcome.DESTROY

    def _claim(self, config: PeerConfig, candidates: Candidates, out: Outgoing) -> None:
        """Begin a round of ours: say who we are, and prove it unless EAP is to do that."""
        ike = self.ike
        auth = config.local[self._round]
        identity = candidates.own_identity(auth)
        out.append(IdentificationResponder(id_type=identity.id_type, data=identity.data))
        if auth.auth_class is AuthClass.EAP:
            if not self._is_eap_only or self._peer_stage is not Stage.EAP:
                raise AuthenticationError(
                    f"connection '{config.name}' leaves our proof to EAP, which the peer does not "
                    "take: it announces no EAP_ONLY_AUTHENTICATION, or uses no EAP now"
                )
            self._stage = Stage.EAP
            candidates.left_to_eap = auth, identity
            return
        certificates.add_own(ike, auth, out)
        other = candidates.evidence[-1].claim.identity
        out.append(signing.sign(ike, auth, identity, other))
        self._end_round(config, candidates, identity, out)

    def _confirm(self, config: PeerConfig, out: Outgoing) -> None:
        """Prove that we have the key of EAP; where nothing else proves us, this does."""
        candidates = self._candidates
        if candidates is None:
            raise AuthenticationError("EAP has to prove us, and has not begun")
        ike = self.ike
        is_own_round = self._stage is Stage.EAP
        identity = candidates.last_own_identity
        if is_own_round:
            identity = candidates.own_identity(config.local[self._round])
        proof = own_proof(ike, identity, candidates.evidence[-1].claim.identity)
        out.append(eap.sign(proof, self._msk))
        self._msk = None
        ike.log(Group.IKE, Level.CONTROL, "authentication of '%s' (myself) with EAP", identity)
        if is_own_round:
            self._end_round(config, candidates, identity, out)

    def _end_round(
        self, config: PeerConfig, candidates: Candidates, identity: Identification, out: Outgoing
    ) -> None:
        candidates.proved.append((config.local[self._round], identity))
        candidates.left_to_eap = None
        self._round += 1
        more = self._round < len(config.local)
        candidates.more_announced = more
        self._stage = Stage.CLAIM if more else Stage.OVER
        if not more:
            return
        if Trait.PEER_MULTIPLE_AUTH not in self.ike.traits:
            raise AuthenticationError(
                f"connection '{config.name}' proves us in {len(config.local)} rounds, and the peer "
                "takes one only (it does not announce RFC 4739)"
            )
        out.append(Notify.of(NotifyType.ANOTHER_AUTH_FOLLOWS))
