"""The commands 'status' and 'statusall', and their block A: the daemon itself."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

from charon_core.plugin.info import PluginState
from charon_plugins.stroke.server.commands import Command, name_of
from charon_plugins.stroke.server.status_connections import connections
from charon_plugins.stroke.server.status_routes import routes
from charon_plugins.stroke.server.status_sas import security_associations
from charon_plugins.stroke.server.times import date, span
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from charon_core.config.peer import PeerConfig
    from charon_core.plugin.facade import Daemon
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.wire.message import Message


class StatusCommands:
    """Shows what the daemon has and does."""

    def __init__(self, daemon: Daemon, now: Callable[[], float] = time.time) -> None:
        self._daemon = daemon
        self._now = now

    def table(self) -> Mapping[MessageType, Command]:
        """The commands."""
        return {
            MessageType.STATUS: Command(self._status),
            MessageType.STATUS_ALL: Command(self._status_all),
            MessageType.STATUS_ALL_NOBLK: Command(self._status_all_without_waiting),
        }

    def _status(self, message: Message, channel: Channel) -> None:
        channel.write_lines(self._sas(name_of(message) or None, details=False, wait=True))

    def _status_all(self, message: Message, channel: Channel) -> None:
        channel.write_lines(self._everything(name_of(message) or None, wait=True))

    def _status_all_without_waiting(self, message: Message, channel: Channel) -> None:
        channel.write_lines(self._everything(name_of(message) or None, wait=False))

    def _everything(self, name: str | None, *, wait: bool) -> Iterator[str]:
        yield from self._daemon_lines(name)
        yield from connections(self._daemon.backends.all_peers(), name)
        yield from self._sas(name, details=True, wait=wait)

    def _sas(self, name: str | None, *, details: bool, wait: bool) -> Iterator[str]:
        controller = self._daemon.controller
        yield from routes(controller.list_shunts(), controller.list_traps(), name)
        sas = controller.list_ike_sas(wait=wait)
        found: dict[str, PeerConfig | None] = {}

        def peer_of(connection: str) -> PeerConfig | None:
            if connection not in found:
                found[connection] = self._daemon.backends.peer_by_name(connection)
            return found[connection]

        yield from security_associations(sas, name, details=details, peer_of=peer_of)

    def _daemon_lines(self, name: str | None) -> Iterator[str]:
        daemon = self._daemon
        system = f"{platform.system()} {platform.release()}, {platform.machine()}"
        yield f"Status of IKE charon daemon (charon {daemon.version}, {system}):"
        up = span(max(0.0, self._now() - daemon.started))
        yield f"  uptime: {up}, since {date(daemon.started)}"
        metrics = daemon.processor.metrics()
        working = "/".join(map(str, metrics.working))
        queued = "/".join(map(str, metrics.queued))
        yield (
            f"  worker threads: {metrics.idle} of {metrics.total} idle, {working} working, "
            f"job queue: {queued}, scheduled: {daemon.scheduler.pending}"
        )
        loaded = (info.name for info in daemon.plugins() if info.state is PluginState.LOADED)
        yield f"  loaded plugins: charon {' '.join(loaded)}"
        yield from self._pools(name)
        yield "Listening IP addresses:"
        for address in daemon.kernel.net.local_addresses():
            yield f"  {address}"

    def _pools(self, name: str | None) -> Iterator[str]:
        pools = [
            pool
            for pool in self._daemon.attributes.memory.all()
            if pool.size and name in (None, pool.name)
        ]
        if pools:
            yield "Virtual IP pools (size/online/offline):"
            for pool in pools:
                yield f"  {pool.name}: {pool.size}/{pool.online}/{pool.offline}"
