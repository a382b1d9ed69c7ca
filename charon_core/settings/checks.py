"""Checks of single values that the settings need more than once."""

from __future__ import annotations

import ipaddress
import re
import time

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")


def absolute_path(value: str) -> str | None:
    """Expect an absolute path."""
    return None if value.startswith("/") and "\0" not in value else "an absolute path"


def log_destination(value: str) -> str | None:
    """Expect a place that log lines can go to."""
    if value in {"stdout", "stderr"}:
        return None
    return None if absolute_path(value) is None else 'an absolute path, "stdout" or "stderr"'


def user_name(value: str) -> str | None:
    """Expect the name of a user or group, or nothing."""
    return None if not value or _NAME.match(value) else "a name, or an empty string for none"


def interface_name(value: str) -> str | None:
    """Expect a name that Linux takes for an interface; one %d stands for the first free number."""
    good = 0 < len(value) < 16 and "/" not in value and not any(c.isspace() for c in value)
    return None if good and value not in {".", ".."} else "an interface name of 1 to 15 characters"


def addresses(value: tuple[str, ...]) -> str | None:
    """Expect IP addresses."""
    for item in value:
        try:
            ipaddress.ip_address(item)
        except ValueError:
            return f"IP addresses ({item!r} is none)"
    return None


def ipv4_addresses(value: tuple[str, ...]) -> str | None:
    """Expect IPv4 addresses."""
    for item in value:
        try:
            ipaddress.IPv4Address(item)
        except ValueError:
            return f"IPv4 addresses ({item!r} is none)"
    return None


def networks(value: tuple[str, ...]) -> str | None:
    """Expect networks without host bits."""
    for item in value:
        try:
            ipaddress.ip_network(item)
        except ValueError as error:
            return f'networks such as "10.1.0.0/16" ({item!r}: {error})'
    return None


def domains(value: tuple[str, ...]) -> str | None:
    """Expect domain names in ASCII."""
    for item in value:
        if len(item) > 254 or not _DOMAIN.match(item):
            return f"domain names in ASCII ({item!r} is none)"
    return None


def optional_path(value: str) -> str | None:
    """Expect an absolute path, or nothing."""
    return absolute_path(value) if value else None


def optional_interface(value: str) -> str | None:
    """Expect the name of an interface, or nothing."""
    return interface_name(value) if value else None


def time_format(value: str) -> str | None:
    """Expect a format of `time.strftime` that gives one line."""
    good = value.isprintable() and time.strftime(value).isprintable()
    return None if good else "a format of strftime that gives one line"
