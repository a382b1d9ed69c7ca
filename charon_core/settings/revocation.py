"""The keys of charon.toml about what is asked of servers about certificates."""

from __future__ import annotations

from dataclasses import dataclass

from charon_core.settings.option import Section, option


def _web_schemes(value: tuple[str, ...]) -> str | None:
    """Expect schemes that can be fetched from other hosts."""
    return None if {"http", "https"}.issuperset(value) else '"http", "https" or both'


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RevocationSettings(Section):
    """``[revocation]``: OCSP, revocation lists, and how they are fetched."""

    fetch: bool = option(
        True,
        "Ask OCSP responders and fetch CRLs, where certificates that are trusted, or ca sections, "
        "name them. Who has not proved to own the certificate causes no fetch.",
    )
    patience: float = option(
        10.0,
        "How long an authentication waits for such an answer; then it counts as not to be had. "
        "Never longer than half of ike.half_open_timeout.",
        unit="s",
        minimum=0.1,
        maximum=120,
    )
    timeout: float = option(
        4.0,
        "Longest time that one fetch takes, from the look-up of the name to the last octet.",
        unit="s",
        minimum=0.1,
        maximum=120,
    )
    connect_timeout: float = option(
        3.0,
        "Longest time that a connection to one address takes.",
        unit="s",
        minimum=0.1,
        maximum=120,
    )
    max_size: int = option(
        8 << 20, "Largest CRL that is taken.", unit="bytes", minimum=1024, maximum=256 << 20
    )
    max_fetches: int = option(
        4,
        "Workers that fetch at the same time; never more than half of charon.threads.",
        minimum=1,
        maximum=64,
    )
    schemes: tuple[str, ...] = option(
        ("http",),
        "Schemes of URIs in certificates that are followed; ca sections may name files, too.",
        check=_web_schemes,
    )
    addresses: str = option(
        "private",
        "Where URIs in certificates may lead. public: to addresses of the Internet only; private: "
        "to private networks as well, but not to this host, link-local addresses and the like; "
        "any: everywhere. URIs of ca sections may lead everywhere.",
        choices=("public", "private", "any"),
    )
    retry: float = option(
        30.0,
        "After a failure it is asked again after this time; after each further one, twice as long, "
        "up to half an hour.",
        unit="s",
        minimum=1,
        maximum=1800,
    )
    ocsp_nonce: bool = option(True, "Send a nonce in OCSP requests, against replays.")
    hash_and_url: bool = option(
        False,
        "Fetch certificates that peers send as a hash and a URL. Anybody can have this host "
        "connect to where it likes then, within the limits above, before it has proved who it is.",
    )
    cache_crls: bool = option(
        False,
        "Keep CRLs that were fetched in paths.crl_cache, too, so that they outlive the daemon.",
    )
    refresh: float = option(
        0.0,
        "Fetch a CRL anew so long before it expires. 0: once it is needed.",
        unit="s",
        minimum=0,
        maximum=30 * 86400,
    )
