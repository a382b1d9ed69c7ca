"""Where one side's proof of who it is stands, and what its messages may hold then, as data.

A round is one proof (RFC 4739). Without EAP it is a single message, with IDi or IDr and AUTH. With
EAP it begins without an AUTH payload, and ends with one that the method's key makes (RFC 7296
2.16).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.encoding.payloads import (
    Authentication,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.encoding.message import Message
    from charon_core.encoding.payloads import Payload


class Stage(Enum):
    """Where a side is in its rounds."""

    CLAIM = "claim"
    """It has to say who it is, with the next round."""
    EAP = "EAP"
    """It has said so; EAP has to prove it."""
    PROVE = "prove"
    """EAP has succeeded: the initiator has to send AUTH by its key."""
    CONFIRM = "confirm"
    """The initiator has sent that, and the responder has to send its own."""
    OVER = "over"
    """No round is left."""


class Need(Enum):
    """Whether a payload has to be there."""

    YES = "expected"
    NO = "not expected"
    MAY = "allowed"


class Shape(NamedTuple):
    """What a message may hold."""

    identity: Need
    auth: Need
    eap: Need


REQUESTS: Final[Mapping[Stage, Shape]] = {
    Stage.CLAIM: Shape(identity=Need.YES, auth=Need.MAY, eap=Need.NO),
    Stage.EAP: Shape(identity=Need.NO, auth=Need.NO, eap=Need.YES),
    Stage.PROVE: Shape(identity=Need.NO, auth=Need.YES, eap=Need.NO),
    Stage.OVER: Shape(identity=Need.NO, auth=Need.NO, eap=Need.NO),
}
"""IKE_AUTH requests, by where the initiator is."""

RESPONSES: Final[Mapping[Stage, Shape]] = {
    Stage.CLAIM: Shape(identity=Need.MAY, auth=Need.MAY, eap=Need.NO),
    Stage.EAP: Shape(identity=Need.MAY, auth=Need.MAY, eap=Need.YES),
    Stage.CONFIRM: Shape(identity=Need.NO, auth=Need.YES, eap=Need.NO),
    Stage.OVER: Shape(identity=Need.MAY, auth=Need.MAY, eap=Need.NO),
}
"""IKE_AUTH responses, by where the initiator is after its request. AUTH that does not answer the
initiator's own comes with an identity only."""


def misfit(message: Message, stage: Stage) -> str:
    """Return what is wrong with the payloads of an IKE_AUTH message; empty if nothing is."""
    identity: type[Payload] = IdentificationInitiator
    shape = REQUESTS.get(stage)
    if message.is_response:
        identity, shape = IdentificationResponder, RESPONSES.get(stage)
    if shape is None:
        return f"no message is expected at '{stage.value}'"
    for kind, need in ((identity, shape.identity), (Authentication, shape.auth), (Eap, shape.eap)):
        is_there = message.first(kind) is not None
        if (need is Need.YES and not is_there) or (need is Need.NO and is_there):
            return f"{kind.NAME} is {need.value} at '{stage.value}', got {message.summary()}"
    is_answer = message.is_response and stage is not Stage.CONFIRM
    if is_answer and message.first(Authentication) is not None and message.first(identity) is None:
        return f"AUTH without {identity.NAME}, got {message.summary()}"
    return ""
