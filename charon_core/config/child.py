"""What a CHILD_SA is to be: selectors, proposals, mode, lifetimes, actions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.encoding.registry import ProtocolId

if TYPE_CHECKING:
    from charon_core.config.proposal import Proposal
    from charon_core.config.traffic_selector import TrafficSelector

MARK_UNIQUE: Final = 0xFFFFFFFF
"""Mark value that stands for a fresh mark for each CHILD_SA (``%unique``)."""

MARK_UNIQUE_DIRECTION: Final = 0xFFFFFFFE
"""Mark value that stands for a fresh mark for each direction (``%unique-dir``)."""

UNIQUE_MARKS: Final = frozenset({MARK_UNIQUE, MARK_UNIQUE_DIRECTION})

TFC_MTU: Final = -1
"""Pad each ESP packet to the path MTU (``tfc=%mtu``)."""


class ChildMode(Enum):
    """How packets are carried; the last two are shunts, which never become a CHILD_SA."""

    TRANSPORT = "TRANSPORT"
    TUNNEL = "TUNNEL"
    BEET = "BEET"
    PASS = "PASS"  # noqa: S105 - a mode, not a password
    DROP = "DROP"

    @property
    def is_shunt(self) -> bool:
        """Whether packets pass or are dropped without any IPsec."""
        return self in {ChildMode.PASS, ChildMode.DROP}


class Action(Enum):
    """What to do at start, when a peer is dead, or when it closes a CHILD_SA."""

    NONE = "none"
    TRAP = "trap"
    START = "start"


class Mark(NamedTuple):
    """A packet mark and the mask under which it is compared."""

    value: int
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildConfig:
    """Everything that one CHILD_SA is negotiated and installed with.

    Times are seconds, volumes octets or packets; 0 means never.

    Raises:
        ValueError: a number is negative or out of range, or a rekey limit exceeds its hard limit.
    """

    name: str
    proposals: tuple[Proposal, ...] = ()
    """Ordered by preference; all of one protocol, ESP or AH."""
    local_ts: tuple[TrafficSelector, ...] = ()
    """Our side; empty means our IKE address or our virtual addresses."""
    remote_ts: tuple[TrafficSelector, ...] = ()
    """The peer's side; empty means its IKE address or its virtual addresses."""
    mode: ChildMode = ChildMode.TUNNEL
    proxy_mode: bool = False
    """MIPv6 proxy transport: transport mode between addresses that are not the peers'."""
    rekey_time: float = 0.0
    """Rekey after this time, less a random part of `jitter_time`."""
    life_time: float = 0.0
    """Delete after this time if rekeying did not replace the CHILD_SA before."""
    jitter_time: float = 0.0
    rekey_bytes: int = 0
    life_bytes: int = 0
    jitter_bytes: int = 0
    rekey_packets: int = 0
    life_packets: int = 0
    jitter_packets: int = 0
    start_action: Action = Action.NONE
    dpd_action: Action = Action.NONE
    close_action: Action = Action.NONE
    reqid: int = 0
    """Fixed reqid, or 0 to have one allocated."""
    mark_in: Mark | None = None
    mark_out: Mark | None = None
    if_id_in: int = 0
    """XFRM interface of inbound packets, 0 for none."""
    if_id_out: int = 0
    tfc: int = 0
    """Pad ESP payloads to this many octets; `TFC_MTU` for the path MTU, 0 for off."""
    replay_window: int | None = None
    """Packets; None for the daemon's setting, 0 for off."""
    ipcomp: bool = False
    updown: str | None = None
    """Command that the shell runs when the CHILD_SA comes up and goes down."""
    hostaccess: bool = False
    """Passed to the updown command: rules for the host itself, too."""
    install_policy: bool = True
    inactivity: float = 0.0
    """Close after this time without traffic; 0 for never."""
    sha256_96: bool = False
    """Truncate HMAC_SHA2_256 to 96 bits in ESP, for peers that do so (not standard)."""
    copy_dscp: bool = True
    """Copy the DSCP field of inner packets to the outer header."""

    def __post_init__(self) -> None:
        """Refuse what cannot mean anything."""
        if not self.name:
            message = "a CHILD_SA configuration needs a name"
            raise ValueError(message)
        for kind in ("time", "bytes", "packets"):
            rekey = getattr(self, f"rekey_{kind}")
            life = getattr(self, f"life_{kind}")
            if min(rekey, life, getattr(self, f"jitter_{kind}")) < 0:
                message = f"CHILD_SA '{self.name}': a limit of {kind} is negative"
                raise ValueError(message)
            if life and rekey > life:
                message = (
                    f"CHILD_SA '{self.name}': rekeying is due at {rekey} {kind}, after the end of "
                    f"life at {life}; lower the rekey limit or raise the lifetime"
                )
                raise ValueError(message)
        if not 0 <= self.reqid <= 0xFFFFFFFF:
            message = f"CHILD_SA '{self.name}': reqid {self.reqid} is outside 0..4294967295"
            raise ValueError(message)
        if self.tfc < TFC_MTU or self.inactivity < 0 or (self.replay_window or 0) < 0:
            message = f"CHILD_SA '{self.name}': tfc, inactivity or replay window is negative"
            raise ValueError(message)
        if len({proposal.protocol for proposal in self.proposals}) > 1:
            message = f"CHILD_SA '{self.name}': ESP and AH proposals cannot be mixed"
            raise ValueError(message)

    @property
    def protocol(self) -> ProtocolId:
        """ESP or AH, as the proposals say; ESP where there are none."""
        return ProtocolId(self.proposals[0].protocol) if self.proposals else ProtocolId.ESP
