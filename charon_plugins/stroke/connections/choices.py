"""Enumerations, proposals and address lists of a message, as the daemon's own types."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from charon_core.config.child import (
    TFC_MTU,
    Action,
    ChildMode,
    Mark,
)
from charon_core.config.hosts import HostPattern
from charon_core.config.ike import Fragmentation
from charon_core.config.keywords import ProposalError, parse_proposals
from charon_core.config.peer import SendCert, UniquePolicy
from charon_plugins.stroke.connections.problems import SettingError
from charon_plugins.stroke.wire import types
from charon_plugins.stroke.wire.types import (
    WireAction,
    WireFragmentation,
    WireMode,
    WireSendCert,
    WireUnique,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.config.proposal import Proposal
    from charon_core.encoding.registry import ProtocolId
    from charon_plugins.stroke.connections.ends import Side
    from charon_plugins.stroke.wire.bodies import MarkIn, MarkOut

T = TypeVar("T")
Number = TypeVar("Number", bound=IntEnum)

_MODES: Final = {mode: ChildMode[mode.name] for mode in WireMode}
_ACTIONS: Final = {
    WireAction.NONE: Action.NONE,
    WireAction.CLEAR: Action.NONE,
    WireAction.HOLD: Action.TRAP,
    WireAction.RESTART: Action.START,
}
_UNIQUE: Final = {
    WireUnique.NO: UniquePolicy.NO,
    WireUnique.YES: UniquePolicy.REPLACE,
    WireUnique.REPLACE: UniquePolicy.REPLACE,
    WireUnique.KEEP: UniquePolicy.KEEP,
    WireUnique.NEVER: UniquePolicy.NEVER,
}
_SEND_CERT: Final = {choice: SendCert[choice.name] for choice in WireSendCert}
_FRAGMENTATION: Final = {
    WireFragmentation.NO: Fragmentation.NO,
    WireFragmentation.ACCEPT: Fragmentation.ACCEPT,
    WireFragmentation.YES: Fragmentation.YES,
    # Forcing is about IKEv1 peers that do not announce it.
    WireFragmentation.FORCE: Fragmentation.YES,
}
#: What a list of addresses gets in addition with allowany.
_ANY_ADDRESSES: Final = ("0.0.0.0/0", "::/0")


def mode(number: int) -> ChildMode:
    """``type``."""
    return _choose("type", number, _MODES)


def action(key: str, number: int) -> Action:
    """``dpdaction`` and ``closeaction``."""
    return _choose(key, number, _ACTIONS)


def unique(number: int) -> UniquePolicy:
    """``uniqueids``."""
    return _choose("uniqueids", number, _UNIQUE)


def fragmentation(number: int) -> Fragmentation:
    """``fragmentation``."""
    return _choose("fragmentation", number, _FRAGMENTATION)


def send_cert(side: Side) -> SendCert:
    """``leftsendcert``."""
    return _choose(side.key("sendcert"), side.end.sendcert, _SEND_CERT)


def mark(sent: MarkIn | MarkOut) -> Mark | None:
    """``mark_in`` and ``mark_out``; ``None`` where nothing is marked."""
    return Mark(sent.value, sent.mask) if sent.value or sent.mask else None


def tfc(number: int) -> int:
    """``tfc``."""
    return TFC_MTU if number == types.TFC_MTU else number


def replay_window(number: int) -> int | None:
    """``replay_window``; ``None`` for the daemon's own."""
    return None if number == types.REPLAY_WINDOW_DEFAULT else number


def proposals(key: str, text: str | None, protocol: ProtocolId) -> tuple[Proposal, ...]:
    """``ike``, ``esp`` and ``ah``.

    Raises:
        SettingError: an algorithm is unknown, or one is missing.
    """
    try:
        return _parsed(text or "", protocol)
    except ProposalError as error:
        raise SettingError(key, text, f"expected proposals: {error}") from None


@lru_cache(maxsize=256)
def _parsed(text: str, protocol: ProtocolId) -> tuple[Proposal, ...]:
    """Parse proposals once for the many connections that have the same ones."""
    return parse_proposals(text, protocol)


def addresses(side: Side) -> tuple[str, ...]:
    """``left``: the items as written, and everything behind them with allowany.

    Raises:
        SettingError: an item is no address.
    """
    for item in side.addresses:
        try:
            HostPattern.parse(item)
        except ValueError as error:
            raise SettingError(side.word, item, f"expected an address or a name: {error}") from None
    extra = _ANY_ADDRESSES if side.end.allow_any else ()
    return (side.addresses or ("%any",)) + extra


def _choose(key: str, number: int, table: Mapping[Number, T]) -> T:
    for choice, value in table.items():
        if choice == number:
            return value
    known = ", ".join(f"{int(choice)}" for choice in table)
    raise SettingError(key, number, f"expected one of the numbers {known}")
