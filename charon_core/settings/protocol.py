"""The keys of charon.toml about sockets and the protocol: network, ike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.settings import checks
from charon_core.settings.option import Section, option

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NetworkSettings(Section):
    """``[network]``: the IKE sockets."""

    port: int = option(500, "UDP port for IKE. 0: any free one.", minimum=0, maximum=65535)
    port_nat_t: int = option(
        4500, "UDP port for IKE and ESP through NATs. 0: any free one.", minimum=0, maximum=65535
    )
    addresses: tuple[str, ...] = option(
        (),
        "Local addresses to listen on. Empty: all.",
        check=checks.addresses,
        example='["192.0.2.1", "2001:db8::1"]',
    )
    ipv4: bool = option(True, "Listen on IPv4.")
    ipv6: bool = option(True, "Listen on IPv6, where the host has it.")
    max_packet: int = option(
        10000, "Largest IKE message that is taken.", unit="bytes", minimum=1280, maximum=65535
    )
    receive_buffer: int = option(
        4 << 20,
        "Size of the sockets' receive buffers; the default holds a second of a flood. "
        "0: the system's default.",
        unit="bytes",
        minimum=0,
        maximum=1 << 30,
    )
    send_backlog: int = option(
        1024,
        "Datagrams kept while the kernel takes no more; further ones are dropped.",
        minimum=1,
        maximum=1_000_000,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield keys that do not go together, each with what is wrong."""
        if self.port and self.port == self.port_nat_t:
            yield "port_nat_t", f"expected another port than network.port, got {self.port} for both"
        if not self.ipv4 and not self.ipv6:
            yield "ipv6", "expected at least one of ipv4 and ipv6 to be true, got false for both"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IkeSettings(Section):
    """``[ike]``: times and limits of the protocol."""

    retransmit_timeout: float = option(
        4.0,
        "Time before a request is sent again for the first time.",
        unit="s",
        minimum=0.01,
        maximum=600,
    )
    retransmit_base: float = option(
        1.8, "Each further retransmission waits this many times longer.", minimum=1, maximum=10
    )
    retransmit_tries: int = option(
        5, "Retransmissions before the peer counts as dead.", minimum=0, maximum=100
    )
    retransmit_jitter: float = option(
        0.0, "Up to this share of each time-out is taken off at random.", minimum=0, maximum=0.9
    )
    retransmit_limit: float = option(
        0.0,
        "Longest time between two retransmissions. 0: no limit.",
        unit="s",
        minimum=0,
        maximum=86400,
    )
    half_open_timeout: float = option(
        30.0,
        "A responder forgets an IKE_SA that is not authenticated by then.",
        unit="s",
        minimum=1,
        maximum=3600,
    )
    cookie_threshold: int = option(
        30,
        "Half-open IKE_SAs from which on cookies are demanded. 0: never.",
        minimum=0,
        maximum=10_000_000,
    )
    cookie_threshold_ip: int = option(
        3, "The same for those of one address. 0: never.", minimum=0, maximum=1_000_000
    )
    block_threshold: int = option(
        5,
        "Half-open IKE_SAs of one address from which on it is not heard. 0: never.",
        minimum=0,
        maximum=1_000_000,
    )
    init_limit_half_open: int = option(
        0,
        "Half-open IKE_SAs in total from which on new ones are refused. 0: no limit.",
        minimum=0,
        maximum=10_000_000,
    )
    init_limit_job_load: int = option(
        0,
        "Queued jobs from which on new IKE_SAs are refused. 0: no limit.",
        minimum=0,
        maximum=10_000_000,
    )
    ikesa_limit: int = option(
        0,
        "IKE_SAs in total from which on new ones are refused. 0: no limit.",
        minimum=0,
        maximum=100_000_000,
    )
    keep_alive: float = option(
        20.0, "Silence before a NAT keepalive is sent. 0: never.", unit="s", minimum=0, maximum=3600
    )
    fragment_size: int = option(
        1280,
        "Largest IKE datagram with its IP and UDP headers, where both sides can fragment.",
        unit="bytes",
        minimum=576,
        maximum=65535,
    )
    crash_detection: bool = option(
        True,
        "Tell peers at once that their IKE_SAs are lost, after a crash, and believe theirs (RFC "
        "6290).",
    )
    make_before_break: bool = option(
        False,
        "Reauthenticate by a second IKE_SA beside the old one, so that traffic does not stop. "
        "Peers have to allow that: see uniqueids.",
    )
    spi_bits: int = option(
        0,
        "Leading bits of our IKE SPIs that are fixed, so that processes can share the load.",
        minimum=0,
        maximum=32,
    )
    spi_value: int = option(0, "The value of these bits.", minimum=0, maximum=0xFFFFFFFF)
    init_restarts: int = option(
        5,
        "How often cookies or other key exchange methods may restart an IKE_SA_INIT.",
        minimum=0,
        maximum=100,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield keys that do not go together, each with what is wrong."""
        if self.spi_value >> self.spi_bits:
            wanted = f"a number of at most ike.spi_bits = {self.spi_bits} bits"
            yield "spi_value", f"expected {wanted}, got {self.spi_value}"
