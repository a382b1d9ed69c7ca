"""Keeps log lines honest: what peers sent cannot end a line, forge one or steer a terminal."""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Multiline(str):
    """Text of our own that may have several lines when it is an argument of a log message.

    Arguments of log messages have their line breaks escaped otherwise, since they may come from a
    peer: only the message itself and this class begin new lines.
    """

    __slots__ = ()


def escape(text: str) -> str:
    r"""Return ``text`` with everything that is not printable as ``\n``, ``\x1b`` or ``\u202e``.

    Line breaks, control characters, marks that change the direction of writing, separators other
    than the space, and lone surrogates are escaped; letters of all scripts stay.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def lines_of(text: str) -> list[str]:
    """Return the lines of a log message, each escaped, at least one."""
    if text.isprintable():
        return [text]
    return [escape(line.removesuffix("\r")) for line in text.rstrip("\n").split("\n")]


def format_message(message: str, args: tuple[object, ...]) -> str:
    """Return ``message % args`` with the arguments escaped; never raises.

    A message that does not fit its arguments, or an argument that cannot be shown, gives a line
    that says so: a log line may not harm the work that it tells about.
    """
    if not args:
        return message
    try:
        text = message % args
        # What is printable as a whole has nothing in it that would have to be escaped.
        return text if text.isprintable() else message % tuple(map(_shown, args))
    except Exception as error:  # noqa: BLE001  arguments run their own code to show themselves
        return f"{message} [not formatted: {type(error).__name__}]"


class _Shown:
    """Escapes what an object shows of itself."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return escape(str(self._value))

    def __repr__(self) -> str:
        return escape(repr(self._value))


def _shown(value: object) -> object:
    if isinstance(value, str):
        if type(value) is Multiline:
            return value
        # The plain text of a subclass (an enum's, say) is what it shows.
        text = value if type(value) is str else str(value)
        return text if text.isprintable() else escape(text)
    if isinstance(value, (int, float, bytes)):
        return value
    return _Shown(value)


def _escaped(char: str) -> str:
    short = _SHORT.get(char)
    if short is not None:
        return short
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
