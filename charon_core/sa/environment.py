"""What an IKE_SA works with: its collaborators, handed in so that tests can replace each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from charon_core.key_enum import KeyEnum
from charon_core.network.rate import RateLimit
from charon_core.sa.peers import PeerIndex

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from charon_core.attributes.manager import AttributeManager
    from charon_core.bus.bus import Bus
    from charon_core.config.backend import BackendManager
    from charon_core.config.child import ChildConfig
    from charon_core.config.ike import IkeConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.credentials.manager import CredentialManager
    from charon_core.crypto.random import RandomSource
    from charon_core.eap.registry import EapRegistry
    from charon_core.kernel.manager import KernelInterface
    from charon_core.network.packet import Endpoint, Packet
    from charon_core.sa.crash_detection import CrashTokens
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.parameters import IkeParameters
    from charon_core.sa.renewal import Renewal

NOISE_LINES: Final = 10.0
"""Log lines a second about datagrams that anybody may have sent to an IKE_SA."""

NOISE_BURST: Final = 100.0


class TimerKind(KeyEnum):
    """What is due when a timer of an IKE_SA fires; the argument's meaning is in brackets."""

    RETRANSMIT = "retransmit"
    """Send an unanswered request again (message ID)."""
    HALF_OPEN = "half-open timeout"
    """Forget the IKE_SA unless it has been established (unused)."""
    LIFETIME = "IKE_SA lifetime"
    """Delete the IKE_SA (unused)."""
    REKEY = "IKE_SA rekeying"
    """Replace the IKE_SA by a new one (unused)."""
    REAUTH = "reauthentication"
    """Have the peer prove itself anew (unused)."""
    QUEUED = "queued tasks"
    """Start what was queued before the peer could take it (unused)."""
    LIVENESS = "liveness check"
    """See whether the peer is alive (unused)."""
    KEEPALIVE = "NAT keepalive"
    """Keep the NAT mapping open (unused)."""
    DESTROY = "delete timeout"
    """Stop waiting for the answer to our delete (unused)."""
    RETRY = "next keying try"
    """Start the next try to connect (unused)."""
    CHILD_REKEY = "CHILD_SA rekeying"
    """Rekey a CHILD_SA again after a failure (its unique ID)."""
    CHILD_RETIRE = "end of a replaced CHILD_SA"
    """Take a replaced CHILD_SA down for good (its unique ID)."""
    RESUME = "postponed message"
    """Process the message that was put off (number of the postponement)."""


class Cancellable(Protocol):
    """A timer that has been started."""

    def cancel(self) -> object:
        """Stop it; it never fires after this, and cancelling twice is harmless."""


StartTimer = Callable[[bytes, TimerKind, int, float], Cancellable]
"""Own SPI, kind, argument, seconds from now."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The collaborators of all IKE_SAs of one daemon."""

    bus: Bus
    backends: BackendManager
    credentials: CredentialManager
    kernel: KernelInterface
    attributes: AttributeManager
    eap: EapRegistry
    random: RandomSource
    parameters: IkeParameters
    send: Callable[[Packet], object]
    """Hands a datagram to the network; never blocks."""
    keepalive: Callable[[Endpoint, Endpoint], object]
    """Sends a NAT keepalive from, to."""
    start_timer: StartTimer
    clock: Callable[[], float]
    """Monotonic seconds."""
    wall_clock: Callable[[], float]
    """Seconds since 1970, for the validity of certificates."""
    local_port: Callable[[bool], int]
    """Our own port, without (False) or with (True) NAT traversal."""
    new_spi: Callable[[], bytes]
    """An IKE SPI that no IKE_SA of ours has, 8 octets."""
    reindex: Callable[[IkeSa], None]
    """Find an IKE_SA by its new SPI from now on; see `IkeSaManager.reindex`."""
    make_successor: Callable[[IkeSa, bytes, bool], IkeSa | None]
    """A new IKE_SA beside one that is checked out; see `IkeSaManager.make_successor`."""
    borrow: Callable[[int], AbstractContextManager[IkeSa | None]]
    """A newer IKE_SA by its number, for a moment; see `IkeSaManager.borrow`."""
    renew: Callable[[Renewal], object]
    """Have an IKE_SA set up, soon and on another thread."""
    retire: Callable[[int], object]
    """Have the IKE_SA with this number deleted, soon and on another thread."""
    forget: Callable[[int], object]
    """Have the IKE_SA with this number destroyed without a word to the peer, likewise."""
    hold: Callable[[PeerConfig, ChildConfig, Endpoint, Endpoint], object]
    """Have a trap for a CHILD_SA between these two endpoints; see `TrapManager.hold`."""
    remote_endpoint: Callable[[IkeConfig], Endpoint | None]
    """Where a connection's peer is, as far as it is known; never blocks on a lookup."""
    child_ids: Iterator[int]
    """Numbers for CHILD_SAs; counting up is atomic (itertools.count)."""
    crash_tokens: CrashTokens | None = None
    """For quick crash detection; None: it is off."""
    peers: PeerIndex = field(default_factory=PeerIndex)
    """Which peers have IKE_SAs."""
    noise: RateLimit = field(default_factory=lambda: RateLimit(NOISE_LINES, NOISE_BURST))
    """Bounds what the log says of datagrams that nobody has vouched for."""
