"""What goes into the kernel for a CHILD_SA: its two SAs and its policies as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.crypto.secret import Secret
from charon_core.encoding.registry import EsnId, TransformType
from charon_core.kernel.interface import Encapsulation, SaId, SaSpec
from charon_core.sa.chance import early, random_share
from charon_core.sa.policy_specs import Protection, protecting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.config.child import ChildConfig
    from charon_core.crypto.random import RandomSource
    from charon_core.kernel.interface import PolicySpec
    from charon_core.network.packet import Endpoint
    from charon_core.sa.child_sa import ChildSa


@dataclass(frozen=True, slots=True)
class SoftLimits:
    """What of a CHILD_SA's life may pass before it is rekeyed; 0 means that it never is."""

    seconds: float = 0.0
    octets: int = 0
    packets: int = 0

    @classmethod
    def draw(cls, config: ChildConfig, random: RandomSource) -> SoftLimits:
        """Take a random part of the jitter off each limit, so that two sides seldom collide."""
        share = random_share(random)
        return cls(
            seconds=early(config.rekey_time, config.jitter_time, share),
            octets=int(early(config.rekey_bytes, config.jitter_bytes, share)),
            packets=int(early(config.rekey_packets, config.jitter_packets, share)),
        )


def sa_spec(
    child: ChildSa,
    sa: SaId,
    keys: tuple[bytes, bytes],
    limits: SoftLimits,
    default_window: int,
    *,
    inbound: bool,
) -> SaSpec:
    """Return the SA of one direction, ready to be installed.

    Args:
        child: What was negotiated.
        sa: Its addresses and SPI.
        keys: Of encryption and of integrity, the latter empty with an AEAD.
        limits: When the SA is to be rekeyed.
        default_window: Packets of the replay window where the connection names none.
        inbound: Whether the SPI is ours.
    """
    config = child.config
    proposal = child.proposal
    if proposal is None:
        raise ValueError(f"CHILD_SA {child} has no proposal to install")
    encryption = proposal.first(TransformType.ENCR)
    integrity = proposal.first(TransformType.INTEG)
    esn = proposal.first(TransformType.ESN)
    source, destination = (child.remote, child.local) if inbound else (child.local, child.remote)
    window = config.replay_window
    return SaSpec(
        id=sa,
        reqid=child.reqid,
        mode=child.mode,
        encryption=encryption.id if encryption is not None else 0,
        key_bits=encryption.key_length if encryption is not None else None,
        encryption_key=Secret(keys[0]),
        integrity=integrity.id if integrity is not None else None,
        integrity_key=Secret(keys[1]) if keys[1] else None,
        inbound=inbound,
        esn=esn is not None and esn.id == EsnId.ESN,
        replay_window=default_window if window is None else window,
        encapsulation=encapsulation(source, destination, child.encapsulated),
        local_ts=child.local_ts,
        remote_ts=child.remote_ts,
        soft_seconds=limits.seconds,
        hard_seconds=config.life_time,
        soft_bytes=limits.octets,
        hard_bytes=config.life_bytes,
        soft_packets=limits.packets,
        hard_packets=config.life_packets,
        tfc=config.tfc,
        mark=child.marks.mark_in if inbound else child.marks.mark_out,
        if_id=child.marks.if_id_in if inbound else child.marks.if_id_out,
        sha256_96=config.sha256_96,
        copy_dscp=config.copy_dscp,
    )


def policies(child: ChildSa) -> Iterator[PolicySpec]:
    """Yield the policies of each pair of selectors of one family."""
    by = Protection(child.local.host, child.remote.host, child.protocol, child.reqid)
    return protecting(child.marks, child.mode, by, child.local_ts, child.remote_ts)


def encapsulation(
    source: Endpoint, destination: Endpoint, encapsulated: bool
) -> Encapsulation | None:
    """Return the UDP ports of one direction, or None for plain ESP."""
    return Encapsulation(source.port, destination.port) if encapsulated else None
