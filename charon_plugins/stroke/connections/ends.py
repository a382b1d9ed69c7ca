"""Left and right become local and remote, which one of them names our own address decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from charon_plugins.stroke.connections.problems import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_plugins.stroke.wire.bodies import AddConn, End


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a connection with the names that its settings have in ipsec.conf.

    Attributes:
        end: as in the message.
        word: ``left`` or ``right``, as it was before the ends were exchanged.
    """

    end: End
    word: str

    def key(self, name: str) -> str:
        """Keyword of a setting of this end."""
        return f"{self.word}{name}"

    @property
    def address(self) -> str:
        """Addresses as written, %any if there are none."""
        return self.end.address or "%any"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The items of the list of addresses."""
        return items(self.address)


def items(text: str | None) -> tuple[str, ...]:
    """Items of a comma-separated list, without blanks around them and without empty ones."""
    return tuple(item for item in map(str.strip, (text or "").split(",")) if item)


def check_lists(connection: AddConn) -> None:
    """Refuse lists with an empty item: where one was forgotten, less would be protected.

    Raises:
        SettingError: an item is empty.
    """
    for side in (Side(connection.me, "left"), Side(connection.other, "right")):
        for name, text in _lists(side.end):
            if text and not all(map(str.strip, text.split(","))):
                raise SettingError(side.key(name), text, "expected an item before and behind a ','")


def _lists(end: End) -> tuple[tuple[str, str | None], ...]:
    return (
        ("", end.address),
        ("subnet", end.subnets),
        ("sourceip", end.sourceip),
        ("dns", end.dns),
        ("cert", end.cert),
        ("cert2", end.cert2),
        ("groups", end.groups),
        ("groups2", end.groups2),
        ("certpolicy", end.cert_policy),
    )


def sides(
    connection: AddConn,
    is_local: Callable[[str], bool],
    look_up: Callable[[str], Iterable[str]],
    *,
    allow_swap: bool,
) -> tuple[Side, Side, str | None]:
    """Find out which end is local.

    Returns:
        The local side, the remote side, and a remark if neither end is an address of ours.
    """
    left, right = Side(connection.me, "left"), Side(connection.other, "right")
    if not allow_swap:
        return left, right, None
    if _has_local(right, is_local, look_up):
        return right, left, None
    if _is_any(left) or _has_local(left, is_local, look_up):
        return left, right, None
    return left, right, f"left = {left.address!r} is no address of this host, nor is right"


def _is_any(side: Side) -> bool:
    return any(item in ("%any", "%any4", "%any6", "0.0.0.0", "::") for item in side.addresses)


def _has_local(
    side: Side, is_local: Callable[[str], bool], look_up: Callable[[str], Iterable[str]]
) -> bool:
    """True if a single address of the list is ours; subnets, ranges and %any do not count."""
    for item in side.addresses:
        if item.startswith("%") or "/" in item or item in ("0.0.0.0", "::"):
            continue
        try:
            hosts: Iterable[str] = (str(ip_address(item)),)
        except ValueError:
            hosts = () if _is_range(item) else look_up(item)
        if any(is_local(host) for host in hosts):
            return True
    return False


def _is_range(item: str) -> bool:
    first, dash, _ = item.partition("-")
    try:
        ip_address(first)
    except ValueError:
        return False
    return bool(dash)


def resolve_same(local: Side, remote: Side) -> tuple[Side, Side]:
    """Replace ``%same`` in the CA settings by the value of the other end.

    Raises:
        SettingError: both ends say so.
    """
    for name in ("ca", "ca2"):
        ours, theirs = getattr(local.end, name), getattr(remote.end, name)
        if ours == theirs == "%same":
            raise SettingError(local.key(name), ours, "expected a name; the other end is %same too")
        if ours == "%same":
            local = replace(local, end=replace(local.end, **{name: theirs}))
        elif theirs == "%same":
            remote = replace(remote, end=replace(remote.end, **{name: ours}))
    return local, remote
