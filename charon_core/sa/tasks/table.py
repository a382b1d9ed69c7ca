"""Which tasks take part in which exchange: the state machine of an IKE_SA as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.encoding.payloads import Configuration, Delete, SecurityAssociation
from charon_core.encoding.registry import ExchangeType, NotifyType, ProtocolId
from charon_core.sa.state import IkeState, Trait
from charon_core.sa.tasks.child_delete import ChildAbandon, ChildDelete
from charon_core.sa.tasks.child_initiate import ChildInitiate
from charon_core.sa.tasks.child_rekey import ChildRekey, ChildRekeyRespond
from charon_core.sa.tasks.child_respond import ChildRespond
from charon_core.sa.tasks.ike_auth import IkeAuth
from charon_core.sa.tasks.ike_config import ConfigExchange, ConfigServe
from charon_core.sa.tasks.ike_crash import CrashTokenExchange, CrashTokenUpdate
from charon_core.sa.tasks.ike_delete import IkeDelete
from charon_core.sa.tasks.ike_init import IkeInit
from charon_core.sa.tasks.ike_intermediate import IkeIntermediate
from charon_core.sa.tasks.ike_natd import IkeNatd
from charon_core.sa.tasks.ike_reauth import IkeAuthLifetime, IkeReauth
from charon_core.sa.tasks.ike_rekey import IkeRekey, IkeRekeyRespond
from charon_core.sa.tasks.liveness import Liveness
from charon_core.sa.tasks.refuse import Refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Task


def _setup(ike: IkeSa, _message: Message) -> list[Task]:
    kinds = (
        IkeInit,
        IkeNatd,
        IkeIntermediate,
        IkeAuth,
        ConfigExchange,
        CrashTokenExchange,
        ChildRespond,
    )
    return [kind(ike) for kind in kinds]


def _create_child(ike: IkeSa, message: Message) -> list[Task]:
    security_association = message.first(SecurityAssociation)
    if security_association is not None and any(
        proposal.protocol == ProtocolId.IKE for proposal in security_association.proposals
    ):
        return [IkeRekeyRespond(ike)]
    rekey = message.notify(NotifyType.REKEY_SA)
    return [ChildRespond(ike) if rekey is None else ChildRekeyRespond(ike, rekey)]


def _informational(ike: IkeSa, message: Message) -> list[Task]:
    deletes = message.all(Delete)
    if any(delete.protocol == ProtocolId.IKE for delete in deletes) or (
        # The initiator does not accept our proof: it tells us that there is no IKE_SA (2.21.2).
        message.notify(NotifyType.AUTHENTICATION_FAILED) is not None
    ):
        return [IkeDelete(ike)]
    if deletes:
        return [ChildDelete(ike)]
    if message.notify(NotifyType.AUTH_LIFETIME) is not None:
        return [IkeAuthLifetime(ike)]
    if message.notify(NotifyType.QUICK_CRASH_DETECTION) is not None:
        return [CrashTokenUpdate(ike)]
    if message.first(Configuration) is not None:
        return [ConfigServe(ike)]
    return [Liveness(ike)]


def _while_rekeying(ike: IkeSa, message: Message) -> list[Task]:
    """Our request for a new IKE_SA is under way: the peer may ask for the same, and no more."""
    tasks = _create_child(ike, message)
    return tasks if type(tasks[0]) is IkeRekeyRespond else [Refuse(ike)]


def _follow_up(ike: IkeSa, message: Message) -> list[Task]:
    notify = message.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    task = ike.tasks.take_follow_up(notify.data) if notify is not None else None
    return [task or Refuse(ike, NotifyType.STATE_NOT_FOUND)]


def _refuse(ike: IkeSa, _message: Message) -> list[Task]:
    return [Refuse(ike)]


RESPONDER: Final[dict[tuple[IkeState, int], Callable[[IkeSa, Message], list[Task]]]] = {
    (IkeState.CREATED, ExchangeType.IKE_SA_INIT): _setup,
    (IkeState.ESTABLISHED, ExchangeType.CREATE_CHILD_SA): _create_child,
    (IkeState.ESTABLISHED, ExchangeType.INFORMATIONAL): _informational,
    (IkeState.ESTABLISHED, ExchangeType.IKE_FOLLOWUP_KE): _follow_up,
    (IkeState.REKEYING, ExchangeType.CREATE_CHILD_SA): _while_rekeying,
    (IkeState.REKEYING, ExchangeType.IKE_FOLLOWUP_KE): _follow_up,
    (IkeState.REKEYED, ExchangeType.IKE_FOLLOWUP_KE): _refuse,
    (IkeState.DELETING, ExchangeType.IKE_FOLLOWUP_KE): _refuse,
    (IkeState.REKEYING, ExchangeType.INFORMATIONAL): _informational,
    (IkeState.REKEYED, ExchangeType.CREATE_CHILD_SA): _refuse,
    (IkeState.REKEYED, ExchangeType.INFORMATIONAL): _informational,
    (IkeState.DELETING, ExchangeType.CREATE_CHILD_SA): _refuse,
    (IkeState.DELETING, ExchangeType.INFORMATIONAL): _informational,
}
"""The tasks that a request begins. What is not here is a protocol error, and is ignored."""

CONTINUES: Final = frozenset(
    {
        (IkeState.CONNECTING, int(ExchangeType.IKE_INTERMEDIATE)),
        (IkeState.CONNECTING, int(ExchangeType.IKE_AUTH)),
    }
)
"""Requests that go on with the tasks which an earlier one began."""


def goes_on(ike: IkeSa, exchange: int) -> bool:
    """Whether a request of an exchange goes on with what an earlier one began."""
    return (ike.state, exchange) in CONTINUES and (
        exchange != ExchangeType.IKE_INTERMEDIATE or Trait.INTERMEDIATE in ike.traits
    )


SETUP_ORDER: Final[tuple[type[Task], ...]] = (
    IkeInit,
    IkeNatd,
    IkeIntermediate,
    IkeAuth,
    ConfigExchange,
    CrashTokenExchange,
    ChildInitiate,
)
"""The tasks that set an IKE_SA up, in the order in which they act on each message."""

ESTABLISHED_ORDER: Final[tuple[tuple[type[Task], ExchangeType], ...]] = (
    (ChildInitiate, ExchangeType.CREATE_CHILD_SA),
    (ChildAbandon, ExchangeType.INFORMATIONAL),
    (ChildDelete, ExchangeType.INFORMATIONAL),
    (ChildRekey, ExchangeType.CREATE_CHILD_SA),
    (IkeDelete, ExchangeType.INFORMATIONAL),
    (IkeRekey, ExchangeType.CREATE_CHILD_SA),
    (IkeReauth, ExchangeType.INFORMATIONAL),
    (CrashTokenUpdate, ExchangeType.INFORMATIONAL),
    (Liveness, ExchangeType.INFORMATIONAL),
)
"""Which queued task goes first once the IKE_SA is established, and in which exchange."""
