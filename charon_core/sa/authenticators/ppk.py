"""Post-quantum preshared keys (RFC 8784): which one, and whether it is used at all.

The initiator names the key in the message that has its AUTH payload: the first one, or after EAP
the one that ends it. Unless it insists, NO_PPK_AUTH beside it is the AUTH data without the key, for
a responder that does not have it. Responders that use it say so, and both mix it into SK_d, SK_pi
and SK_pr; messages of the IKE_SA itself stay as they are, rekeyed ones are made of the new SK_d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.config.identification import KEY_ID, SCORE_PERFECT, Identification
from charon_core.credentials.sets import SecretKind
from charon_core.encoding.notify_data import PpkIdentity
from charon_core.encoding.payloads import Authentication, Notify
from charon_core.encoding.registry import NotifyType, PpkIdType
from charon_core.sa.authenticators.proof import AuthenticationError
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from charon_core.config.peer import PeerConfig
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.keying import IkeKeying
    from charon_core.sa.tasks.task import Outgoing


# -- IKE_SA_INIT ------------------------------------------------------------------------------


def announce(ike: IkeSa, out: Outgoing) -> None:
    """Say that we know such keys: as initiator where one is configured, else if asked."""
    if ike.is_initiator:
        config = ike.peer_config
        wanted = config is not None and (config.ppk_id is not None or config.ppk_required)
    else:
        wanted = Trait.PEER_PPK in ike.traits and _has_any(ike)
    if wanted:
        out.append(Notify.of(NotifyType.USE_PPK))


def learn_announcement(ike: IkeSa, message: Message) -> None:
    """Remember whether the peer knows such keys."""
    if message.notify(NotifyType.USE_PPK) is not None:
        ike.traits |= Trait.PEER_PPK


def _has_any(ike: IkeSa) -> bool:
    return bool(ike.env.credentials.shared_secrets(SecretKind.PPK, None, None))


# -- initiator --------------------------------------------------------------------------------


def keying_of_initiator(ike: IkeSa, config: PeerConfig) -> IkeKeying | None:
    """Return our keys with the configured key mixed in; None to do without.

    Raises:
        AuthenticationError: The key is required, and we or the peer do not have it.
    """
    identity = config.ppk_id
    if identity is None and not config.ppk_required:
        return None
    if identity is None:
        raise AuthenticationError(
            f"connection '{config.name}' requires a post-quantum preshared key and does not say "
            "which; set ppk_id"
        )
    if Trait.PEER_PPK not in ike.traits:
        _do_without(ike, config, "the peer does not know of post-quantum preshared keys")
        return None
    keying = _mixed(ike, identity, ike.keying)
    if keying is None:
        _do_without(ike, config, f"there is no post-quantum preshared key '{shown(identity)}'")
    return keying


def _do_without(ike: IkeSa, config: PeerConfig, why: str) -> None:
    if config.ppk_required:
        raise AuthenticationError(
            f"{why}, and connection '{config.name}' requires one (ppk_required)"
        )
    ike.log(Group.IKE, Level.CONTROL, "%s; doing without", why)


def add_claim(config: PeerConfig, without: Authentication | None, out: Outgoing) -> None:
    """Name the key, and add the AUTH data that is made without it, if that will do, too."""
    if config.ppk_id is not None:
        named = PpkIdentity(PpkIdType.PPK_ID_FIXED, config.ppk_id.data)
        out.append(Notify.of(NotifyType.PPK_IDENTITY, named.encode()))
    if without is not None:
        out.append(Notify.of(NotifyType.NO_PPK_AUTH, without.data))


def is_used_by_responder(message: Message) -> bool:
    """Whether a response says that the key is used."""
    return message.notify(NotifyType.PPK_IDENTITY) is not None


# -- responder --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PpkClaim:
    """What an initiator says of its key.

    Attributes:
        identity: Names the key; None if it names none, or one of an unknown kind.
        without: AUTH data that is made without the key; empty if it insists on it.
    """

    identity: Identification | None
    without: bytes


def claim_of(ike: IkeSa, message: Message) -> PpkClaim | None:
    """Return what a request says of a key; None if it says nothing.

    Raises:
        ParseError: It is malformed.
        AuthenticationError: It was not announced by both sides.
    """
    notify = message.notify(NotifyType.PPK_IDENTITY)
    other = message.notify(NotifyType.NO_PPK_AUTH)
    if notify is None:
        if other is not None:
            raise AuthenticationError("the peer sends NO_PPK_AUTH without PPK_IDENTITY")
        return None
    if Trait.PEER_PPK not in ike.traits or not _has_any(ike):
        raise AuthenticationError("the peer names a post-quantum preshared key unannounced")
    named = PpkIdentity.parse(notify.data)
    # The kind says who made the octets up, not what they are.
    known = named.id_type in {PpkIdType.PPK_ID_FIXED, PpkIdType.PPK_ID_OPAQUE}
    identity = Identification(KEY_ID, named.data) if known else None
    return PpkClaim(identity, other.data if other is not None else b"")


def choose(
    ike: IkeSa, config: PeerConfig, claim: PpkClaim | None, keying: IkeKeying
) -> tuple[IkeKeying | None, bytes]:
    """Return how a configuration takes what the initiator says of its key.

    Args:
        ike: The IKE_SA.
        config: The configuration.
        claim: What the initiator says, None if nothing.
        keying: The keys of the IKE_SA, as IKE_SA_INIT has made them.

    Returns:
        Keys with the key mixed in, and nothing; or None for those without, and the AUTH data that
        holds in the place of the AUTH payload, empty for what is in that.

    Raises:
        AuthenticationError: One side insists on a key that the other does not have.
    """
    identity = claim.identity if claim is not None else None
    is_meant = identity is not None and config.ppk_id in {None, identity}
    mixed = _mixed(ike, identity, keying) if identity is not None and is_meant else None
    if mixed is not None:
        return mixed, b""
    if config.ppk_required:
        named = (
            "names none" if identity is None else f"names '{shown(identity)}', which is not the one"
        )
        raise AuthenticationError(
            f"it requires a post-quantum preshared key (ppk_required), and the peer {named}"
        )
    if claim is None:
        return None, b""
    if not claim.without:
        raise AuthenticationError(
            f"the peer insists on the post-quantum preshared key '{shown(identity)}', which is not "
            "known here, or not that of the connection; add it to the secrets, or set ppk_id"
        )
    return None, claim.without


def add_use(out: Outgoing) -> None:
    """Tell the initiator that its key is used."""
    out.append(Notify.of(NotifyType.PPK_IDENTITY))


# -- both -------------------------------------------------------------------------------------


def use(ike: IkeSa, keying: IkeKeying, identity: Identification | None) -> None:
    """Go on with the keys that have the preshared key mixed in."""
    ike.keying = keying
    ike.log(Group.CFG, Level.CONTROL, "using PPK for PPK_ID '%s'", shown(identity))


def shown(identity: Identification | None) -> str:
    """Return the name of a key for the log: text where it is text, else hexadecimal digits."""
    data = identity.data if identity is not None else b""
    text = data.decode(errors="replace")
    return text if text.isprintable() and "\ufffd" not in text else data.hex(":")


def _mixed(ike: IkeSa, identity: Identification, keying: IkeKeying | None) -> IkeKeying | None:
    """Return keys with the key of this very name mixed in, None if there is none."""
    found = ike.env.credentials.shared_secrets(SecretKind.PPK, None, identity)
    secret = next((one for one in found if one.score(identity) == SCORE_PERFECT), None)
    if secret is None or keying is None:
        return None
    try:
        return keying.with_ppk(secret.secret.reveal())
    except ValueError as error:
        raise AuthenticationError(str(error)) from None
