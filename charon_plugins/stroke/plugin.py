"""stroke as a plugin: its hooks. Everything heavy is loaded when the daemon creates it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.plugin import Feature, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.config.backend import BackendManager
    from charon_core.credentials.manager import CredentialManager
    from charon_core.plugin.facade import Daemon
    from charon_core.settings import PluginTable
    from charon_plugins.stroke.runtime import Runtime


class StrokePlugin:
    """The control socket, ipsec.conf's connections and ipsec.secrets of one daemon."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None

    @hookimpl
    def charon_features(self) -> Iterable[Feature]:
        """Tell what stroke provides."""
        return [
            Feature("control:stroke"),
            Feature("backend:stroke"),
            Feature("credentials:stroke"),
        ]

    @hookimpl
    def charon_create(self, daemon: Daemon) -> None:
        """Read secrets and certificates, and open the control socket."""
        from charon_plugins.stroke.runtime import Runtime

        self._runtime = Runtime(daemon)

    @hookimpl
    def charon_register_credentials(self, credentials: CredentialManager) -> None:
        """Add what ipsec.secrets and ipsec.d hold."""
        if self._runtime is not None:
            for credential_set in self._runtime.credentials.sets:
                credentials.add(credential_set)

    @hookimpl
    def charon_register_backends(self, backends: BackendManager) -> None:
        """Add the connections that clients send."""
        if self._runtime is not None:
            backends.add(self._runtime.connections)

    @hookimpl
    def charon_reload(self, settings: PluginTable) -> None:
        """Read settings, secrets and certificates again."""
        if self._runtime is not None:
            self._runtime.reload(settings)

    @hookimpl
    def charon_destroy(self) -> None:
        """Close the control socket."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None
