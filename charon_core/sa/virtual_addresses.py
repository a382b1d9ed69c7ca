"""The virtual addresses of an IKE_SA: ours, those of the peer, and what came along with ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.bus.events import VirtualIpAssigned, VirtualIpReleased
from charon_core.bus.listener import Group, Level
from charon_core.kernel.interface import KernelError

if TYPE_CHECKING:
    from charon_core.attributes.given import GivenAttributes
    from charon_core.encoding.registry import NotifyType
    from charon_core.sa.ike_sa import IkeSa


class LocalAddress(NamedTuple):
    """A virtual address of this host."""

    host: str
    interface: str


class LeasedAddress(NamedTuple):
    """A virtual address of the peer, which a pool has leased it."""

    host: str
    pool: str
    identity: str


class VirtualAddresses:
    """What an IKE_SA holds of virtual addresses, and gives back exactly once.

    The IKE_SA that takes the place of another by rekeying takes over everything by `take_over`:
    nothing is released and acquired anew, and listeners hear of no change.
    """

    __slots__ = ("_given", "_leased", "_local", "obstacle", "preferred", "refusal")

    def __init__(self) -> None:
        self._local: tuple[LocalAddress, ...] = ()
        self._leased: tuple[LeasedAddress, ...] = ()
        self._given: GivenAttributes | None = None
        self.preferred: tuple[str, ...] = ()
        """As initiator: what to ask for where the connection asks for any address: those of the
        IKE_SA that this one is to replace by reauthentication."""
        self.obstacle = ""
        """As initiator: why no CHILD_SA can be built, since we need an address and have none."""
        self.refusal: NotifyType | None = None
        """As responder: what a request for a CHILD_SA gets, since the peer needs an address."""

    @property
    def local(self) -> tuple[str, ...]:
        """Our virtual addresses."""
        return tuple(address.host for address in self._local)

    @property
    def remote(self) -> tuple[str, ...]:
        """The peer's virtual addresses."""
        return tuple(address.host for address in self._leased)

    @property
    def given(self) -> GivenAttributes | None:
        """What came with our addresses and is in force; None for nothing."""
        return self._given

    def install(self, ike: IkeSa, host: str) -> None:
        """Give this host a virtual address.

        Raises:
            KernelError: It has not got it.
        """
        parameters = ike.env.parameters
        ike.log(Group.IKE, Level.CONTROL, "installing new virtual IP %s", host)
        interface = ike.env.kernel.add_virtual_address(
            host, ike.local.host, parameters.virtual_ip_interface
        )
        self._local += (LocalAddress(host, interface),)
        ike.env.bus.publish(VirtualIpAssigned(ike.ref, host, is_local=True))

    def lease(self, ike: IkeSa, address: LeasedAddress) -> None:
        """Keep what a pool has leased the peer."""
        self._leased += (address,)
        ike.log(
            Group.IKE, Level.CONTROL, "assigning virtual IP %s to peer '%s'",
            address.host, address.identity,
        )  # fmt: skip
        ike.env.bus.publish(
            VirtualIpAssigned(
                ike.ref, address.host, is_local=False, pool=address.pool, identity=address.identity
            )
        )

    def put_into_force(self, ike: IkeSa, given: GivenAttributes) -> None:
        """Have handlers set this host up with what came along."""
        if given.is_empty:
            return
        self._given = given
        takers = ike.env.attributes.install(given)
        if not takers:
            ike.log(
                Group.CFG, Level.CONTROL,
                "attributes of the gateway are in force nowhere: no handler is for them",
            )  # fmt: skip

    def take_over(self, old: VirtualAddresses) -> None:
        """Take everything from the IKE_SA whose place ours takes (RFC 7296 2.18); it has nothing.

        What this one had is not touched: a new IKE_SA has nothing yet.
        """
        self._local += old._local
        self._leased += old._leased
        self._given = self._given or old._given
        self.obstacle, self.refusal = old.obstacle, old.refusal
        old._local, old._leased, old._given = (), (), None

    def release(self, ike: IkeSa) -> None:
        """Give everything back; goes on where something fails, and does nothing the second time.

        The CHILD_SAs that use the addresses have to be gone: their routes need them.
        """
        given, self._given = self._given, None
        local, self._local = self._local, ()
        leased, self._leased = self._leased, ()
        if given is not None:
            ike.env.attributes.remove(given)
        for own in reversed(local):
            try:
                ike.env.kernel.remove_virtual_address(own.host, own.interface)
            except KernelError as error:
                ike.log(Group.KNL, Level.CONTROL, "removing virtual IP %s: %s", own.host, error)
            ike.env.bus.publish(VirtualIpReleased(ike.ref, own.host, is_local=True))
        for lease in leased:
            if not ike.env.attributes.release(lease.pool, lease.identity, lease.host):
                ike.log(
                    Group.CFG, Level.CONTROL, "nobody takes %s back, which pool '%s' has leased",
                    lease.host, lease.pool,
                )  # fmt: skip
            ike.env.bus.publish(
                VirtualIpReleased(
                    ike.ref, lease.host, is_local=False, pool=lease.pool, identity=lease.identity
                )
            )


def own_hosts(ike: IkeSa) -> tuple[str, ...]:
    """Return our virtual addresses, what stands for them until we have them, or the IKE address."""
    if ike.virtual.local:
        return ike.virtual.local
    config = ike.peer_config
    if config is not None and config.virtual_ips and _may_still_get_some(ike):
        # It may become another one than is asked for (RFC 7296 2.19).
        return tuple(dict.fromkeys("::" if ":" in host else _ANY for host in config.virtual_ips))
    return (ike.local.host,)


def _may_still_get_some(ike: IkeSa) -> bool:
    return ike.is_initiator and ike.established_at is None


_ANY: Final = "0.0.0.0"
"""Stands for any IPv4 address, which is yet to be assigned."""
