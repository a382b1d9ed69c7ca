"""What a plugin sees of the daemon: typed registries, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.attributes.manager import AttributeManager
    from charon_core.bus import Group, Level
    from charon_core.bus.bus import Bus
    from charon_core.config.backend import BackendManager
    from charon_core.control.controller import Controller
    from charon_core.control.resolver import Resolver
    from charon_core.credentials.manager import CredentialManager
    from charon_core.eap.registry import EapRegistry
    from charon_core.kernel.manager import KernelInterface
    from charon_core.plugin.info import PluginInfo
    from charon_core.processing.processor import Processor
    from charon_core.processing.scheduler import Scheduler
    from charon_core.settings import Paths, PluginTable, Settings


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon as one plugin sees it.

    What the plugin adds through `bus`, `backends`, `credentials`, `eap`, `attributes` and
    `kernel` is written down by the host, and is taken back when the plugin ends or is disabled.
    So these six are stand-ins that behave as the real ones; ``isinstance`` does not know them.

    Attributes:
        settings: The plugin's own table, ``[plugins.NAME]`` of charon.toml; empty if there is
            none. `charon_core.settings.parse_table` makes a checked dataclass of it.
        core: The daemon's own settings, without the tables of plugins, which may hold passwords.
        paths: Files and sockets, with the root of ``--root`` in front.
        processor: Runs jobs on worker threads.
        scheduler: Runs jobs later.
        controller: Commands the daemon: initiate, terminate, list, ...
        bus: Takes log lines, events, listeners and loggers.
        backends: Sources of connections.
        credentials: Sources of keys, certificates and secrets.
        eap: EAP methods.
        attributes: Providers of virtual IP addresses and other attributes.
        kernel: The kernel interface over the backend in use.
        resolver: Addresses of host names, and names of addresses.
        plugins: Lists all plugins, loaded or not.
        reload: Has the daemon read its settings again and all plugins reload, on a worker.
        stop: Has the daemon stop in order; returns at once.
        set_log_level: Changes the level of a group, or of all with None, in the loggers of the
            settings, until the next reload.
        started: When the daemon was started, in seconds since the epoch.
        version: The version of charon-core.
    """

    settings: PluginTable
    core: Settings
    paths: Paths
    processor: Processor
    scheduler: Scheduler
    controller: Controller
    bus: Bus
    backends: BackendManager
    credentials: CredentialManager
    eap: EapRegistry
    attributes: AttributeManager
    kernel: KernelInterface
    resolver: Resolver
    plugins: Callable[[], tuple[PluginInfo, ...]]
    reload: Callable[[], None]
    stop: Callable[[], None]
    set_log_level: Callable[[Group | None, Level], None]
    started: float
    version: str
