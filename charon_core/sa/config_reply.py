"""What of a gateway's CFG_REPLY is acceptable: only what was asked for, and can be meant.

The gateway is authenticated, and may be hostile all the same: it must not give us an address that
draws the traffic of others to us, or name servers for names that we did not leave to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from charon_core.attributes.given import Domain, GivenAttributes, TrustAnchor
from charon_core.attributes.static import domain_name
from charon_core.encoding.registry import ConfigAttribute, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.encoding.payloads import Configuration, ConfigurationAttribute

MAX_KEPT: Final = 16
"""Name servers, subnets, domains and the like of one reply that are kept, of each kind."""

_MIN_TRUST_ANCHOR: Final = 5
_ADDRESSES: Final = frozenset(
    {ConfigAttribute.INTERNAL_IP4_ADDRESS, ConfigAttribute.INTERNAL_IP6_ADDRESS}
)
_SERVERS: Final = frozenset(
    {
        ConfigAttribute.INTERNAL_IP4_DNS,
        ConfigAttribute.INTERNAL_IP6_DNS,
        ConfigAttribute.INTERNAL_IP4_NBNS,
    }
)
_SUBNETS: Final = frozenset(
    {ConfigAttribute.INTERNAL_IP4_SUBNET, ConfigAttribute.INTERNAL_IP6_SUBNET}
)
_TOLERATED: Final = frozenset(
    {
        ConfigAttribute.INTERNAL_IP4_NETMASK,
        ConfigAttribute.APPLICATION_VERSION,
        ConfigAttribute.SUPPORTED_ATTRIBUTES,
    }
)
"""What a reply may have unasked, and means nothing to us."""


@dataclass(slots=True)
class Answer:
    """What is left of a reply."""

    addresses: list[str] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)
    nbns: list[str] = field(default_factory=list)
    subnets: list[str] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)
    others: list[ConfigurationAttribute] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What was refused, and why."""

    def given(self, connection: str) -> GivenAttributes:
        """Return what handlers are to put into force."""
        return GivenAttributes(
            connection=connection,
            addresses=tuple(self.addresses),
            dns=tuple(self.dns),
            nbns=tuple(self.nbns),
            subnets=tuple(self.subnets),
            # Without name servers there is nobody whom these domains could be left to.
            domains=tuple(self.domains) if self.dns else (),
            others=tuple(self.others),
        )


class ReplyReader:
    """Reads one CFG_REPLY."""

    def __init__(
        self,
        asked: Iterable[ConfigurationAttribute],
        *,
        is_local: Callable[[str], bool],
        peer: str,
        accept_domains: Iterable[str] = (),
        accept_trust_anchors: Iterable[str] = (),
    ) -> None:
        """Prepare.

        Args:
            asked: The attributes of our request.
            is_local: Whether an address is one of this host, and not a virtual one.
            peer: The gateway's address.
            accept_domains: Domains that it may have its name servers asked for, with all below.
            accept_trust_anchors: Domains whose trust anchors it may replace.
        """
        self._asked: dict[int, int] = {}
        for attribute in asked:
            self._asked[attribute.type] = self._asked.get(attribute.type, 0) + 1
        self._is_local = is_local
        self._peer = ip_address(peer.partition("%")[0])
        self._domains = tuple(map(domain_name, accept_domains))
        self._anchors = tuple(map(domain_name, accept_trust_anchors))
        self._answer = Answer()
        # The domain that a trust anchor would belong to: it has to follow it (RFC 8598 4.2).
        self._domain: str | None = None
        self._anchors_read = 0

    def read(self, reply: Configuration) -> Answer:
        """Return what is acceptable, with complaints about the rest."""
        for attribute in reply.attributes:
            self._read(attribute)
        return self._answer

    def _read(self, attribute: ConfigurationAttribute) -> None:
        kind, value = attribute.type, attribute.value
        if kind not in {ConfigAttribute.INTERNAL_DNS_DOMAIN, ConfigAttribute.INTERNAL_DNSSEC_TA}:
            self._domain = None
        # Nothing in it: the gateway has none.
        if not value or kind in _TOLERATED:
            return
        if kind not in self._asked:
            self._refuse(attribute, "was not asked for")
        elif kind in _ADDRESSES:
            self._read_address(attribute)
        elif kind in _SERVERS:
            self._read_server(attribute)
        elif kind in _SUBNETS:
            self._read_subnet(attribute)
        elif kind == ConfigAttribute.INTERNAL_DNS_DOMAIN:
            self._read_domain(attribute)
        elif kind == ConfigAttribute.INTERNAL_DNSSEC_TA:
            self._read_trust_anchor(attribute)
        elif len(self._answer.others) < MAX_KEPT:
            self._answer.others.append(attribute)

    def _read_address(self, attribute: ConfigurationAttribute) -> None:
        value = attribute.value
        if len(value) == 17 and value[16] > 128:
            self._refuse(attribute, f"prefix of {value[16]} bits, expected at most 128")
            return
        address = ip_address(value[:16])
        problem = flaw_of(address)
        host = str(address)
        answer = self._answer
        present = sum((":" in known) == (address.version == 6) for known in answer.addresses)
        if not problem and address == self._peer:
            problem = "is the gateway's own address"
        if not problem and self._is_local(host):
            problem = "is an address of this host already"
        if problem:
            self._refuse(attribute, f"{host} {problem}")
        elif host in answer.addresses:
            return
        elif present >= self._asked[attribute.type]:
            self._refuse(attribute, f"{host} is more than was asked for")
        else:
            answer.addresses.append(host)

    def _read_server(self, attribute: ConfigurationAttribute) -> None:
        address = ip_address(attribute.value)
        problem = flaw_of(address)
        is_nbns = attribute.type == ConfigAttribute.INTERNAL_IP4_NBNS
        servers = self._answer.nbns if is_nbns else self._answer.dns
        if problem:
            self._refuse(attribute, f"{address} {problem}")
        else:
            self._keep(attribute, servers, str(address))

    def _read_subnet(self, attribute: ConfigurationAttribute) -> None:
        value = attribute.value
        try:
            if len(value) == 8:
                network = str(IPv4Network((value[:4], _prefix_of(value[4:])), strict=False))
            else:
                network = str(IPv6Network((value[:16], value[16]), strict=False))
        except ValueError as error:
            self._refuse(attribute, str(error))
        else:
            self._keep(attribute, self._answer.subnets, network)

    def _read_domain(self, attribute: ConfigurationAttribute) -> None:
        self._domain = None
        try:
            name = domain_name(attribute.value.decode("ascii", "replace"))
        except ValueError as error:
            self._refuse(attribute, str(error))
            return
        if not _is_within(name, self._domains):
            self._refuse(
                attribute, f"{name} is not in attributes.accept_domains, nor below one of these"
            )
            return
        domains = self._answer.domains
        if all(known.name != name for known in domains):
            if len(domains) == MAX_KEPT:
                self._refuse(attribute, f"more than {MAX_KEPT}")
                return
            domains.append(Domain(name))
        self._domain = name

    def _read_trust_anchor(self, attribute: ConfigurationAttribute) -> None:
        value, name = attribute.value, self._domain
        if name is None:
            self._refuse(attribute, "follows no domain that is accepted")
        elif not _is_within(name, self._anchors):
            self._refuse(attribute, f"{name} is not in attributes.accept_trust_anchors")
        elif len(value) < _MIN_TRUST_ANCHOR:
            self._refuse(attribute, f"{len(value)} octets, expected {_MIN_TRUST_ANCHOR} or more")
        elif self._anchors_read == MAX_KEPT:
            self._refuse(attribute, f"more than {MAX_KEPT}")
        else:
            self._anchors_read += 1
            anchor = TrustAnchor(int.from_bytes(value[:2], "big"), value[2], value[3], value[4:])
            self._answer.domains[:] = [
                domain._replace(trust_anchors=(*domain.trust_anchors, anchor))
                if domain.name == name
                else domain
                for domain in self._answer.domains
            ]

    def _keep(self, attribute: ConfigurationAttribute, kept: list[str], text: str) -> None:
        if text in kept:
            return
        if len(kept) == MAX_KEPT:
            self._refuse(attribute, f"more than {MAX_KEPT}")
        else:
            kept.append(text)

    def _refuse(self, attribute: ConfigurationAttribute, problem: str) -> None:
        # What a peer can make us remember and log is bounded.
        complaints = self._answer.complaints
        if len(complaints) < MAX_KEPT:
            complaints.append(f"{name_of(ConfigAttribute, attribute.type)}: {problem}")
        elif len(complaints) == MAX_KEPT:
            complaints.append("and more")


def flaw_of(address: IPv4Address | IPv6Address) -> str:
    """Return why an address cannot be that of one host in a network; empty if it can."""
    if address.is_unspecified:
        return "is no address"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_loopback:
        return "is a loopback address"
    if address.is_link_local:
        return "is a link-local address"
    if isinstance(address, IPv4Address):
        if address.is_reserved:
            return "is a reserved address"
        if address in _THIS_NETWORK:
            return "is an address of 'this network'"
    elif address.ipv4_mapped is not None:
        return "is an IPv4 address in the form of an IPv6 one"
    return ""


_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")


def _prefix_of(mask: bytes) -> int:
    """Return the prefix bits of an IPv4 netmask.

    Raises:
        ValueError: Its ones are not all in front.
    """
    hosts = int.from_bytes(mask, "big") ^ 0xFFFFFFFF
    if hosts & (hosts + 1):
        raise ValueError(f"{IPv4Address(mask)} is no netmask")
    return 32 - hosts.bit_length()


def _is_within(name: str, domains: Iterable[str]) -> bool:
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)
