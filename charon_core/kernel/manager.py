"""The kernel interface: one IPsec backend, one net backend, and what both have in common."""

from __future__ import annotations

import traceback
from functools import partial
from typing import TYPE_CHECKING

from charon_core.bus.text import Multiline
from charon_core.kernel.interface import KernelError, KernelEvents, KernelFeature
from charon_core.kernel.policies import PolicyTable
from charon_core.kernel.reqids import ReqidAllocator
from charon_core.kernel.source_routes import SourceRoutes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from charon_core.config.proposal import Proposal
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.esp_algorithms import EspAlgorithms
    from charon_core.kernel.interface import (
        Encapsulation,
        IpsecBackend,
        IpsecProtocol,
        Mark,
        NetBackend,
        PolicySpec,
        SaId,
        SaSpec,
        SaUsage,
    )
    from charon_core.network.packet import Endpoint

_LEVEL_CONTROL = 1


class KernelInterface:
    """What the rest of charon knows of the kernel.

    SAs go straight to the backend; policies are reference counted on the way, reqids are
    allocated here, and events of both backends go to every listener. All methods may be called
    from any worker.
    """

    def __init__(
        self,
        ipsec: IpsecBackend,
        net: NetBackend,
        log: Callable[..., None] | None = None,
        *,
        install_routes: bool = True,
    ) -> None:
        """Wrap the two backends.

        Args:
            ipsec: a backend that was probed, not yet started.
            net: likewise.
            log: ``log(level, message, *args)`` into group KNL.
            install_routes: whether tunnels with virtual addresses get their routes.
        """
        self.ipsec = ipsec
        self.net = net
        self._log = log
        self._reqids = ReqidAllocator()
        self._policies = PolicyTable(ipsec)
        needs_routes = install_routes and KernelFeature.OWN_ROUTES not in ipsec.features
        self._routes = SourceRoutes(net, self._report) if needs_routes else None
        # Replaced as a whole, never changed: listeners are called without a lock.
        self._listeners: tuple[KernelEvents, ...] = ()

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Let both backends report events; what cannot be opened is rolled back.

        Raises:
            KernelError, KernelUnavailable: neither backend is started.
        """
        self.ipsec.start(self)
        try:
            self.net.start(self)
        except BaseException:
            self.ipsec.stop()
            raise

    def stop(self) -> None:
        """Remove all that is left in the kernel, and close both backends."""
        try:
            self.flush()
        except KernelError as error:
            self._report("flushing the kernel failed: %s", error)
        finally:
            self.ipsec.stop()
            self.net.stop()

    def flush(self) -> None:
        """Remove every SA and policy that was installed through this object."""
        self.ipsec.flush()
        self._policies.clear()
        if self._routes is not None:
            self._routes.clear()

    @property
    def features(self) -> frozenset[KernelFeature]:
        """What the backend in use can do."""
        return self.ipsec.features

    def installable(self, proposals: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
        """Return what of the proposals of a CHILD_SA the backend in use can install."""
        algorithms = self._algorithms
        return proposals if algorithms is None else algorithms.installable(proposals)

    def missing(self, proposals: tuple[Proposal, ...]) -> str:
        """Return which algorithms of proposals the backend lacks, in words; empty if none."""
        algorithms = self._algorithms
        names = [] if algorithms is None else algorithms.missing(proposals)
        return f"kernel backend '{self.ipsec.name}' has no {', '.join(names)}" if names else ""

    @property
    def _algorithms(self) -> EspAlgorithms | None:
        return getattr(self.ipsec, "algorithms", None)

    # -- SAs ----------------------------------------------------------------------------------

    def allocate_spi(self, source: str, destination: str, protocol: IpsecProtocol) -> int:
        """Reserve an inbound SPI; see :meth:`IpsecBackend.allocate_spi`."""
        try:
            return self.ipsec.allocate_spi(source, destination, protocol)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"allocate {protocol.name} SPI", error) from error

    def add_sa(self, spec: SaSpec) -> None:
        """Install one SA of one direction; see :meth:`IpsecBackend.add_sa`."""
        try:
            self.ipsec.add_sa(spec)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"add SA {spec.id}", error) from error

    def update_sa(
        self, sa: SaId, source: str, destination: str, encapsulation: Encapsulation | None
    ) -> None:
        """Move an SA to other addresses; see :meth:`IpsecBackend.update_sa`."""
        try:
            self.ipsec.update_sa(sa, source, destination, encapsulation)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"update SA {sa}", error) from error

    def query_sa(self, sa: SaId) -> SaUsage:
        """Return the counters of an SA; see :meth:`IpsecBackend.query_sa`."""
        try:
            return self.ipsec.query_sa(sa)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"query SA {sa}", error) from error

    def delete_sa(self, sa: SaId) -> None:
        """Remove an SA, or the reservation of an SPI; see :meth:`IpsecBackend.delete_sa`."""
        try:
            self.ipsec.delete_sa(sa)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"delete SA {sa}", error) from error

    # -- policies -----------------------------------------------------------------------------

    def add_policy(self, spec: PolicySpec) -> None:
        """Add one reference to a policy; the strongest of its selectors is installed.

        Raises:
            KernelError: nothing has changed.
        """
        try:
            self._policies.add(spec)
            if self._routes is not None:
                try:
                    self._routes.add(spec)
                except BaseException:
                    self._policies.delete(spec)
                    raise
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"add policy {spec}", error) from error

    def delete_policy(self, spec: PolicySpec) -> None:
        """Drop one reference to a policy, given exactly as it was added.

        Raises:
            SaNotFound: it was not added.
        """
        try:
            if self._routes is not None:
                self._routes.remove(spec)
            self._policies.delete(spec)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"delete policy {spec}", error) from error

    def query_policy(self, spec: PolicySpec) -> float | None:
        """Return when the policy was last used, on the monotonic clock; None for never."""
        try:
            return self.ipsec.query_policy(spec)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"query policy {spec}", error) from error

    def install(self, sas: Sequence[SaSpec], policies: Sequence[PolicySpec]) -> None:
        """Install SAs and then policies, all of them or none.

        Raises:
            KernelError: of the one that failed; those before it were removed again.
        """
        undo: list[Callable[[], None]] = []
        try:
            for sa in sas:
                self.add_sa(sa)
                undo.append(partial(self.delete_sa, sa.id))
            for policy in policies:
                self.add_policy(policy)
                undo.append(partial(self.delete_policy, policy))
        except BaseException:
            for step in reversed(undo):
                try:
                    step()
                except KernelError as error:
                    self._report("taking back a failed installation: %s", error)
            raise

    # -- virtual addresses --------------------------------------------------------------------

    def add_virtual_address(self, host: str, local: str, interface: str = "") -> str:
        """Give this host a virtual address; see :meth:`NetBackend.add_address`.

        Args:
            host: the address.
            local: our address that the tunnel begins at.
            interface: what is to have it; empty for the device of the backend in use, or else the
                interface that has ``local``.

        Returns:
            The interface that has it now, which `remove_virtual_address` wants to know.

        Raises:
            KernelError: the address was not added.
        """
        operation = f"add virtual address {host}"
        try:
            place = interface or getattr(self.ipsec, "device", None) or self.net.interface_of(local)
            if not place:
                raise KernelError(
                    operation,
                    f"no interface has {local}",
                    "name one by attributes.interface in charon.toml",
                )
            self.net.add_address(host, place)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(operation, error) from error
        return place

    def remove_virtual_address(self, host: str, interface: str) -> None:
        """Take a virtual address back; see :meth:`NetBackend.remove_address`."""
        try:
            self.net.remove_address(host, interface)
        except KernelError:
            raise
        except Exception as error:
            raise self._fault(f"remove virtual address {host}", error) from error

    # -- reqids -------------------------------------------------------------------------------

    def acquire_reqid(
        self,
        local_ts: Sequence[TrafficSelector],
        remote_ts: Sequence[TrafficSelector],
        *,
        mark_in: Mark | None = None,
        mark_out: Mark | None = None,
        if_id: int = 0,
        fixed: int = 0,
    ) -> int:
        """Take a reference to the reqid of these selectors; see :class:`ReqidAllocator`."""
        return self._reqids.acquire(
            local_ts,
            remote_ts,
            mark_in=mark_in,
            mark_out=mark_out,
            if_id=if_id,
            fixed=fixed,
        )

    def hold_reqid(self, reqid: int) -> None:
        """Take one more reference to a reqid that is in use (rekeying)."""
        self._reqids.hold(reqid)

    def release_reqid(self, reqid: int) -> None:
        """Drop one reference to a reqid."""
        self._reqids.release(reqid)

    # -- sockets ------------------------------------------------------------------------------

    def bypass_socket(self, fd: int, family: int) -> None:
        """Exempt a socket from all policies; see :meth:`IpsecBackend.bypass_socket`."""
        self.ipsec.bypass_socket(fd, family)

    def enable_udp_encapsulation(self, fd: int, family: int) -> None:
        """Let ESP in UDP be taken from this socket, if the backend wants that."""
        self.ipsec.enable_udp_encapsulation(fd, family)

    # -- events -------------------------------------------------------------------------------

    def add_listener(self, listener: KernelEvents) -> None:
        """Tell ``listener`` of all events from now on."""
        self._listeners = (*self._listeners, listener)

    def remove_listener(self, listener: KernelEvents) -> None:
        """Tell ``listener`` nothing more."""
        self._listeners = tuple(known for known in self._listeners if known is not listener)

    def acquire(
        self,
        reqid: int,
        source_ts: TrafficSelector | None,
        destination_ts: TrafficSelector | None,
    ) -> None:
        """Pass on: traffic hit a trap policy."""
        self._tell("acquire", lambda to: to.acquire(reqid, source_ts, destination_ts))

    def expire(self, protocol: IpsecProtocol, spi: int, destination: str, hard: bool) -> None:
        """Pass on: a lifetime ran out."""
        self._tell("expire", lambda to: to.expire(protocol, spi, destination, hard))

    def mapping(self, reqid: int, spi: int, source: Endpoint, new: Endpoint) -> None:
        """Pass on: the peer's NAT mapping changed."""
        self._tell("mapping", lambda to: to.mapping(reqid, spi, source, new))

    def roam(self, address_change: bool) -> None:
        """Pass on: addresses or routes changed."""
        self._tell("roam", lambda to: to.roam(address_change))

    def _tell(self, event: str, call: Callable[[KernelEvents], None]) -> None:
        for listener in self._listeners:
            try:
                call(listener)
            except Exception as error:  # noqa: BLE001 - one listener must not silence the others
                self._report(
                    "listener %s failed on kernel event %s: %s: %s",
                    type(listener).__name__,
                    event,
                    type(error).__name__,
                    error,
                )

    def _fault(self, operation: str, error: Exception) -> KernelError:
        """Make a failed operation of a backend's own fault: callers clean up after those alone.

        Its traceback goes to the log, which is where a fault of a backend is looked for.
        """
        self._report(
            "kernel backend %s failed to %s: %s",
            self.ipsec.name,
            operation,
            Multiline("".join(traceback.format_exception(error)).rstrip()),
        )
        return KernelError(
            operation, f"the backend failed: {type(error).__name__}", "its fault is in the log"
        )

    def _report(self, message: str, *args: object) -> None:
        if self._log is not None:
            self._log(_LEVEL_CONTROL, message, *args)
