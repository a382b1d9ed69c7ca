"""The contract between charon and whatever moves IPsec traffic: backends and their events.

Nothing here touches a system call. A backend implements :class:`IpsecBackend`; addresses and
routes come from a :class:`NetBackend`. The values that they are given (``specs``) and what they
raise (``errors``) are part of the contract and can be imported from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from charon_core.config.child import Mark
from charon_core.kernel.errors import (
    AlgorithmNotSupported,
    KernelError,
    KernelUnavailable,
    NoKernelBackend,
    SaExists,
    SaNotFound,
)
from charon_core.kernel.specs import (
    BYPASS_MARK,
    REQID_LIMIT,
    ROUTE_TABLE,
    RULE_PRIORITY,
    SPI_LIMIT,
    SPI_MAXIMUM,
    SPI_MINIMUM,
    SPI_RESERVED,
    Encapsulation,
    IpsecProtocol,
    KernelFeature,
    PolicyAction,
    PolicyDirection,
    PolicyKey,
    PolicySpec,
    PolicyTemplate,
    Route,
    SaId,
    SaSpec,
    SaUsage,
    Way,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.network.packet import Endpoint

__all__ = [
    "BYPASS_MARK",
    "REQID_LIMIT",
    "ROUTE_TABLE",
    "RULE_PRIORITY",
    "SPI_LIMIT",
    "SPI_MAXIMUM",
    "SPI_MINIMUM",
    "SPI_RESERVED",
    "AlgorithmNotSupported",
    "BackendContext",
    "BackendFactory",
    "Encapsulation",
    "EspSocket",
    "IpsecBackend",
    "IpsecProtocol",
    "KernelError",
    "KernelEvents",
    "KernelFeature",
    "KernelUnavailable",
    "Mark",
    "NetBackend",
    "NoKernelBackend",
    "PolicyAction",
    "PolicyDirection",
    "PolicyKey",
    "PolicySpec",
    "PolicyTemplate",
    "RandomBytes",
    "Route",
    "RunningLoop",
    "SaExists",
    "SaId",
    "SaNotFound",
    "SaSpec",
    "SaUsage",
    "Way",
]


@runtime_checkable
class KernelEvents(Protocol):
    """Receives what the kernel reports; called on a worker, must return soon."""

    def acquire(
        self,
        reqid: int,
        source_ts: TrafficSelector | None,
        destination_ts: TrafficSelector | None,
    ) -> None:
        """Traffic hit a trap policy: ``source_ts`` and ``destination_ts`` are of the packet."""

    def expire(self, protocol: IpsecProtocol, spi: int, destination: str, hard: bool) -> None:
        """A lifetime of an SA ran out; after ``hard`` the SA no longer exists."""

    def mapping(self, reqid: int, spi: int, source: Endpoint, new: Endpoint) -> None:
        """Valid ESP in UDP of the SA now comes from ``new`` instead of ``source``."""

    def roam(self, address_change: bool) -> None:
        """Addresses (or else only routes) of this host changed; merged within 100 ms."""


class EspSocket(Protocol):
    """The IKE socket, as a user-space backend uses it for ESP in UDP."""

    esp_receiver: Callable[[Any, int, Endpoint, Endpoint], None] | None
    """Called with (data, segment size or 0, source, local) for each ESP datagram on port 4500."""

    def lend(self) -> list[tuple[int, Callable[[int], None]]]:
        """Let a loop of the caller read port 4500, so that `esp_receiver` is called on it.

        Returns:
            Descriptors, each with what is to be called, on one thread, with epoll's events
            whenever it can be read or has an error. IKE messages find their way from there.
        """

    def take_back(self) -> None:
        """Have port 4500 read by the owner of the socket again."""

    def send_esp(
        self, buffer: Any, segment_size: int, source: Endpoint, destination: Endpoint
    ) -> None:
        """Send one buffer as datagrams of ``segment_size`` bytes (0: as one datagram)."""


class RunningLoop(Protocol):
    """What ``run_loop`` returns (``processing.loop.Loop`` fits)."""

    def stop(self, timeout: float, /) -> bool:
        """End the loop and wait up to ``timeout`` seconds; tell whether it has ended."""


class RandomBytes(Protocol):
    """Source of random bytes (``crypto.random.RandomSource`` fits)."""

    def bytes(self, n: int, /) -> bytes:
        """Return ``n`` random bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendContext:
    """What a backend is given: it starts no thread and opens no log of its own."""

    run_loop: Callable[[str, Callable[[], None], Callable[[], None] | None], RunningLoop]
    """``Processor.run_loop(name, body, wake)``: repeats body on a worker until it is stopped."""
    after: Callable[[float, Callable[[], None]], Callable[[], None]]
    """Run a function on a worker after so many seconds; the result cancels it."""
    log: Callable[..., None]
    """``log(level, message, *args)`` into group KNL."""
    random: RandomBytes
    options: Mapping[str, Any] = field(default_factory=dict)
    """The backend's table of the settings (``[kernel.<name>]``)."""
    spi_range: tuple[int, int] = (SPI_MINIMUM, SPI_MAXIMUM)
    """Least and greatest SPI to allocate (settings ``kernel.spi_min`` and ``spi_max``)."""
    esp_socket: EspSocket | None = None
    later: Callable[[str, Callable[[], None]], None] | None = None
    """``later(name, function)``: run it when the daemon is ready, by a job of priority LOW."""


class IpsecBackend(Protocol):
    """SAs and policies. Every method may be called from any worker, several at a time.

    A backend with a network device of its own, which our virtual addresses are to go to, has the
    device's name in an attribute ``device``, None while there is none.
    """

    name: str
    features: frozenset[KernelFeature]
    # Further, where it is known: `algorithms`, an `EspAlgorithms`. Without it, everything is tried.

    def probe(self) -> None:
        """Find out whether this backend works here, leaving nothing behind.

        Raises:
            KernelUnavailable: with the reason and what would help.
        """

    def start(self, events: KernelEvents) -> None:
        """Open what is needed and report events from now on."""

    def stop(self) -> None:
        """Close everything; installed SAs and policies stay (see :meth:`flush`)."""

    def allocate_spi(self, source: str, destination: str, protocol: IpsecProtocol) -> int:
        """Reserve an inbound SPI of ``BackendContext.spi_range`` for SAs to ``destination``.

        The reservation ends with ``add_sa`` of that SPI (inbound), or with ``delete_sa``.
        """

    def add_sa(self, spec: SaSpec, /) -> None:
        """Install one SA.

        Raises:
            SaExists, AlgorithmNotSupported, KernelError: nothing was installed.
        """

    def update_sa(
        self,
        sa: SaId,
        source: str,
        destination: str,
        encapsulation: Encapsulation | None,
        /,
    ) -> None:
        """Move an SA to new addresses and ports, with its counters, keys and replay state.

        Raises:
            SaNotFound: there is no such SA.
            KernelError: the SA stays as it was.
        """

    def query_sa(self, sa: SaId, /) -> SaUsage:
        """Return the counters of an SA.

        Raises:
            SaNotFound: there is no such SA.
        """

    def delete_sa(self, sa: SaId, /) -> None:
        """Remove an SA or the reservation of its SPI.

        Raises:
            SaNotFound: there is no such SA.
        """

    def add_policy(self, spec: PolicySpec, /) -> None:
        """Install a policy, or replace the one with the same selectors, direction, mark, if_id.

        ``spec.priority`` is never None here. Reference counts are the KernelInterface's affair.
        """

    def delete_policy(self, spec: PolicySpec, /) -> None:
        """Remove the policy with these selectors, direction, mark and if_id.

        Raises:
            SaNotFound: there is no such policy.
        """

    def query_policy(self, spec: PolicySpec, /) -> float | None:
        """Return when the policy was last used, on the monotonic clock; None for never."""

    def flush(self) -> None:
        """Remove every SA and policy that this backend object installed, and only those."""

    def bypass_socket(self, fd: int, family: int, /) -> None:
        """Exempt a socket (the IKE socket) of AF_INET or AF_INET6 from all policies."""

    def enable_udp_encapsulation(self, fd: int, family: int, /) -> None:
        """Let the kernel take ESP in UDP (RFC 3948) from this socket (port 4500).

        A backend that gets its packets by ``BackendContext.esp_socket`` does nothing here.

        Raises:
            KernelError: ESP in UDP will not arrive.
        """


class NetBackend(Protocol):
    """Addresses, interfaces and routes of this host."""

    def start(self, events: KernelEvents) -> None:
        """Report changes of addresses and routes from now on."""

    def stop(self) -> None:
        """Remove what was added (addresses, routes, rules) and close everything."""

    def source_address(self, destination: str) -> str | None:
        """Return the address that packets to ``destination`` leave with; None if unreachable."""

    def interface_of(self, host: str) -> str | None:
        """Return the name of the interface that has the address ``host``; None if not ours."""

    def local_addresses(self) -> list[str]:
        """Return this host's usable addresses, without loopback and link-local ones."""

    def is_local(self, host: str) -> bool:
        """Tell whether ``host`` is an address of this host."""

    def mtu(self, destination: str) -> int | None:
        """Return the MTU towards ``destination`` in bytes; None if unreachable."""

    def way_to(self, destination: str) -> Way | None:
        """Return how packets to ``destination`` leave, without charon's routes; None if not."""

    def virtual_addresses(self) -> list[str]:
        """Return what was added by `add_address` and is still there, the oldest first."""

    def is_virtual(self, host: str) -> bool:
        """Tell whether ``host`` is one of these, or was left behind by a daemon that crashed."""

    def add_address(self, host: str, interface: str) -> None:
        """Add a virtual address (reference counted).

        Raises:
            KernelError: the address was not added.
        """

    def remove_address(self, host: str, interface: str) -> None:
        """Drop one reference to a virtual address; the last one removes it."""

    def add_route(self, route: Route) -> None:
        """Install a route into charon's table (reference counted).

        Raises:
            KernelError: the route was not installed.
        """

    def remove_route(self, route: Route) -> None:
        """Drop one reference to a route; the last one removes it."""


class BackendFactory(Protocol):
    """Makes a backend; does no more than that, :meth:`IpsecBackend.probe` does the rest."""

    def __call__(self, context: BackendContext, /) -> IpsecBackend:
        """Return a new backend."""
