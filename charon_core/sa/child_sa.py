"""One CHILD_SA: a pair of IPsec SAs with their policies (RFC 7296 1.3, RFC 4301 4.4)."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from charon_core.bus.alert import AlertKind
from charon_core.bus.events import ChildDown, ChildStateChanged, ChildUp
from charon_core.bus.listener import Group, Level
from charon_core.bus.refs import ChildRef
from charon_core.config.child import ChildMode
from charon_core.crypto.secret import Secret
from charon_core.encoding.registry import EsnId, ProtocolId, TransformType
from charon_core.kernel.interface import (
    Encapsulation,
    IpsecProtocol,
    KernelError,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
    SaId,
    SaNotFound,
    SaSpec,
    SaUsage,
)
from charon_core.sa.state import ChildState
from charon_core.sa.usage import with_last_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.bus.refs import SaRef
    from charon_core.config.child import ChildConfig
    from charon_core.config.proposal import Proposal
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.key_derivation import ChildKeys
    from charon_core.network.packet import Endpoint
    from charon_core.sa.environment import Environment

_PROTOCOLS = {ProtocolId.ESP: IpsecProtocol.ESP, ProtocolId.AH: IpsecProtocol.AH}


class ChildSa:
    """A pair of IPsec SAs, one in each direction, and the policies that use them.

    An install that fails leaves nothing behind; so does `destroy`, from every state.
    """

    __slots__ = (
        "_env",
        "_has_policies",
        "_in_kernel",
        "_kernel_in",
        "_kernel_out",
        "_owner",
        "config",
        "encapsulated",
        "established_at",
        "expires_at",
        "local",
        "local_spi",
        "local_ts",
        "proposal",
        "protocol",
        "rekey_at",
        "remote",
        "remote_spi",
        "remote_ts",
        "reqid",
        "state",
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
        self.config = config
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
    ) -> None:
        """Install both SAs and the policies.

        Args:
            keys: As derived from the exchange that creates this CHILD_SA.
            we_initiated: Whether we began that exchange.
            proposal: What was selected, one transform of each type.
            remote_spi: The peer's inbound SPI.
            local_ts: What was agreed on for our side.
            remote_ts: What was agreed on for the peer's side.

        Raises:
            KernelError: The kernel refused; nothing is left behind.
        """
        self.proposal = proposal
        self.remote_spi = remote_spi
        self.local_ts = local_ts
        self.remote_ts = remote_ts
        self._set_state(ChildState.INSTALLING)
        try:
            self.reqid = self._env.kernel.acquire_reqid(
                local_ts,
                remote_ts,
                fixed=self.config.reqid,
                mark_in=self.config.mark_in,
                mark_out=self.config.mark_out,
            )
            self._install_sas(keys, we_initiated=we_initiated)
            self._install_policies()
        except KernelError as error:
            self._release()
            self._env.bus.alert(
                AlertKind.KERNEL_FAILURE,
                f"unable to install CHILD_SA {self}: {error}",
                sa=self._owner,
                child=self.config.name,
                operation=error.operation,
            )
            raise
        self.established_at = self._env.clock()
        self._set_state(ChildState.INSTALLED)

    def announce(self) -> None:
        """Tell listeners and the log that traffic can flow."""
        bus = self._env.bus
        bus.log(
            Group.IKE,
            Level.AUDIT,
            "CHILD_SA %s established with SPIs %08x_i %08x_o and TS %s",
            self,
            self.local_spi,
            self.remote_spi,
            self.selectors_text(),
        )
        bus.publish(ChildUp(self._owner, self.ref))

    def selectors_text(self) -> str:
        """Return both sides' selectors as status output shows them."""
        local = " ".join(map(str, self.local_ts))
        remote = " ".join(map(str, self.remote_ts))
        return f"{local} === {remote}"

    def usage(self) -> tuple[SaUsage, SaUsage]:
        """Return the counters of the inbound and of the outbound SA."""
        if self.state is not ChildState.INSTALLED:
            return SaUsage(), SaUsage()
        kernel = self._env.kernel
        try:
            inbound = kernel.query_sa(self._inbound_id)
            outbound = kernel.query_sa(self._outbound_id)
        except KernelError as error:
            self._tell("no counters of CHILD_SA %s: %s", error)
            return SaUsage(), SaUsage()
        return (
            with_last_use(kernel, inbound, self._installed_policies(outward=False)),
            with_last_use(kernel, outbound, self._installed_policies(outward=True)),
        )

    def begin_delete(self) -> None:
        """Mark that a delete for this CHILD_SA is under way."""
        self._set_state(ChildState.DELETING)

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
        was_up = self.state in (ChildState.INSTALLED, ChildState.DELETING)
        inbound, outbound = self.usage() if self.state is ChildState.INSTALLED else _NO_USAGE
        self._release()
        self._set_state(ChildState.DESTROYING)
        if was_up:
            self._env.bus.publish(
                ChildDown(self._owner, self.ref, inbound.bytes, outbound.bytes, reason)
            )

    def move(self, local: Endpoint, remote: Endpoint, *, encapsulated: bool) -> None:
        """Follow the IKE_SA to other addresses.

        Raises:
            KernelError: The kernel cannot move the SAs; they stay where they were.
        """
        old_in, old_out = self._inbound_id, self._outbound_id
        old_policies = list(self._policies())
        if self._kernel_out:
            self._env.kernel.update_sa(
                old_in, remote.host, local.host, _encapsulation(remote, local, encapsulated)
            )
            self._env.kernel.update_sa(
                old_out, local.host, remote.host, _encapsulation(local, remote, encapsulated)
            )
        hosts_changed = (local.host, remote.host) != (self.local.host, self.remote.host)
        self.local, self.remote, self.encapsulated = local, remote, encapsulated
        if self._has_policies and hosts_changed:
            for policy in self._policies():
                self._env.kernel.add_policy(policy)
            for policy in old_policies:
                self._env.kernel.delete_policy(policy)

    @property
    def _inbound_id(self) -> SaId:
        return SaId(self.remote.host, self.local.host, self.protocol, self.local_spi)

    @property
    def _outbound_id(self) -> SaId:
        return SaId(self.local.host, self.remote.host, self.protocol, self.remote_spi)

    def _install_sas(self, keys: ChildKeys, *, we_initiated: bool) -> None:
        initiator = (keys.initiator_encr, keys.initiator_integ)
        responder = (keys.responder_encr, keys.responder_integ)
        ours, theirs = (initiator, responder) if we_initiated else (responder, initiator)
        kernel = self._env.kernel
        kernel.add_sa(self._sa_spec(self._inbound_id, theirs, inbound=True))
        self._kernel_in = True
        kernel.add_sa(self._sa_spec(self._outbound_id, ours, inbound=False))
        self._kernel_out = True

    def _sa_spec(self, sa: SaId, keys: tuple[bytes, bytes], *, inbound: bool) -> SaSpec:
        config = self.config
        proposal = self.proposal
        if proposal is None:
            raise ValueError(f"CHILD_SA {self} has no proposal to install")
        encryption = proposal.first(TransformType.ENCR)
        integrity = proposal.first(TransformType.INTEG)
        esn = proposal.first(TransformType.ESN)
        source, destination = (self.remote, self.local) if inbound else (self.local, self.remote)
        window = config.replay_window
        return SaSpec(
            id=sa,
            reqid=self.reqid,
            mode=config.mode,
            encryption=encryption.id if encryption is not None else 0,
            key_bits=encryption.key_length if encryption is not None else None,
            encryption_key=Secret(keys[0]),
            integrity=integrity.id if integrity is not None else None,
            integrity_key=Secret(keys[1]) if keys[1] else None,
            inbound=inbound,
            esn=esn is not None and esn.id == EsnId.ESN,
            replay_window=self._env.parameters.replay_window if window is None else window,
            encapsulation=_encapsulation(source, destination, self.encapsulated),
            local_ts=self.local_ts,
            remote_ts=self.remote_ts,
            hard_seconds=config.life_time,
            hard_bytes=config.life_bytes,
            hard_packets=config.life_packets,
            tfc=config.tfc,
            mark=config.mark_in if inbound else config.mark_out,
            sha256_96=config.sha256_96,
        )

    def _install_policies(self) -> None:
        if not self.config.install_policy:
            return
        installed: list[PolicySpec] = []
        try:
            for policy in self._policies():
                self._env.kernel.add_policy(policy)
                installed.append(policy)
        except KernelError:
            for policy in reversed(installed):
                self._env.kernel.delete_policy(policy)
            raise
        self._has_policies = True

    def _policies(self) -> Iterator[PolicySpec]:
        """Yield the policies of each pair of selectors of one family (RFC 4301 4.4.1)."""
        inward = PolicyTemplate(
            self.remote.host, self.local.host, self.protocol, self.reqid, self.config.mode
        )
        outward = PolicyTemplate(
            self.local.host, self.remote.host, self.protocol, self.reqid, self.config.mode
        )
        mark_in, mark_out = self.config.mark_in, self.config.mark_out
        for local, remote in product(self.local_ts, self.remote_ts):
            if local.family != remote.family:
                continue
            outgoing = PolicySpec(
                source=local,
                destination=remote,
                direction=PolicyDirection.OUT,
                template=outward,
                mark=mark_out,
            )
            yield outgoing
            # The priority is that of the pair, whichever comes first in it.
            yield PolicySpec(
                source=remote,
                destination=local,
                direction=PolicyDirection.IN,
                priority=outgoing.priority,
                template=inward,
                mark=mark_in,
            )
            if self.config.mode is ChildMode.TUNNEL:
                yield PolicySpec(
                    source=remote,
                    destination=local,
                    direction=PolicyDirection.FORWARD,
                    priority=outgoing.priority,
                    template=inward,
                    mark=mark_in,
                )

    def _installed_policies(self, *, outward: bool) -> Iterator[PolicySpec]:
        if self._has_policies:
            for policy in self._policies():
                if (policy.direction is PolicyDirection.OUT) is outward:
                    yield policy

    def _release(self) -> None:
        """Take out of the kernel whatever is in it; goes on where one removal fails."""
        kernel = self._env.kernel
        if self._has_policies:
            self._has_policies = False
            for policy in self._policies():
                self._try(partial(kernel.delete_policy, policy))
        if self._kernel_out:
            self._kernel_out = False
            self._try(partial(kernel.delete_sa, self._outbound_id))
        if self._kernel_in:
            self._kernel_in = False
            self._try(partial(kernel.delete_sa, self._inbound_id))
        if self.reqid:
            kernel.release_reqid(self.reqid)
            self.reqid = 0

    def _set_state(self, state: ChildState) -> None:
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


def _encapsulation(
    source: Endpoint, destination: Endpoint, encapsulated: bool
) -> Encapsulation | None:
    return Encapsulation(source.port, destination.port) if encapsulated else None
