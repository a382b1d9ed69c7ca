"""Protocols and ports as selectors write them: ``tcp/80``, ``icmp/8``, ``udp/%opaque``."""

from __future__ import annotations

from typing import Final

from charon_core.config.service_names import host_tables

ANY_PROTOCOL: Final = 0
MAX_PORT: Final = 65535
ICMP_PROTOCOLS: Final = frozenset({1, 58})
"""ICMP and ICMPv6: their ports are type * 256 + code (RFC 7296 section 3.13.1)."""


def parse_protocol_port(text: str, selector: str | None = None) -> tuple[int, tuple[int, int]]:
    """Take ``tcp``, ``17/53``, ``icmp/8``, ``/53``, ``udp/%opaque`` or ``%any/1000-2000``.

    Args:
        text: What is written.
        selector: The whole selector, for messages.

    Returns:
        IP protocol and (first, last) port; OPAQUE is (65535, 0).

    Raises:
        ValueError: unknown names, or numbers out of range.
    """
    whole = text if selector is None else selector
    written, slash, port = text.partition("/")
    protocol = _parse_protocol(written.strip(), whole)
    return protocol, _parse_ports(port.strip(), protocol, whole) if slash else (0, MAX_PORT)


def _parse_protocol(text: str, whole: str) -> int:
    if text in {"", "%any"}:
        return ANY_PROTOCOL
    number = int(text) if text.isascii() and text.isdigit() else host_tables().protocol_number(text)
    if number is None or number > 255:
        message = f"selector '{whole}': '{text}' is no IP protocol (a name or 0..255)"
        raise ValueError(message)
    return number


def _parse_ports(text: str, protocol: int, whole: str) -> tuple[int, int]:
    if text in {"", "%any"}:
        return 0, MAX_PORT
    if text == "%opaque":
        return MAX_PORT, 0
    single = _parse_port(text, protocol)
    if single is not None:
        return single, single
    low, dash, high = text.partition("-")
    first, last = _parse_port(low, protocol), _parse_port(high, protocol)
    if not dash or first is None or last is None or first > last:
        message = (
            f"selector '{whole}': '{text}' is no port (a name, 0..65535, a range, %any or %opaque)"
        )
        raise ValueError(message)
    return first, last


def _parse_port(text: str, protocol: int) -> int | None:
    """Return a single port, or None; an ICMP type alone moves to the high octet."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        number = int(text)
        if number > MAX_PORT:
            return None
        return number << 8 if protocol in ICMP_PROTOCOLS and number < 256 else number
    return host_tables().port(text, protocol) if text else None
