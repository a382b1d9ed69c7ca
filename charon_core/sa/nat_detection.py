"""What both sides see of each other's addresses, and what that tells of NATs (RFC 7296 2.23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.bus.listener import Group, Level
from charon_core.crypto.key_derivation import nat_detection_hash
from charon_core.encoding.mobike import NoNatsAllowed
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType
from charon_core.sa.environment import TimerKind
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from charon_core.encoding.message import Message
    from charon_core.network.packet import Endpoint
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing

_HASH_LENGTH: Final = 20
_MAX_SOURCE_HASHES: Final = 16
"""Source addresses that we compare; a peer may offer several, but not any number."""

_NATS: Final = Trait.NAT_HERE | Trait.NAT_THERE


class Detected(NamedTuple):
    """What the NAT detection payloads of a message tell.

    Attributes:
        here: A NAT changes the addresses that we send from.
        there: A NAT stands before the peer.
        mapping: What the peer makes of our address and port: another hash, another mapping.
    """

    here: bool
    there: bool
    mapping: bytes


def add_nat_detection(
    ike: IkeSa, out: Outgoing, responder_spi: bytes, local: Endpoint, remote: Endpoint
) -> None:
    """Tell the peer between which addresses a message goes, as we see them."""
    spi_i = ike.initiator_spi
    if ike.forces_encapsulation:
        source = ike.env.random.bytes(_HASH_LENGTH)
        ike.traits |= Trait.NAT_FAKED
    else:
        source = nat_detection_hash(spi_i, responder_spi, *local)
    destination = nat_detection_hash(spi_i, responder_spi, *remote)
    out.append(Notify.of(NotifyType.NAT_DETECTION_SOURCE_IP, source))
    out.append(Notify.of(NotifyType.NAT_DETECTION_DESTINATION_IP, destination))


def has_nat_detection(message: Message) -> bool:
    """Whether a message tells between which addresses it was sent."""
    return (
        message.notify(NotifyType.NAT_DETECTION_SOURCE_IP) is not None
        and message.notify(NotifyType.NAT_DETECTION_DESTINATION_IP) is not None
    )


def detect(
    message: Message, responder_spi: bytes, local: Endpoint, remote: Endpoint
) -> Detected | None:
    """Compare what the sender of a message says with what we see; None if it says nothing.

    Args:
        message: The message.
        responder_spi: The responder's SPI that went into the hashes.
        local: Our end of the path that it came by.
        remote: The peer's.
    """
    sources: list[bytes] = []
    destination: bytes | None = None
    for notify in message.all(Notify):
        if notify.notify_type == NotifyType.NAT_DETECTION_SOURCE_IP:
            sources.append(notify.data)
        elif notify.notify_type == NotifyType.NAT_DETECTION_DESTINATION_IP:
            destination = notify.data
    if not sources or destination is None:
        return None
    spi_i = message.initiator_spi
    seen = nat_detection_hash(spi_i, responder_spi, *remote)
    here = nat_detection_hash(spi_i, responder_spi, *local) != destination
    return Detected(here, seen not in sources[:_MAX_SOURCE_HASHES], destination)


def note_nats(ike: IkeSa, detected: Detected) -> None:
    """Take what is known of the NATs on the path from now on, and say so."""
    if detected.there:
        ike.log(Group.IKE, Level.CONTROL, "remote host is behind NAT")
    if detected.here:
        ike.log(Group.IKE, Level.CONTROL, "local host is behind NAT, sending keep alives")
    found = Trait.NONE
    if detected.here:
        found |= Trait.NAT_HERE
    if detected.there:
        found |= Trait.NAT_THERE
    ike.traits = (ike.traits & ~_NATS) | found


def start_keepalives(ike: IkeSa) -> None:
    """Keep the mapping of a NAT before us open, if there is one; ends by itself if not."""
    interval = ike.env.parameters.keep_alive
    if Trait.NAT_HERE in ike.traits and interval and not ike.is_timed(TimerKind.KEEPALIVE):
        ike.start_timer(TimerKind.KEEPALIVE, interval)


def forbid_nats(out: Outgoing, local: Endpoint, remote: Endpoint) -> None:
    """Say between which addresses a message has to arrive (RFC 4555 3.9)."""
    data = NoNatsAllowed(_plain(local.host), local.port, _plain(remote.host), remote.port).encode()
    out.append(Notify.of(NotifyType.NO_NATS_ALLOWED, data))


def is_nat_forbidden(message: Message, local: Endpoint, remote: Endpoint) -> bool:
    """Whether a message came by other addresses than its sender allows (RFC 4555 3.9).

    Raises:
        ParseError: What it says of them is malformed.
    """
    notify = message.notify(NotifyType.NO_NATS_ALLOWED)
    if notify is None:
        return False
    wanted = NoNatsAllowed.parse(notify.data)
    seen = NoNatsAllowed(_plain(remote.host), remote.port, _plain(local.host), local.port)
    return wanted != seen


def _plain(host: str) -> str:
    """Return an address without its zone."""
    return host.partition("%")[0]
