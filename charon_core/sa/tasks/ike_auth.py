"""IKE_AUTH: both sides prove who they are (RFC 7296 1.2, 2.15, 3.5 to 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass
from charon_core.config.proposal import select
from charon_core.encoding.payloads import (
    Authentication,
    IdentificationInitiator,
    IdentificationResponder,
    Notify,
)
from charon_core.encoding.registry import AuthMethod, ExchangeType, NotifyType
from charon_core.sa.authenticators import certificates, psk, pubkey
from charon_core.sa.authenticators.proof import AuthenticationError, own_proof, peer_proof
from charon_core.sa.reports import report_peer_error
from charon_core.sa.tasks.ike_reauth import add_lifetime, learn_lifetime
from charon_core.sa.tasks.task import Outcome, Outgoing, Task
from charon_core.sa.uniqueness import add_initial_contact, settle

if TYPE_CHECKING:
    from charon_core.config.peer import AuthConfig, PeerConfig
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa

_SUPPORTED: Final = frozenset({AuthClass.PSK, AuthClass.PUBKEY, AuthClass.ANY})

_MAX_REASONS: Final = 8
"""Connections that a message about a failure names, each with what it wants."""

_CHILD_ERRORS: Final = frozenset(
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


class IkeAuth(Task):
    """One round of authentication on each side."""

    __slots__ = ("_refused",)
    name: ClassVar[str] = "IKE_AUTH"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._refused = False

    # -- initiator ----------------------------------------------------------------------------

    def build_request(self, out: Outgoing) -> Outcome:
        """Say who we are and prove it."""
        ike = self.ike
        if ike.tasks.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        config = ike.peer_config
        if config is None or not _is_supported(ike, config):
            return Outcome.DESTROY
        auth, expected = config.local[0], config.remote[0]
        identity = self._own_identity(auth)
        ike.local_id = identity
        other = expected.identity
        out.append(IdentificationInitiator(id_type=identity.id_type, data=identity.data))
        add_initial_contact(ike, (identity, other), out)
        certificates.add_own(ike, auth, out)
        certificates.add_requests(ike, expected, out)
        if not other.is_any and not other.is_pattern and not expected.loose_identity:
            out.append(IdentificationResponder(id_type=other.id_type, data=other.data))
        try:
            out.append(self._sign(auth, identity, other))
        except AuthenticationError as error:
            ike.alert(AlertKind.LOCAL_AUTHENTICATION_FAILED, str(error), connection=config.name)
            return Outcome.DESTROY
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Verify the responder, and the IKE_SA is established."""
        if message.exchange == ExchangeType.IKE_SA_INIT:
            certificates.learn_requests(self.ike, message)
        if message.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        ike = self.ike
        config = ike.peer_config
        error = next(
            (n for n in message.all(Notify) if n.is_error and n.notify_type not in _CHILD_ERRORS),
            None,
        )
        id_payload = message.first(IdentificationResponder)
        auth_payload = message.first(Authentication)
        if config is None or error is not None or id_payload is None or auth_payload is None:
            refusal = error or next(iter(message.all(Notify)), None)
            if refusal is not None and id_payload is None:
                report_peer_error(ike, refusal)
            else:
                ike.log(
                    Group.IKE, Level.CONTROL, "IKE_AUTH response needs IDr and AUTH, got %s",
                    message.summary(),
                )  # fmt: skip
            return Outcome.DESTROY
        identity = Identification.from_wire(id_payload.id_type, id_payload.data)
        ike.handshake.peer_id_body = id_payload.encode_body()
        ike.remote_id = identity
        expected = config.remote[0]
        try:
            self._verify(message, identity, expected, auth_payload)
        except AuthenticationError as problem:
            ike.alert(
                AlertKind.PEER_AUTHENTICATION_FAILED,
                f"authentication of '{identity}' failed: {problem}",
                connection=config.name,
            )
            return self._reject_responder()
        settle(ike, message)
        ike.establish()
        learn_lifetime(ike, message)
        return Outcome.DONE

    def _reject_responder(self) -> Outcome:
        """End the IKE_SA. The responder believes that it is up: it is told (RFC 7296 2.21.2)."""
        self.ike.tell_authentication_failed()
        return Outcome.DESTROY

    # -- responder ----------------------------------------------------------------------------

    def process_request(self, message: Message) -> Outcome:
        """Find out who the initiator is, and verify it."""
        if message.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        ike = self.ike
        id_payload = message.first(IdentificationInitiator)
        if id_payload is None:
            ike.log(
                Group.IKE, Level.CONTROL, "IKE_AUTH request needs an IDi, got %s", message.summary()
            )
            self._refused = True
            return Outcome.MORE
        identity = Identification.from_wire(id_payload.id_type, id_payload.data)
        ike.handshake.peer_id_body = id_payload.encode_body()
        ike.remote_id = identity
        wanted = message.first(IdentificationResponder)
        own = Identification.from_wire(wanted.id_type, wanted.data) if wanted is not None else None
        certificates.learn_requests(ike, message)
        candidates = ike.env.backends.find_peer_configs(
            ike.local.host, ike.remote.host, own, identity
        )
        if not candidates:
            ike.alert(
                AlertKind.PEER_CONFIG_MISSING,
                f"no matching peer config found for {ike.local.host}[{own or '%any'}]..."
                f"{ike.remote.host}[{identity}]; load a connection whose addresses and "
                "identities (leftid, rightid) fit",
                identity=str(identity),
            )
            self._refused = True
            return Outcome.MORE
        auth_payload = message.first(Authentication)
        self._refused = not (
            self._accept(candidates, message, identity, auth_payload, own) and settle(ike, message)
        )
        return Outcome.MORE

    def _accept(
        self,
        candidates: list[PeerConfig],
        message: Message,
        identity: Identification,
        auth_payload: Authentication | None,
        own: Identification | None,
    ) -> bool:
        """Take the first configuration under which the initiator's proof holds."""
        ike = self.ike
        problems: list[str] = []
        negotiated = ike.ike_config
        tried: set[tuple[AuthConfig, Identification]] = set()
        for config in candidates:
            ike.choose_peer_config(config)
            ike.local_id = self._own_identity(config.local[0], own)
            demands = config.remote[0], ike.local_id
            if demands in tried:
                # What a stranger can make us verify must not grow with the connections.
                continue
            try:
                if config.ike is not negotiated:
                    _check_proposal(ike, config)
                if not _is_supported(ike, config):
                    raise AuthenticationError("it asks for what this daemon cannot do")
                if auth_payload is None:
                    raise AuthenticationError(
                        f"the peer sends no AUTH payload, which asks for EAP; "
                        f"it has to use {config.remote[0].auth_class.value} authentication"
                    )
                tried.add(demands)
                self._verify(message, identity, config.remote[0], auth_payload)
            except AuthenticationError as problem:
                problems.append(f"'{config.name}': {problem}")
                continue
            return True
        ike.alert(
            AlertKind.PEER_AUTHENTICATION_FAILED,
            f"authentication of '{identity}' failed with each connection that fits: "
            + "; ".join(problems[:_MAX_REASONS])
            + (f"; and {more} more" if (more := len(problems) - _MAX_REASONS) > 0 else ""),
            identity=str(identity),
        )
        return False

    def build_response(self, out: Outgoing) -> Outcome:
        """Prove who we are, and the IKE_SA is established."""
        ike = self.ike
        if ike.tasks.exchange == ExchangeType.IKE_SA_INIT:
            certificates.add_requests_of_candidates(ike, out)
        if ike.tasks.exchange != ExchangeType.IKE_AUTH:
            return Outcome.MORE
        config, identity = ike.peer_config, ike.local_id
        if self._refused or config is None or identity is None or ike.remote_id is None:
            out[:] = [Notify.of(NotifyType.AUTHENTICATION_FAILED)]
            return Outcome.DESTROY
        auth = config.local[0]
        out.append(IdentificationResponder(id_type=identity.id_type, data=identity.data))
        certificates.add_own(ike, auth, out)
        try:
            out.append(self._sign(auth, identity, ike.remote_id))
        except AuthenticationError as error:
            ike.alert(AlertKind.LOCAL_AUTHENTICATION_FAILED, str(error), connection=config.name)
            out[:] = [Notify.of(NotifyType.AUTHENTICATION_FAILED)]
            return Outcome.DESTROY
        ike.establish()
        add_lifetime(ike, out)
        return Outcome.DONE

    # -- both ---------------------------------------------------------------------------------

    def _own_identity(
        self, auth: AuthConfig, wanted: Identification | None = None
    ) -> Identification:
        """Return who we say we are: as configured, as the peer wants it, or by address."""
        if not auth.identity.is_any and not auth.identity.is_pattern:
            return auth.identity
        if wanted is not None and wanted.matches(auth.identity):
            return wanted
        return Identification.from_address(self.ike.local.host)

    def _sign(
        self, auth: AuthConfig, identity: Identification, other: Identification
    ) -> Authentication:
        proof = own_proof(self.ike, identity, other)
        if auth.auth_class is AuthClass.PSK:
            payload, how = psk.sign(proof), "pre-shared key"
        else:
            payload, how = pubkey.sign(proof, auth)
        self.ike.log(
            Group.IKE, Level.CONTROL, "authentication of '%s' (myself) with %s successful",
            identity, how,
        )  # fmt: skip
        return payload

    def _verify(
        self,
        message: Message,
        identity: Identification,
        expected: AuthConfig,
        auth: Authentication,
    ) -> None:
        """Verify the peer's AUTH payload.

        Raises:
            AuthenticationError: It proves nothing, or not what the configuration asks for.
        """
        ike = self.ike
        proof = peer_proof(ike, identity, ike.local_id or Identification.any())
        by_secret = auth.method == AuthMethod.SHARED_KEY_MIC
        # Where the identity may differ, a certificate has to confirm the configured one; a secret
        # confirms none.
        is_loose = expected.loose_identity and not by_secret
        if not is_loose and not identity.matches(expected.identity):
            raise AuthenticationError(
                f"it says it is '{identity}', expected is '{expected.identity}'; correct rightid, "
                "or the identity of the peer"
            )
        used = AuthClass.PSK if by_secret else AuthClass.PUBKEY
        if expected.auth_class not in {AuthClass.ANY, used}:
            raise AuthenticationError(
                f"the peer uses {used.value} authentication, expected is "
                f"{expected.auth_class.value} authentication; compare leftauth and rightauth"
            )
        if by_secret and expected.groups:
            raise AuthenticationError(
                f"it has to be in one of the groups {', '.join(expected.groups)}, which a shared "
                "secret cannot prove; remove rightgroups"
            )
        if by_secret and expected.auth_class is AuthClass.ANY:
            _check_no_key_demanded(expected)
        if by_secret:
            psk.verify(proof, auth)
            how = "pre-shared key"
        else:
            how = pubkey.verify(proof, auth, expected, certificates.presented(ike, message))
        ike.log(
            Group.IKE, Level.CONTROL, "authentication of '%s' with %s successful", identity, how
        )


def _check_no_key_demanded(expected: AuthConfig) -> None:
    """Refuse a secret where any method is allowed, but with demands that only a key can meet.

    Raises:
        AuthenticationError: There are such demands.
    """
    demands = {
        "rightcert": expected.certificates,
        "rightsigkey": expected.public_keys,
        "rightca": expected.ca,
        "rightcertpolicy": expected.cert_policies,
    }
    names = [name for name, demand in demands.items() if demand]
    if names:
        raise AuthenticationError(
            f"the peer uses a shared secret, which cannot meet {', '.join(names)}; set "
            "rightauth=psk and remove them, or have the peer use its key"
        )


def _check_proposal(ike: IkeSa, config: PeerConfig) -> None:
    """Refuse a configuration that would not have agreed to what IKE_SA_INIT selected.

    The addresses alone led to that choice, maybe by another connection with weaker algorithms.

    Raises:
        AuthenticationError: It asks for other algorithms.
    """
    if ike.proposal is None or select(config.ike.proposals, [ike.proposal]) is None:
        raise AuthenticationError(
            f"it does not accept the IKE proposal {ike.proposal}, which was selected before it was "
            "known who the peer is, since another connection for its address accepts it"
        )


def _is_supported(ike: IkeSa, config: PeerConfig) -> bool:
    """Whether the daemon has what a configuration asks for; says what is missing, if not."""
    problem = ""
    if len(config.local) > 1 or len(config.remote) > 1:
        problem = "asks for several authentication rounds, expected one on each side"
    elif config.local[0].auth_class not in _SUPPORTED:
        problem = f"authenticates us by {config.local[0].auth_class.value}"
    elif config.remote[0].auth_class not in _SUPPORTED:
        problem = f"authenticates the peer by {config.remote[0].auth_class.value}"
    if not problem:
        return True
    ike.log(
        Group.CFG, Level.CONTROL,
        "connection '%s' %s; this daemon has pre-shared keys and public keys",
        config.name, problem,
    )  # fmt: skip
    return False
