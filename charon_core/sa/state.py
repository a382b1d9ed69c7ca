"""The states of IKE_SAs and CHILD_SAs, and what an IKE_SA knows of its peer and path."""

from __future__ import annotations

from enum import Enum, Flag, auto
from typing import Final

from charon_core.key_enum import KeyEnum


class IkeState(KeyEnum):
    """Where an IKE_SA is in its life."""

    CREATED = "CREATED"
    CONNECTING = "CONNECTING"
    ESTABLISHED = "ESTABLISHED"
    REKEYING = "REKEYING"
    """Our request to replace it is under way."""
    REKEYED = "REKEYED"
    """Another one has its place; its delete is due, from whoever asked for the rekeying."""
    DELETING = "DELETING"
    DESTROYING = "DESTROYING"

    def __str__(self) -> str:
        return self._value_

    @property
    def is_up(self) -> bool:
        """Whether the IKE_SA is authenticated, and there to be used."""
        return self in _UP


_UP: Final = frozenset({IkeState.ESTABLISHED, IkeState.REKEYING})


class ChildState(KeyEnum):
    """Where a CHILD_SA is in its life."""

    CREATED = "CREATED"
    INSTALLING = "INSTALLING"
    INSTALLED = "INSTALLED"
    REKEYING = "REKEYING"
    """Our request to replace it is under way."""
    REKEYED = "REKEYED"
    """Another one takes its place; its delete is due, from whoever asked for the rekeying."""
    DELETING = "DELETING"
    DELETED = "DELETED"
    """Deleted after rekeying: it still takes what the peer had sent before."""
    DESTROYING = "DESTROYING"

    def __str__(self) -> str:
        return self._value_

    @property
    def is_in_kernel(self) -> bool:
        """Whether SAs are installed, at least the inbound one."""
        return self in _IN_KERNEL


_IN_KERNEL: Final = frozenset(
    {
        ChildState.INSTALLED,
        ChildState.REKEYING,
        ChildState.REKEYED,
        ChildState.DELETING,
        ChildState.DELETED,
    }
)


class Arrival(Enum):
    """What a message's header says about it."""

    WANTED = "wanted"
    REPEATED = "repeated"
    """A request that was answered already."""
    UNWANTED = "unwanted"


class Trait(Flag):
    """What the two sides of an IKE_SA have learned of each other and of the path between them."""

    NONE = 0
    WE_BEGAN = auto()
    """We initiated the first of the IKE_SAs that have replaced each other."""
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
    INTERMEDIATE = auto()
    """The peer can do IKE_INTERMEDIATE exchanges (RFC 9242)."""
    PEER_WANTS_CERTIFICATE = auto()
    """The peer sent a certificate request."""
    PEER_LOOKS_UP = auto()
    """The peer fetches certificates of which it is sent a hash and a URL (RFC 7296 3.6)."""

    @property
    def nat_anywhere(self) -> bool:
        """Whether IKE and ESP have to run over port 4500."""
        return self._value_ & _NAT_ANYWHERE != 0

    def __or__(self, other: Trait) -> Trait:
        """Return the traits of both, by a look-up: Flag's own way takes twenty times as long."""
        value = self._value_ | other._value_
        known = _TRAITS.get(value)
        return Trait(value) if known is None else known  # type: ignore[return-value]


_NAT_ANYWHERE: Final[int] = Trait.NAT_HERE.value | Trait.NAT_THERE.value | Trait.NAT_FAKED.value
_TRAITS: Final = Trait._value2member_map_
"""The combinations that have come up, by their numbers; `Flag` adds to it."""
