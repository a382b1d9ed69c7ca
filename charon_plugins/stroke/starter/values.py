"""Values of ipsec.conf: text to numbers, each function saying what it expected instead."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.starter.place import InvalidValueError
from charon_plugins.stroke.wire.types import (
    ALL_PORTS,
    MARK_UNIQUE,
    MARK_UNIQUE_DIRECTION,
    OPAQUE_PORTS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

U32_MAX: Final = 2**32 - 1
I64_MAX: Final = 2**63 - 1
U64_MAX: Final = 2**64 - 1

_DIGITS = re.compile(r"[0-9]+\Z")
_TIME = re.compile(r"([0-9]+)([smhd]?)\Z")
_PERCENT = re.compile(r"([0-9]+)%\Z")
_BINARY = re.compile(r"[01]+\Z")
_C_NUMBER = re.compile(r"(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))\Z")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DSCP_MAX = 0b111111
# More digits fit into no field; Python would spend quadratic time on very many.
_MAX_DIGITS = 20


def parse_choice(value: str, choices: Mapping[str, int]) -> int:
    """One of the given words."""
    try:
        return choices[value]
    except KeyError:
        raise InvalidValueError(f"expected one of {', '.join(choices)}") from None


def parse_int(value: str, maximum: int) -> int:
    """A decimal number from 0 to ``maximum``."""
    if not _DIGITS.match(value) or len(value) > _MAX_DIGITS or int(value) > maximum:
        raise InvalidValueError(f"expected a number from 0 to {maximum}")
    return int(value)


def parse_time(value: str) -> int:
    """Seconds of a number with an optional unit: ``90``, ``90s``, ``3m``, ``2h``, ``1d``."""
    found = _TIME.match(value)
    if found is None or len(value) > _MAX_DIGITS:
        raise InvalidValueError(
            "expected a whole number with one of the units s, m, h, d, such as 90s"
        )
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > I64_MAX:
        raise InvalidValueError(f"expected at most {I64_MAX} seconds")
    return seconds


def parse_percent(value: str) -> int:
    """A percentage; the sign is mandatory."""
    found = _PERCENT.match(value)
    if found is None or len(value) > _MAX_DIGITS or int(found[1]) > U64_MAX:
        raise InvalidValueError("expected a whole number and a per cent sign, such as 100%")
    return int(found[1])


def parse_dscp(value: str) -> int:
    """A DSCP in binary digits."""
    if not _BINARY.match(value) or len(value) > 64 or int(value, 2) > _DSCP_MAX:
        raise InvalidValueError("expected a DSCP of up to six binary digits, such as 101110")
    return int(value, 2)


def parse_mark(value: str) -> tuple[int, int]:
    """Value and mask of a mark; the mask defaults to all ones, the value is masked."""
    number, slash, mask_text = value.partition("/")
    mask = _c_number(mask_text) if slash else U32_MAX
    if number == "%unique":
        return MARK_UNIQUE, mask
    if number == "%unique-dir":
        return MARK_UNIQUE_DIRECTION, mask
    return _c_number(number) & mask, mask


def _c_number(text: str) -> int:
    found = _C_NUMBER.match(text)
    if found is not None and len(text) <= 64:
        hexadecimal, octal, decimal = found.groups()
        if hexadecimal is not None:
            number = int(hexadecimal, 16)
        elif octal is not None:
            number = int(octal or "0", 8)
        else:
            number = int(decimal)
        if number <= U32_MAX:
            return number
    raise InvalidValueError(
        "expected VALUE or VALUE/MASK of 32 bits each (16, 0x10, 020), %unique or %unique-dir"
    )


def parse_protoport(value: str) -> tuple[int, int, int]:
    """Protocol, first and last port of ``proto[/port]``."""
    protocol_text, slash, port_text = value.partition("/")
    protocol = _protocol(protocol_text)
    if not slash:
        return protocol, *ALL_PORTS
    return protocol, *_ports(port_text, protocol_text)


def _protocol(text: str) -> int:
    if text in ("", "%any"):
        return 0
    if _DIGITS.match(text):
        return parse_int(text, 255)
    try:
        return socket.getprotobyname(text)
    except (OSError, UnicodeError, ValueError):
        raise InvalidValueError(
            f"expected PROTOCOL[/PORT]; {text!r} is neither a number up to 255 "
            "nor a name in /etc/protocols"
        ) from None


def _ports(text: str, protocol: str) -> tuple[int, int]:
    if text in ("", "%any"):
        return ALL_PORTS
    if text == "%opaque":
        return OPAQUE_PORTS
    first, dash, last = text.partition("-")
    if dash and _DIGITS.match(first) and _DIGITS.match(last):
        low, high = parse_int(first, 65535), parse_int(last, 65535)
        if low > high:
            raise InvalidValueError(f"expected a port range from low to high, not {text}")
        return low, high
    port = _port(text, protocol)
    return port, port


def _port(text: str, protocol: str) -> int:
    if _DIGITS.match(text):
        return parse_int(text, 65535)
    for name in (protocol, "tcp", "udp"):
        try:
            return socket.getservbyname(text, name)
        except (OSError, UnicodeError, ValueError):
            continue
    raise InvalidValueError(
        f"expected a port after the '/'; {text!r} is neither a number up to 65535, a range, "
        "%any, %opaque, nor a name in /etc/services"
    )
