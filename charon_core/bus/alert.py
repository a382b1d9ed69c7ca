"""Alerts: what an operator should hear about, as a kind with a text and details."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.bus.refs import SaRef

_NO_DETAILS: Mapping[str, str] = MappingProxyType({})


class AlertKind(Enum):
    """What went wrong; the value is a stable word for control protocols and logs."""

    LOCAL_AUTHENTICATION_FAILED = "local-authentication-failed"
    """We could not authenticate ourselves, or the peer did not accept it."""
    PEER_AUTHENTICATION_FAILED = "peer-authentication-failed"
    """The peer did not prove its identity."""
    PEER_CONFIG_MISSING = "peer-config-missing"
    """No connection fits the addresses and identities."""
    PEER_ADDRESS_INVALID = "peer-address-invalid"
    """The peer's name cannot be resolved, or its address cannot be used."""
    PEER_UNREACHABLE = "peer-unreachable"
    """The peer did not answer to the initiation, or does not answer any more."""
    RETRANSMIT = "retransmit"
    """A request was sent again; details: message ID, try."""
    RETRANSMIT_GIVEN_UP = "retransmit-given-up"
    """The last retransmission stayed unanswered."""
    HALF_OPEN_TIMEOUT = "half-open-timeout"
    """An IKE_SA was not established in time and is destroyed."""
    PROPOSAL_MISMATCH_IKE = "proposal-mismatch-ike"
    """No common proposal for the IKE_SA."""
    PROPOSAL_MISMATCH_CHILD = "proposal-mismatch-child"
    """No common proposal for a CHILD_SA."""
    TS_MISMATCH = "traffic-selector-mismatch"
    """No common traffic selectors."""
    MODE_MISMATCH = "mode-mismatch"
    """The peer wants another mode (tunnel, transport)."""
    PARSE_ERROR = "parse-error"
    """A message could not be parsed; details: payload, offset, reason."""
    INVALID_SPI = "invalid-spi"
    """A message or a notify names an SPI that is not known here."""
    INVALID_MESSAGE_ID = "invalid-message-id"
    """A message ID out of the window."""
    UNIQUE_REPLACED = "unique-replaced"
    """An IKE_SA gave way to a newer one with the same peer."""
    UNIQUE_KEPT = "unique-kept"
    """A new IKE_SA was refused since one with the same peer exists."""
    KERNEL_FAILURE = "kernel-failure"
    """An SA, a policy, a route or an address could not be installed."""
    VIRTUAL_IP_FAILURE = "virtual-ip-failure"
    """No virtual address could be given or got."""
    AUTHORIZATION_FAILED = "authorization-failed"
    """The peer is who it says, but is not allowed in."""
    CERTIFICATE_EXPIRED = "certificate-expired"
    """A certificate is out of its validity."""
    CERTIFICATE_REVOKED = "certificate-revoked"
    """A certificate is on its issuer's revocation list."""
    CERTIFICATE_UNTRUSTED = "certificate-untrusted"
    """No chain to a trusted certificate."""
    CERTIFICATE_CONSTRAINT = "certificate-constraint"
    """A certificate breaks a constraint of its chain or of the connection."""
    LISTENER_FAILURE = "listener-failure"
    """A listener of the bus raised; after several failures in a row it is removed."""
    JOB_FAILURE = "job-failure"
    """A job raised, or is busy for too long."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        kind: What went wrong.
        sa: The IKE_SA concerned, or None.
        text: One line for people: expected, came, where, what to do. Holds no secrets.
        details: The same for programs, as words to text.
    """

    kind: AlertKind
    sa: SaRef | None
    text: str
    details: Mapping[str, str] = field(default_factory=lambda: _NO_DETAILS)
