"""Traffic selectors: which packets a CHILD_SA carries, and how two sides narrow them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING, Final

from charon_core.config.protocol_port import (
    ANY_PROTOCOL,
    ICMP_PROTOCOLS,
    MAX_PORT,
    parse_protocol_port,
)
from charon_core.config.service_names import host_tables
from charon_core.encoding.errors import ParseError
from charon_core.encoding.registry import TsType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from charon_core.encoding.payloads import SelectorSubstructure

__all__ = [
    "ANY_PROTOCOL",
    "MAX_NARROWED",
    "MAX_PORT",
    "TrafficSelector",
    "merge",
    "narrow",
    "parse_protocol_port",
]

MAX_NARROWED: Final = 128
"""Selectors that narrowing yields at most: as many as a TS payload may have here."""

_SIZES: Final = {4: 4, 6: 16}
_SOCKET_FAMILIES: Final = {4: AF_INET, 6: AF_INET6}
_TS_TYPES: Final = {4: int(TsType.IPV4_ADDR_RANGE), 6: int(TsType.IPV6_ADDR_RANGE)}
_FAMILIES: Final = {number: family for family, number in _TS_TYPES.items()}


@dataclass(frozen=True, slots=True)
class TrafficSelector:
    """A range of addresses and of ports of one protocol (RFC 7296 section 3.13.1).

    Attributes:
        family: 4 or 6.
        protocol: IP protocol, 0 for any.
        start_port: First port. ICMP has the type in the high and the code in the low octet.
        end_port: Last port; a start of 65535 with an end of 0 means OPAQUE: ports that cannot
            be seen, as in fragments.
        start: First address, 4 or 16 octets.
        end: Last address.
        dynamic: The addresses are still to be filled in with those of the IKE_SA.

    Raises:
        ValueError: the lengths of the addresses do not fit the family, or a range is reversed.
    """

    family: int
    protocol: int
    start_port: int
    end_port: int
    start: bytes
    end: bytes
    dynamic: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        size = _SIZES.get(self.family)
        if size is None or len(self.start) != size or len(self.end) != size:
            message = (
                f"selector of family {self.family} with addresses of {len(self.start)} and "
                f"{len(self.end)} octets, expected 4 (IPv4) or 16 (IPv6)"
            )
            raise ValueError(message)
        if self.start > self.end:
            message = f"selector ends at {self.end.hex()}, before its start {self.start.hex()}"
            raise ValueError(message)
        ports = 0 <= self.start_port <= self.end_port <= MAX_PORT
        if not 0 <= self.protocol <= 255 or not (ports or self.is_opaque):
            message = (
                f"selector with protocol {self.protocol}, ports {self.start_port}-{self.end_port}"
            )
            raise ValueError(message)

    def __hash__(self) -> int:
        # These tell selectors apart well enough; the other fields would only take time.
        return hash((self.start, self.end, self.start_port, self.end_port))

    @classmethod
    def network(
        cls,
        address: str,
        prefix: int | None = None,
        *,
        protocol: int = ANY_PROTOCOL,
        ports: tuple[int, int] = (0, MAX_PORT),
    ) -> TrafficSelector:
        """Make the selector of a network; host bits are cleared.

        Args:
            address: IPv4 or IPv6 address.
            prefix: Prefix bits; None for the one address.
            protocol: IP protocol, 0 for any.
            ports: First and last port.

        Raises:
            ValueError: not an address, or a prefix that is negative or longer than it.
        """
        family, packed = _pack(address)
        size = 8 * len(packed)
        bits = size if prefix is None else prefix
        if not 0 <= bits <= size:
            message = (
                f"'{address}/{bits}' is no network: a prefix of this address has 0 to {size} bits"
            )
            raise ValueError(message)
        hosts = (1 << (size - bits)) - 1
        low = int.from_bytes(packed, "big") & ~hosts
        start, end = low.to_bytes(len(packed), "big"), (low | hosts).to_bytes(len(packed), "big")
        return cls(family, protocol, *ports, start, end)

    @classmethod
    def any_of(cls, family: int) -> TrafficSelector:
        """Return the selector of all packets of family 4 or 6."""
        size = _SIZES[family]
        return cls(family, ANY_PROTOCOL, 0, MAX_PORT, bytes(size), b"\xff" * size)

    @classmethod
    def from_range(cls, first: str, last: str) -> TrafficSelector:
        """Make the selector of a range of addresses, both included.

        Raises:
            ValueError: not addresses of one family, or in the wrong order.
        """
        family, start = _pack(first)
        return cls(family, ANY_PROTOCOL, 0, MAX_PORT, start, _pack(last)[1])

    @classmethod
    def dynamic_of(
        cls, protocol: int = ANY_PROTOCOL, ports: tuple[int, int] = (0, MAX_PORT)
    ) -> TrafficSelector:
        """Return the selector that stands for the addresses of the IKE_SA or its virtual ones."""
        return cls(4, protocol, *ports, bytes(4), b"\xff" * 4, dynamic=True)

    @classmethod
    def parse(
        cls, text: str, protocol: int = ANY_PROTOCOL, ports: tuple[int, int] = (0, MAX_PORT)
    ) -> TrafficSelector:
        """Take ``10.1.0.0/16[tcp/80]``, ``10.1.0.1``, ``%dynamic[udp]`` or ``fec1::1[/53]``.

        Args:
            text: The selector as written.
            protocol: What holds where there are no brackets.
            ports: What holds where there are no brackets.

        Raises:
            ValueError: anything else, such as a host name or a range.
        """
        written, bracket, inside = text.strip().partition("[")
        written = written.strip()
        if bracket:
            if not inside.endswith("]"):
                message = f"selector '{text}' lacks the closing bracket"
                raise ValueError(message)
            protocol, ports = parse_protocol_port(inside[:-1], text)
        if written in {"%dynamic", "dynamic"}:
            return cls.dynamic_of(protocol, ports)
        address, slash, prefix = written.partition("/")
        if slash and not (prefix.isascii() and prefix.isdigit()):
            message = f"selector '{text}': '{prefix}' is not a number of prefix bits"
            raise ValueError(message)
        bits = int(prefix) if slash else None
        return cls.network(address, bits, protocol=protocol, ports=ports)

    @property
    def is_opaque(self) -> bool:
        """Whether it selects packets whose ports cannot be seen."""
        return self.start_port == MAX_PORT and self.end_port == 0

    @property
    def is_any_port(self) -> bool:
        """Whether every port is selected."""
        return self.start_port == 0 and self.end_port == MAX_PORT

    @property
    def is_host(self) -> bool:
        """Whether it selects a single address."""
        return not self.dynamic and self.start == self.end

    @property
    def first_address(self) -> str:
        """The first address in canonical text."""
        return inet_ntop(_SOCKET_FAMILIES[self.family], self.start)

    @property
    def last_address(self) -> str:
        """The last address in canonical text."""
        return inet_ntop(_SOCKET_FAMILIES[self.family], self.end)

    @property
    def prefix(self) -> int | None:
        """Number of prefix bits, or None if the range is not a network."""
        low, high = int.from_bytes(self.start, "big"), int.from_bytes(self.end, "big")
        hosts = low ^ high
        if hosts & (hosts + 1) or low & hosts:
            return None
        return 8 * len(self.start) - hosts.bit_length()

    def includes(self, host: str) -> bool:
        """Whether an address (text) lies in the range; ports play no part.

        Raises:
            ValueError: `host` is not an address.
        """
        family, packed = _pack(host)
        return not self.dynamic and family == self.family and self.start <= packed <= self.end

    def subset(self, other: TrafficSelector) -> TrafficSelector | None:
        """Return what both selectors select, or None for nothing (RFC 7296 section 2.9).

        A dynamic selector selects nothing until it has an address.
        """
        if self.family != other.family or self.dynamic or other.dynamic:
            return None
        if self.protocol and other.protocol and self.protocol != other.protocol:
            return None
        start, end = max(self.start, other.start), min(self.end, other.end)
        if start > end:
            return None
        ports = self._common_ports(other)
        if ports is None:
            return None
        return TrafficSelector(self.family, self.protocol or other.protocol, *ports, start, end)

    def _common_ports(self, other: TrafficSelector) -> tuple[int, int] | None:
        # ANY includes OPAQUE, a range of ports does not (RFC 4301 section 4.4.1.1).
        if other.is_any_port:
            return self.start_port, self.end_port
        if self.is_any_port:
            return other.start_port, other.end_port
        if self.is_opaque or other.is_opaque:
            return (MAX_PORT, 0) if self.is_opaque and other.is_opaque else None
        first, last = max(self.start_port, other.start_port), min(self.end_port, other.end_port)
        return (first, last) if first <= last else None

    def contains(self, other: TrafficSelector) -> bool:
        """Whether every packet that `other` selects is selected by this one, too."""
        return (
            self.family == other.family
            and not self.dynamic
            and not other.dynamic
            and self.protocol in {ANY_PROTOCOL, other.protocol}
            and self.start <= other.start
            and other.end <= self.end
            and self._common_ports(other) == (other.start_port, other.end_port)
        )

    def with_address(self, host: str) -> TrafficSelector:
        """Return the selector with `host` in place of a dynamic address; others are unchanged.

        Raises:
            ValueError: `host` is not an address.
        """
        if not self.dynamic:
            return self
        family, packed = _pack(host)
        ports = self.start_port, self.end_port
        return TrafficSelector(family, self.protocol, *ports, packed, packed)

    def to_wire(self) -> SelectorSubstructure:
        """Return the substructure of a TS payload.

        Raises:
            ValueError: the selector is dynamic and has no addresses yet.
        """
        # Loaded with the first message: configurations alone need no wire format.
        from charon_core.encoding.payloads import SelectorSubstructure

        if self.dynamic:
            message = f"selector '{self}' has no address yet"
            raise ValueError(message)
        return SelectorSubstructure(
            _TS_TYPES[self.family],
            self.protocol,
            self.start_port,
            self.end_port,
            self.start,
            self.end,
        )

    @classmethod
    def from_wire(cls, substructure: SelectorSubstructure) -> TrafficSelector | None:
        """Take a peer's selector; None for a type that is neither IPv4 nor IPv6.

        Raises:
            ParseError: a reversed range, or addresses of the wrong length.
        """
        family = _FAMILIES.get(substructure.ts_type)
        if family is None:
            return None
        try:
            return cls(
                family,
                substructure.protocol,
                substructure.start_port,
                substructure.end_port,
                substructure.start,
                substructure.end,
            )
        except ValueError as error:
            raise ParseError("TS", 0, str(error)) from None

    def to_cidrs(self) -> list[tuple[str, int]]:
        """Return the networks (address, prefix bits) that cover exactly this range, in order.

        At most 62 for IPv4 and 254 for IPv6. Dynamic selectors have none.
        """
        if self.dynamic:
            return []
        size = len(self.start)
        low, high = int.from_bytes(self.start, "big"), int.from_bytes(self.end, "big")
        family = _SOCKET_FAMILIES[self.family]
        networks: list[tuple[str, int]] = []
        while low <= high:
            # The widest network that begins here: bound by the alignment and by what is left.
            aligned = (low & -low).bit_length() - 1 if low else 8 * size
            hosts = min(aligned, (high - low + 1).bit_length() - 1)
            networks.append((inet_ntop(family, low.to_bytes(size, "big")), 8 * size - hosts))
            low += 1 << hosts
        return networks

    def __str__(self) -> str:
        """``10.1.0.0/16[tcp/http]``, ``10.0.0.1..10.0.0.9``, ``dynamic``."""
        if self.dynamic:
            text = "dynamic"
        elif (prefix := self.prefix) is not None:
            text = f"{self.first_address}/{prefix}"
        else:
            text = f"{self.first_address}..{self.last_address}"
        if self.protocol == ANY_PROTOCOL and self.is_any_port:
            return text
        names = host_tables()
        protocol = names.protocol_name(self.protocol) if self.protocol else "0"
        if self.is_any_port:
            return f"{text}[{protocol}]"
        return f"{text}[{protocol}/{self._display_ports()}]"

    def _display_ports(self) -> str:
        if self.is_opaque:
            return "OPAQUE"
        first, last = self.start_port, self.end_port
        if self.protocol in ICMP_PROTOCOLS:
            return _icmp(first) if first == last else f"{_icmp(first)}-{_icmp(last)}"
        if first == last:
            return host_tables().service(first, self.protocol)
        return f"{first}-{last}"


def _icmp(port: int) -> str:
    """``8`` for type 8 code 0, ``3(1)`` for type 3 code 1."""
    type_, code = divmod(port, 256)
    return f"{type_}({code})" if code else str(type_)


def _pack(host: str) -> tuple[int, bytes]:
    """Return family and octets of an address."""
    try:
        if ":" in host:
            return 6, inet_pton(AF_INET6, host)
        return 4, inet_pton(AF_INET, host)
    except (OSError, ValueError):
        # ip_address() says what is wrong in the same words for every caller.
        return 4, ip_address(host).packed


def narrow(
    configured: Sequence[TrafficSelector], proposed: Sequence[TrafficSelector]
) -> list[TrafficSelector]:
    """Return what both sides want, as few selectors as possible (RFC 7296 section 2.9).

    The order is that of our configuration. The result is empty if there is nothing in common,
    which is answered with TS_UNACCEPTABLE.
    """
    return merge(
        common
        for ours in configured
        for theirs in proposed
        if (common := ours.subset(theirs)) is not None
    )


def merge(selectors: Iterable[TrafficSelector]) -> list[TrafficSelector]:
    """Return the selectors without those that another one contains, at most `MAX_NARROWED`."""
    kept: list[TrafficSelector] = []
    for selector in selectors:
        if any(other.contains(selector) for other in kept):
            continue
        kept = [other for other in kept if not selector.contains(other)]
        kept.append(selector)
        if len(kept) == MAX_NARROWED:
            break
    return kept
