"""Which authentication methods we take, and which the peer does (RFC 9593).

The responder says so in IKE_SA_INIT, where it does not know yet who asks: what this daemon can
verify. The initiator says in its first IKE_AUTH request what the connection demands. Both are
hints: they help to choose among several signature schemes, and explain why a method is refused.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.peer import AuthClass
from charon_core.credentials.constraints import parse_constraints
from charon_core.crypto.errors import InvalidSignature
from charon_core.crypto.signature_schemes import (
    KeyType,
    SignatureScheme,
    decode_algorithm,
    encode_algorithm,
)
from charon_core.encoding.notify_data import (
    AuthAnnouncement,
    encode_auth_methods,
    parse_auth_methods,
)
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import AuthMethod, HashId, NotifyType

if TYPE_CHECKING:
    from charon_core.config.peer import AuthConfig
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing

_MAX_KNOWN: Final = 64
"""Different announcements that are remembered, of each side."""

_EVERY_CA: Final = 0
"""A method goes with the certificates of each CERTREQ."""

_KEY_TYPES: Final = frozenset({KeyType.RSA, KeyType.ECDSA, KeyType.ED25519, KeyType.ED448})
_CLASSIC: Final = (
    AuthMethod.RSA_DIGITAL_SIGNATURE,
    AuthMethod.ECDSA_SHA2_256_P256,
    AuthMethod.ECDSA_SHA2_384_P384,
    AuthMethod.ECDSA_SHA2_512_P521,
)
_BY_KEYS: Final = frozenset({AuthClass.PUBKEY, AuthClass.ANY})
_BY_SECRETS: Final = frozenset({AuthClass.PSK, AuthClass.ANY})


def announce_all(out: Outgoing) -> None:
    """Say what we can verify: as responder, before it is known who the initiator is."""
    out.append(Notify.of(NotifyType.SUPPORTED_AUTH_METHODS, _everything()))


def announce_demands(rounds: tuple[AuthConfig, ...], out: Outgoing) -> None:
    """Say what the rounds of a peer may be; nothing where only EAP will do, which has no number."""
    methods = _demands(tuple((auth.auth_class, auth.signature_constraints) for auth in rounds))
    if methods:
        out.append(Notify.of(NotifyType.SUPPORTED_AUTH_METHODS, methods))


@lru_cache(maxsize=_MAX_KNOWN)
def _demands(rounds: tuple[tuple[AuthClass, tuple[str, ...]], ...]) -> bytes:
    methods: dict[AuthAnnouncement, None] = {}
    for auth_class, constraints in rounds:
        if auth_class in _BY_SECRETS:
            methods[AuthAnnouncement(AuthMethod.SHARED_KEY_MIC)] = None
        if auth_class is AuthClass.NULL:
            methods[AuthAnnouncement(AuthMethod.NULL_AUTHENTICATION)] = None
        if auth_class in _BY_KEYS:
            methods.update(dict.fromkeys(_signatures(constraints)))
    return encode_auth_methods(methods)


@cache
def _everything() -> bytes:
    secret = AuthAnnouncement(AuthMethod.SHARED_KEY_MIC)
    return encode_auth_methods((secret, *_signatures(())))


def _signatures(constraints: tuple[str, ...]) -> tuple[AuthAnnouncement, ...]:
    allowed = parse_constraints(constraints, rsa_pss=True).auth_schemes
    if allowed is None:
        return _all_signatures()
    return tuple(_announced(scheme) for scheme in allowed if scheme.key_type in _KEY_TYPES)


@cache
def _all_signatures() -> tuple[AuthAnnouncement, ...]:
    return (
        *(AuthAnnouncement(method, _EVERY_CA) for method in _CLASSIC),
        *(
            _announced(scheme)
            for scheme in SignatureScheme
            if not scheme.is_classic
            and scheme.key_type in _KEY_TYPES
            and scheme.hash is not HashId.SHA1
        ),
    )


def _announced(scheme: SignatureScheme) -> AuthAnnouncement:
    return AuthAnnouncement(AuthMethod.DIGITAL_SIGNATURE, _EVERY_CA, encode_algorithm(scheme))


def learn(ike: IkeSa, message: Message) -> None:
    """Remember which methods the peer takes.

    Raises:
        ParseError: The announcement is malformed.
    """
    notify = message.notify(NotifyType.SUPPORTED_AUTH_METHODS)
    if notify is not None:
        ike.handshake.peer_methods, ike.handshake.peer_schemes = _understood(notify.data)


@lru_cache(maxsize=_MAX_KNOWN)
def _understood(data: bytes) -> tuple[frozenset[int], tuple[SignatureScheme, ...]]:
    """Return the methods and the schemes that are announced; peers of a kind announce alike."""
    methods: set[int] = set()
    schemes: dict[SignatureScheme, None] = {}
    for announced in parse_auth_methods(data):
        methods.add(announced.method)
        if announced.method == AuthMethod.DIGITAL_SIGNATURE and announced.algorithm:
            try:
                schemes[decode_algorithm(announced.algorithm)] = None
            except InvalidSignature:
                # Others than ours are nothing that we could sign with.
                continue
    return frozenset(methods), tuple(schemes)


def remark(ike: IkeSa, method: int) -> None:
    """Log that the peer does not take the method that we are about to use, if it says so."""
    known = ike.handshake.peer_methods
    if known and method not in known:
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer announces that it takes authentication methods %s, ours is %d; compare leftauth "
            "and rightauth at both ends", ", ".join(map(str, sorted(known))), method,
        )  # fmt: skip
