"""The contract between charon and whatever moves IPsec traffic: values, backends, events.

Nothing here touches a system call. Addresses are canonical text (``10.0.0.1``, ``2001:db8::1``),
SPIs are 32-bit integers in host order, times are seconds, keys are wrapped secrets. A backend
implements :class:`IpsecBackend`; addresses and routes come from a :class:`NetBackend`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

from charon_core.config.child import Mark as Mark  # noqa: PLC0414, TC001 - handed on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.config.child import ChildMode
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.secret import Secret
    from charon_core.network.packet import Endpoint

SPI_MINIMUM: Final = 0xC0000000
"""Lowest SPI that is allocated unless set otherwise, as charon has always done."""

SPI_MAXIMUM: Final = 0xCFFFFFFF
"""Highest SPI that is allocated unless set otherwise."""

SPI_RESERVED: Final = 0xFF
"""SPIs up to this one are reserved by IANA (RFC 4303 section 2.1)."""

ROUTE_TABLE: Final = 220
"""Routing table that takes charon's routes, unless set otherwise."""

RULE_PRIORITY: Final = 220
"""Priority of the rule that leads to this table; it stands before ``main`` (32766)."""

BYPASS_MARK: Final = 220
"""Packets (of sockets) with this mark do not see charon's table: the rule excludes them.

A user-space backend sets it on the IKE socket (``bypass_socket``), or a tunnel's route to
0.0.0.0/0 would swallow the packets that carry the tunnel.
"""

SPI_LIMIT: Final = 0xFFFFFFFF
REQID_LIMIT: Final = 0xFFFFFFFF


class IpsecProtocol(enum.IntEnum):
    """The IP protocols of IPsec, with their IP protocol numbers."""

    ESP = 50
    AH = 51


class PolicyDirection(enum.Enum):
    """Which packets a policy looks at."""

    IN = "in"
    OUT = "out"
    FORWARD = "fwd"


class PolicyAction(enum.Enum):
    """What happens to a packet that a policy matches."""

    PROTECT = "protect"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    DROP = "drop"


class KernelFeature(enum.Enum):
    """What a backend can do; what is not listed is refused by :meth:`IpsecBackend.add_sa`."""

    ESP = "ESP"
    AH = "AH"
    TUNNEL = "tunnel mode"
    TRANSPORT = "transport mode"
    BEET = "BEET mode"
    ESN = "extended sequence numbers"
    TFC = "traffic flow confidentiality padding"
    UDP_ENCAPSULATION = "ESP in UDP"
    UDP_ENCAPSULATION_ONLY = "no ESP outside UDP"
    ACQUIRE = "trap policies"
    MAPPING = "reports a changed NAT mapping"
    MARK = "packet marks"
    INTERFACE_ID = "XFRM interface identifiers"
    LIFETIME_BYTES = "byte lifetimes"
    LIFETIME_PACKETS = "packet lifetimes"
    UPDATE_ADDRESSES = "moves an SA to other addresses"


class SaId(NamedTuple):
    """What names one IPsec SA, one direction: RFC 4301 section 4.1, with the source added."""

    source: str
    destination: str
    protocol: IpsecProtocol
    spi: int

    def __str__(self) -> str:
        """``ESP SPI c1234567 10.0.0.1 -> 10.0.0.2``."""
        return f"{self.protocol.name} SPI {self.spi:08x} {self.source} -> {self.destination}"


class Encapsulation(NamedTuple):
    """UDP ports of ESP in UDP (RFC 3948), as on the wire of this direction."""

    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaSpec:
    """One IPsec SA of one direction, ready to be installed.

    Raises:
        ValueError: a number is outside its range, or an algorithm came without key material.
    """

    id: SaId
    """Addresses on the wire of the outer header, protocol and SPI."""
    reqid: int
    """Ties the SA to the policies with the same number."""
    mode: ChildMode
    """TRANSPORT, TUNNEL or BEET."""
    encryption: int
    """Transform ID of type ENCR (RFC 7296 section 3.3.2), 0 for AH."""
    encryption_key: Secret
    """Key, then the salt of algorithms that have one (as KEYMAT, RFC 7296 section 2.17)."""
    inbound: bool
    """Whether the SPI is ours: it was reserved by ``allocate_spi`` on this host."""
    key_bits: int | None = None
    """Key length attribute, without the salt; None for algorithms of one key length."""
    integrity: int | None = None
    """Transform ID of type INTEG; None (or 0) for an AEAD."""
    integrity_key: Secret | None = None
    """Key of the integrity algorithm; None for an AEAD."""
    esn: bool = False
    """Extended sequence numbers (RFC 4303 section 2.2.1)."""
    replay_window: int = 32
    """Packets that may arrive late; 0 switches replay protection off."""
    encapsulation: Encapsulation | None = None
    """UDP ports, or None for plain ESP."""
    local_ts: tuple[TrafficSelector, ...] = ()
    """Traffic selectors of our side, whatever the direction of this SA."""
    remote_ts: tuple[TrafficSelector, ...] = ()
    """Traffic selectors of the peer's side, whatever the direction of this SA."""
    soft_seconds: float = 0
    """Seconds until the soft expire event, 0 for none."""
    hard_seconds: float = 0
    """Seconds until the SA is removed with a hard expire event, 0 for never."""
    soft_bytes: int = 0
    hard_bytes: int = 0
    soft_packets: int = 0
    hard_packets: int = 0
    tfc: int = 0
    """Pad every packet to this many bytes (RFC 4303 section 2.7); 0 for no padding, -1 for the
    path MTU."""
    mark: Mark | None = None
    if_id: int = 0
    """Number of the XFRM interface that the SA belongs to, 0 for none."""
    copy_dscp: bool = True
    """Copy the DSCP from the inner to the outer header (RFC 4301 section 5.1.2.1)."""
    sha256_96: bool = False
    """Truncate HMAC_SHA2_256_128 to 96 bits, as peers with the draft implementation do."""

    def __post_init__(self) -> None:
        if not SPI_RESERVED < self.id.spi <= SPI_LIMIT:
            raise ValueError(
                f"SPI of an SA must be in {SPI_RESERVED + 1:#x}..{SPI_LIMIT:#x}, "
                f"got {self.id.spi:#x}"
            )
        if not 0 < self.reqid <= REQID_LIMIT:
            raise ValueError(f"reqid of an SA must be in 1..{REQID_LIMIT}, got {self.reqid}")
        if self.replay_window < 0:
            raise ValueError(f"replay window must not be negative, got {self.replay_window}")


class PolicyTemplate(NamedTuple):
    """Which SAs a PROTECT policy wants: RFC 4301 section 4.4.1.2 as Linux names it.

    For tunnel mode ``source`` and ``destination`` are the outer addresses.
    """

    source: str
    destination: str
    protocol: IpsecProtocol
    reqid: int
    mode: ChildMode


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """One security policy of one direction.

    Raises:
        ValueError: PROTECT without a template, or selectors of two address families.
    """

    source: TrafficSelector
    """Selector of the packet's source (for IN and FORWARD the peer's side)."""
    destination: TrafficSelector
    direction: PolicyDirection
    action: PolicyAction = PolicyAction.PROTECT
    priority: int | None = None
    """The lower, the stronger; None computes it from the selectors (manager.policy_priority)."""
    template: PolicyTemplate | None = None
    """Needed for PROTECT, unused otherwise."""
    mark: Mark | None = None
    if_id: int = 0
    routed: bool = False
    """A trap policy: waits for traffic, weaker than the same policy of an installed CHILD_SA."""

    def __post_init__(self) -> None:
        if self.action is PolicyAction.PROTECT and self.template is None:
            raise ValueError(
                f"policy {self} must have a template, or another action than {self.action.name}"
            )
        if self.source.family != self.destination.family:
            raise ValueError(
                f"policy {self} mixes IPv{self.source.family} and IPv{self.destination.family}"
            )

    def __str__(self) -> str:
        """``10.1.0.0/16 === 10.2.0.0/16 out``."""
        return f"{self.source} === {self.destination} {self.direction.value}"


class SaUsage(NamedTuple):
    """Counters of one SA."""

    bytes: int = 0
    packets: int = 0
    last_use: float | None = None
    """On the monotonic clock; None when never used, or when the backend cannot tell."""


class Route(NamedTuple):
    """A route that charon installs into its own table."""

    destination: str
    """Network in CIDR notation."""
    interface: str | None = None
    gateway: str | None = None
    source: str | None = None
    """Preferred source address of packets that take this route."""
    mtu: int | None = None


class KernelUnavailable(Exception):  # noqa: N818 - it is a state of this host, reported by probe()
    """A backend cannot work on this host; its text says why and what would help."""


class NoKernelBackend(KernelUnavailable):
    """None of the candidates works; ``reasons`` maps each backend's name to its reason."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        listed = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(f"no kernel backend works on this host: {listed or 'none registered'}")


class KernelError(Exception):
    """The kernel (or a backend) refused an operation.

    Attributes:
        operation: what was tried, with its subject, never with key material.
        reason: the errno text, or the backend's own words.
        advice: what to do about it; may be empty.
        code: errno, or 0 where there is none.
    """

    def __init__(self, operation: str, reason: str, advice: str = "", code: int = 0) -> None:
        self.operation = operation
        self.reason = reason
        self.advice = advice
        self.code = code
        super().__init__(f"{operation}: {reason}" + (f" ({advice})" if advice else ""))


class SaNotFound(KernelError):  # noqa: N818 - says what is the case
    """The SA or policy that was to be changed does not exist."""


class SaExists(KernelError):  # noqa: N818 - says what is the case
    """An SA with this destination, protocol and SPI exists already."""


class AlgorithmNotSupported(KernelError):  # noqa: N818 - says what is the case
    """The backend does not have the algorithm, or not this key length."""


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


class IpsecBackend(Protocol):
    """SAs and policies. Every method may be called from any worker, several at a time."""

    name: str
    features: frozenset[KernelFeature]

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
