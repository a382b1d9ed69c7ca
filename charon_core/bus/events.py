"""The typed events of the bus, from state changes to derived keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from charon_core.bus.refs import ChildRef, SaRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.bus.alert import Alert

__all__ = [
    "AlertRaised",
    "ChildDown",
    "ChildKeysDerived",
    "ChildRef",
    "ChildRekeyed",
    "ChildStateChanged",
    "ChildTraffic",
    "ChildUp",
    "Event",
    "IkeDown",
    "IkeKeysDerived",
    "IkeMoved",
    "IkeRekeyed",
    "IkeStateChanged",
    "IkeUp",
    "MessageEvent",
    "SaRef",
    "TrafficPair",
    "VirtualIpAssigned",
    "VirtualIpReleased",
]


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events; a listener that names it gets every event that is not private."""

    private: ClassVar[bool] = False
    """Whether the event holds key material, and goes only to listeners that declare it."""


@dataclass(frozen=True, slots=True)
class IkeStateChanged(Event):
    """An IKE_SA went from one state to another.

    Attributes:
        sa: The IKE_SA.
        old: The state that it left, in upper case: ``CONNECTING``.
        new: The state that it is in now.
    """

    sa: SaRef
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ChildStateChanged(Event):
    """A CHILD_SA went from one state to another.

    Attributes:
        sa: Its IKE_SA, or None of a trap or shunt.
        child: The CHILD_SA.
        old: The state that it left, in upper case.
        new: The state that it is in now.
    """

    sa: SaRef | None
    child: ChildRef
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class IkeUp(Event):
    """An IKE_SA is established, not by rekeying.

    Attributes:
        sa: The IKE_SA.
    """

    sa: SaRef


@dataclass(frozen=True, slots=True)
class IkeDown(Event):
    """An IKE_SA that was established is gone, not by rekeying.

    Attributes:
        sa: The IKE_SA.
        reason: Why, for people; may be empty.
    """

    sa: SaRef
    reason: str = ""


@dataclass(frozen=True, slots=True)
class IkeRekeyed(Event):
    """An IKE_SA was replaced by a new one.

    Attributes:
        old: The IKE_SA that goes.
        new: The IKE_SA that has its CHILD_SAs now.
    """

    old: SaRef
    new: SaRef


@dataclass(frozen=True, slots=True)
class IkeMoved(Event):
    """An IKE_SA and its CHILD_SAs run between other addresses or ports, or behind another NAT.

    Attributes:
        sa: The IKE_SA.
        local: Our end now: ``10.0.0.1[4500]``.
        remote: The peer's.
    """

    sa: SaRef
    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class ChildUp(Event):
    """A CHILD_SA is installed, not by rekeying.

    Attributes:
        sa: Its IKE_SA.
        child: The CHILD_SA.
    """

    sa: SaRef
    child: ChildRef


@dataclass(frozen=True, slots=True)
class ChildDown(Event):
    """A CHILD_SA that was installed is gone, not by rekeying.

    Attributes:
        sa: Its IKE_SA.
        child: The CHILD_SA.
        bytes_in: Octets that it received in its life, 0 if not known.
        bytes_out: Octets that it sent in its life, 0 if not known.
        reason: Why, for people; may be empty.
    """

    sa: SaRef
    child: ChildRef
    bytes_in: int = 0
    bytes_out: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChildRekeyed(Event):
    """A CHILD_SA was replaced by a new one.

    Attributes:
        sa: Their IKE_SA.
        old: The CHILD_SA that goes.
        new: The CHILD_SA that carries the traffic now.
    """

    sa: SaRef
    old: ChildRef
    new: ChildRef


@dataclass(frozen=True, slots=True)
class VirtualIpAssigned(Event):
    """One side of an IKE_SA has got a virtual address from the other, not by rekeying.

    Attributes:
        sa: The IKE_SA.
        address: The address.
        is_local: True if this host has it, False if the peer has it from us.
        pool: The pool that it is of; empty if it is ours.
        identity: Whom the pool has leased it to; empty if it is ours.
    """

    sa: SaRef
    address: str
    is_local: bool
    pool: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class VirtualIpReleased(Event):
    """A virtual address is not in use any more: the IKE_SA ends, and none takes its place.

    Attributes:
        sa: The IKE_SA.
        address: The address.
        is_local: True if this host had it, False if the peer had it from us.
        pool: The pool that it is of; empty if it was ours.
        identity: Whom the pool had leased it to; empty if it was ours.
    """

    sa: SaRef
    address: str
    is_local: bool
    pool: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class MessageEvent(Event):
    """An IKE message was received and understood, or is about to be sent.

    Attributes:
        sa: The IKE_SA, or None while there is none.
        incoming: True if received, False if sent.
        exchange: The exchange type, an IANA number.
        message_id: The message ID.
        is_request: True of a request, False of a response.
        summary: The message in a line: ``IKE_AUTH request 1 [ IDi AUTH ... ]``.
        source: Where it comes from: ``10.0.0.1[500]``.
        destination: Where it goes to.
        time: Seconds since the epoch.
    """

    sa: SaRef | None
    incoming: bool
    exchange: int
    message_id: int
    is_request: bool
    summary: str
    source: str
    destination: str
    time: float


@dataclass(frozen=True, slots=True)
class IkeKeysDerived(Event):
    """The keys of an IKE_SA were derived (private).

    Attributes:
        sa: The IKE_SA.
        initiator_spi: The initiator's SPI, 8 octets.
        responder_spi: The responder's SPI, 8 octets.
        encryption: The encryption transform ID.
        key_bits: The key length, or None where the transform has one length only.
        integrity: The integrity transform ID, or None with an AEAD.
        keys: The keys by the names of RFC 7296 section 2.14: ``SK_d``, ``SK_ai``, ...
    """

    private: ClassVar[bool] = True

    sa: SaRef
    initiator_spi: bytes
    responder_spi: bytes
    encryption: int
    key_bits: int | None
    integrity: int | None
    keys: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChildKeysDerived(Event):
    """The keys of a CHILD_SA were derived (private).

    Attributes:
        sa: Its IKE_SA.
        child: The CHILD_SA.
        is_initiator: Whether this side began the exchange that created it.
        encryption: The encryption transform ID.
        key_bits: The key length, or None where the transform has one length only.
        integrity: The integrity transform ID, or None with an AEAD.
        keys: The keys: ``encryption_initiator``, ``encryption_responder``,
            ``integrity_initiator``, ``integrity_responder``.
    """

    private: ClassVar[bool] = True

    sa: SaRef
    child: ChildRef
    is_initiator: bool
    encryption: int
    key_bits: int | None
    integrity: int | None
    keys: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AlertRaised(Event):
    """Something happened that an operator should know.

    Attributes:
        alert: What.
    """

    alert: Alert


class TrafficPair(NamedTuple):
    """Traffic that a CHILD_SA carries: between two networks.

    Attributes:
        local: Our network, ``10.1.0.0/16``.
        remote: The peer's network.
        protocol: IP protocol, 0 for any.
        local_ports: First and last port on our side.
        remote_ports: First and last port on the peer's side.
    """

    local: str
    remote: str
    protocol: int
    local_ports: tuple[int, int]
    remote_ports: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildTraffic(Event):
    """A CHILD_SA begins or ceases to carry traffic: for firewalls and the like.

    Rekeying changes nothing. For each one that began there is one that ceases, later.

    Attributes:
        sa: Its IKE_SA.
        child: The CHILD_SA.
        begins: Whether it begins.
        command: What the configuration wants to be run, empty for nothing.
        host_access: Whether that is to be about this host itself, too.
        protocol: ``esp`` or ``ah``.
        mode: ``TUNNEL`` or ``TRANSPORT``.
        local: Our address.
        remote: The peer's address.
        remote_port: The peer's port where ESP is in UDP, else 0.
        local_id: Our identity.
        remote_id: The peer's, as it chose it.
        marks: Value and mask, inbound and outbound; None for none.
        pairs: What it carries.
    """

    sa: SaRef
    child: ChildRef
    begins: bool
    command: str
    host_access: bool
    protocol: str
    mode: str
    local: str
    remote: str
    remote_port: int
    local_id: str
    remote_id: str
    marks: tuple[tuple[int, int] | None, tuple[int, int] | None]
    pairs: tuple[TrafficPair, ...]
