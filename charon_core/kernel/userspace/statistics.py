"""What the data path counts; every packet that is not forwarded is in one of the drops."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Statistics:
    """Counters of one direction; each is written by one thread at a time.

    Packets are inner packets, octets those of the inner packets. Names that begin with ``drop_``
    count packets that went no further.
    """

    packets: int = 0
    octets: int = 0
    super_packets: int = 0
    """Packets larger than the MTU that the TUN device gave, or was given."""
    dummies: int = 0
    """Packets without content (RFC 4303 section 2.6), discarded as they should be."""
    acquires: int = 0
    bypassed: int = 0
    """Packets that went out as they are, since a PASS policy says so."""
    held: int = 0
    """Packets that were kept until there was an SA."""

    drop_malformed: int = 0
    """Not an IP packet, or ESP too short or badly padded."""
    drop_no_policy: int = 0
    drop_policy: int = 0
    """A DROP policy, or PASS where we have no raw socket to send it on."""
    drop_no_sa: int = 0
    """A policy without an SA (those that are held excepted), or an SPI that is not ours."""
    drop_exhausted: int = 0
    """No sequence number left: the SA has to be rekeyed (RFC 4303 section 3.3.3)."""
    drop_replayed: int = 0
    drop_not_authentic: int = 0
    drop_selectors: int = 0
    """Opened, but not within the traffic selectors of its SA (RFC 4301 section 5.2)."""
    drop_send: int = 0
    """The socket did not take it: its queue is full, or there is no route."""
    drop_device: int = 0
    """The TUN device did not take it."""

    @property
    def dropped(self) -> int:
        """Packets that went no further."""
        return sum(getattr(self, each.name) for each in fields(self) if "drop_" in each.name)

    def as_dict(self) -> dict[str, int]:
        """Return all counters by name."""
        return asdict(self)
