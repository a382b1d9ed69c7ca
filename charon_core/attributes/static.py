"""Attributes that every peer is told: those of the settings, and those of one connection."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from charon_core.encoding.registry import ConfigAttribute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.encoding.payloads import ConfigurationAttribute


class StaticAttributes:
    """The same for all peers; has no addresses."""

    name = "settings"

    def __init__(
        self,
        *,
        dns: Iterable[str] = (),
        nbns: Iterable[str] = (),
        subnets: Iterable[str] = (),
        domains: Iterable[str] = (),
    ) -> None:
        """Take name servers, NetBIOS name servers (IPv4), networks behind us, and domains.

        Raises:
            ValueError: One of them is none.
        """
        self._attributes = (
            *map(dns_server, dns),
            *map(nbns_server, nbns),
            *map(subnet, subnets),
            *map(dns_domain, domains),
        )

    def acquire(self, pool: str, identity: str, wanted: str | None, search: object) -> None:
        """Have no addresses."""

    def release(self, pool: str, identity: str, address: str) -> bool:  # noqa: ARG002
        """Have leased none."""
        return False

    def attributes(
        self,
        pools: Iterable[str],  # noqa: ARG002 - the same for everybody
        identity: str,  # noqa: ARG002
    ) -> tuple[ConfigurationAttribute, ...]:
        """Return what was set."""
        return self._attributes


def dns_server(host: str) -> ConfigurationAttribute:
    """Return the attribute of a name server.

    Raises:
        ValueError: It is no address.
    """
    address = ip_address(host)
    kind = (
        ConfigAttribute.INTERNAL_IP4_DNS
        if address.version == 4
        else ConfigAttribute.INTERNAL_IP6_DNS
    )
    return _attribute(kind, address.packed)


def nbns_server(host: str) -> ConfigurationAttribute:
    """Return the attribute of a NetBIOS name server, which there is for IPv4 alone.

    Raises:
        ValueError: It is no IPv4 address.
    """
    address = ip_address(host)
    if address.version != 4:
        raise ValueError(f"'{host}' is no IPv4 address")
    return _attribute(ConfigAttribute.INTERNAL_IP4_NBNS, address.packed)


def subnet(text: str) -> ConfigurationAttribute:
    """Return the attribute of a network behind us (RFC 7296 section 3.15.1).

    Raises:
        ValueError: It is no network.
    """
    network = ip_network(text)
    if network.version == 4:
        value = network.network_address.packed + network.netmask.packed
        return _attribute(ConfigAttribute.INTERNAL_IP4_SUBNET, value)
    value = network.network_address.packed + bytes([network.prefixlen])
    return _attribute(ConfigAttribute.INTERNAL_IP6_SUBNET, value)


def dns_domain(name: str) -> ConfigurationAttribute:
    """Return the attribute of a domain (RFC 8598 section 4.1).

    Raises:
        ValueError: It is no domain name in ASCII.
    """
    return _attribute(ConfigAttribute.INTERNAL_DNS_DOMAIN, domain_name(name).encode("ascii"))


def domain_name(text: str) -> str:
    """Return a domain name in the form in which names are compared.

    Raises:
        ValueError: It is none: labels of 1 to 63 letters, digits, hyphens and underscores, at
            most 253 characters. What is not ASCII has to be written as an A-label.
    """
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if (
        not name.isascii()
        or len(name) > _MAX_NAME
        or not all(
            1 <= len(label) <= _MAX_LABEL
            and label.replace("-", "").replace("_", "").isalnum()
            and not label.startswith("-")
            and not label.endswith("-")
            for label in labels
        )
    ):
        raise ValueError(f"{text[:80]!a} is no domain name")
    return name


_MAX_NAME = 253
_MAX_LABEL = 63


def _attribute(kind: ConfigAttribute, value: bytes) -> ConfigurationAttribute:
    # Loaded with the first attribute: pools alone need no wire format.
    from charon_core.encoding.payloads import ConfigurationAttribute

    return ConfigurationAttribute(kind, value)
