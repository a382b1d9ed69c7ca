"""Times as the native daemon writes them: spans in one unit, dates without locale."""

from __future__ import annotations

import time
from typing import Final

_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
UNKNOWN_DATE: Final = "--- -- --:--:-- ----"


def span(seconds: float) -> str:
    """``2 minutes`` for 121 s: the larger unit as soon as there are more than two of it."""
    number, unit = int(seconds), "second"
    for size, name in _UNITS:
        if number > 2 * size:
            number, unit = number // size, name
            break
    return f"{number} {unit}{'' if number == 1 else 's'}"


def date(moment: float | None, *, utc: bool = False) -> str:
    """``Nov 23 09:47:28 2026`` of seconds since the epoch; with ``UTC`` in it if asked for."""
    if moment is None:
        return UNKNOWN_DATE
    try:
        parts = time.gmtime(moment) if utc else time.localtime(moment)
    except (OverflowError, ValueError, OSError):
        return UNKNOWN_DATE
    zone = "UTC " if utc else ""
    return (
        f"{_MONTHS[parts.tm_mon - 1]} {parts.tm_mday:02d} "
        f"{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d} {zone}{parts.tm_year}"
    )
