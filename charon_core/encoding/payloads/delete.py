"""D payload: SAs that the sender has removed (RFC 7296 section 3.11)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import PayloadType, ProtocolId

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

MAX_DELETED_SPIS: Final = 1024
"""SPIs a Delete payload."""

_LAYOUT: Final = Struct("!BBH")
_SPI_LENGTHS: Final = {
    int(ProtocolId.IKE): 0,
    int(ProtocolId.AH): 4,
    int(ProtocolId.ESP): 4,
}


@dataclass(frozen=True, slots=True)
class Delete(Payload):
    """Delete payload.

    Attributes:
        protocol: IKE (the IKE_SA of this very message, no SPIs), AH or ESP.
        spis: the sender's inbound SPIs, 4 octets each.
    """

    TYPE: ClassVar[int] = PayloadType.DELETE
    NAME: ClassVar[str] = "D"

    protocol: int
    spis: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        expected = _SPI_LENGTHS.get(self.protocol)
        if expected is None:
            raise ValueError(f"delete for protocol {self.protocol}, expected IKE, AH or ESP")
        if expected == 0 and self.spis:
            raise ValueError("delete of an IKE_SA names SPIs")
        if len(self.spis) > MAX_DELETED_SPIS:
            raise ValueError(f"delete of more than {MAX_DELETED_SPIS} SAs")
        for spi in self.spis:
            if len(spi) != expected:
                raise ValueError(f"delete with an SPI of {len(spi)} octets, expected {expected}")

    def encode_body(self) -> bytes:
        """Protocol, SPI size, number of SPIs, SPIs."""
        size = _SPI_LENGTHS[self.protocol]
        return _LAYOUT.pack(self.protocol, size, len(self.spis)) + b"".join(self.spis)

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Delete:
        """Read the fixed part and as many SPIs as it says."""
        protocol, spi_length, count = cursor.unpack(_LAYOUT)
        if spi_length != _SPI_LENGTHS.get(protocol):
            raise cursor.error(f"delete for protocol {protocol} with SPIs of {spi_length} octets")
        if count > MAX_DELETED_SPIS:
            raise cursor.error(f"{count} SPIs, expected at most {MAX_DELETED_SPIS}")
        spis = tuple([cursor.take(spi_length) for _ in range(count)])
        return cursor.checked(cls, protocol, spis)
