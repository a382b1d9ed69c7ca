"""An IKE_SA that is to be set up in the place of one that goes: what to do is a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.network.packet import Endpoint
    from charon_core.sa.ike_sa import IkeSa


@dataclass(frozen=True, slots=True)
class Renewal:
    """What to initiate, and where the peer was last.

    Attributes:
        peer: The connection.
        children: The CHILD_SAs that are wanted; none for an IKE_SA alone.
        local: Our endpoint of the IKE_SA that goes.
        remote: The peer's.
        replaces: The number of the IKE_SA that is to be deleted once the new one is up; 0 if it
            is gone already.
        addresses: Virtual addresses that we had, to be asked for again.
    """

    peer: PeerConfig
    children: tuple[ChildConfig, ...]
    local: Endpoint
    remote: Endpoint
    replaces: int = 0
    addresses: tuple[str, ...] = ()


def renew(
    ike: IkeSa, children: Iterable[ChildConfig], *, replaces: int = 0, anyway: bool = False
) -> bool:
    """Have an IKE_SA set up anew with these CHILD_SAs; False if there is nothing to set up.

    Args:
        ike: The one that goes.
        children: Configurations of the CHILD_SAs.
        replaces: Number of the one that is to be deleted once the new one is up; 0 if it is gone.
        anyway: Do it without CHILD_SAs, too, if the peer takes that (RFC 6023).
    """
    wanted = tuple(dict.fromkeys(children))
    is_empty = not wanted and not (anyway and Trait.PEER_CHILDLESS in ike.traits)
    if ike.peer_config is None or is_empty:
        return False
    ike.env.renew(
        Renewal(ike.peer_config, wanted, ike.local, ike.remote, replaces, ike.virtual.local)
    )
    return True


def hold(ike: IkeSa, child: ChildConfig) -> None:
    """Have a trap take over from a CHILD_SA that goes; call it while that is still installed."""
    if ike.peer_config is None or not ike.env.hold(ike.peer_config, child, ike.local, ike.remote):
        ike.log(
            Group.CHD, Level.AUDIT, "CHILD_SA '%s' goes, and there is no trap in its place",
            child.name,
        )  # fmt: skip
