"""The states of IKE_SAs and CHILD_SAs, and what an IKE_SA knows of its peer and path."""

from __future__ import annotations

from enum import Enum, Flag, auto


class IkeState(Enum):
    """Where an IKE_SA is in its life."""

    CREATED = "CREATED"
    CONNECTING = "CONNECTING"
    ESTABLISHED = "ESTABLISHED"
    DELETING = "DELETING"
    DESTROYING = "DESTROYING"


class ChildState(Enum):
    """Where a CHILD_SA is in its life."""

    CREATED = "CREATED"
    INSTALLING = "INSTALLING"
    INSTALLED = "INSTALLED"
    DELETING = "DELETING"
    DESTROYING = "DESTROYING"


class Arrival(Enum):
    """What a message's header says about it."""

    WANTED = "wanted"
    REPEATED = "repeated"
    """A request that was answered already."""
    UNWANTED = "unwanted"


class Trait(Flag):
    """What the two sides of an IKE_SA have learned of each other and of the path between them."""

    NONE = 0
    NAT_HERE = auto()
    """A NAT changes the addresses that we send from (RFC 7296 2.23)."""
    NAT_THERE = auto()
    """A NAT stands before the peer."""
    NAT_FAKED = auto()
    """UDP encapsulation was forced by announcing a wrong source address hash."""
    PEER_NATT = auto()
    """The peer sent NAT detection notifies: it can use port 4500."""
    PEER_FRAGMENTS = auto()
    """The peer announced IKE fragmentation."""
    FRAGMENTATION = auto()
    """Both sides announced IKE fragmentation (RFC 7383)."""
    SIGNATURE_AUTH = auto()
    """The peer announced hash algorithms for digital signatures (RFC 7427)."""
    PEER_WANTS_CERTIFICATE = auto()
    """The peer sent a certificate request."""
    PEER_LOOKS_UP = auto()
    """The peer fetches certificates of which it is sent a hash and a URL (RFC 7296 3.6)."""

    @property
    def nat_anywhere(self) -> bool:
        """Whether IKE and ESP have to run over port 4500."""
        return bool(self & (Trait.NAT_HERE | Trait.NAT_THERE | Trait.NAT_FAKED))
