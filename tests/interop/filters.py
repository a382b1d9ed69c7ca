"""Packet filters that make a network lose what they are told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.interop.network import Host


class Lossy:
    """Has hosts drop some of what comes in."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = list(hosts)
        for host in self._hosts:
            host.run("nft", "add table inet lossy")
            host.run("nft", "add chain inet lossy in { type filter hook input priority 0; }")

    def drop(self, host: Host, rule: str) -> None:
        """Have a host drop what fits."""
        host.run("nft", f"add rule inet lossy in {rule} drop")

    def pass_all(self) -> None:
        """Drop nothing any more."""
        for host in self._hosts:
            host.run("nft", "flush chain inet lossy in")

    def close(self) -> None:
        """Remove the filters."""
        for host in self._hosts:
            host.run("nft", "delete table inet lossy")
