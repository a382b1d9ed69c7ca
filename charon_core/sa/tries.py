"""What becomes of an IKE_SA whose peer does not answer: further tries, or its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.child_initiate import ChildInitiate

if TYPE_CHECKING:
    from charon_core.sa.ike_sa import IkeSa

_FOR_EVER: Final = 0


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
            return
        ike.log(Group.IKE, Level.CONTROL, "establishing IKE_SA failed, peer not responding")
    ike.set_state(IkeState.DESTROYING)


def _start_over(ike: IkeSa) -> None:
    """Begin the IKE_SA anew, with a fresh SPI and the peer's name resolved again."""
    waiting = [task for task in ike.tasks.take_watches() if isinstance(task, ChildInitiate)]
    for child in list(ike.children):
        ike.remove_child(child, "starting over")
    ike.tasks.restart()
    remote = ike.env.remote_endpoint(ike.ike_config) if ike.ike_config is not None else None
    ike.reset(ike.env.new_spi(), remote or ike.remote)
    for old in waiting:
        ike.tasks.queue(old.again())
    ike.tasks.initiate()
