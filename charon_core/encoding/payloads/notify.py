"""N payload: errors, statuses and capabilities (RFC 7296 section 3.10)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import (
    FIRST_STATUS_NOTIFY,
    NotifyType,
    PayloadType,
    ProtocolId,
    name_of,
)

if TYPE_CHECKING:
    from charon_core.encoding.cursor import Cursor

MAX_NOTIFIES: Final = 64
"""N payloads a message."""

_LAYOUT: Final = Struct("!BBH")
_CHILD_PROTOCOLS: Final = frozenset({int(ProtocolId.AH), int(ProtocolId.ESP)})
_CHILD_SPI_LENGTH: Final = 4

# Notifies that name one CHILD_SA by protocol and SPI (RFC 7296 sections 1.3.3 and 2.25). What
# they carry goes into lookups, answers and kernel calls.
_REKEY_SA: Final = int(NotifyType.REKEY_SA)
_CHILD_SA_NOT_FOUND: Final = int(NotifyType.CHILD_SA_NOT_FOUND)
_CHILD_NOTIFIES: Final = frozenset({_REKEY_SA, _CHILD_SA_NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Notify(Payload):
    """Notify payload.

    Attributes:
        protocol: protocol of the SA that the notification is about, 0 without an SPI.
        spi: SPI of that SA; empty when it is about the IKE_SA or about none.
        notify_type: see NotifyType.
        data: notification data in the form of the type, see notify_data.py.
    """

    TYPE: ClassVar[int] = PayloadType.NOTIFY
    NAME: ClassVar[str] = "N"
    LIMIT: ClassVar[int] = MAX_NOTIFIES

    protocol: int
    spi: bytes
    notify_type: int
    data: bytes

    def __post_init__(self) -> None:
        # `parse_body` relies on it that no others are checked.
        if self.notify_type in _CHILD_NOTIFIES:
            self._check_child()

    def _check_child(self) -> None:
        if not self.spi and self.notify_type == _CHILD_SA_NOT_FOUND:
            return  # some peers leave it to the message ID to tell which one they miss
        if self.protocol not in _CHILD_PROTOCOLS or len(self.spi) != _CHILD_SPI_LENGTH:
            raise ValueError(
                f"{name_of(NotifyType, self.notify_type)} with protocol {self.protocol} and an "
                f"SPI of {len(self.spi)} octets, expected AH or ESP and 4 octets"
            )

    @classmethod
    def of(cls, notify_type: int, data: bytes = b"") -> Notify:
        """A notify about the IKE_SA or about no SA: without protocol and SPI."""
        return cls(0, b"", notify_type, data)

    @property
    def is_error(self) -> bool:
        """Whether it stands for a failure; unknown types below 16384 do as well."""
        return self.notify_type < FIRST_STATUS_NOTIFY

    def encode_body(self) -> bytes:
        """Protocol, SPI size, type, SPI, data."""
        spi = self.spi
        return _LAYOUT.pack(self.protocol, len(spi), self.notify_type) + spi + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Notify:
        """Read the fixed part, the SPI, and everything behind it."""
        protocol, spi_length, notify_type = cursor.unpack(_LAYOUT)
        spi = cursor.take(spi_length) if spi_length else b""
        if notify_type not in _CHILD_NOTIFIES:
            return cls(protocol, spi, notify_type, cursor.rest())
        return cursor.checked(cls, protocol, spi, notify_type, cursor.rest())
