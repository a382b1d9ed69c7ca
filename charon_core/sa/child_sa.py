"""One CHILD_SA: a pair of IPsec SAs with their policies (RFC 7296 1.3, RFC 4301 4.4)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from charon_core.bus.alert import AlertKind
from charon_core.bus.events import ChildDown, ChildRekeyed, ChildStateChanged, ChildTraffic, ChildUp
from charon_core.bus.listener import Group, Level
from charon_core.bus.refs import ChildRef
from charon_core.config.child import ChildMode
from charon_core.encoding.registry import ProtocolId
from charon_core.kernel.interface import (
    IpsecProtocol,
    KernelError,
    PolicyDirection,
    SaId,
    SaNotFound,
    SaUsage,
)
from charon_core.sa.child_specs import SoftLimits, encapsulation, policies, sa_spec
from charon_core.sa.marks import marks_of
from charon_core.sa.state import ChildState
from charon_core.sa.traffic import traffic_of
from charon_core.sa.transport import at_host
from charon_core.sa.usage import with_last_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.bus.refs import SaRef
    from charon_core.config.child import ChildConfig
    from charon_core.config.proposal import Proposal
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.key_derivation import ChildKeys
    from charon_core.kernel.interface import PolicySpec, SaSpec
    from charon_core.network.packet import Endpoint
    from charon_core.sa.environment import Environment

_PROTOCOLS = {ProtocolId.ESP: IpsecProtocol.ESP, ProtocolId.AH: IpsecProtocol.AH}


class ChildSa:
    """A pair of IPsec SAs, one in each direction, and the policies that use them.

    An install that fails leaves nothing behind; so does `destroy`, from every state. While a
    CHILD_SA replaces another one, its two directions lead lives of their own, so that no packet
    is lost: the inbound SA comes first and goes last.
    """

    __slots__ = (
        "_env",
        "_has_policies",
        "_in_kernel",
        "_kernel_in",
        "_kernel_out",
        "_owner",
        "_waiting_out",
        "announced",
        "config",
        "encapsulated",
        "established_at",
        "expires_at",
        "identities",
        "local",
        "local_spi",
        "local_ts",
        "marks",
        "mode",
        "proposal",
        "protocol",
        "rekey_at",
        "remote",
        "remote_spi",
        "remote_ts",
        "reqid",
        "state",
        "successor",
        "unique_id",
    )

    def __init__(
        self,
        env: Environment,
        config: ChildConfig,
        owner: SaRef,
        local: Endpoint,
        remote: Endpoint,
        *,
        encapsulated: bool,
    ) -> None:
        self._env = env
        self._owner = owner
        self._kernel_in = False
        self._kernel_out = False
        self._has_policies = False
        self._waiting_out: SaSpec | None = None
        self.announced = False
        """Whether listeners know it as up: they are told of its end then."""
        self.successor: ChildSa | None = None
        """The CHILD_SA that takes its place, once rekeying has made one."""
        self.config = config
        self.marks = marks_of(config, env.child_ids)
        """Those of the CHILD_SA that it replaces, if it does."""
        self.mode = config.mode
        """Transport mode as long as both sides want it, else tunnel mode."""
        self.unique_id = next(env.child_ids)
        self.state = ChildState.CREATED
        self.local = local
        self.remote = remote
        self.encapsulated = encapsulated
        self.protocol = _PROTOCOLS[ProtocolId(config.proposals[0].protocol)]
        self.proposal: Proposal | None = None
        self.local_spi = 0
        self.remote_spi = 0
        self.local_ts: tuple[TrafficSelector, ...] = ()
        self.remote_ts: tuple[TrafficSelector, ...] = ()
        self.reqid = 0
        self.identities = ("", "")
        """Ours and the peer's, once they are known, as text."""
        self.established_at = 0.0
        self.rekey_at: float | None = None
        self.expires_at: float | None = None

    def __str__(self) -> str:
        return f"{self.config.name}{{{self.unique_id}}}"

    @property
    def ref(self) -> ChildRef:
        """Names this CHILD_SA to listeners."""
        return ChildRef(
            self.config.name, self.unique_id, self.reqid, self.local_spi, self.remote_spi
        )

    def rename_owner(self, owner: SaRef) -> None:
        """Follow the IKE_SA, which has learned which connection it belongs to."""
        self._owner = owner

    def allocate_spi(self) -> bytes:
        """Reserve our inbound SPI and return it as it goes into a proposal, 4 octets.

        Raises:
            KernelError: The kernel has none to give.
        """
        if not self.local_spi:
            self.local_spi = self._env.kernel.allocate_spi(
                self.remote.host, self.local.host, self.protocol
            )
            self._kernel_in = True
        return self.local_spi.to_bytes(4, "big")

    def install(
        self,
        keys: ChildKeys,
        *,
        we_initiated: bool,
        proposal: Proposal,
        remote_spi: int,
        local_ts: tuple[TrafficSelector, ...],
        remote_ts: tuple[TrafficSelector, ...],
        inbound_only: bool = False,
    ) -> None:
        """Install the SAs and the policies.

        Args:
            keys: As derived from the exchange that creates this CHILD_SA.
            we_initiated: Whether we began that exchange.
            proposal: What was selected, one transform of each type.
            remote_spi: The peer's inbound SPI.
            local_ts: What was agreed on for our side.
            remote_ts: What was agreed on for the peer's side.
            inbound_only: The peer may not be ready to receive yet: leave the outbound SA to
                `install_outbound`.

        Raises:
            KernelError: The kernel refused; nothing is left behind.
        """
        self.proposal = proposal
        self.remote_spi = remote_spi
        self.local_ts = local_ts
        self.remote_ts = remote_ts
        self.set_state(ChildState.INSTALLING)
        limits = SoftLimits.draw(self.config, self._env.random)
        try:
            if self.encapsulated and self.protocol is IpsecProtocol.AH:
                raise KernelError(
                    f"install CHILD_SA {self}", "AH cannot pass a NAT", "use esp= instead of ah="
                )
            self.reqid = self._env.kernel.acquire_reqid(
                local_ts,
                remote_ts,
                fixed=self.config.reqid,
                mark_in=self.marks.mark_in,
                mark_out=self.marks.mark_out,
                if_id=self.marks.if_id_out,
            )
            self._install_sas(keys, limits, we_initiated=we_initiated)
            if not inbound_only:
                self._install_waiting()
            self._install_policies()
        except KernelError as error:
            self._release()
            self._report(error)
            raise
        self.established_at = self._env.clock()
        if limits.seconds:
            self.rekey_at = self.established_at + limits.seconds
        if self.config.life_time:
            self.expires_at = self.established_at + self.config.life_time
        self.set_state(ChildState.INSTALLED)

    def install_outbound(self) -> bool:
        """Send through this CHILD_SA from now on, if it does not yet; False if it cannot."""
        try:
            self._install_waiting()
        except KernelError as error:
            self._report(error)
            return False
        return True

    def _install_waiting(self) -> None:
        spec, self._waiting_out = self._waiting_out, None
        if spec is not None:
            self._env.kernel.add_sa(spec)
            self._kernel_out = True

    def _report(self, error: KernelError) -> None:
        self._env.bus.alert(
            AlertKind.KERNEL_FAILURE,
            f"unable to install CHILD_SA {self}: {error}",
            sa=self._owner,
            child=self.config.name,
            operation=error.operation,
        )

    def announce(self) -> None:
        """Tell listeners and the log that traffic can flow."""
        self.announced = True
        self.log_established()
        self._env.bus.publish(ChildUp(self._owner, self.ref))
        self._tell_traffic(begins=True)

    def _tell_traffic(self, *, begins: bool) -> None:
        if self._env.bus.listening(ChildTraffic):
            self._env.bus.publish(traffic_of(self, self._owner, begins=begins))

    def log_established(self) -> None:
        """Log that the CHILD_SA is there."""
        self._env.bus.log(
            Group.IKE,
            Level.AUDIT,
            "CHILD_SA %s established with SPIs %08x_i %08x_o and TS %s",
            self,
            self.local_spi,
            self.remote_spi,
            self.selectors_text(),
        )

    def selectors_text(self) -> str:
        """Return both sides' selectors as status output shows them."""
        local = " ".join(map(str, self.local_ts))
        remote = " ".join(map(str, self.remote_ts))
        return f"{local} === {remote}"

    def usage(self) -> tuple[SaUsage, SaUsage]:
        """Return the counters of the inbound and of the outbound SA."""
        if not self.state.is_in_kernel:
            return _NO_USAGE
        kernel = self._env.kernel
        inbound = outbound = SaUsage()
        try:
            inbound = with_last_use(
                kernel, kernel.query_sa(self._inbound_id), self._installed_policies(outward=False)
            )
            if self._kernel_out:
                outbound = with_last_use(
                    kernel,
                    kernel.query_sa(self._outbound_id),
                    self._installed_policies(outward=True),
                )
        except KernelError as error:
            self._tell("no counters of CHILD_SA %s: %s", error)
        return inbound, outbound

    # -- rekeying -----------------------------------------------------------------------------

    def hand_over(self) -> bool:
        """Let the successor send in this one's place; what is under way still arrives here.

        Returns:
            Whether the successor can send.
        """
        new = self.successor
        if new is None:
            return False
        while new.successor is not None:
            new = new.successor
        sends = new.install_outbound()
        if sends:
            self._waiting_out = None
            self._remove_outbound()
        if self.announced:
            self.announced, new.announced = False, True
            self._env.bus.publish(ChildRekeyed(self._owner, self.ref, new.ref))
        return sends

    def linger(self) -> None:
        """Keep the inbound SA alone, for packets that the peer sent before it was deleted."""
        self._remove_policies()
        self._remove_outbound()
        self.set_state(ChildState.DELETED)

    def log_closing(self) -> None:
        """Log that the CHILD_SA goes, with what it carried."""
        inbound, outbound = self.usage()
        self._env.bus.log(
            Group.IKE,
            Level.AUDIT,
            "closing CHILD_SA %s with SPIs %08x_i (%d bytes) %08x_o (%d bytes) and TS %s",
            self,
            self.local_spi,
            inbound.bytes,
            self.remote_spi,
            outbound.bytes,
            self.selectors_text(),
        )

    def destroy(self, reason: str = "") -> None:
        """Take everything out of the kernel and tell listeners."""
        inbound, outbound = self.usage() if self.announced else _NO_USAGE
        if self.announced:
            self._tell_traffic(begins=False)
        self._release()
        self.set_state(ChildState.DESTROYING)
        if self.announced:
            self.announced = False
            self._env.bus.publish(
                ChildDown(self._owner, self.ref, inbound.bytes, outbound.bytes, reason)
            )

    def move(self, local: Endpoint, remote: Endpoint, *, encapsulated: bool) -> None:
        """Follow the IKE_SA to other addresses.

        Raises:
            KernelError: The kernel cannot move the SAs; they stay where they were.
        """
        if (local, remote, encapsulated) == (self.local, self.remote, self.encapsulated):
            return
        old_in, old_out = self._inbound_id, self._outbound_id
        if self.state.is_in_kernel:
            self._env.kernel.update_sa(
                old_in, remote.host, local.host, encapsulation(remote, local, encapsulated)
            )
        elif self._kernel_in and local.host != self.local.host:
            # What is reserved for one address is not for another; the number stays ours.
            self._kernel_in = False
            self._try(partial(self._env.kernel.delete_sa, old_in))
        outward = encapsulation(local, remote, encapsulated)
        if self._kernel_out:
            try:
                self._env.kernel.update_sa(old_out, local.host, remote.host, outward)
            except KernelError:
                self._move_back(old_in, local, remote)
                raise
        before = self.local, self.remote, self.encapsulated
        selectors_before = self.local_ts, self.remote_ts
        old_policies = list(policies(self)) if self._has_policies else []
        hosts_changed = (local.host, remote.host) != (self.local.host, self.remote.host)
        self.local, self.remote, self.encapsulated = local, remote, encapsulated
        if self.mode is ChildMode.TRANSPORT:
            self.local_ts = at_host(self.local_ts, local.host)
            self.remote_ts = at_host(self.remote_ts, remote.host)
        if self._has_policies and hosts_changed:
            try:
                self._replace_policies(old_policies)
            except KernelError:
                moved_out = self._outbound_id
                self.local, self.remote, self.encapsulated = before
                self.local_ts, self.remote_ts = selectors_before
                self._move_back(old_in, local, remote)
                if self._kernel_out:
                    inward = encapsulation(*before)
                    self._try(
                        partial(
                            self._env.kernel.update_sa,
                            moved_out, old_out.source, old_out.destination, inward,
                        )
                    )  # fmt: skip
                raise
        if self._waiting_out is not None:
            self._waiting_out = replace(
                self._waiting_out, id=self._outbound_id, encapsulation=outward
            )

    def _replace_policies(self, old: list[PolicySpec]) -> None:
        """Install the policies of where it is now, then remove those of where it was.

        Raises:
            KernelError: The old ones are there, and none of the new ones.
        """
        added: list[PolicySpec] = []
        try:
            for policy in policies(self):
                self._env.kernel.add_policy(policy)
                added.append(policy)
        except KernelError:
            for policy in reversed(added):
                self._try(partial(self._env.kernel.delete_policy, policy))
            raise
        for policy in old:
            self._try(partial(self._env.kernel.delete_policy, policy))

    def refresh_routes(self) -> None:
        """Have what enters the tunnel led by the way that leads to the peer now.

        Raises:
            KernelError: Routes are as they were.
        """
        for policy in self._installed_policies(outward=True):
            self._env.kernel.refresh_routes(policy)

    def _move_back(self, old: SaId, local: Endpoint, remote: Endpoint) -> None:
        """Undo the move of the inbound SA: one half must not go without the other."""
        moved = old._replace(source=remote.host, destination=local.host)
        inward = encapsulation(self.remote, self.local, self.encapsulated)
        self._try(partial(self._env.kernel.update_sa, moved, old.source, old.destination, inward))

    @property
    def _inbound_id(self) -> SaId:
        return SaId(self.remote.host, self.local.host, self.protocol, self.local_spi)

    @property
    def _outbound_id(self) -> SaId:
        return SaId(self.local.host, self.remote.host, self.protocol, self.remote_spi)

    def _install_sas(self, keys: ChildKeys, limits: SoftLimits, *, we_initiated: bool) -> None:
        """Install the inbound SA, and prepare the outbound one."""
        initiator = (keys.initiator_encr, keys.initiator_integ)
        responder = (keys.responder_encr, keys.responder_integ)
        ours, theirs = (initiator, responder) if we_initiated else (responder, initiator)
        window = self._env.parameters.replay_window
        inward = sa_spec(self, self._inbound_id, theirs, limits, window, inbound=True)
        self._env.kernel.add_sa(inward)
        self._kernel_in = True
        self._waiting_out = sa_spec(self, self._outbound_id, ours, limits, window, inbound=False)

    def _install_policies(self) -> None:
        if not self.config.install_policy:
            return
        installed: list[PolicySpec] = []
        try:
            for policy in policies(self):
                self._env.kernel.add_policy(policy)
                installed.append(policy)
        except KernelError:
            for policy in reversed(installed):
                self._env.kernel.delete_policy(policy)
            raise
        self._has_policies = True

    def _installed_policies(self, *, outward: bool) -> Iterator[PolicySpec]:
        if self._has_policies:
            for policy in policies(self):
                if (policy.direction is PolicyDirection.OUT) is outward:
                    yield policy

    def _release(self) -> None:
        """Take out of the kernel whatever is in it; goes on where one removal fails."""
        kernel = self._env.kernel
        self._waiting_out = None
        self._remove_policies()
        self._remove_outbound()
        if self._kernel_in:
            self._kernel_in = False
            self._try(partial(kernel.delete_sa, self._inbound_id))
        if self.reqid:
            kernel.release_reqid(self.reqid)
            self.reqid = 0

    def _remove_outbound(self) -> None:
        if self._kernel_out:
            self._kernel_out = False
            self._try(partial(self._env.kernel.delete_sa, self._outbound_id))

    def _remove_policies(self) -> None:
        if self._has_policies:
            self._has_policies = False
            for policy in policies(self):
                self._try(partial(self._env.kernel.delete_policy, policy))

    def set_state(self, state: ChildState) -> None:
        """Enter a state and tell listeners."""
        old, self.state = self.state, state
        bus = self._env.bus
        bus.log(
            Group.CHD,
            Level.MORE,
            "CHILD_SA %s state change: %s => %s",
            self,
            old,
            state,
        )
        if bus.listening(ChildStateChanged):
            bus.publish(ChildStateChanged(self._owner, self.ref, old.value, state.value))

    def _try(self, removal: Callable[[], None]) -> None:
        try:
            removal()
        except KernelError as error:
            self._tell("removing CHILD_SA %s: %s", error)

    def _tell(self, message: str, error: KernelError) -> None:
        # What the kernel does not have has reached the end of its life there: that was told.
        level = Level.MORE if isinstance(error, SaNotFound) else Level.CONTROL
        self._env.bus.log(Group.KNL, level, message, self, error)


_NO_USAGE = (SaUsage(), SaUsage())
