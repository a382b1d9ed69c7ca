"""IDi and IDr payloads: who the peers say they are (RFC 7296 section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.encoding.payloads.base import Payload
from charon_core.encoding.registry import IdType, PayloadType, name_of

if TYPE_CHECKING:
    from typing import Self

    from charon_core.encoding.cursor import Cursor

_LAYOUT: Final = Struct("!B3s")
_EXACT_LENGTHS: Final = {
    int(IdType.IPV4_ADDR): 4,
    int(IdType.IPV6_ADDR): 16,
    int(IdType.NULL): 0,  # RFC 7619 section 2.2
}
_TEXT_TYPES: Final = frozenset({int(IdType.FQDN), int(IdType.RFC822_ADDR)})


@dataclass(frozen=True, slots=True)
class Identification(Payload):
    """What IDi and IDr share.

    Attributes:
        id_type: see IdType.
        data: the identity in the encoding of its type: network octets of an address, text
            without terminators for names, DER for distinguished names, empty for NULL.
        reserved: three octets without a meaning. They are sent as zero and ignored, but AUTH
            covers them as they came (section 2.15).
    """

    LIMIT: ClassVar[int] = 1

    id_type: int
    data: bytes
    reserved: bytes = field(default=bytes(3), compare=False)

    def __post_init__(self) -> None:
        id_type = self.id_type
        expected = _EXACT_LENGTHS.get(id_type)
        if expected is not None:
            if len(self.data) != expected:
                raise ValueError(
                    f"identity of type {name_of(IdType, id_type)} has {len(self.data)} octets, "
                    f"expected {expected}"
                )
        elif not self.data:
            raise ValueError(f"identity of type {name_of(IdType, id_type)} is empty")
        elif id_type in _TEXT_TYPES and _has_terminator(self.data):
            # A name that ends early for one reader and not for another lets somebody in.
            raise ValueError(f"identity of type {name_of(IdType, id_type)} holds a terminator")

    def encode_body(self) -> bytes:
        """Type, reserved octets, data; the input of the AUTH computation (section 2.15)."""
        return _LAYOUT.pack(self.id_type, self.reserved) + self.data

    @classmethod
    def parse_body(cls, cursor: Cursor) -> Self:
        """Read the type and everything behind it."""
        id_type, reserved = cursor.unpack(_LAYOUT)
        return cursor.checked(cls, id_type, cursor.rest(), reserved)


def _has_terminator(text: bytes) -> bool:
    return b"\x00" in text or b"\r" in text or b"\n" in text


class IdentificationInitiator(Identification):
    """IDi payload."""

    __slots__ = ()
    TYPE: ClassVar[int] = PayloadType.IDI
    NAME: ClassVar[str] = "IDi"


class IdentificationResponder(Identification):
    """IDr payload."""

    __slots__ = ()
    TYPE: ClassVar[int] = PayloadType.IDR
    NAME: ClassVar[str] = "IDr"
