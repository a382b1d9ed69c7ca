"""Executes requests by a table of message types."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.server.commands import Command
    from charon_plugins.stroke.server.errand import Errand
    from charon_plugins.stroke.wire.message import Message
    from charon_plugins.stroke.wire.types import MessageType


class Service:
    """All commands; who asks for one that is not in the table is told so."""

    def __init__(
        self,
        tables: list[Mapping[MessageType, Command]],
        report: Callable[[str], None],
    ) -> None:
        self._commands: dict[int, Command] = {
            kind: command for table in tables for kind, command in table.items()
        }
        self._report = report

    def waits(self, message: Message) -> bool:
        """True if the request may keep its worker waiting for a person."""
        command = self._find(message)
        return message.wants_output and command is not None and command.waits

    def handle(self, message: Message, channel: Channel) -> Errand | None:
        """Execute a request; returns what of it waits for peers."""
        command = self._find(message)
        if command is None:
            text = f"{message.label}: this command is not implemented"
            self._report(text)
            if message.wants_output:
                channel.write_line(text)
            return None
        return command.run(message, channel)

    def _find(self, message: Message) -> Command | None:
        return self._commands.get(message.type)
