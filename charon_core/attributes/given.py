"""What a gateway gave us beside addresses: values for whoever sets this host up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from charon_core.encoding.payloads import ConfigurationAttribute


class TrustAnchor(NamedTuple):
    """A DS record that a domain's DNSSEC chain ends at (RFC 8598 section 4.2)."""

    key_tag: int
    algorithm: int
    digest_type: int
    digest: bytes


class Domain(NamedTuple):
    """A domain, with all below it, that the name servers of the tunnel are for (RFC 8598)."""

    name: str
    """In lower case, A-labels, without a final dot."""
    trust_anchors: tuple[TrustAnchor, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GivenAttributes:
    """Attributes of one CFG_REPLY, as far as they were asked for and are acceptable.

    Compared by identity: the object stands for the IKE_SA that it came with, and for those that
    take its place by rekeying.
    """

    connection: str
    """The connection's name."""
    addresses: tuple[str, ...] = ()
    """The virtual addresses that came along."""
    dns: tuple[str, ...] = ()
    """Name servers."""
    nbns: tuple[str, ...] = ()
    """NetBIOS name servers."""
    subnets: tuple[str, ...] = ()
    """Networks behind the gateway, in CIDR notation; what may be sent there the traffic selectors
    say (RFC 7296 section 3.15.2)."""
    domains: tuple[Domain, ...] = ()
    """If there are any, the name servers are for these alone."""
    others: tuple[ConfigurationAttribute, ...] = ()
    """What handlers asked for beyond that, as it came."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing for a handler."""
        return not (self.dns or self.nbns or self.subnets or self.domains or self.others)
