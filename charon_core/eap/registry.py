"""EAP methods by type, vendor and role."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from charon_core.eap.method import EapMethod


class EapRole(Enum):
    """Which side of EAP (RFC 3748 1.2) a method plays."""

    PEER = "peer"
    SERVER = "server"


class EapType(NamedTuple):
    """The number of a method; vendor 0 is the IETF (RFC 3748 5.7)."""

    type: int
    vendor: int = 0


EapFactory = Callable[[bytes, bytes], EapMethod]
"""Server identity, peer identity; returns a method for one conversation."""


class EapRegistry:
    """The methods that plugins offer.

    Written while plugins come and go, read by IKE_SAs at any time: the tables are replaced as a
    whole, never changed.
    """

    def __init__(self) -> None:
        self._factories: dict[tuple[EapType, EapRole], EapFactory] = {}

    def add(self, kind: EapType, role: EapRole, factory: EapFactory) -> None:
        """Add a method.

        Raises:
            ValueError: There is one of this type and role already.
        """
        key = (kind, role)
        if key in self._factories:
            raise ValueError(
                f"EAP method {kind.type} of vendor {kind.vendor} is registered as {role.value} "
                "already; load one plugin for it only"
            )
        self._factories = {**self._factories, key: factory}

    def remove(self, kind: EapType, role: EapRole) -> None:
        """Take a method back; one that is not there is no error."""
        self._factories = {
            key: value for key, value in self._factories.items() if key != (kind, role)
        }

    def create(self, kind: EapType, role: EapRole, server: bytes, peer: bytes) -> EapMethod | None:
        """Return a method for one conversation, or None if nobody offers it."""
        factory = self._factories.get((kind, role))
        return None if factory is None else factory(server, peer)

    def types(self, role: EapRole) -> tuple[EapType, ...]:
        """Return what can be offered in a role, in the order of registration."""
        return tuple(kind for kind, of in self._factories if of is role)
