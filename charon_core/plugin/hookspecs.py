"""The whole contract of plugins: every hook, when it is called, and what it is given.

A plugin is a class or a module that an entry point of the group ``charon.plugins`` names. Of a
class the host makes one instance for each daemon, without arguments. Methods (or functions)
marked with `charon_core.plugin.hookimpl` are its hooks; it implements those that it needs, and
takes those arguments that it wants.

Order: all plugins are asked for their features, which gives the order of all that follows. All
register their loggers, then their kernel backends: the daemon stands on these. Then each plugin
is created and registers the rest at once, so that it finds what it depends on complete. Worker
threads start only after the last plugin: what a plugin queues waits until then.

A hook that raises disables its plugin alone: its `charon_destroy` is called if a hook that
registers or creates was passed before, what the plugin registered is taken back, and the log
tells plugin, hook and cause.

Hooks are called one at a time and hold up the daemon: long work belongs into a job. They
register objects; what happens later reaches these objects and never goes through a hook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookspecMarker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from click import Group

    from charon_core.attributes.manager import AttributeManager
    from charon_core.bus.bus import Bus
    from charon_core.config.backend import BackendManager
    from charon_core.credentials.manager import CredentialManager
    from charon_core.eap.registry import EapRegistry
    from charon_core.kernel.backends import BackendRegistry
    from charon_core.plugin.facade import Daemon
    from charon_core.plugin.features import Feature
    from charon_core.settings import LogSettings, Paths, PluginTable, Settings

hookspec = HookspecMarker("charon")


@hookspec
def charon_features() -> Iterable[Feature]:  # type: ignore[empty-body]
    """Return what the plugin provides and depends on; called first, before anything is created.

    Without this hook a plugin provides nothing and depends on nothing.
    """


@hookspec
def charon_register_loggers(bus: Bus, log: LogSettings, paths: Paths) -> None:
    """Add loggers to the bus, as the section ``[log]`` asks for them; before `charon_create`.

    What was to be said before is said when the last plugin has added its loggers.
    """


@hookspec
def charon_register_kernel(kernel: BackendRegistry) -> None:
    """Add kernel backends, as factories by name; before `charon_create`.

    The daemon chooses one when all plugins have registered theirs, and calls its factory then.
    """


@hookspec
def charon_create(daemon: Daemon) -> None:
    """Start: read the settings, open files and sockets, queue long-lived loops.

    Called once, after the plugins that this one depends on are complete. A plugin that raises
    here closes what it had opened here itself, as a constructor would.
    """


@hookspec
def charon_register_credentials(credentials: CredentialManager) -> None:
    """Add credential sets (keys, certificates, secrets, CRLs) and fetchers of URI schemes."""


@hookspec
def charon_register_backends(backends: BackendManager) -> None:
    """Add configuration backends: sources of connections."""


@hookspec
def charon_register_listeners(bus: Bus) -> None:
    """Add listeners for events to the bus, and loggers that need more than their settings."""


@hookspec
def charon_register_eap_methods(eap: EapRegistry) -> None:
    """Add EAP methods, by type, vendor and role (peer or server)."""


@hookspec
def charon_register_attributes(attributes: AttributeManager) -> None:
    """Add providers of virtual IP addresses and of other configuration payload attributes.

    Likewise handlers, which set this host up with the attributes that gateways give us.
    """


@hookspec
def charon_register_commands(cli: Group) -> None:
    """Add subcommands to the ``charon`` command.

    Called by the command line, in a process of its own: no daemon is there, and of the other
    hooks none has been called.
    """


@hookspec
def charon_reload(settings: PluginTable, core: Settings) -> None:
    """Read settings and files again, on SIGHUP or by a control command.

    `settings` is the plugin's table, and `core` are the daemon's settings, as the file has them
    now. What is established stays up. What is wrong with a file is a line in the log, not an
    exception: a plugin that raises here is disabled.
    """


@hookspec
def charon_destroy() -> None:
    """Stop: close sockets and files, flush what is buffered; in reverse order of creation.

    Called if a hook that registers or creates was passed; not all of them need have been, where
    the start of the plugin or of the daemon was broken off.
    Everything that the plugin registered has still to work: it is taken back afterwards.
    """
