"""The keys of charon.toml about virtual addresses and configuration attributes."""

from __future__ import annotations

from dataclasses import dataclass

from charon_core.settings import checks
from charon_core.settings.option import Section, option


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AttributeSettings(Section):
    """``[attributes]``: what peers are told, and what is done with what they tell us."""

    dns: tuple[str, ...] = option(
        (),
        "Name servers for all peers that ask for some, beside those of their connection.",
        check=checks.addresses,
        example='["10.1.0.53"]',
    )
    nbns: tuple[str, ...] = option(
        (),
        "NetBIOS (WINS) name servers for all peers that ask for some.",
        check=checks.ipv4_addresses,
        example='["10.1.0.54"]',
    )
    subnets: tuple[str, ...] = option(
        (),
        "Networks behind us, for all peers that ask which there are.",
        check=checks.networks,
        example='["10.1.0.0/16"]',
    )
    domains: tuple[str, ...] = option(
        (),
        "Domains that these name servers are for, for peers that know split DNS (RFC 8598). "
        "Empty: for all names.",
        check=checks.domains,
        example='["corp.example.org"]',
    )
    accept_domains: tuple[str, ...] = option(
        (),
        "Domains that a gateway may have its name servers asked for alone, with all below them "
        "(RFC 8598). Empty: split DNS is not asked for.",
        check=checks.domains,
        example='["corp.example.org"]',
    )
    accept_trust_anchors: tuple[str, ...] = option(
        (),
        "Of these domains, those whose DNSSEC trust anchors a gateway may replace.",
        check=checks.domains,
        example='["corp.example.org"]',
    )
    max_virtual_ips: int = option(
        8, "Virtual addresses that one peer may have of us.", minimum=1, maximum=64
    )
    interface: str = option(
        "",
        "Interface that gets our virtual addresses. Empty: the TUN device of the kernel backend, "
        "or else the one with the address of the IKE_SA.",
        check=checks.optional_interface,
        example='"lo"',
    )
    resolv_conf: str = option(
        "/etc/resolv.conf",
        "File that name servers of gateways are written into, as long as the tunnel is up. "
        "Empty: none. For a daemon in a network namespace: /etc/netns/NAME/resolv.conf.",
        check=checks.optional_path,
    )
    resolvconf: str = option(
        "/sbin/resolvconf",
        "Program that takes name servers; if it is there, the file is left to it. Empty: none.",
        check=checks.optional_path,
    )
