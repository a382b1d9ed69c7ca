"""TSi and TSr payloads: which packets a CHILD_SA carries (RFC 7296 section 3.13)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType, TsType, name_of

if TYPE_CHECKING:
    from typing import Self

    from charon_core.encoding.cursor import Cursor

MAX_SELECTORS: Final = 128
"""Traffic selectors a TS payload: narrowing compares each with each."""

OPAQUE_PORTS: Final = (0xFFFF, 0)
"""Start and end port of OPAQUE: packets whose ports cannot be seen (section 3.13.1)."""

_LAYOUT: Final = Struct("!B3x")
_SELECTOR: Final = Struct("!BBH")
# First port, last port, first address, last address.
_RANGES: Final = {
    int(TsType.IPV4_ADDR_RANGE): Struct("!HH4s4s"),
    int(TsType.IPV6_ADDR_RANGE): Struct("!HH16s16s"),
}
_ADDRESS_LENGTHS: Final = {int(TsType.IPV4_ADDR_RANGE): 4, int(TsType.IPV6_ADDR_RANGE): 16}


@dataclass(frozen=True, slots=True)
class SelectorSubstructure:
    """One traffic selector (RFC 7296 section 3.13.1).

    Attributes:
        ts_type: see TsType.
        protocol: IP protocol, 0 for any; the second octet as it came for types other than the
            two address ranges.
        start_port: first port; for ICMP type * 256 + code (section 3.13.1).
        end_port: last port; (65535, 0) stands for OPAQUE.
        start: first address in network octets; for types other than the two address ranges
            everything behind the length field.
        end: last address in network octets; empty for other types.
    """

    ts_type: int
    protocol: int
    start_port: int
    end_port: int
    start: bytes
    end: bytes

    def __post_init__(self) -> None:
        expected = _ADDRESS_LENGTHS.get(self.ts_type)
        if expected is None:
            return
        start, end = self.start, self.end
        if len(start) != expected or len(end) != expected:
            raise ValueError(
                f"selector of type {name_of(TsType, self.ts_type)} with addresses of "
                f"{len(start)} and {len(end)} octets, expected {expected}"
            )
        if start > end:
            raise ValueError("selector's last address is below its first")
        if self.start_port > self.end_port and (self.start_port, self.end_port) != OPAQUE_PORTS:
            raise ValueError(
                f"selector's ports {self.start_port} to {self.end_port} are neither a range "
                f"nor OPAQUE"
            )

    @property
    def is_address_range(self) -> bool:
        """Whether it is of one of the two types that RFC 7296 defines."""
        return self.ts_type in _ADDRESS_LENGTHS

    def encode(self) -> bytes:
        """The selector with its header."""
        layout = _RANGES.get(self.ts_type)
        if layout is None:
            length = _SELECTOR.size + len(self.start)
            return _SELECTOR.pack(self.ts_type, self.protocol, length) + self.start
        length = _SELECTOR.size + layout.size
        return _SELECTOR.pack(self.ts_type, self.protocol, length) + layout.pack(
            self.start_port, self.end_port, self.start, self.end
        )

    @classmethod
    def parse(cls, cursor: Cursor) -> SelectorSubstructure:
        """Read one selector."""
        ts_type, protocol, length = cursor.unpack(_SELECTOR)
        layout = _RANGES.get(ts_type)
        if layout is None:
            return cls(ts_type, protocol, 0, 0, cursor.take(length - _SELECTOR.size), b"")
        if length != _SELECTOR.size + layout.size:
            raise cursor.error(
                f"selector of type {name_of(TsType, ts_type)} with {length} octets, "
                f"expected {_SELECTOR.size + layout.size}"
            )
        start_port, end_port, start, end = cursor.unpack(layout)
        return cursor.checked(cls, ts_type, protocol, start_port, end_port, start, end)


@dataclass(frozen=True, slots=True)
class TrafficSelectors(Payload):
    """What TSi and TSr share.

    Attributes:
        selectors: at least one.
    """

    LIMIT: ClassVar[int] = 1

    selectors: tuple[SelectorSubstructure, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.selectors) <= MAX_SELECTORS:
            raise ValueError(
                f"{len(self.selectors)} traffic selectors, expected 1 to {MAX_SELECTORS}"
            )

    def encode_body(self) -> bytes:
        """Number of selectors, reserved octets, selectors."""
        return _LAYOUT.pack(len(self.selectors)) + b"".join(
            [selector.encode() for selector in self.selectors]
        )

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Self:
        """Read as many selectors as the payload says."""
        (count,) = cursor.unpack(_LAYOUT)
        selectors = tuple([SelectorSubstructure.parse(cursor) for _ in range(count)])
        return cursor.checked(cls, selectors)


class TrafficSelectorsInitiator(TrafficSelectors):
    """TSi payload."""

    __slots__ = ()
    TYPE: ClassVar[int] = PayloadType.TSI
    NAME: ClassVar[str] = "TSi"


class TrafficSelectorsResponder(TrafficSelectors):
    """TSr payload."""

    __slots__ = ()
    TYPE: ClassVar[int] = PayloadType.TSR
    NAME: ClassVar[str] = "TSr"
