"""What the `userspace` backend can be told, from ``[kernel.userspace]``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from charon_core.kernel.interface import BYPASS_MARK, ROUTE_TABLE, RULE_PRIORITY

if TYPE_CHECKING:
    from collections.abc import Mapping

GUARD_CHOICES: Final = ("auto", "on", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserspaceOptions:
    """Settings of the backend.

    Raises:
        ValueError: A value that cannot be.
    """

    device: str = "ipsec%d"
    """Name of the TUN device; ``%d`` is the first free number."""
    mtu: int = 1400
    """MTU of the device. 1400 leaves room for every algorithm in ESP in UDP over IPv4 (up to 92
    octets) on a path of 1500, and for all but AES-CBC with HMAC-SHA2-384 or -512 over IPv6."""
    offloads: bool = True
    """Use segmentation offloads of the device, and numpy to serve them."""
    raw_esp: bool = True
    """Also send and take plain ESP (protocol 50), with peers that know no NAT traversal."""
    install_routes: bool = True
    """Lead protected traffic into the device; without it, that is left to the administrator."""
    guard: str = "auto"
    """Drop what comes in or goes out unprotected though a policy covers it: ``auto`` where the
    kernel can, ``on`` to refuse to start where it cannot, ``off``."""
    table: int = ROUTE_TABLE
    priority: int = RULE_PRIORITY
    mark: int = BYPASS_MARK
    """Mark of packets that do not see the table: those of the IKE socket."""

    def __post_init__(self) -> None:
        if not 0 < len(self.device.encode()) < 16 or "/" in self.device:
            raise ValueError(f"device must be an interface name of 1 to 15 octets, {self.device!r}")
        if not 576 <= self.mtu <= 65535:
            raise ValueError(f"mtu must be in 576..65535, got {self.mtu}")
        if self.guard not in GUARD_CHOICES:
            raise ValueError(f"guard must be auto, on or off, got {self.guard!r}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Take what is known from a table of settings; further keys are somebody else's."""
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in options.items() if key in known})
