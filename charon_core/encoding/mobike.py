"""The data of MOBIKE's Notify payloads (RFC 4555 4)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct
from typing import TYPE_CHECKING, Final

from charon_core.encoding.cursor import Cursor
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.encoding.message import Message

MAX_LISTED_ADDRESSES: Final = 32
"""Additional addresses that we take from a peer; it may list more, which are not looked at."""

SHORTEST_COOKIE: Final = 8
LONGEST_COOKIE: Final = 64
"""Octets of COOKIE2 (RFC 4555 4.2.5)."""

_LENGTHS: Final = {
    NotifyType.ADDITIONAL_IP4_ADDRESS: 4,
    NotifyType.ADDITIONAL_IP6_ADDRESS: 16,
}
_PORTS: Final = Struct("!HH")


def address_list(addresses: Iterable[str]) -> list[Notify]:
    """Return the notifies that say which further addresses the sender has (RFC 4555 3.4, 3.6)."""
    found = [ip_address(host) for host in addresses]
    if not found:
        return [Notify.of(NotifyType.NO_ADDITIONAL_ADDRESSES)]
    kinds = {4: NotifyType.ADDITIONAL_IP4_ADDRESS, 6: NotifyType.ADDITIONAL_IP6_ADDRESS}
    return [Notify.of(kinds[address.version], address.packed) for address in found]


def parse_address_list(message: Message) -> tuple[str, ...] | None:
    """Return the further addresses that a message lists, each once; None if it lists nothing.

    Raises:
        ParseError: An address has a wrong length.
    """
    found: dict[str, None] = {}
    says_something = False
    for notify in message.all(Notify):
        if notify.notify_type == NotifyType.NO_ADDITIONAL_ADDRESSES:
            says_something = True
        length = _LENGTHS.get(notify.notify_type)  # type: ignore[call-overload]
        if length is None:
            continue
        says_something = True
        cursor = Cursor(notify.data, NotifyType(notify.notify_type).name)
        packed = cursor.take(length)
        cursor.expect_end()
        if len(found) < MAX_LISTED_ADDRESSES:
            found[str(ip_address(packed))] = None
    return tuple(found) if says_something else None


def parse_cookie2(message: Message) -> bytes | None:
    """Return the COOKIE2 of a message, if it has one.

    Raises:
        ParseError: It has less than 8 or more than 64 octets.
    """
    notify = message.notify(NotifyType.COOKIE2)
    if notify is None:
        return None
    if not SHORTEST_COOKIE <= len(notify.data) <= LONGEST_COOKIE:
        raise Cursor(notify.data, "COOKIE2").error(
            f"{len(notify.data)} octets, expected {SHORTEST_COOKIE} to {LONGEST_COOKIE}"
        )
    return notify.data


@dataclass(frozen=True, slots=True)
class NoNatsAllowed:
    """NO_NATS_ALLOWED: between which addresses its sender has sent a message (RFC 4555 3.9).

    Attributes:
        source: Its own address, in text form.
        source_port: Its UDP port.
        destination: Where it has sent to; of the same family.
        destination_port: The UDP port there.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int

    def encode(self) -> bytes:
        """Notification data."""
        addresses = ip_address(self.source).packed + ip_address(self.destination).packed
        return addresses + _PORTS.pack(self.source_port, self.destination_port)

    @classmethod
    def parse(cls, data: bytes) -> NoNatsAllowed:
        """Read notification data.

        Raises:
            ParseError: It is neither of two IPv4 nor of two IPv6 addresses.
        """
        cursor = Cursor(data, "NO_NATS_ALLOWED")
        sizes = {2 * size + _PORTS.size: size for size in _LENGTHS.values()}
        size = sizes.get(len(data))
        if size is None:
            raise cursor.error(f"{len(data)} octets, expected 12 (IPv4) or 36 (IPv6)")
        source, destination = (str(ip_address(cursor.take(size))) for _ in range(2))
        source_port, destination_port = cursor.unpack(_PORTS)
        return cls(source, source_port, destination, destination_port)
