"""Virtual addresses where the peer chooses: ``rightsourceip=%config``."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class GrantingProvider:
    """Grants the address that a peer asks for, to connections that are configured so."""

    name = "stroke"

    def __init__(self, grants: Callable[[str], bool]) -> None:
        """``grants`` tells whether the pool of that name grants what is asked for."""
        self._grants = grants

    def acquire(self, pool: str, identity: str, wanted: str | None) -> str | None:  # noqa: ARG002 -- nothing is leased
        """Return the address asked for; ``None`` if none in particular is, or not our pool."""
        if wanted is None or not self._grants(pool):
            return None
        return None if ip_address(wanted).is_unspecified else wanted

    def release(self, pool: str, identity: str, address: str) -> bool:  # noqa: ARG002 -- nothing was leased
        """Return whether the address came from here."""
        return self._grants(pool)
