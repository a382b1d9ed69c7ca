"""How a log record looks in a file: lines of text, or a JSON object in a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from charon_core.bus.log_format import prefix_of, text_lines
from charon_core.bus.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.listener import LogRecord

_FRACTION = "\x01"


def loss_notice(lost: int, *, as_json: bool) -> bytes:
    """Return the line that tells how many records are missing before it."""
    text = f"{lost} log records lost before this line"
    if not as_json:
        return f"[{text}]\n".encode()
    from json import dumps

    value = {"time": round(time.time(), 6), "thread": 0, "group": "DMN", "level": 0}
    return dumps({**value, "message": text, "lost": lost}).encode() + b"\n"


def text_formatter(time_format: str, *, sa_name: bool) -> Callable[[LogRecord], bytes]:
    """Return what makes lines of text of a record; `time_format` "" leaves the time out."""
    stamp = _time_formatter(time_format) if time_format else None

    def format_text(record: LogRecord) -> bytes:
        begin = stamp(record.time) + " " if stamp is not None else ""
        if record.text.isprintable():
            return f"{begin}{prefix_of(record, sa_name=sa_name)}{record.text}\n".encode()
        lines = [begin + line for line in text_lines(record, sa_name=sa_name)]
        return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")

    return format_text


def _time_formatter(time_format: str) -> Callable[[float], str]:
    """Return a function that formats seconds since the epoch as local time."""
    # Lines of the same second share the work; the pair is replaced as a whole, so that threads
    # need no lock.
    cached: tuple[int, str] = (-1, "")
    template = "%%".join(part.replace("%f", _FRACTION) for part in time_format.split("%%"))

    def format_time(when: float) -> str:
        nonlocal cached
        second = int(when)
        known, text = cached
        if known != second:
            text = time.strftime(template, time.localtime(second))
            cached = (second, text)
        if _FRACTION in text:
            return text.replace(_FRACTION, f"{int((when - second) * 1_000_000):06d}")
        return text

    return format_time


def json_formatter() -> Callable[[LogRecord], bytes]:
    """Return what makes a JSON object in a line of a record."""
    # The json package takes milliseconds to import, and most daemons log text.
    from json import dumps

    def format_json(record: LogRecord) -> bytes:
        value: dict[str, object] = {
            "time": round(record.time, 6),
            "thread": record.thread,
            "group": record.group.name,
            "level": int(record.level),
        }
        if record.sa is not None:
            value["ike_sa"] = record.sa.name
            value["ike_sa_id"] = record.sa.unique_id
        value["message"] = record.text
        return dumps(value).encode() + b"\n"

    return format_json


def known_time_format(time_format: str) -> str:
    """Return ``time_format`` if it gives one printable line.

    Raises:
        ValueError: It does not.
    """
    text = _time_formatter(time_format)(0.0)
    if text != escape(text):
        raise ValueError(f"the time format {time_format!r} gives unprintable text {text!r}")
    return time_format
