"""Between which addresses a connection is initiated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.network.packet import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.bus import Bus
    from charon_core.config.ike import IkeConfig
    from charon_core.control.resolver import Resolver
    from charon_core.kernel.manager import KernelInterface


class PathFinder:
    """Turns a connection's addresses and names into two endpoints."""

    def __init__(
        self,
        bus: Bus,
        kernel: KernelInterface,
        resolver: Resolver,
        local_port: Callable[[bool], int],
    ) -> None:
        self._bus = bus
        self._kernel = kernel
        self._resolver = resolver
        self._local_port = local_port

    def find(self, config: IkeConfig) -> tuple[Endpoint, Endpoint] | None:
        """Return our endpoint and the peer's, or None after logging why there are none.

        Looks names up, so it may take seconds: not for a thread that processes messages.
        """
        for name in config.remote_hosts:
            for address in self._resolver.look_up(name):
                path = self._to(config, address)
                if path is not None:
                    return path
        wanted = ", ".join(config.remote) or "nothing"
        self._bus.log(
            Group.IKE, Level.CONTROL,
            "unable to initiate '%s': no usable address of the peer among %s; name an address or "
            "a host name that can be resolved and reached", config.name, wanted,
        )  # fmt: skip
        return None

    def find_known(self, config: IkeConfig) -> Endpoint | None:
        """Return the peer's endpoint from what is known already; looks up for the next time."""
        for name in config.remote_hosts:
            for address in self._resolver.known(name):
                return Endpoint(address, config.remote_port)
        return None

    def _to(self, config: IkeConfig, remote: str) -> tuple[Endpoint, Endpoint] | None:
        if config.local_hosts:
            local = self._own_address(config, ":" in remote)
        else:
            local = self._kernel.net.source_address(remote)
        if local is None:
            return None
        # 500 stands for the port that the daemon listens on.
        port = self._local_port(False) if config.local_port == 500 else config.local_port
        return Endpoint(local, port), Endpoint(remote, config.remote_port)

    def _own_address(self, config: IkeConfig, ipv6: bool) -> str | None:
        """Return the first of our configured addresses that is of a family."""
        for name in config.local_hosts:
            for address in self._resolver.look_up(name):
                if (":" in address) is ipv6:
                    return address
        return None
