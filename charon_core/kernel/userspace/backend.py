"""The control side of the `userspace` backend: device, routes, SPIs, lifetimes, events."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import (
    KernelError,
    KernelFeature,
    KernelUnavailable,
    PolicyDirection,
    SaNotFound,
)
from charon_core.kernel.userspace.acquires import Acquires
from charon_core.kernel.userspace.algorithms import ALGORITHMS
from charon_core.kernel.userspace.datapath import DataPath
from charon_core.kernel.userspace.guard_keeper import GuardKeeper
from charon_core.kernel.userspace.host import Host
from charon_core.kernel.userspace.limits import check_policy, check_sa, check_transport
from charon_core.kernel.userspace.settings import UserspaceOptions
from charon_core.kernel.userspace.spis import SpiAllocator
from charon_core.kernel.userspace.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import (
        BackendContext,
        Encapsulation,
        IpsecProtocol,
        KernelEvents,
        PolicySpec,
        SaId,
        SaSpec,
        SaUsage,
    )
    from charon_core.kernel.userspace.association import Association, InboundSa, OutboundSa
    from charon_core.kernel.userspace.bypass import Bypass
    from charon_core.kernel.userspace.raw import RawEsp
    from charon_core.kernel.userspace.routes import Routes
    from charon_core.kernel.userspace.transport import EspSender
    from charon_core.network.packet import Endpoint

_CONTROL: Final = 1
_LOOP_NAME: Final = "ESP"

_FEATURES: Final = frozenset(
    {
        KernelFeature.ESP,
        KernelFeature.TUNNEL,
        KernelFeature.ESN,
        KernelFeature.TFC,
        KernelFeature.UDP_ENCAPSULATION,
        # The IKE side asks for ESP in UDP wherever the peer knows it: trains of datagrams make it
        # twice as fast. Plain ESP is for peers without NAT traversal.
        KernelFeature.UDP_ENCAPSULATION_ONLY,
        KernelFeature.ACQUIRE,
        KernelFeature.MAPPING,
        KernelFeature.LIFETIME_BYTES,
        KernelFeature.LIFETIME_PACKETS,
        KernelFeature.UPDATE_ADDRESSES,
        KernelFeature.OWN_ROUTES,
    }
)


class UserspaceBackend:
    """ESP in this process, over a TUN device.

    All packets are handled on one loop of the Processor, which reads the device and, as long as the
    backend is started, the NAT traversal port. Everything that it has to tell goes to a worker
    first, so that no IKE code runs on it.

    The outer header is that of the IKE socket: it says not ECN-capable (RFC 6040, compatibility
    mode), and the DSCP is that of IKE, whatever `SaSpec.copy_dscp` wants. Path MTU is that of the
    device, which the kernel sees to: it fragments what may be, and answers the rest.

    Attributes:
        features: What it can do.
        tables: The SAs and policies.
    """

    name = "userspace"
    algorithms = ALGORITHMS

    def __init__(self, context: BackendContext, host: Host | None = None) -> None:
        """Make the backend; nothing is opened yet.

        Args:
            context: What it is given by the daemon.
            host: The system's side: devices, routes, marks; None for the real one.

        Raises:
            KernelUnavailable: The settings of the backend are not valid.
        """
        self._host = host or Host()
        self._context = context
        self._log = context.log
        try:
            self.options = UserspaceOptions.of(context.options)
        except (TypeError, ValueError) as error:
            raise KernelUnavailable(f"kernel.userspace: {error}") from error
        self.features = _FEATURES
        self.tables = Tables(self.options.mtu)
        self._acquires = Acquires(self._report_acquire)
        self._guard = GuardKeeper(context)
        self._spis = SpiAllocator(context.random, *context.spi_range)
        # Guards the attributes below, and makes each change of an SA or a policy one step.
        self._lock = threading.RLock()
        self._events: KernelEvents | None = None
        self._path: DataPath | None = None
        self._raw: RawEsp | None = None
        self._bypass: Bypass | None = None
        self._routes: Routes | None = None
        self._timers: dict[Association, list[Callable[[], None]]] = {}

    # -- life ---------------------------------------------------------------------------------

    def probe(self) -> None:
        """Find out whether there is a socket for ESP in UDP, and a TUN device with routes."""
        if self._context.esp_socket is None:
            raise KernelUnavailable(
                "there is no IKE socket for ESP in UDP: open the NAT traversal port"
            )
        self._host.probe(self.options)

    def start(self, events: KernelEvents) -> None:
        """Create the device, lead packets to it and from it.

        Raises:
            KernelUnavailable, KernelError: Nothing is left behind.
        """
        options = self.options
        with contextlib.ExitStack() as undo:
            device = self._host.open_device(options)
            bypass = self._host.open_bypass(options)
            if bypass is not None:
                undo.callback(bypass.close)
            path = DataPath(
                device,
                self.tables,
                self,
                self._select_sender,
                self._log,
                send_plain=bypass.send if bypass is not None else None,
            )
            undo.callback(self._guard.close)
            undo.callback(path.close)
            path.watch(self._guard.open(self._host, device.name, options))
            undo.callback(self._guard.remove)
            routes = self._host.open_routes(device.name, options)
            if routes is not None:
                undo.callback(routes.close)
            raw: RawEsp | None = None
            if options.raw_esp:
                raw = self._host.open_raw(options, partial(path.receive, source=None))
            if raw is not None:
                undo.callback(raw.close)
                path.watch(raw.readers)
            with self._lock:
                self._events, self._path = events, path
                self._routes, self._raw, self._bypass = routes, raw, bypass
            undo.callback(self._forget)
            self._borrow_socket(path)
            undo.callback(self._return_socket)
            self._context.run_loop(_LOOP_NAME, path.turn, path.end_loop)
            undo.pop_all()
        if self._context.later is not None:
            self._context.later("load numpy", path.load_rows)
        self._log(
            _CONTROL,
            "TUN device %s: offloads: %s; ESP in UDP%s",
            device.name,
            device.offloads,
            "" if raw is None else " and plain ESP",
        )

    def stop(self) -> None:
        """Close the device and take away routes and rules; SAs and policies stay in memory."""
        path, routes, *sockets = self._forget()
        self._guard.remove()
        if routes is not None:
            for problem in routes.close():
                self._log(_CONTROL, "removing %s", problem)
        if path is not None:
            path.close()
            self._return_socket()
        self._guard.close()
        for sock in sockets:
            if sock is not None:
                sock.close()

    def _borrow_socket(self, path: DataPath) -> None:
        """Have ESP in UDP received on the loop of the data path: no thread hands it to another."""
        sock = self._context.esp_socket
        if sock is not None:
            sock.esp_receiver = lambda data, size, source, _: path.receive(data, size, source)
            path.watch(sock.lend())

    def _return_socket(self) -> None:
        sock = self._context.esp_socket
        if sock is not None:
            sock.esp_receiver = None
            sock.take_back()

    def _forget(self) -> tuple[DataPath | None, Routes | None, RawEsp | None, Bypass | None]:
        """Be stopped; return what is to be closed."""
        with self._lock:
            opened = self._path, self._routes, self._raw, self._bypass
            self._path = self._routes = self._raw = self._bypass = self._events = None
        return opened

    @property
    def device(self) -> str | None:
        """The name of the TUN device; None while stopped."""
        path = self._path
        return path.device.name if path else None

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return the counters of both directions and of the guard, by name."""
        path = self._path
        if path is None:
            return {}
        return {
            "inbound": path.inbound.statistics.as_dict(),
            "outbound": path.outbound.statistics.as_dict(),
            "guard": self._guard.dropped(),
        }

    def _select_sender(self, sa: OutboundSa) -> EspSender | None:
        return self._context.esp_socket if sa.encapsulated else self._raw

    # -- SAs ----------------------------------------------------------------------------------

    def allocate_spi(self, source: str, destination: str, protocol: IpsecProtocol) -> int:
        """Reserve an SPI; it is unique whatever the address, since inbound SAs are found by it."""
        spi = self._spis.allocate(self.tables.inbound)
        if spi is None:
            raise KernelError(
                f"allocate {protocol.name} SPI for {source} -> {destination}",
                "no free SPI found",
                "widen kernel.spi_min..kernel.spi_max",
                errno.ENOSPC,
            )
        return spi

    def add_sa(self, spec: SaSpec) -> None:
        """Install one SA."""
        check_sa(spec, has_raw=self._raw is not None)
        with self._lock:
            association = self.tables.add_sa(spec)
            if spec.inbound:
                self._spis.release(spec.id.spi)
            self._timers[association] = [
                self._context.after(seconds, partial(self._expired, association, hard))
                for seconds, hard in ((spec.soft_seconds, False), (spec.hard_seconds, True))
                if seconds > 0
            ]
        self._acquires.forget(spec.reqid)
        if not spec.inbound:
            self._release()

    def _release(self) -> None:
        """Send what was held for want of an SA."""
        path = self._path
        if path is not None:
            path.outbound.release()

    def update_sa(
        self, sa: SaId, source: str, destination: str, encapsulation: Encapsulation | None
    ) -> None:
        """Move an SA to new addresses and ports, with all its state."""
        check_transport(f"update SA {sa}", encapsulation, has_raw=self._raw is not None)
        self.tables.move_sa(sa, source, destination, encapsulation)

    def query_sa(self, sa: SaId) -> SaUsage:
        """Return the counters of an SA: inner packets and their octets."""
        return self.tables.find_sa(sa, "query").usage

    def delete_sa(self, sa: SaId) -> None:
        """Remove an SA, or the reservation of its SPI."""
        try:
            self._remove(sa)
        except SaNotFound:
            if not self._spis.release(sa.spi):
                raise

    def _remove(self, sa: SaId) -> None:
        with self._lock:
            association = self.tables.remove_sa(sa)
            for cancel in self._timers.pop(association, ()):
                cancel()

    # -- policies -----------------------------------------------------------------------------

    def add_policy(self, spec: PolicySpec) -> None:
        """Install a policy with its guard; an outbound one gets its routes."""
        outward = spec.direction is PolicyDirection.OUT
        check_policy(spec, has_bypass=self._path is None or self._bypass is not None)
        with self._lock:
            self._guard.add(spec)
            if outward and self._routes is not None:
                try:
                    self._routes.add(spec)
                except KernelError:
                    self._guard.discard(spec)
                    raise
            old = self.tables.add_policy(spec)
            if old is not None:
                self._guard.discard(old)
            if outward and old is not None and self._routes is not None:
                self._routes.remove(old)
        if outward:
            self._release()

    def delete_policy(self, spec: PolicySpec) -> None:
        """Remove a policy, its guard and its routes."""
        with self._lock:
            old = self.tables.remove_policy(spec)
            self._guard.discard(old)
            if old.direction is PolicyDirection.OUT and self._routes is not None:
                self._routes.remove(old)

    def query_policy(self, spec: PolicySpec) -> float | None:
        """Return when a policy was last used."""
        return self.tables.policy_use(spec)

    def flush(self) -> None:
        """Remove all SAs, policies, routes and reservations."""
        with self._lock:
            for association in self.tables.associations():
                self._remove(association.spec.id)
            for spec in self.tables.policies():
                self.delete_policy(spec)
            self._spis.clear()

    # -- sockets ------------------------------------------------------------------------------

    def bypass_socket(self, fd: int, family: int) -> None:
        """Mark the packets of a socket, so that they go around the device."""
        try:
            self._guard.add_port(self._host.bypass(fd, family, self.options.mark))
        except OSError as error:
            raise KernelError(
                f"mark the packets of socket {fd}",
                os.strerror(error.errno or 0),
                "the daemon needs CAP_NET_ADMIN",
                error.errno or 0,
            ) from error

    def enable_udp_encapsulation(self, fd: int, family: int) -> None:
        """Do nothing: the socket hands over ESP in UDP by itself."""

    # -- events of the data path --------------------------------------------------------------

    def acquire(self, reqid: int, packet: bytes) -> None:
        """Take note of a packet that needs an SA."""
        self._acquires.packet(reqid, packet)

    def limit(self, sa: Association) -> None:
        """Take note of an SA that has reached a limit of octets or packets."""
        kind = sa.reached()
        if kind:
            self._expired_soon(sa, hard=kind == "hard")

    def exhausted(self, sa: OutboundSa) -> None:
        """Take note of an SA without sequence numbers: it is of no use any more."""
        self._log(_CONTROL, "SA %s has used up its sequence numbers", sa.spec.id)
        self._expired_soon(sa, hard=True)

    def mapping(self, sa: InboundSa, new: Endpoint) -> None:
        """Take note of a peer that sends from another endpoint."""
        old = sa.source
        self._tell(lambda events: events.mapping(sa.reqid, sa.spi, old, new))

    def _report_acquire(
        self, reqid: int, source: TrafficSelector, destination: TrafficSelector
    ) -> None:
        self._tell(lambda events: events.acquire(reqid, source, destination))

    def _expired_soon(self, sa: Association, *, hard: bool) -> None:
        self._context.after(0, partial(self._expired, sa, hard))

    def _expired(self, sa: Association, hard: bool) -> None:
        with self._lock:
            # A timer that was overtaken by delete_sa, maybe followed by another SA of this name.
            if sa not in self._timers:
                return
            spec = sa.spec
            if hard:
                self._remove(spec.id)
            events = self._events
        if events is not None:
            events.expire(spec.id.protocol, spec.id.spi, spec.id.destination, hard)

    def _tell(self, call: Callable[[KernelEvents], None]) -> None:
        """Report an event on a worker; the data path does not wait for it."""

        def report() -> None:
            events = self._events
            if events is not None:
                call(events)

        self._context.after(0, report)
