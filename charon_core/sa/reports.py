"""What listeners and operators are told about an IKE_SA beside log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.events import ChildKeysDerived, IkeKeysDerived, MessageEvent
from charon_core.bus.listener import Group, Level
from charon_core.encoding.registry import NotifyType, TransformType, name_of

if TYPE_CHECKING:
    from charon_core.config.proposal import Proposal
    from charon_core.crypto.key_derivation import ChildKeys, IkeKeys
    from charon_core.encoding.message import Message
    from charon_core.encoding.payloads import Notify
    from charon_core.network.packet import Endpoint
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa

_MEANINGS: Final[dict[int, tuple[AlertKind, str]]] = {
    NotifyType.NO_PROPOSAL_CHOSEN: (
        AlertKind.PROPOSAL_MISMATCH_IKE,
        (
            "it accepts none of our IKE proposals, or knows no connection for our addresses; "
            "compare ike=, left and right at both ends"
        ),
    ),
    NotifyType.AUTHENTICATION_FAILED: (
        AlertKind.LOCAL_AUTHENTICATION_FAILED,
        (
            "it does not accept who we are; its own log says why. Compare the identities and "
            "the secret or certificate at both ends"
        ),
    ),
    NotifyType.INVALID_SYNTAX: (AlertKind.PARSE_ERROR, "it cannot read our message"),
}


def report_peer_error(ike: IkeSa, notify: Notify) -> None:
    """Log an error notify of the peer, with what it means and what to do."""
    name = name_of(NotifyType, notify.notify_type)
    kind, meaning = _MEANINGS.get(
        notify.notify_type, (AlertKind.PEER_UNREACHABLE, "it refuses the request")
    )
    ike.log(Group.IKE, Level.CONTROL, "received %s notify error", name)
    ike.alert(kind, f"{ike.remote} answers {name}: {meaning}", notify=name)


def publish_message(
    ike: IkeSa,
    message: Message,
    summary: str,
    source: Endpoint,
    destination: Endpoint,
    *,
    incoming: bool,
) -> None:
    """Tell listeners about a message, if any of them cares."""
    if not ike.env.bus.listening(MessageEvent):
        return
    ike.env.bus.publish(
        MessageEvent(
            sa=ike.ref,
            incoming=incoming,
            exchange=message.exchange,
            message_id=message.message_id,
            is_request=not message.is_response,
            summary=summary,
            source=str(source),
            destination=str(destination),
            time=ike.env.wall_clock(),
        )
    )


def publish_ike_keys(ike: IkeSa, proposal: Proposal, keys: IkeKeys) -> None:
    """Hand the keys of the IKE_SA to listeners that are entitled to them."""
    if not ike.env.bus.listening(IkeKeysDerived):
        return
    encryption, key_bits, integrity = _algorithms(proposal)
    ike.env.bus.publish(
        IkeKeysDerived(
            sa=ike.ref,
            initiator_spi=ike.initiator_spi,
            responder_spi=ike.responder_spi,
            encryption=encryption,
            key_bits=key_bits,
            integrity=integrity,
            keys={
                "SK_d": keys.sk_d,
                "SK_ai": keys.sk_ai,
                "SK_ar": keys.sk_ar,
                "SK_ei": keys.sk_ei,
                "SK_er": keys.sk_er,
                "SK_pi": keys.sk_pi,
                "SK_pr": keys.sk_pr,
            },
        )
    )


def publish_child_keys(
    ike: IkeSa, child: ChildSa, proposal: Proposal, keys: ChildKeys, *, we_initiated: bool
) -> None:
    """Hand the keys of a CHILD_SA to listeners that are entitled to them."""
    if not ike.env.bus.listening(ChildKeysDerived):
        return
    encryption, key_bits, integrity = _algorithms(proposal)
    ike.env.bus.publish(
        ChildKeysDerived(
            sa=ike.ref,
            child=child.ref,
            is_initiator=we_initiated,
            encryption=encryption,
            key_bits=key_bits,
            integrity=integrity,
            keys={
                "encryption_initiator": keys.initiator_encr,
                "encryption_responder": keys.responder_encr,
                "integrity_initiator": keys.initiator_integ,
                "integrity_responder": keys.responder_integ,
            },
        )
    )


def _algorithms(proposal: Proposal) -> tuple[int, int | None, int | None]:
    encryption = proposal.first(TransformType.ENCR)
    integrity = proposal.first(TransformType.INTEG)
    return (
        encryption.id if encryption is not None else 0,
        encryption.key_length if encryption is not None else None,
        integrity.id if integrity is not None else None,
    )
