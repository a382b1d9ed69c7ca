"""Checks of single values that the settings need more than once."""

from __future__ import annotations

import ipaddress
import re
import time

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")


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


def time_format(value: str) -> str | None:
    """Expect a format of `time.strftime` that gives one line."""
    good = value.isprintable() and time.strftime(value).isprintable()
    return None if good else "a format of strftime that gives one line"
