"""What becomes of an IKE_SA whose peer does not answer, or refuses: further tries, or its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.child import Action
from charon_core.sa.chance import early, random_share
from charon_core.sa.environment import TimerKind
from charon_core.sa.renewal import hold, renew
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.child_initiate import ChildInitiate
from charon_core.sa.tasks.ike_auth import IkeAuth

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa

_FOR_EVER: Final = 0

_FIRST_PAUSE: Final = 5.0
"""Seconds before the next try after a refusal; each further one waits twice as long."""

_LONGEST_PAUSE: Final = 300.0
_JITTER: Final = 0.25
"""Up to so much of a pause is taken off, lest all peers of a gateway come back at once."""


def give_up(ike: IkeSa) -> None:
    """The peer does not answer: start over if tries are left, else end."""
    ike.alert(
        AlertKind.PEER_UNREACHABLE,
        f"{ike.remote} does not answer; check that it runs, and that UDP ports 500 and "
        "4500 pass in both directions",
        remote=str(ike.remote),
    )
    if ike.state is IkeState.CONNECTING and ike.is_initiator:
        tries = ike.peer_config.keyingtries if ike.peer_config is not None else 1
        if tries == _FOR_EVER or ike.attempt < tries:
            ike.attempt += 1
            ike.log(
                Group.IKE, Level.CONTROL, "peer not responding, trying again (%d/%d)",
                ike.attempt, tries,
            )  # fmt: skip
            _start_over(ike)
            ike.tasks.initiate()
            return
        ike.log(Group.IKE, Level.CONTROL, "establishing IKE_SA failed, peer not responding")
    elif ike.state is not IkeState.DELETING:
        restart(ike)
    ike.set_state(IkeState.DESTROYING)


def restart(ike: IkeSa) -> bool:
    """Hold or set up anew what is to stay when the peer is dead (dpdaction=hold, restart).

    Returns:
        Whether there is something that is set up anew.
    """
    for child in ike.children:
        if child.config.dpd_action is Action.TRAP:
            hold(ike, child.config)
    wanted = [child.config for child in ike.children if child.config.dpd_action is Action.START]
    if not wanted or not renew(ike, wanted):
        return False
    ike.log(
        Group.IKE, Level.AUDIT, "restarting %s of IKE_SA %s",
        ", ".join(dict.fromkeys(config.name for config in wanted)), ike,
    )  # fmt: skip
    return True


def refused(ike: IkeSa) -> None:
    """The peer refuses, or what it answers is no good: try again later if that is for ever.

    Whoever waits is told that it did not work.
    """
    config = ike.peer_config
    is_setup = ike.state is IkeState.CONNECTING and ike.is_initiator
    if not is_setup or config is None or config.keyingtries != _FOR_EVER:
        ike.set_state(IkeState.DESTROYING)
        return
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(ike.refusals, 10))
    pause = early(pause, pause * _JITTER, random_share(ike.env.random))
    ike.refusals += 1
    ike.log(
        Group.IKE, Level.CONTROL, "IKE_SA %s is refused, trying again in %d seconds", ike, pause
    )
    _start_over(ike, tell=True)
    ike.start_timer(TimerKind.RETRY, pause)


def _start_over(ike: IkeSa, *, tell: bool = False) -> None:
    """Begin the IKE_SA anew, with a fresh SPI and the peer's name resolved again.

    Args:
        ike: The IKE_SA.
        tell: Tell those who wait that it did not work.
    """
    tasks = ike.tasks.take_watches()
    waiting = [task for task in tasks if isinstance(task, ChildInitiate)]
    on_done = next((task.take_watch() for task in tasks if isinstance(task, IkeAuth)), None)
    if tell and on_done is not None:
        on_done(False)
        on_done = None
    for child in list(ike.children):
        ike.remove_child(child, "starting over")
    ike.tasks.restart()
    remote = ike.env.remote_endpoint(ike.ike_config) if ike.ike_config is not None else None
    ike.reset(ike.env.new_spi(), remote or ike.remote, on_done)
    ike.env.reindex(ike)
    for old in waiting:
        if tell:
            old.finish(False)
        ike.tasks.queue(old.again())
