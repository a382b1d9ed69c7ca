"""What commands have in common: the table entry, and how log lines reach the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from charon_core.bus.listener import Level
from charon_core.bus.text import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.listener import LogRecord
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.server.errand import Errand
    from charon_plugins.stroke.wire.message import Message


class Command(NamedTuple):
    """How one message type is executed.

    Attributes:
        run: does it and writes the reply; returns what of it waits for peers.
        waits: it may keep its worker waiting for a person.
    """

    run: Callable[[Message, Channel], Errand | None]
    waits: bool = False


def name_of(message: Message) -> str:
    """The name that a message carries, empty if it is not set."""
    return getattr(message.body, "name", None) or ""


def log_level(verbosity: int) -> Level:
    """Level up to which lines have to be delivered for a verbosity.

    Never less than CONTROL: with every line we also notice that the client has gone.
    """
    return Level(min(max(verbosity, Level.CONTROL), Level.PRIVATE))


def log_to(channel: Channel, verbosity: int) -> Callable[[LogRecord], bool]:
    """Copy log lines up to a level to the client; False once it has gone."""

    def take(record: LogRecord) -> bool:
        if record.level > verbosity:
            return not channel.is_lost
        return channel.write_lines(lines_of(record.text))

    return take
