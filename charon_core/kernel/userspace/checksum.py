"""The Internet checksum (RFC 1071) of byte strings of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.kernel.userspace.types import Buffer

_MODULUS: Final = 0xFFFF


def ones_sum(data: Buffer, start: int = 0) -> int:
    """Return the one's complement sum of the 16-bit big-endian words of ``data``, plus ``start``.

    Since 2**16 is 1 modulo 65535, the sum is the remainder of the whole string read as one number,
    which CPython computes ten times as fast as a loop over its words. 0 and 0xFFFF are the same
    number; 0 only comes out when everything is zero.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    number += start
    remainder = number % _MODULUS
    return remainder if remainder or not number else _MODULUS


def checksum(data: Buffer, start: int = 0) -> int:
    """Return the Internet checksum of ``data``, to which the sum ``start`` is added."""
    return ones_sum(data, start) ^ _MODULUS


def pseudo_header_sum(addresses: Buffer, protocol: int, length: int) -> int:
    """Return the sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).

    Args:
        addresses: Source and destination address, one after the other.
        protocol: The protocol of the transport header.
        length: Octets of transport header and payload.
    """
    return ones_sum(addresses, protocol + length)
