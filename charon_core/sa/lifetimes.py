"""How long an IKE_SA lives: when it is rekeyed, when its peer proves itself anew, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.peer import AuthClass
from charon_core.sa.chance import early, random_share
from charon_core.sa.environment import TimerKind
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa

_HASTE: Final = 0.8
"""Part of a lifetime after which we reauthenticate, where no margin fits."""

_SHORTEST: Final = 10.0
"""Seconds between reauthentications at least, whatever the peer says."""


def start_life(ike: IkeSa) -> None:
    """Start what is due from time to time or at last, for a new IKE_SA.

    One that replaces another keeps the time at which the peer is authenticated again.
    """
    config = ike.peer_config
    if config is None:
        return
    now = ike.env.clock()
    ends: list[float] = []
    share = random_share(ike.env.random)
    if config.rekey_time:
        delay = early(config.rekey_time, config.jitter_time, share)
        ike.rekey_at = now + delay
        ends.append(ike.rekey_at)
        ike.log(Group.IKE, Level.CONTROL, "scheduling rekeying in %ds", delay)
        ike.start_timer(TimerKind.REKEY, delay)
    if ike.reauth_at is None and config.reauth_time:
        ike.reauth_at = now + early(config.reauth_time, config.jitter_time, share)
    if ike.reauth_at is not None:
        delay = max(1.0, ike.reauth_at - now)
        ends.append(ike.reauth_at)
        ike.log(Group.IKE, Level.CONTROL, "scheduling reauthentication in %ds", delay)
        ike.start_timer(TimerKind.REAUTH, delay)
    if ends and config.over_time:
        lifetime = max(1.0, min(ends) + config.over_time - now)
        ike.expires_at = now + lifetime
        ike.log(Group.IKE, Level.CONTROL, "maximum IKE_SA lifetime %ds", lifetime)
        ike.start_timer(TimerKind.LIFETIME, lifetime)
    if config.dpd_delay:
        ike.start_timer(TimerKind.LIVENESS, config.dpd_delay)
    if Trait.NAT_HERE in ike.traits and ike.env.parameters.keep_alive:
        ike.start_timer(TimerKind.KEEPALIVE, ike.env.parameters.keep_alive)


def may_reauthenticate(ike: IkeSa) -> bool:
    """Whether we can set the IKE_SA up anew, or have to leave that to who did it at first.

    A client that is asked for a password, or gets its address from us, has to begin.
    """
    if Trait.WE_BEGAN in ike.traits:
        return True
    config = ike.peer_config
    return (
        config is not None
        and not config.pools
        and all(auth.auth_class is not AuthClass.EAP for auth in config.remote)
    )


def limit_authentication(ike: IkeSa, lifetime: float) -> None:
    """Reauthenticate before the peer's patience ends (RFC 4478).

    Args:
        ike: An established IKE_SA, as whose initiator we act.
        lifetime: Seconds from now until the peer deletes it.
    """
    margin = ike.peer_config.over_time if ike.peer_config is not None else 0.0
    delay = lifetime - margin if 0 < margin < lifetime else lifetime * _HASTE
    delay = max(_SHORTEST, delay)
    now = ike.env.clock()
    if ike.reauth_at is not None and ike.reauth_at <= now + delay:
        return
    ike.reauth_at = now + delay
    ike.log(
        Group.IKE, Level.CONTROL,
        "received AUTH_LIFETIME of %ds, scheduling reauthentication in %ds", lifetime, delay,
    )  # fmt: skip
    ike.start_timer(TimerKind.REAUTH, delay)


def try_rekeying_again(ike: IkeSa) -> float:
    """Start the timer after a failed rekeying; return its delay in seconds."""
    delay = ike.env.parameters.rekey_retry_delay(random_share(ike.env.random))
    ike.rekey_at = ike.env.clock() + delay
    ike.start_timer(TimerKind.REKEY, delay)
    return delay
