"""The values that go to a kernel backend: SAs, policies, routes, and their counters.

Addresses are canonical text (``10.0.0.1``, ``2001:db8::1``), SPIs are 32-bit integers in host
order, times are seconds, keys are wrapped secrets.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.kernel.priority import (
    PRIORITY_EXCEPTION,
    PRIORITY_INSTALLED,
    PRIORITY_ROUTED,
    policy_priority,
)
from charon_core.key_enum import KeyEnum

if TYPE_CHECKING:
    from charon_core.config.child import ChildMode, Mark
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.crypto.secret import Secret

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

A backend sets it on the IKE socket (``bypass_socket``), or a tunnel's route to 0.0.0.0/0 would
swallow the packets that carry the tunnel.
"""

SPI_LIMIT: Final = 0xFFFFFFFF
REQID_LIMIT: Final = 0xFFFFFFFF


class IpsecProtocol(enum.IntEnum):
    """The IP protocols of IPsec, with their IP protocol numbers."""

    ESP = 50
    AH = 51


class PolicyDirection(KeyEnum):
    """Which packets a policy looks at."""

    IN = "in"
    OUT = "out"
    FORWARD = "fwd"


class PolicyAction(enum.Enum):
    """What happens to a packet that a policy matches."""

    PROTECT = "protect"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    DROP = "drop"


class KernelFeature(KeyEnum):
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
    OWN_ROUTES = "leads traffic to its tunnels by routes of its own"


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
    """The lower, the stronger; None computes it from the selectors (priority.policy_priority),
    so that it is never None in a finished spec."""
    template: PolicyTemplate | None = None
    """Needed for PROTECT, unused otherwise."""
    mark: Mark | None = None
    if_id: int = 0
    routed: bool = False
    """A trap policy: waits for traffic, weaker than the same policy of an installed CHILD_SA."""
    key: PolicyKey = field(init=False, repr=False, compare=False)
    """Source, destination, direction, mark and if_id: a kernel has one policy for each."""

    def __post_init__(self) -> None:
        if self.action is PolicyAction.PROTECT and self.template is None:
            raise ValueError(
                f"policy {self} must have a template, or another action than {self.action.name}"
            )
        if self.source.family != self.destination.family:
            raise ValueError(
                f"policy {self} mixes IPv{self.source.family} and IPv{self.destination.family}"
            )
        key = (self.source, self.destination, self.direction, self.mark, self.if_id)
        object.__setattr__(self, "key", key)
        if self.priority is None:
            computed = policy_priority(self._class, self.source, self.destination)
            object.__setattr__(self, "priority", computed)

    @property
    def strength(self) -> int:
        """The priority, which is always known; the lower, the stronger."""
        return self.priority or 0

    @property
    def _class(self) -> int:
        if self.action is not PolicyAction.PROTECT:
            return PRIORITY_EXCEPTION
        return PRIORITY_ROUTED if self.routed else PRIORITY_INSTALLED

    def __str__(self) -> str:
        """``10.1.0.0/16 === 10.2.0.0/16 out``."""
        return f"{self.source} === {self.destination} {self.direction.value}"


PolicyKey = tuple["TrafficSelector", "TrafficSelector", PolicyDirection, "Mark | None", int]
"""What identifies a policy in a kernel: source, destination, direction, mark, if_id."""


class SaUsage(NamedTuple):
    """Counters of one SA."""

    bytes: int = 0
    packets: int = 0
    last_use: float | None = None
    """On the monotonic clock; None when never used, or when the backend cannot tell."""


class Way(NamedTuple):
    """How packets to a host leave this one, charon's own routes left aside."""

    interface: str
    gateway: str = ""
    """The next hop; empty where the host is on the link."""


class Route(NamedTuple):
    """A route that charon installs into its own table."""

    destination: str
    """Network in CIDR notation."""
    interface: str | None = None
    gateway: str | None = None
    source: str | None = None
    """Preferred source address of packets that take this route."""
    mtu: int | None = None
