"""Commands about the daemon itself: log levels, leases, and what it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.attributes.pool import Pool
from charon_core.bus.listener import Group, Level
from charon_plugins.stroke.server.commands import Command, name_of
from charon_plugins.stroke.wire.bodies import Counters, Leases, Loglevel
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from charon_core.plugin.facade import Daemon
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.settings import StrokeSettings
    from charon_plugins.stroke.wire.message import Message

_ANY = "any"


class MaintenanceCommands:
    """Small commands."""

    def __init__(
        self,
        daemon: Daemon,
        settings: Callable[[], StrokeSettings],
        report: Callable[[str], None],
    ) -> None:
        self._daemon = daemon
        self._settings = settings
        self._report = report

    def table(self) -> Mapping[MessageType, Command]:
        """The commands."""
        return {
            MessageType.LOGLEVEL: Command(self._loglevel),
            MessageType.LEASES: Command(self._leases),
            MessageType.COUNTERS: Command(self._counters),
            MessageType.MEMUSAGE: Command(self._nothing),
        }

    def _loglevel(self, message: Message, channel: Channel) -> None:
        body = message.body
        if not isinstance(body, Loglevel):
            return
        word = body.type or ""
        self._report(f"received stroke: loglevel {body.level} for {word}")
        if self._settings().prevent_loglevel_changes:
            self._report("loglevel: refused, since prevent_loglevel_changes is set")
            channel.write_line("command not allowed!")
            return
        groups = [group for group in Group if word.lower() in (_ANY, group.name.lower())]
        if not groups:
            channel.write_line(f"unknown type '{word}'!")
            return
        try:
            level = Level(body.level)
        except ValueError:
            self._report(f"loglevel: expected a level from -1 to 4, not {body.level}")
            return
        for group in groups:
            self._daemon.set_log_level(group, level)

    def _leases(self, message: Message, channel: Channel) -> None:
        body = message.body
        if isinstance(body, Leases):
            known = self._daemon.attributes.memory.all()
            # What peers choose for themselves is no pool that could be looked into.
            pools = tuple(pool for pool in known if isinstance(pool, Pool))
            channel.write_lines(_lease_lines(pools, body.pool, body.address))

    def _counters(self, message: Message, channel: Channel) -> None:
        if isinstance(message.body, Counters) and not message.body.reset:
            channel.write_lines(["", "No counters available (plugin missing?)", ""])

    def _nothing(self, message: Message, _: Channel) -> None:
        self._report(f"{message.label} {name_of(message)}".rstrip() + ": nothing to tell")


def _lease_lines(pools: tuple[Pool, ...], name: str | None, address: str | None) -> Iterator[str]:
    if not pools:
        yield "no pools found"
        return
    chosen = [pool for pool in pools if name in (None, pool.name)]
    if not chosen:
        yield f"pool '{name}' not found"
    for pool in chosen:
        online, offline = pool.online, pool.offline
        yield (
            f"Leases in pool '{pool.name}', usage: {online + offline}/{pool.size}, {online} online"
        )
        found = False
        for lease in pool.leases():
            if address in (None, lease.address):
                found = True
                state = "online" if lease.online else "offline"
                yield f"  {lease.address:>15}   {state:<7}   '{lease.identity}'"
        if not found:
            yield "  no matching leases found"
