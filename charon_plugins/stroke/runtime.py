"""The plugin at work: puts its parts together, and takes them apart again.

Apart from `plugin`, which is imported to look at it, too, and has to be cheap.
"""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.memory import ConnectionTable
from charon_core.settings import SettingsError, parse_table
from charon_plugins.stroke.credentials.store import CredentialStore
from charon_plugins.stroke.server.listener import Listener
from charon_plugins.stroke.settings import StrokeSettings

if TYPE_CHECKING:
    import socket

    from charon_core.plugin.facade import Daemon
    from charon_core.processing.loop import Loop
    from charon_core.settings import PluginTable, Settings
    from charon_plugins.stroke.connections.builder import Surroundings
    from charon_plugins.stroke.server.dispatcher import Dispatcher
    from charon_plugins.stroke.server.service import Service

#: Seconds that the loop of the control socket has for ending.
STOP_PATIENCE: Final = 1.0


class Runtime:
    """One daemon's stroke.

    Attributes:
        connections: the configuration backend.
        credentials: has the credential sets.
    """

    def __init__(self, daemon: Daemon) -> None:
        """Read settings and credentials, and open the socket.

        Raises:
            SettingsError: the plugin's settings are wrong.
            OSError: the socket cannot be made.
            SocketInUseError: another daemon answers on it.
        """
        self._daemon = daemon
        self._settings = parse_table(daemon.settings, StrokeSettings)
        self.connections = ConnectionTable("stroke", daemon.resolver.names_of)
        self.credentials = CredentialStore(
            daemon.paths.ipsec_secrets, daemon.paths.ipsec_d, lambda: self._settings, self._report
        )
        self._dispatcher: Dispatcher | None = None
        self._listener = Listener(
            daemon.paths.control_socket,
            self._on_request,
            self._report,
            owner=_owner(daemon.core),
        )
        try:
            self.credentials.load()
            self._listener.open()
            self._loop: Loop = daemon.processor.run_loop(
                "stroke control socket", self._listener.turn, self._listener.wake
            )
        except BaseException:
            # Nobody else will: a plugin that cannot be created is not destroyed either.
            self._listener.close()
            raise
        self._report(f"control socket '{daemon.paths.control_socket}' is open")

    def reload(self, settings: PluginTable) -> None:
        """Read settings and credentials again; what is established stays up."""
        try:
            self._settings = parse_table(settings, StrokeSettings)
        except SettingsError as error:
            self._report(f"settings of stroke are kept as they were: {error}")
        if self._dispatcher is not None:
            self._dispatcher.set_max_concurrent(self._max_concurrent)
        self.credentials.load()

    def close(self) -> None:
        """End in order: no new clients, no waiting ones, no socket."""
        self._loop.stop(STOP_PATIENCE)
        if self._dispatcher is not None:
            self._dispatcher.close()
        self._listener.close()

    def _report(self, text: str) -> None:
        self._daemon.bus.log(Group.CFG, Level.CONTROL, "%s", text)

    @property
    def _max_concurrent(self) -> int:
        """As many requests as the settings allow, but never most of the workers."""
        return min(self._settings.max_concurrent, max(2, self._daemon.core.charon.threads // 2))

    def _timeout(self) -> float | None:
        return self._settings.timeout or None

    def _on_request(self, data: bytes, connection: socket.socket) -> None:
        """Hand a complete message to the workers; what that needs is loaded with the first."""
        from charon_core.encoding.errors import ParseError
        from charon_plugins.stroke.server.channel import Channel
        from charon_plugins.stroke.wire.message import decode

        channel = Channel(connection, deliver=self._listener.deliver)
        try:
            message = decode(data)
        except ParseError as error:
            self._report(f"client dropped: {error}")
            channel.close()
            return
        if self._dispatcher is None:
            self._dispatcher = self._make_dispatcher()
        self._dispatcher.submit(message, channel)

    def _make_dispatcher(self) -> Dispatcher:
        from charon_plugins.stroke.server.dispatcher import Dispatcher

        return Dispatcher(
            self._make_service(), self._daemon.processor.queue, self._report, self._max_concurrent
        )

    def _make_service(self) -> Service:
        from charon_plugins.stroke.connections.commands import ConnectionCommands
        from charon_plugins.stroke.credentials.commands import CredentialCommands
        from charon_plugins.stroke.server.control import ControlCommands
        from charon_plugins.stroke.server.maintenance import MaintenanceCommands
        from charon_plugins.stroke.server.service import Service
        from charon_plugins.stroke.server.status import StatusCommands

        daemon, report = self._daemon, self._report
        connections = ConnectionCommands(
            self.connections,
            self._surroundings,
            self.credentials.keep,
            daemon.controller.unroute,
            report,
        )
        credentials = CredentialCommands(self.credentials, daemon.credentials, report)
        control = ControlCommands(
            daemon.controller,
            daemon.backends,
            report,
            self._timeout,
            forget=credentials.purge,
            is_refused=connections.is_refused,
        )
        maintenance = MaintenanceCommands(daemon, lambda: self._settings, report)
        return Service(
            [
                connections.table(),
                credentials.table(),
                control.table(),
                StatusCommands(daemon).table(),
                maintenance.table(),
            ],
            report,
        )

    def _surroundings(self) -> Surroundings:
        from charon_plugins.stroke.connections.builder import Surroundings

        daemon = self._daemon
        return Surroundings(
            certs=daemon.paths.ipsec_d / "certs",
            is_local=daemon.kernel.net.is_local,
            look_up=daemon.resolver.look_up,
            pools=daemon.attributes.memory,
            allow_swap=self._settings.allow_swap,
            installable=daemon.kernel.installable,
            missing=daemon.kernel.missing,
            ppk=self._settings.ppk,
            ppk_required=frozenset(self._settings.ppk_required),
        )


def _owner(core: Settings) -> tuple[int, int] | None:
    """Uid and gid that the daemon will have; -1 where it stays as it is."""
    process = core.charon
    if not process.user and not process.group:
        return None
    # Whether the names exist is the daemon's own concern, which it tells better.
    try:
        account = pwd.getpwnam(process.user) if process.user else None
        if process.group:
            gid = grp.getgrnam(process.group).gr_gid
        else:
            gid = account.pw_gid if account is not None else os.getgid()
    except KeyError:
        return None
    return (account.pw_uid if account is not None else -1), gid
