"""Rekey arithmetic: lifetime, margin and fuzz become times of rekeying and jitter."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from charon_plugins.stroke.connections.problems import SettingError

if TYPE_CHECKING:
    from charon_plugins.stroke.connections.problems import Problems
    from charon_plugins.stroke.wire.bodies import Rekey

_HUNDRED = 100


class Limit(NamedTuple):
    """When to rekey, how much earlier that may happen by chance, and when it is too late."""

    rekey: int
    jitter: int
    life: int


def ike_limit(rekey: Rekey, problems: Problems) -> Limit:
    """Seconds of the IKE_SA; the end of life is the rekeying plus the margin."""
    return _limit(
        ("ikelifetime", rekey.ike_lifetime), ("margintime", rekey.margin), rekey.fuzz, problems
    )


def child_limits(rekey: Rekey, problems: Problems) -> tuple[Limit, Limit, Limit]:
    """Seconds, octets and packets of the CHILD_SA."""
    fuzz = rekey.fuzz
    return (
        _limit(("lifetime", rekey.ipsec_lifetime), ("margintime", rekey.margin), fuzz, problems),
        _limit(
            ("lifebytes", rekey.life_bytes), ("marginbytes", rekey.margin_bytes), fuzz, problems
        ),
        _limit(
            ("lifepackets", rekey.life_packets),
            ("marginpackets", rekey.margin_packets),
            fuzz,
            problems,
        ),
    )


def _limit(life: tuple[str, int], margin: tuple[str, int], fuzz: int, problems: Problems) -> Limit:
    (life_key, life_value), (margin_key, margin_value) = life, margin
    for key, value in (life, margin):
        if value < 0:
            raise SettingError(key, value, "expected 0 or more")
    if life_value == 0:
        return Limit(0, 0, 0)
    if margin_value >= life_value:
        raise SettingError(
            life_key,
            life_value,
            f"expected more than {margin_key} = {margin_value}, before which rekeying begins",
        )
    due = life_value - margin_value
    jitter = margin_value * fuzz // _HUNDRED
    if jitter >= due:
        problems.note(
            f"{life_key} = {life_value}: {margin_key} = {margin_value} with rekeyfuzz = {fuzz}% "
            "takes the whole lifetime, so rekeying may be due at once"
        )
        jitter = due
    return Limit(due, jitter, life_value)
