"""A gateway's answer to a CFG_REQUEST: addresses of its pools, and attributes (RFC 7296 3.15)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from charon_core.attributes.static import dns_server
from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.identification import Identification
from charon_core.encoding.payloads import ConfigurationAttribute
from charon_core.encoding.registry import ConfigAttribute, IdType, NotifyType
from charon_core.sa.config_reply import flaw_of
from charon_core.sa.virtual_addresses import LeasedAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.config.peer import PeerConfig
    from charon_core.encoding.payloads import Configuration
    from charon_core.sa.ike_sa import IkeSa

ANY: Final = {
    int(ConfigAttribute.INTERNAL_IP4_ADDRESS): "0.0.0.0",
    int(ConfigAttribute.INTERNAL_IP6_ADDRESS): "::",
}
"""What stands for any address of a family, by the attribute that asks for one."""

MAX_ANSWERED: Final = 64
"""Attributes of an answer beside addresses."""

_IP4_ADDRESS: Final = ConfigAttribute.INTERNAL_IP4_ADDRESS
_VERSION: Final = b"charon"
_MAX_REJECTED: Final = 4
"""Addresses of a pool that turn out to be our own before it counts as having none."""

_SUPPORTED: Final = (
    ConfigAttribute.INTERNAL_IP4_ADDRESS,
    ConfigAttribute.INTERNAL_IP4_DNS,
    ConfigAttribute.INTERNAL_IP4_NBNS,
    ConfigAttribute.APPLICATION_VERSION,
    ConfigAttribute.INTERNAL_IP6_ADDRESS,
    ConfigAttribute.INTERNAL_IP6_DNS,
    ConfigAttribute.INTERNAL_IP4_SUBNET,
    ConfigAttribute.SUPPORTED_ATTRIBUTES,
    ConfigAttribute.INTERNAL_IP6_SUBNET,
    ConfigAttribute.INTERNAL_DNS_DOMAIN,
)


def address_attribute(host: str) -> ConfigurationAttribute:
    """Return the attribute with an address; `0.0.0.0` and `::` ask for any of their family."""
    address = ip_address(host)
    value = b"" if address.is_unspecified else address.packed
    if address.version == 4:
        return ConfigurationAttribute(ConfigAttribute.INTERNAL_IP4_ADDRESS, value)
    prefix = bytes([address.max_prefixlen]) if value else b""
    return ConfigurationAttribute(ConfigAttribute.INTERNAL_IP6_ADDRESS, value + prefix)


def lease_identity(ike: IkeSa) -> str:
    """Return whom pools lease addresses to.

    Identities of two types may look alike, and must not get each other's addresses: what is not
    read as itself again is shown with its type.
    """
    identity = ike.remote_id
    if identity is None:
        return "%any"
    text = str(identity)
    if identity.id_type == IdType.DER_ASN1_DN or Identification.parse(text) == identity:
        return text
    return f"{identity.type_name}:{text}"


def assign(
    ike: IkeSa, request: Configuration | None, *, replaces: bool = False
) -> NotifyType | None:
    """Lease the peer what it asks for, as far as it has none yet.

    Args:
        ike: The IKE_SA, which is authenticated.
        request: What the peer asks for.
        replaces: Whether older IKE_SAs of the peer give way to this one (uniqueids,
            INITIAL_CONTACT). They do so in a moment, and still have the addresses that it is to
            get again.

    Returns:
        What the peer gets instead of a CHILD_SA, since it has no address; None if all is well.
    """
    config = ike.peer_config
    wanted = _wanted(request)
    if config is None or ike.virtual.remote:
        return None
    identity = lease_identity(ike)
    if not wanted:
        if not config.pools:
            return None
        ike.alert(
            AlertKind.VIRTUAL_IP_FAILURE,
            f"'{identity}' asks for no virtual address, connection '{config.name}' demands it "
            f"(rightsourceip={','.join(config.pools)}); have the peer ask for one",
            connection=config.name, identity=identity,
        )  # fmt: skip
        return NotifyType.FAILED_CP_REQUIRED
    if not config.pools:
        ike.alert(
            AlertKind.VIRTUAL_IP_FAILURE,
            f"'{identity}' asks for a virtual address, connection '{config.name}' has none to "
            "give; set rightsourceip, or have the peer ask for none",
            connection=config.name, identity=identity,
        )  # fmt: skip
        return NotifyType.INTERNAL_ADDRESS_FAILURE
    limit = ike.env.parameters.max_virtual_ips
    if len(wanted) > limit:
        ike.log(
            Group.CFG, Level.CONTROL, "peer asks for %d virtual addresses, at most %d are given",
            len(wanted), limit,
        )  # fmt: skip
    former = list(ike.env.attributes.leased_to(identity)) if replaces else []
    for host in wanted[:limit]:
        again = next((old for old in former if host == _any_like(old)), host)
        if again in former:
            former.remove(again)
        _lease(ike, config, identity, again)
    if ike.virtual.remote:
        return None
    _report_exhausted(ike, config, identity, wanted)
    return NotifyType.INTERNAL_ADDRESS_FAILURE


def answer(ike: IkeSa, request: Configuration) -> tuple[ConfigurationAttribute, ...]:
    """Return the attributes of the CFG_REPLY: what the peer has, and what else it asked for."""
    asked = {attribute.type for attribute in request.attributes}
    found = [address_attribute(host) for host in ike.virtual.remote]
    found += _provided(ike, asked)
    if ConfigAttribute.SUPPORTED_ATTRIBUTES in asked:
        value = b"".join(kind.to_bytes(2, "big") for kind in _SUPPORTED)
        found.append(ConfigurationAttribute(ConfigAttribute.SUPPORTED_ATTRIBUTES, value))
    if ConfigAttribute.APPLICATION_VERSION in asked:
        found.append(ConfigurationAttribute(ConfigAttribute.APPLICATION_VERSION, _VERSION))
    return tuple(found)


def _wanted(request: Configuration | None) -> list[str]:
    """Return the addresses that are asked for; the same one only once, and what is none as any."""
    found: list[str] = []
    for attribute in request.attributes if request is not None else ():
        anything = ANY.get(attribute.type)
        if anything is None:
            continue
        host = anything
        if attribute.value:
            address = ip_address(attribute.value[:16])
            host = anything if flaw_of(address) else str(address)
        if host == anything or host not in found:
            found.append(host)
    return found


def _any_like(host: str) -> str:
    kind = ConfigAttribute.INTERNAL_IP6_ADDRESS if ":" in host else _IP4_ADDRESS
    return ANY[kind]


def _lease(ike: IkeSa, config: PeerConfig, identity: str, wanted: str) -> None:
    """Lease one address, if there is one."""
    attributes, net = ike.env.attributes, ike.env.kernel.net
    rejected: list[tuple[str, str]] = []
    while len(rejected) < _MAX_REJECTED:
        found = attributes.acquire(config.pools, identity, wanted)
        if found is None:
            break
        pool, host = found
        # A pool may overlap the network that we are in: nobody else may get our own address.
        if host not in ike.virtual.remote and not net.is_local(host):
            ike.virtual.lease(ike, LeasedAddress(host, pool, identity))
            break
        rejected.append(found)
    for pool, host in rejected:
        attributes.release(pool, identity, host)


def _report_exhausted(ike: IkeSa, config: PeerConfig, identity: str, wanted: list[str]) -> None:
    shown = []
    for name in config.pools:
        pool = ike.env.attributes.memory.find(name)
        sizes = f" ({pool.size} addresses, {pool.online} in use)" if pool is not None else ""
        shown.append(f"'{name}'{sizes}")
    ike.alert(
        AlertKind.VIRTUAL_IP_FAILURE,
        f"no virtual address for '{identity}', who asks for {', '.join(wanted[:8])}: nothing left "
        f"in {', '.join(shown)}; widen rightsourceip",
        connection=config.name, identity=identity, pools=",".join(config.pools),
    )  # fmt: skip


def _provided(ike: IkeSa, asked: set[int]) -> list[ConfigurationAttribute]:
    """Return what providers have of what was asked for; the connection's name servers first."""
    found: list[ConfigurationAttribute] = []
    for attribute in _candidates(ike):
        if (
            attribute.type in asked
            and attribute.type not in ANY
            # Anchors of two domains may be alike: each belongs to the one before it.
            and (attribute.type == ConfigAttribute.INTERNAL_DNSSEC_TA or attribute not in found)
            and len(found) < MAX_ANSWERED
        ):
            found.append(attribute)
    has_dns = any(
        attribute.type in {ConfigAttribute.INTERNAL_IP4_DNS, ConfigAttribute.INTERNAL_IP6_DNS}
        for attribute in found
    )
    if not has_dns:
        # Domains are those of the name servers that come along (RFC 8598 section 3.2).
        domains = {ConfigAttribute.INTERNAL_DNS_DOMAIN, ConfigAttribute.INTERNAL_DNSSEC_TA}
        found = [attribute for attribute in found if attribute.type not in domains]
    return found


def _candidates(ike: IkeSa) -> Iterator[ConfigurationAttribute]:
    config = ike.peer_config
    if config is not None:
        yield from map(dns_server, config.dns)
        yield from ike.env.attributes.attributes(config.pools, lease_identity(ike))
